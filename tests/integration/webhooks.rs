//! FusionAuth webhooks revoke the sessions that an event concerns, at every app of the provider, if
//! the sender is authenticated.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::assertions::{
    CART, alice, assert_login_starts, assert_problem, metric_reaches,
};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Fault, Flaw};
use crate::support::random_name;

const PATH: &str = "/.doorward/webhooks/fusionauth";
const SIGNATURE: &str = "x-fusionauth-signature-jwt";
const REVOKE: &str = "jwt.refresh-token.revoke";

/// A store and a forum with FusionAuth webhooks authenticated in this way.
fn setup(proofs: &str) -> Setup {
    let provider = format!(
        "kind = \"fusionauth\"\nrequire_registration = false\n[providers.login.webhooks]\n{proofs}\n"
    );
    Setup::plain()
        .provider(&provider)
        .store("session_jwt = \"access\"")
        .forum("session_jwt = \"access\"")
}

fn signed() -> Doorward {
    setup("signature = \"jwks\"").start()
}

/// A current event, at the last millisecond of this second.
fn event(door: &Doorward, kind: &str, members: Value) -> Value {
    let mut event = json!({
        "id": random_name(16), "type": kind, "createInstant": door.now().secs() * 1000 + 999,
        "tenantId": "30663132-6464-6665-3032-326466613934", "info": { "ipAddress": "192.0.2.7" },
    });
    event
        .as_object_mut()
        .expect("an object")
        .extend(members.as_object().expect("an object").clone());
    event
}

/// A webhook as FusionAuth sends it.
fn webhook(door: &Doorward, origin: &str, event: &Value) -> RequestSpec {
    let body = json!({ "event": event }).to_string();
    let signature = door.provider.webhook_signature(&body, &[]);
    RequestSpec::new(Kind::Program, &format!("{origin}{PATH}"))
        .method("POST")
        .header(SIGNATURE, &signature)
        .body("application/json", body)
}

async fn sent(door: &Doorward, ask: RequestSpec) -> Page {
    let answer = door.browser().send(ask).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
    assert!(answer.chain[0].set_cookies.is_empty(), "{answer}");
    answer
}

/// Sends a webhook for this event.
async fn told(door: &Doorward, origin: &str, event: &Value) {
    let answer = sent(door, webhook(door, origin, event)).await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, ""),
        "{answer}"
    );
}

fn assert_refused(answer: &Page, status: u16, code: &str) {
    assert_eq!(answer.status(), status, "{code}: {answer}");
    assert_eq!(answer.json(), json!({ "error": code }));
}

async fn assert_session_valid(browser: &mut Browser, url: &str) {
    let page = browser.step(url).await;
    assert_eq!(page.status(), 200, "{page}");
}

async fn is_over(door: &Doorward, browser: &mut Browser, url: &str) {
    let reached = (door.store.count(), door.forum.count());
    assert_login_starts(door, &browser.step(url).await);
    assert_eq!(
        (door.store.count(), door.forum.count()),
        reached,
        "a request reached the app"
    );
}

