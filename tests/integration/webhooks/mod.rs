//! FusionAuth webhooks revoke the sessions that an event concerns, at every app of the provider, if
//! the sender is authenticated.

mod proofs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
fn event(doorward: &Doorward, kind: &str, members: Value) -> Value {
    let mut event = json!({
        "id": random_name(16), "type": kind, "createInstant": doorward.now().secs() * 1000 + 999,
        "tenantId": "30663132-6464-6665-3032-326466613934", "info": { "ipAddress": "192.0.2.7" },
    });
    event
        .as_object_mut()
        .expect("an object")
        .extend(members.as_object().expect("an object").clone());
    event
}

/// A webhook as FusionAuth sends it.
fn webhook(doorward: &Doorward, origin: &str, event: &Value) -> RequestSpec {
    let body = json!({ "event": event }).to_string();
    let signature = doorward.provider.webhook_signature(&body, &[]);
    RequestSpec::new(Kind::Program, &format!("{origin}{PATH}"))
        .method("POST")
        .header(SIGNATURE, &signature)
        .body("application/json", body)
}

async fn sent(doorward: &Doorward, request: RequestSpec) -> Page {
    let response = doorward.browser().send(request).await;
    assert_eq!(
        response.header("cache-control"),
        Some("no-store"),
        "{response}"
    );
    assert!(response.chain[0].set_cookies.is_empty(), "{response}");
    response
}

/// Sends a webhook for this event.
async fn told(doorward: &Doorward, origin: &str, event: &Value) {
    let response = sent(doorward, webhook(doorward, origin, event)).await;
    assert_eq!(
        (response.status(), response.text().as_str()),
        (200, ""),
        "{response}"
    );
}

fn assert_refused(response: &Page, status: u16, code: &str) {
    assert_eq!(response.status(), status, "{code}: {response}");
    assert_eq!(response.json(), json!({ "error": code }));
}

async fn assert_session_valid(browser: &mut Browser, url: &str) {
    let page = browser.step(url).await;
    assert_eq!(page.status(), 200, "{page}");
}

async fn is_over(doorward: &Doorward, browser: &mut Browser, url: &str) {
    let reached = (doorward.store.count(), doorward.forum.count());
    assert_login_starts(doorward, &browser.step(url).await);
    assert_eq!(
        (doorward.store.count(), doorward.forum.count()),
        reached,
        "a request reached the app"
    );
}

fn outcomes(app: &str, outcome: &str) -> String {
    format!("doorward_revocations_total{{app=\"{app}\",outcome=\"{outcome}\",provider=\"login\"}}")
}

#[tokio::test]
async fn revoked_refresh_token_ends_its_session_at_its_app() {
    let doorward = signed();
    let (cart, posts) = (doorward.store_url(CART), doorward.forum_url("/posts"));
    let mut here = alice(&doorward).await;
    let sid = doorward.provider.session();
    assert_eq!(here.visit(&posts).await.status(), 200);
    let mut elsewhere = alice(&doorward).await;
    let token = json!({ "id": sid, "applicationId": "store", "userId": "alice-id", "token": "canary-living-token" });
    let members = json!({ "applicationId": "store", "userId": "alice-id", "user": { "id": "alice-id" },
        "applicationTimeToLiveInSeconds": { "store": 600 }, "refreshToken": token });
    told(
        &doorward,
        &doorward.site().forum,
        &event(&doorward, REVOKE, members),
    )
    .await;
    is_over(&doorward, &mut here, &cart).await;
    assert_session_valid(&mut here, &posts).await;
    assert_session_valid(&mut elsewhere, &cart).await;
    metric_reaches(&doorward, &outcomes("forum", "refresh_token_revoked"), 1.0).await;
    doorward.advance_secs(301);
    is_over(&doorward, &mut here, &cart).await;
    assert!(!doorward.log.text().contains("canary"));
}

