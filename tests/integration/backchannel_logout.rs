//! OpenID Connect Back-Channel Logout 1.0: revokes the named sessions at once, and only for valid
//! logout tokens of the provider.

use serde_json::{Value, json};

use crate::support::assertions::{CART, alice, assert_login_starts, metric_reaches};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Fault, Flaw};

const PATH: &str = "/.doorward/backchannel-logout";
const FORM: &str = "application/x-www-form-urlencoded";

/// The response to a form of a non-browser client.
async fn told(door: &Doorward, form: impl Into<Vec<u8>>) -> Page {
    let ask = RequestSpec::new(Kind::Program, &door.store_url(PATH))
        .method("POST")
        .body(FORM, form);
    let answer = door.browser().send(ask).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
    assert!(answer.chain[0].set_cookies.is_empty(), "{answer}");
    answer
}

/// Sends a logout token with `claims` to the store.
async fn ends(door: &Doorward, claims: Value) {
    let token = door.provider.logout_token("store", &claims, &[]);
    let answer = told(door, format!("logout_token={token}")).await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, ""),
        "{answer}"
    );
}

fn assert_refused(answer: &Page, code: &str) {
    assert_eq!(answer.status(), 400, "{code}: {answer}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{answer}"
    );
    assert_eq!(
        answer.json(),
        json!({ "error": "invalid_request", "error_description": code })
    );
}

async fn assert_session_valid(browser: &mut Browser, url: &str) {
    let page = browser.step(url).await;
    assert_eq!(page.status(), 200, "{page}");
}

async fn is_over(door: &Doorward, browser: &mut Browser) {
    let reached = door.store.count();
    assert_login_starts(door, &browser.step(&door.store_url(CART)).await);
    assert_eq!(door.store.count(), reached, "a request reached the app");
}

fn revocations(outcome: &str) -> String {
    format!("doorward_revocations_total{{app=\"store\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn logout_by_sid_ends_sessions_of_that_provider_session_only() {
    // A `sub` in addition to the `sid` makes no difference.
    for names_the_person in [false, true] {
        let door = Setup::plain().start();
        let (cart, posts) = (door.store_url(CART), door.forum_url("/posts"));
        let mut here = alice(&door).await;
        let sid = door.provider.session();
        let mut second_browser = door.browser();
        assert_eq!(second_browser.visit(&cart).await.status(), 200);
        assert_eq!(here.visit(&posts).await.status(), 200);
        let mut elsewhere = alice(&door).await;
        let mut bob = door.logged_in("bob", CART).await;
        let mut claims = json!({ "sid": sid });
        if names_the_person {
            claims["sub"] = json!("alice-id");
        }
        ends(&door, claims).await;
        is_over(&door, &mut here).await;
        is_over(&door, &mut second_browser).await;
        assert_session_valid(&mut here, &posts).await;
        assert_session_valid(&mut elsewhere, &cart).await;
        assert_session_valid(&mut bob, &cart).await;
        metric_reaches(&door, &revocations("back_channel"), 1.0).await;
        assert_eq!(
            door.metric(
                "doorward_sessions_rejected_total{app=\"store\",reason=\"session_revoked\"}"
            )
            .await,
            2.0
        );
        door.advance_secs(301);
        is_over(&door, &mut here).await;
        assert_session_valid(&mut elsewhere, &cart).await;
    }
}

#[tokio::test]
async fn logout_by_sub_ends_earlier_sessions_and_spares_later_logins() {
    let door = Setup::plain().start();
    let cart = door.store_url(CART);
    let (mut first, mut second) = (alice(&door).await, alice(&door).await);
    let mut bob = door.logged_in("bob", CART).await;
    door.advance_secs(60);
    ends(&door, json!({ "sub": "alice-id" })).await;
    is_over(&door, &mut first).await;
    is_over(&door, &mut second).await;
    assert_session_valid(&mut bob, &cart).await;
    door.advance_secs(1);
    door.sign_in("alice");
    assert_eq!(first.visit(&cart).await.status(), 200);
    assert_session_valid(&mut first, &cart).await;
    door.advance_secs(301);
    assert_session_valid(&mut first, &cart).await;
    is_over(&door, &mut second).await;
}

#[tokio::test]
async fn logout_token_replay_is_rejected() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let token = door
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    assert_eq!(
        told(&door, format!("logout_token={token}")).await.status(),
        200
    );
    door.advance_secs(1);
    assert_eq!(browser.visit(&door.store_url(CART)).await.status(), 200);
    assert_refused(
        &told(&door, format!("logout_token={token}")).await,
        "logout_token_replayed",
    );
    assert_session_valid(&mut browser, &door.store_url(CART)).await;
    metric_reaches(&door, &revocations("back_channel"), 1.0).await;
    metric_reaches(&door, &revocations("logout_token_replayed"), 1.0).await;
}