fn outcomes(app: &str, outcome: &str) -> String {
    format!("doorward_revocations_total{{app=\"{app}\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn revoked_refresh_token_ends_its_session_at_its_app() {
    let door = signed();
    let (cart, posts) = (door.store_url(CART), door.forum_url("/posts"));
    let mut here = alice(&door).await;
    let sid = door.provider.session();
    assert_eq!(here.visit(&posts).await.status(), 200);
    let mut elsewhere = alice(&door).await;
    let token = json!({ "id": sid, "applicationId": "store", "userId": "alice-id", "token": "canary-living-token" });
    let members = json!({ "applicationId": "store", "userId": "alice-id", "user": { "id": "alice-id" },
        "applicationTimeToLiveInSeconds": { "store": 600 }, "refreshToken": token });
    told(&door, &door.site().forum, &event(&door, REVOKE, members)).await;
    is_over(&door, &mut here, &cart).await;
    assert_session_valid(&mut here, &posts).await;
    assert_session_valid(&mut elsewhere, &cart).await;
    metric_reaches(&door, &outcomes("forum", "refresh_token_revoked"), 1.0).await;
    door.advance_secs(301);
    is_over(&door, &mut here, &cart).await;
    assert!(!door.log.text().contains("canary"));
}

#[tokio::test]
async fn revoked_sso_token_ends_sessions_bearing_its_id() {
    let door = signed();
    let (cart, posts) = (door.store_url(CART), door.forum_url("/posts"));
    let mut browser = alice(&door).await;
    assert_eq!(browser.visit(&posts).await.status(), 200);
    let token = json!({ "id": door.provider.session(), "userId": "alice-id" });
    let members =
        json!({ "userId": "alice-id", "user": { "id": "alice-id" }, "refreshToken": token });
    told(&door, &door.site().store, &event(&door, REVOKE, members)).await;
    is_over(&door, &mut browser, &cart).await;
    is_over(&door, &mut browser, &posts).await;
}

#[tokio::test]
async fn user_event_ends_user_sessions_at_all_apps() {
    let user = json!({ "user": { "id": "alice-id", "email": "alice@example.com" } });
    let all_tokens = json!({ "userId": "alice-id", "user": { "id": "alice-id" },
        "applicationTimeToLiveInSeconds": { "store": 600, "forum": 600 } });
    for (kind, members, outcome) in [
        (REVOKE, all_tokens, "refresh_token_revoked"),
        ("user.deactivate", user.clone(), "user_deactivated"),
        ("user.delete", user.clone(), "user_deleted"),
        ("user.password.update", user, "password_updated"),
    ] {
        let door = signed();
        let (cart, posts) = (door.store_url(CART), door.forum_url("/posts"));
        let (mut first, mut second) = (alice(&door).await, alice(&door).await);
        assert_eq!(second.visit(&posts).await.status(), 200);
        let mut bob = door.logged_in("bob", CART).await;
        told(&door, &door.site().store, &event(&door, kind, members)).await;
        is_over(&door, &mut first, &cart).await;
        is_over(&door, &mut second, &cart).await;
        is_over(&door, &mut second, &posts).await;
        assert_session_valid(&mut bob, &cart).await;
        metric_reaches(&door, &outcomes("store", outcome), 1.0).await;
    }
}

#[tokio::test]
async fn application_event_spares_other_apps() {
    for (members, bob_stays) in [
        (
            json!({ "applicationId": "store", "userId": "alice-id", "user": { "id": "alice-id" } }),
            true,
        ),
        (
            json!({ "applicationId": "store", "applicationTimeToLiveInSeconds": { "store": 600 } }),
            false,
        ),
    ] {
        let door = signed();
        let (cart, posts) = (door.store_url(CART), door.forum_url("/posts"));
        let mut alice = alice(&door).await;
        assert_eq!(alice.visit(&posts).await.status(), 200);
        let mut bob = door.logged_in("bob", CART).await;
        told(&door, &door.site().forum, &event(&door, REVOKE, members)).await;
        is_over(&door, &mut alice, &cart).await;
        assert_session_valid(&mut alice, &posts).await;
        if bob_stays {
            assert_session_valid(&mut bob, &cart).await;
        } else {
            is_over(&door, &mut bob, &cart).await;
        }
    }
}

#[tokio::test]
async fn event_ends_sessions_started_before_it_only() {
    let door = signed();
    let cart = door.store_url(CART);
    let mut same_second = alice(&door).await;
    let members = json!({ "userId": "alice-id", "user": { "id": "alice-id" } });
    let event = event(&door, REVOKE, members);
    // Longer than the tolerated clock skew, and shorter than FusionAuth's retries.
    door.advance_secs(60);
    let mut later = alice(&door).await;
    told(&door, &door.site().store, &event).await;
    is_over(&door, &mut same_second, &cart).await;
    assert_session_valid(&mut later, &cart).await;
}

#[tokio::test]
async fn duplicate_event_counts_once() {
    let door = signed();
    let cart = door.store_url(CART);
    let mut browser = alice(&door).await;
    let event = event(
        &door,
        "user.password.update",
        json!({ "user": { "id": "alice-id" } }),
    );
    told(&door, &door.site().store, &event).await;
    door.advance_secs(1);
    door.sign_in("alice");
    assert_eq!(browser.visit(&cart).await.status(), 200);
    door.advance_secs(1);
    // From the other app's host too: FusionAuth may send to both.
    for origin in [door.site().store, door.site().forum] {
        told(&door, &origin, &event).await;
        assert_session_valid(&mut browser, &cart).await;
    }
    metric_reaches(&door, &outcomes("store", "password_updated"), 1.0).await;
    metric_reaches(&door, &outcomes("store", "webhook_duplicate"), 1.0).await;
    metric_reaches(&door, &outcomes("forum", "webhook_duplicate"), 1.0).await;
}

#[tokio::test]
async fn stale_or_future_event_ends_nothing() {
    let door = signed();
    let mut browser = alice(&door).await;
    let store = door.site().store;
    for (seconds, code) in [(-3700, "webhook_too_old"), (40, "webhook_in_future")] {
        let mut event = event(
            &door,
            "user.delete",
            json!({ "user": { "id": "alice-id" } }),
        );
        let now = i64::try_from(door.now().secs()).expect("a time of this age");
        event["createInstant"] = json!((now + seconds) * 1000);
        assert_refused(
            &sent(&door, webhook(&door, &store, &event)).await,
            400,
            code,
        );
        assert_session_valid(&mut browser, &door.store_url(CART)).await;
        metric_reaches(&door, &outcomes("store", code), 1.0).await;
    }
}

#[tokio::test]
async fn other_event_types_and_tenants_are_ignored() {
    let tenant = "tenant_id = \"7f3c1a2b-0000-4000-8000-000000000001\"\n";
    let door = setup("signature = \"jwks\"").provider("").start();
    let other = Setup::plain()
        .provider(&format!(
            "kind = \"fusionauth\"\nrequire_registration = false\n{tenant}[providers.login.webhooks]\nsignature = \"jwks\"\n"
        ))
        .start();
    let mut browser = alice(&door).await;
    for kind in ["jwt.refresh", "user.login.success", "test"] {
        let event = event(
            &door,
            kind,
            json!({ "userId": "alice-id", "token": "canary", "refreshToken": "canary" }),
        );
        told(&door, &door.site().store, &event).await;
        assert_session_valid(&mut browser, &door.store_url(CART)).await;
    }
    metric_reaches(&door, &outcomes("store", "webhook_ignored"), 3.0).await;
    let mut browser = alice(&other).await;
    let event = event(
        &other,
        "user.delete",
        json!({ "user": { "id": "alice-id" } }),
    );
    told(&other, &other.site().store, &event).await;
    assert_session_valid(&mut browser, &other.store_url(CART)).await;
}

#[tokio::test]
async fn other_tenant_is_ignored_once_the_own_is_known() {
    const OWN: &str = "30663132-6464-6665-3032-326466613934";
    const OTHER: &str = "7f3c1a2b-0000-4000-8000-000000000001";
    let door = signed();
    door.provider.behave(|provider| {
        provider.access_token_flaws = vec![Flaw::Claim("tid", json!(OWN))];
    });
    let mut browser = alice(&door).await;
    let of_tenant = |tenant: &str| {
        let user = json!({ "user": { "id": "alice-id" }, "tenantId": tenant });
        event(&door, "user.deactivate", user)
    };
    told(&door, &door.site().store, &of_tenant(OTHER)).await;
    assert_session_valid(&mut browser, &door.store_url(CART)).await;
    metric_reaches(&door, &outcomes("store", "webhook_ignored"), 1.0).await;
    told(&door, &door.site().store, &of_tenant(OWN)).await;
    assert_login_starts(&door, &browser.step(&door.store_url(CART)).await);
}

/// A process learns tenants from its logins, and from sessions that began before it.
#[tokio::test]
async fn tenant_of_an_earlier_session_is_known_once_it_is_used() {
    const FIRST: &str = "30663132-6464-6665-3032-326466613934";
    const SECOND: &str = "7f3c1a2b-0000-4000-8000-000000000001";
    let mut door = signed();
    let users_are_of = |door: &Doorward, tenant: &str| {
        let flaws = vec![Flaw::Claim("tid", json!(tenant))];
        door.provider
            .behave(|provider| provider.access_token_flaws = flaws);
    };
    users_are_of(&door, FIRST);
    let earlier = alice(&door).await;
    let restarted = door.add_replica();
    users_are_of(&door, SECOND);
    door.sign_in("bob");
    let cart = door.store_url(CART);
    assert_eq!(door.browser_of(restarted).visit(&cart).await.status(), 200);

    let mut alice = door.moved_to(restarted, earlier);
    assert_session_valid(&mut alice, &cart).await;
    let event = event(
        &door,
        "user.deactivate",
        json!({ "user": { "id": "alice-id" }, "tenantId": FIRST }),
    );
    let webhook = webhook(&door, &door.site().store, &event);
    let answer = door.browser_of(restarted).send(webhook).await;
    assert_eq!(answer.status(), 200, "{answer}");
    assert_login_starts(&door, &alice.step(&cart).await);
}

#[tokio::test]
async fn invalid_signature_ends_nothing() {
    let door = signed();
    let mut browser = alice(&door).await;
    let store = door.site().store;
    let event = event(
        &door,
        "user.delete",
        json!({ "user": { "id": "alice-id" } }),
    );
    let body = json!({ "event": event }).to_string();
    let post = || {
        RequestSpec::new(Kind::Program, &format!("{store}{PATH}"))
            .method("POST")
            .body("application/json", body.clone())
    };
    assert_refused(&sent(&door, post()).await, 401, "webhook_signature_missing");
    let cases = [
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::KeyMissing, "token_key_unknown"),
        (
            Flaw::Without("request_body_sha256"),
            "webhook_body_hash_missing",
        ),
        (
            Flaw::Claim("request_body_sha256", json!(STANDARD.encode([7; 32]))),
            "webhook_body_mismatch",
        ),
    ];
    for (flaw, code) in cases {
        let signature = door
            .provider
            .webhook_signature(&body, std::slice::from_ref(&flaw));
        let answer = sent(&door, post().header(SIGNATURE, &signature)).await;
        assert_refused(&answer, 401, code);
        assert!(answer.header("www-authenticate").is_some(), "{answer}");
        assert_session_valid(&mut browser, &door.store_url(CART)).await;
    }
    let other_body =
        webhook(&door, &store, &event).body("application/json", body.replace("alice", "alicf"));
    let answer = sent(
        &door,
        RequestSpec {
            headers: webhook(&door, &store, &event).headers,
            ..other_body
        },
    )
    .await;
    assert_refused(&answer, 401, "webhook_body_mismatch");
    // A user's JWT is signed with the same key.
    let jwts: Vec<String> = door
        .provider
        .secrets()
        .into_iter()
        .filter(|secret| secret.starts_with("eyJ"))
        .collect();
    for jwt in jwts {
        assert_refused(
            &sent(&door, post().header(SIGNATURE, &jwt)).await,
            401,
            "webhook_body_hash_missing",
        );
    }
    assert_session_valid(&mut browser, &door.store_url(CART)).await;
    metric_reaches(&door, &outcomes("store", "webhook_signature_missing"), 1.0).await;
    told(&door, &store, &event).await;
    is_over(&door, &mut browser, &door.store_url(CART)).await;
}