#[tokio::test]
async fn revoked_sso_token_ends_sessions_bearing_its_id() {
    let doorward = signed();
    let (cart, posts) = (doorward.store_url(CART), doorward.forum_url("/posts"));
    let mut browser = alice(&doorward).await;
    assert_eq!(browser.visit(&posts).await.status(), 200);
    let token = json!({ "id": doorward.provider.session(), "userId": "alice-id" });
    let members =
        json!({ "userId": "alice-id", "user": { "id": "alice-id" }, "refreshToken": token });
    told(
        &doorward,
        &doorward.site().store,
        &event(&doorward, REVOKE, members),
    )
    .await;
    is_over(&doorward, &mut browser, &cart).await;
    is_over(&doorward, &mut browser, &posts).await;
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
        let doorward = signed();
        let (cart, posts) = (doorward.store_url(CART), doorward.forum_url("/posts"));
        let (mut first, mut second) = (alice(&doorward).await, alice(&doorward).await);
        assert_eq!(second.visit(&posts).await.status(), 200);
        let mut bob = doorward.logged_in("bob", CART).await;
        told(
            &doorward,
            &doorward.site().store,
            &event(&doorward, kind, members),
        )
        .await;
        is_over(&doorward, &mut first, &cart).await;
        is_over(&doorward, &mut second, &cart).await;
        is_over(&doorward, &mut second, &posts).await;
        assert_session_valid(&mut bob, &cart).await;
        metric_reaches(&doorward, &outcomes("store", outcome), 1.0).await;
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
        let doorward = signed();
        let (cart, posts) = (doorward.store_url(CART), doorward.forum_url("/posts"));
        let mut alice = alice(&doorward).await;
        assert_eq!(alice.visit(&posts).await.status(), 200);
        let mut bob = doorward.logged_in("bob", CART).await;
        told(
            &doorward,
            &doorward.site().forum,
            &event(&doorward, REVOKE, members),
        )
        .await;
        is_over(&doorward, &mut alice, &cart).await;
        assert_session_valid(&mut alice, &posts).await;
        if bob_stays {
            assert_session_valid(&mut bob, &cart).await;
        } else {
            is_over(&doorward, &mut bob, &cart).await;
        }
    }
}

#[tokio::test]
async fn event_ends_sessions_started_before_it_only() {
    let doorward = signed();
    let cart = doorward.store_url(CART);
    let mut same_second = alice(&doorward).await;
    let members = json!({ "userId": "alice-id", "user": { "id": "alice-id" } });
    let event = event(&doorward, REVOKE, members);
    // Longer than the tolerated clock skew, and shorter than FusionAuth's retries.
    doorward.advance_secs(60);
    let mut later = alice(&doorward).await;
    told(&doorward, &doorward.site().store, &event).await;
    is_over(&doorward, &mut same_second, &cart).await;
    assert_session_valid(&mut later, &cart).await;
}

#[tokio::test]
async fn duplicate_event_counts_once() {
    let doorward = signed();
    let cart = doorward.store_url(CART);
    let mut browser = alice(&doorward).await;
    let event = event(
        &doorward,
        "user.password.update",
        json!({ "user": { "id": "alice-id" } }),
    );
    told(&doorward, &doorward.site().store, &event).await;
    doorward.advance_secs(1);
    doorward.sign_in("alice");
    assert_eq!(browser.visit(&cart).await.status(), 200);
    doorward.advance_secs(1);
    // From the other app's host too: FusionAuth may send to both.
    for origin in [doorward.site().store, doorward.site().forum] {
        told(&doorward, &origin, &event).await;
        assert_session_valid(&mut browser, &cart).await;
    }
    metric_reaches(&doorward, &outcomes("store", "password_updated"), 1.0).await;
    metric_reaches(&doorward, &outcomes("store", "webhook_duplicate"), 1.0).await;
    metric_reaches(&doorward, &outcomes("forum", "webhook_duplicate"), 1.0).await;
}

#[tokio::test]
async fn stale_or_future_event_ends_nothing() {
    let doorward = signed();
    let mut browser = alice(&doorward).await;
    let store = doorward.site().store;
    for (seconds, code) in [(-3700, "webhook_too_old"), (40, "webhook_in_future")] {
        let mut event = event(
            &doorward,
            "user.delete",
            json!({ "user": { "id": "alice-id" } }),
        );
        let now = i64::try_from(doorward.now().secs()).expect("a time of this age");
        event["createInstant"] = json!((now + seconds) * 1000);
        assert_refused(
            &sent(&doorward, webhook(&doorward, &store, &event)).await,
            400,
            code,
        );
        assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
        metric_reaches(&doorward, &outcomes("store", code), 1.0).await;
    }
}

#[tokio::test]
async fn other_event_types_and_tenants_are_ignored() {
    let tenant = "tenant_id = \"7f3c1a2b-0000-4000-8000-000000000001\"\n";
    let doorward = setup("signature = \"jwks\"").provider("").start();
    let other = Setup::plain()
        .provider(&format!(
            "kind = \"fusionauth\"\nrequire_registration = false\n{tenant}[providers.login.webhooks]\nsignature = \"jwks\"\n"
        ))
        .start();
    let mut browser = alice(&doorward).await;
    for kind in ["jwt.refresh", "user.login.success", "test"] {
        let event = event(
            &doorward,
            kind,
            json!({ "userId": "alice-id", "token": "canary", "refreshToken": "canary" }),
        );
        told(&doorward, &doorward.site().store, &event).await;
        assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    }
    metric_reaches(&doorward, &outcomes("store", "webhook_ignored"), 3.0).await;
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
    let doorward = signed();
    doorward.provider.behave(|provider| {
        provider.access_token_flaws = vec![Flaw::Claim("tid", json!(OWN))];
    });
    let mut browser = alice(&doorward).await;
    let of_tenant = |tenant: &str| {
        let user = json!({ "user": { "id": "alice-id" }, "tenantId": tenant });
        event(&doorward, "user.deactivate", user)
    };
    told(&doorward, &doorward.site().store, &of_tenant(OTHER)).await;
    assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    metric_reaches(&doorward, &outcomes("store", "webhook_ignored"), 1.0).await;
    told(&doorward, &doorward.site().store, &of_tenant(OWN)).await;
    assert_login_starts(&doorward, &browser.step(&doorward.store_url(CART)).await);
}