#[tokio::test]
async fn invalid_logout_token_ends_nothing() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let about = json!({ "sub": "alice-id", "sid": door.provider.session() });
    let cases = [
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (
            Flaw::Claim("aud", json!("forum")),
            "token_audience_mismatch",
        ),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::KeyMissing, "token_key_unknown"),
        (Flaw::Expired, "token_expired"),
        (Flaw::WrongNonce, "token_kind_mismatch"),
        (Flaw::Without("events"), "token_events_missing"),
        (
            Flaw::Claim("events", json!({ "other": {} })),
            "token_kind_mismatch",
        ),
        (
            Flaw::Claim("events", json!("logout")),
            "token_events_malformed",
        ),
        (Flaw::Without("jti"), "token_jti_missing"),
        (Flaw::Without("iat"), "token_iat_missing"),
        (Flaw::Without("exp"), "token_exp_missing"),
        (
            Flaw::Claim("nbf", json!(1_900_000_000)),
            "token_not_yet_valid",
        ),
        (Flaw::Header("typ", json!("at+jwt")), "token_kind_mismatch"),
        (Flaw::Header("cty", json!("JWT")), "token_extension"),
    ];
    for (flaw, code) in cases {
        let token = door
            .provider
            .logout_token("store", &about, std::slice::from_ref(&flaw));
        let answer = told(&door, format!("logout_token={token}")).await;
        assert_refused(&answer, code);
        assert_session_valid(&mut browser, &door.store_url(CART)).await;
    }
    let without_user = door.provider.logout_token("store", &json!({}), &[]);
    assert_refused(
        &told(&door, format!("logout_token={without_user}")).await,
        "token_sub_missing",
    );
    metric_reaches(&door, &revocations("token_audience_mismatch"), 2.0).await;
    assert_eq!(door.metric(&revocations("back_channel")).await, 0.0);
}

#[tokio::test]
async fn other_token_types_of_the_provider_end_nothing() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let jwts: Vec<String> = door
        .provider
        .secrets()
        .into_iter()
        .filter(|secret| secret.starts_with("eyJ"))
        .collect();
    assert!(jwts.len() >= 2, "an ID token and an access token at least");
    for jwt in jwts {
        let answer = told(&door, format!("logout_token={jwt}")).await;
        assert_eq!(
            (answer.status(), answer.json()["error"].as_str()),
            (400, Some("invalid_request")),
            "{answer}"
        );
    }
    assert_session_valid(&mut browser, &door.store_url(CART)).await;
}

#[tokio::test]
async fn oversized_or_ambiguous_form_ends_nothing() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let token = door
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    let padding = "x".repeat(40_000);
    for form in [
        String::new(),
        "token=x".to_owned(),
        token.clone(),
        format!("logout_token={token}&logout_token={token}"),
        format!("padding={padding}&logout_token={token}"),
        format!("logout_token={token}&padding={padding}"),
    ] {
        assert_refused(&told(&door, form).await, "logout_token_missing");
    }
    let in_the_query = RequestSpec::new(
        Kind::Program,
        &format!("{}?logout_token={token}", door.store_url(PATH)),
    );
    assert_refused(
        &door
            .browser()
            .send(in_the_query.clone().method("POST"))
            .await,
        "logout_request_not_a_form",
    );
    let asked = door.browser().send(in_the_query).await;
    assert_eq!(
        (asked.status(), asked.header("allow")),
        (405, Some("POST")),
        "{asked}"
    );
    assert_eq!(asked.header("cache-control"), Some("no-store"), "{asked}");
    assert_session_valid(&mut browser, &door.store_url(CART)).await;
    ends(&door, json!({ "sub": "alice-id" })).await;
    is_over(&door, &mut browser).await;
}

#[tokio::test]
async fn logout_token_outside_a_form_ends_nothing() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let send = async |kind: &str| {
        let token = door
            .provider
            .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
        let ask = RequestSpec::new(Kind::Program, &door.store_url(PATH))
            .method("POST")
            .body(kind, format!("logout_token={token}"));
        door.browser().send(ask).await
    };
    for kind in [
        "",
        "text/plain",
        "application/json",
        "application/logout+jwt",
        "multipart/form-data",
    ] {
        assert_refused(&send(kind).await, "logout_request_not_a_form");
    }
    assert_session_valid(&mut browser, &door.store_url(CART)).await;
    let answer = send("Application/X-WWW-Form-URLencoded; charset=utf-8").await;
    assert_eq!(answer.status(), 200, "{answer}");
    is_over(&door, &mut browser).await;
}

#[tokio::test]
async fn logout_token_without_exp_is_accepted_if_allowed() {
    let door = Setup::plain()
        .provider("dangerously_allow_logout_tokens_without_exp = true")
        .start();
    let mut browser = alice(&door).await;
    let about = json!({ "sub": "alice-id" });
    let token = |flaws: &[Flaw]| {
        let token = door.provider.logout_token("store", &about, flaws);
        format!("logout_token={token}")
    };
    let old = json!(door.now().secs() - 330);
    let old = token(&[Flaw::Without("exp"), Flaw::Claim("iat", old)]);
    assert_refused(&told(&door, old).await, "token_expired");
    assert_session_valid(&mut browser, &door.store_url(CART)).await;
    let answer = told(&door, token(&[Flaw::Without("exp")])).await;
    assert_eq!(answer.status(), 200, "{answer}");
    is_over(&door, &mut browser).await;
}