#[tokio::test]
async fn shared_secret_basic_and_header_proofs_are_accepted() {
    let hmac = |secret: &str, body: &str| {
        let hash = STANDARD.encode(aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            body.as_bytes(),
        ));
        let parts = [
            json!({ "alg": "HS256", "typ": "JWT" }),
            json!({ "request_body_sha256": hash }),
        ];
        let message = parts
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            message.as_bytes(),
        );
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("hook:{password}")));
    // The secret files are those of the apps: `store-secret`.
    let secret = "store-secret";
    type Proof<'a> = Box<dyn Fn(&str, &str) -> (&'static str, String) + 'a>;
    let cases: Vec<(&str, Proof<'_>, &str)> = vec![
        (
            "signature = \"hmac\"\nsignature_secret_file = \"store.secret\"",
            Box::new(|secret, body| (SIGNATURE, hmac(secret, body))),
            "webhook_signature_invalid",
        ),
        (
            "username = \"hook\"\npassword_file = \"store.secret\"",
            Box::new(|secret, _| ("authorization", basic(secret))),
            "webhook_basic_wrong",
        ),
        (
            "header = \"X-Webhook-Key\"\nheader_secret_file = \"store.secret\"",
            Box::new(|secret, _| ("x-webhook-key", secret.to_owned())),
            "webhook_header_wrong",
        ),
    ];
    for (proofs, proof, code) in cases {
        let door = setup(proofs).start();
        let mut browser = alice(&door).await;
        let event = event(
            &door,
            "user.delete",
            json!({ "user": { "id": "alice-id" } }),
        );
        let body = json!({ "event": event }).to_string();
        let post = |(name, value): (&str, String)| {
            let ask = RequestSpec::new(Kind::Program, &format!("{}{PATH}", door.site().store))
                .method("POST");
            ask.header(name, &value)
                .body("application/json", body.clone())
        };
        for wrong in [
            proof("store-secreT", &body),
            proof("", &body),
            ("x-other", secret.to_owned()),
        ] {
            let answer = sent(&door, post(wrong.clone())).await;
            let missing = if code == "webhook_signature_invalid" && wrong.0 == "x-other" {
                "webhook_signature_missing"
            } else {
                code
            };
            assert_refused(&answer, 401, missing);
            assert_session_valid(&mut browser, &door.store_url(CART)).await;
        }
        // The provider's key is of another family, and invalid where a shared secret is configured.
        let by_key = (SIGNATURE, door.provider.webhook_signature(&body, &[]));
        assert_eq!(sent(&door, post(by_key)).await.status(), 401);
        assert_eq!(
            sent(&door, post(proof(secret, &body))).await.status(),
            200,
            "{proofs}"
        );
        is_over(&door, &mut browser, &door.store_url(CART)).await;
    }
}