/// A process learns tenants from its logins, and from sessions that began before it.
#[tokio::test]
async fn tenant_of_an_earlier_session_is_known_once_it_is_used() {
    const FIRST: &str = "30663132-6464-6665-3032-326466613934";
    const SECOND: &str = "7f3c1a2b-0000-4000-8000-000000000001";
    let mut doorward = signed();
    let users_are_of = |doorward: &Doorward, tenant: &str| {
        let flaws = vec![Flaw::Claim("tid", json!(tenant))];
        doorward
            .provider
            .behave(|provider| provider.access_token_flaws = flaws);
    };
    users_are_of(&doorward, FIRST);
    let earlier = alice(&doorward).await;
    let restarted = doorward.add_replica();
    users_are_of(&doorward, SECOND);
    doorward.sign_in("bob");
    let cart = doorward.store_url(CART);
    assert_eq!(
        doorward.browser_of(restarted).visit(&cart).await.status(),
        200
    );

    let mut alice = doorward.moved_to(restarted, earlier);
    assert_session_valid(&mut alice, &cart).await;
    let event = event(
        &doorward,
        "user.deactivate",
        json!({ "user": { "id": "alice-id" }, "tenantId": FIRST }),
    );
    let webhook = webhook(&doorward, &doorward.site().store, &event);
    let response = doorward.browser_of(restarted).send(webhook).await;
    assert_eq!(response.status(), 200, "{response}");
    assert_login_starts(&doorward, &alice.step(&cart).await);
}

#[tokio::test]
async fn oversized_or_malformed_event_ends_nothing() {
    let doorward = setup("username = \"hook\"\npassword_file = \"store.secret\"").start();
    let mut browser = alice(&doorward).await;
    let basic = format!("Basic {}", STANDARD.encode("hook:store-secret"));
    let padding = "x".repeat(600_000);
    let good =
        json!({ "event": event(&doorward, "user.delete", json!({ "user": { "id": "alice-id" } })) })
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
        let request = RequestSpec::new(Kind::Program, &format!("{}{PATH}", doorward.site().store))
            .method("POST");
        let response = sent(
            &doorward,
            request
                .header("authorization", &basic)
                .body("application/json", body),
        )
        .await;
        assert_refused(&response, 400, code);
        assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    }
}

#[tokio::test]
async fn webhook_endpoint_is_off_by_default() {
    for doorward in [
        Setup::plain().start(),
        Setup::plain()
            .provider("kind = \"fusionauth\"\nrequire_registration = false")
            .start(),
    ] {
        let event = event(
            &doorward,
            "user.delete",
            json!({ "user": { "id": "alice-id" } }),
        );
        let response = sent(
            &doorward,
            webhook(&doorward, &doorward.site().store, &event),
        )
        .await;
        assert_problem(&response, 404, "no_such_endpoint");
    }
    let doorward = signed();
    let asked = sent(
        &doorward,
        RequestSpec::new(Kind::Program, &doorward.store_url(PATH)),
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
    let mut doorward = setup("signature = \"jwks\"").without_provider().start();
    doorward.provider.fault(Endpoint::Jwks, Fault::Status(500));
    doorward.provider.restart();
    doorward.advance_secs(3);
    let event = event(
        &doorward,
        "user.delete",
        json!({ "user": { "id": "alice-id" } }),
    );
    let response = sent(
        &doorward,
        webhook(&doorward, &doorward.site().store, &event),
    )
    .await;
    assert_refused(&response, 503, "provider_keys_unavailable");
    doorward.provider.heal(Endpoint::Jwks);
    // It was not counted. A failed key fetch is cached for two seconds.
    let mut tries = 0;
    while sent(
        &doorward,
        webhook(&doorward, &doorward.site().store, &event),
    )
    .await
    .status()
        != 200
    {
        tries += 1;
        assert!(tries < 10, "the keys are there again");
        doorward.advance_secs(3);
    }
    metric_reaches(&doorward, &outcomes("store", "user_deleted"), 1.0).await;
}