/// A provider session may be unknown because no token has a `sid`.
#[tokio::test]
async fn logout_by_sid_and_sub_ends_sessions_whose_sid_is_unknown() {
    for jwt in ["id", "access"] {
        let door = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        let cart = door.store_url(CART);
        let mut with_sid = alice(&door).await;
        door.provider.behave(|provider| {
            provider.id_token_flaws = vec![Flaw::Without("sid")];
            provider.access_token_flaws = vec![Flaw::Without("sid")];
        });
        let (mut first, mut second) = (alice(&door).await, alice(&door).await);
        let mut bob = door.logged_in("bob", CART).await;
        door.advance_secs(1);
        ends(&door, json!({ "sid": "of-another-browser" })).await;
        assert_session_valid(&mut first, &cart).await;
        ends(
            &door,
            json!({ "sid": "of-another-browser", "sub": "alice-id" }),
        )
        .await;
        is_over(&door, &mut first).await;
        second.jar.remove(door.store_host(), |cookie| {
            cookie.name.starts_with("doorward_jwt")
        });
        is_over(&door, &mut second).await;
        assert_session_valid(&mut bob, &cart).await;
        assert_session_valid(&mut with_sid, &cart).await;
        door.advance_secs(1);
        let mut later = alice(&door).await;
        assert_session_valid(&mut later, &cart).await;
        door.advance_secs(301);
        assert_session_valid(&mut later, &cart).await;
        assert_session_valid(&mut bob, &cart).await;
    }
}

#[tokio::test]
async fn unavailable_provider_keys_yield_503() {
    let mut door = Setup::plain().without_provider().start();
    door.provider.fault(Endpoint::Jwks, Fault::Status(500));
    door.provider.restart();
    door.advance_secs(3);
    let token = door
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    let answer = told(&door, format!("logout_token={token}")).await;
    assert_eq!(answer.status(), 503, "{answer}");
    assert_eq!(
        answer.json()["error"],
        "temporarily_unavailable",
        "{answer}"
    );
    door.provider.heal(Endpoint::Jwks);
    // It was not counted. A failed key fetch is cached for two seconds.
    let mut tries = 0;
    while told(&door, format!("logout_token={token}")).await.status() != 200 {
        tries += 1;
        assert!(tries < 10, "the keys are there again");
        door.advance_secs(3);
    }
    assert!(door.metric(&revocations("provider_keys_unavailable")).await >= 1.0);
    metric_reaches(&door, &revocations("back_channel"), 1.0).await;
}

#[tokio::test]
async fn logout_ends_session_with_expired_jwt() {
    for by_person in [false, true] {
        let door = Setup::plain().start();
        let mut browser = alice(&door).await;
        let about = if by_person {
            json!({ "sub": "alice-id" })
        } else {
            json!({ "sid": door.provider.session() })
        };
        ends(&door, about).await;
        door.advance_secs(301);
        is_over(&door, &mut browser).await;
        assert_eq!(
            door.provider.grants("refresh_token"),
            0,
            "there is nothing to refresh"
        );
    }
}

/// With the access token as session JWT and no `sid` in it, the `sid` comes from the ID token, at
/// refreshes too.
#[tokio::test]
async fn logout_by_sid_ends_session_whose_jwt_lacks_sid() {
    let door = Setup::plain().store("session_jwt = \"access\"").start();
    door.provider
        .behave(|provider| provider.access_token_flaws = vec![Flaw::Without("sid")]);
    let cart = door.store_url(CART);
    let (mut kept, mut lost) = (alice(&door).await, door.browser());
    let sid = door.provider.session();
    assert_eq!(lost.visit(&cart).await.status(), 200);
    door.advance_secs(301);
    lost.jar.remove(door.store_host(), |cookie| {
        cookie.name.starts_with("doorward_jwt")
    });
    assert_session_valid(&mut kept, &cart).await;
    assert_session_valid(&mut lost, &cart).await;
    assert_eq!(door.provider.grants("refresh_token"), 2);
    ends(&door, json!({ "sid": sid })).await;
    is_over(&door, &mut kept).await;
    is_over(&door, &mut lost).await;
}

/// A refresh cookie alone names the user and the provider session.
#[tokio::test]
async fn logout_ends_session_without_jwt_cookie() {
    for by_person in [true, false] {
        let door = Setup::plain().start();
        let mut browser = alice(&door).await;
        let about = if by_person {
            json!({ "sub": "alice-id" })
        } else {
            json!({ "sid": door.provider.session() })
        };
        ends(&door, about).await;
        browser.jar.remove(door.store_host(), |cookie| {
            cookie.name.starts_with("doorward_jwt")
        });
        is_over(&door, &mut browser).await;
        assert_eq!(
            door.provider.grants("refresh_token"),
            0,
            "there is nothing to refresh"
        );
    }
}