#[tokio::test]
async fn oversized_or_malformed_event_ends_nothing() {
    let door = setup("username = \"hook\"\npassword_file = \"store.secret\"").start();
    let mut browser = alice(&door).await;
    let basic = format!("Basic {}", STANDARD.encode("hook:store-secret"));
    let padding = "x".repeat(600_000);
    let good =
        json!({ "event": event(&door, "user.delete", json!({ "user": { "id": "alice-id" } })) })
            .to_string();
    for (body, code) in [
        (String::new(), "webhook_malformed"),
        ("[]".to_owned(), "webhook_malformed"),
        (good.replace("\"event\"", "\"evnt\""), "webhook_malformed"),
        (
            good.replace("\"alice-id\"", "7"),
            "webhook_member_malformed",
        ),
        (
            good.replace("createInstant", "created"),
            "webhook_member_malformed",
        ),
        (format!("{good}{padding}"), "webhook_body_unreadable"),
    ] {
        let ask =
            RequestSpec::new(Kind::Program, &format!("{}{PATH}", door.site().store)).method("POST");
        let answer = sent(
            &door,
            ask.header("authorization", &basic)
                .body("application/json", body),
        )
        .await;
        assert_refused(&answer, 400, code);
        assert_session_valid(&mut browser, &door.store_url(CART)).await;
    }
}

#[tokio::test]
async fn webhook_endpoint_is_off_by_default() {
    for door in [
        Setup::plain().start(),
        Setup::plain()
            .provider("kind = \"fusionauth\"\nrequire_registration = false")
            .start(),
    ] {
        let event = event(
            &door,
            "user.delete",
            json!({ "user": { "id": "alice-id" } }),
        );
        let answer = sent(&door, webhook(&door, &door.site().store, &event)).await;
        assert_problem(&answer, 404, "no_such_endpoint");
    }
    let door = signed();
    let asked = sent(
        &door,
        RequestSpec::new(Kind::Program, &door.store_url(PATH)),
    )
    .await;
    assert_eq!(
        (asked.status(), asked.header("allow")),
        (405, Some("POST")),
        "{asked}"
    );
}

#[tokio::test]
async fn unavailable_provider_keys_yield_503() {
    let mut door = setup("signature = \"jwks\"").without_provider().start();
    door.provider.fault(Endpoint::Jwks, Fault::Status(500));
    door.provider.restart();
    door.advance_secs(3);
    let event = event(
        &door,
        "user.delete",
        json!({ "user": { "id": "alice-id" } }),
    );
    let answer = sent(&door, webhook(&door, &door.site().store, &event)).await;
    assert_refused(&answer, 503, "provider_keys_unavailable");
    door.provider.heal(Endpoint::Jwks);
    // It was not counted. A failed key fetch is cached for two seconds.
    let mut tries = 0;
    while sent(&door, webhook(&door, &door.site().store, &event))
        .await
        .status()
        != 200
    {
        tries += 1;
        assert!(tries < 10, "the keys are there again");
        door.advance_secs(3);
    }
    metric_reaches(&door, &outcomes("store", "user_deleted"), 1.0).await;
}
