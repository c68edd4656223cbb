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
async fn told(doorward: &Doorward, form: impl Into<Vec<u8>>) -> Page {
    let request = RequestSpec::new(Kind::Program, &doorward.store_url(PATH))
        .method("POST")
        .body(FORM, form);
    let response = doorward.browser().send(request).await;
    assert_eq!(
        response.header("cache-control"),
        Some("no-store"),
        "{response}"
    );
    assert!(response.chain[0].set_cookies.is_empty(), "{response}");
    response
}

/// Sends a logout token with `claims` to the store.
async fn ends(doorward: &Doorward, claims: Value) {
    let token = doorward.provider.logout_token("store", &claims, &[]);
    let response = told(doorward, format!("logout_token={token}")).await;
    assert_eq!(
        (response.status(), response.text().as_str()),
        (200, ""),
        "{response}"
    );
}

fn assert_refused(response: &Page, code: &str) {
    assert_eq!(response.status(), 400, "{code}: {response}");
    assert_eq!(
        response.header("content-type"),
        Some("application/json"),
        "{response}"
    );
    assert_eq!(
        response.json(),
        json!({ "error": "invalid_request", "error_description": code })
    );
}

async fn assert_session_valid(browser: &mut Browser, url: &str) {
    let page = browser.step(url).await;
    assert_eq!(page.status(), 200, "{page}");
}

async fn is_over(doorward: &Doorward, browser: &mut Browser) {
    let reached = doorward.store.count();
    assert_login_starts(doorward, &browser.step(&doorward.store_url(CART)).await);
    assert_eq!(doorward.store.count(), reached, "a request reached the app");
}

fn revocations(outcome: &str) -> String {
    format!("doorward_revocations_total{{app=\"store\",outcome=\"{outcome}\",provider=\"login\"}}")
}

#[tokio::test]
async fn logout_by_sid_ends_sessions_of_that_provider_session_only() {
    // A `sub` in addition to the `sid` makes no difference.
    for names_the_person in [false, true] {
        let doorward = Setup::plain().start();
        let (cart, posts) = (doorward.store_url(CART), doorward.forum_url("/posts"));
        let mut here = alice(&doorward).await;
        let sid = doorward.provider.session();
        let mut second_browser = doorward.browser();
        assert_eq!(second_browser.visit(&cart).await.status(), 200);
        assert_eq!(here.visit(&posts).await.status(), 200);
        let mut elsewhere = alice(&doorward).await;
        let mut bob = doorward.logged_in("bob", CART).await;
        let mut claims = json!({ "sid": sid });
        if names_the_person {
            claims["sub"] = json!("alice-id");
        }
        ends(&doorward, claims).await;
        is_over(&doorward, &mut here).await;
        is_over(&doorward, &mut second_browser).await;
        assert_session_valid(&mut here, &posts).await;
        assert_session_valid(&mut elsewhere, &cart).await;
        assert_session_valid(&mut bob, &cart).await;
        metric_reaches(&doorward, &revocations("back_channel"), 1.0).await;
        assert_eq!(
            doorward
                .metric(
                    "doorward_sessions_rejected_total{app=\"store\",reason=\"session_revoked\"}"
                )
                .await,
            2.0
        );
        doorward.advance_secs(301);
        is_over(&doorward, &mut here).await;
        assert_session_valid(&mut elsewhere, &cart).await;
    }
}

#[tokio::test]
async fn logout_by_sub_ends_earlier_sessions_and_spares_later_logins() {
    let doorward = Setup::plain().start();
    let cart = doorward.store_url(CART);
    let (mut first, mut second) = (alice(&doorward).await, alice(&doorward).await);
    let mut bob = doorward.logged_in("bob", CART).await;
    doorward.advance_secs(60);
    ends(&doorward, json!({ "sub": "alice-id" })).await;
    is_over(&doorward, &mut first).await;
    is_over(&doorward, &mut second).await;
    assert_session_valid(&mut bob, &cart).await;
    doorward.advance_secs(1);
    doorward.sign_in("alice");
    assert_eq!(first.visit(&cart).await.status(), 200);
    assert_session_valid(&mut first, &cart).await;
    doorward.advance_secs(301);
    assert_session_valid(&mut first, &cart).await;
    is_over(&doorward, &mut second).await;
}

#[tokio::test]
async fn logout_token_replay_is_rejected() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let token = doorward
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    assert_eq!(
        told(&doorward, format!("logout_token={token}"))
            .await
            .status(),
        200
    );
    doorward.advance_secs(1);
    assert_eq!(browser.visit(&doorward.store_url(CART)).await.status(), 200);
    assert_refused(
        &told(&doorward, format!("logout_token={token}")).await,
        "logout_token_replayed",
    );
    assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    metric_reaches(&doorward, &revocations("back_channel"), 1.0).await;
    metric_reaches(&doorward, &revocations("logout_token_replayed"), 1.0).await;
}

#[tokio::test]
async fn invalid_logout_token_ends_nothing() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let about = json!({ "sub": "alice-id", "sid": doorward.provider.session() });
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
        let token = doorward
            .provider
            .logout_token("store", &about, std::slice::from_ref(&flaw));
        let response = told(&doorward, format!("logout_token={token}")).await;
        assert_refused(&response, code);
        assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    }
    let without_user = doorward.provider.logout_token("store", &json!({}), &[]);
    assert_refused(
        &told(&doorward, format!("logout_token={without_user}")).await,
        "token_sub_missing",
    );
    metric_reaches(&doorward, &revocations("token_audience_mismatch"), 2.0).await;
    assert_eq!(doorward.metric(&revocations("back_channel")).await, 0.0);
}

#[tokio::test]
async fn other_token_types_of_the_provider_end_nothing() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let jwts: Vec<String> = doorward
        .provider
        .secrets()
        .into_iter()
        .filter(|secret| secret.starts_with("eyJ"))
        .collect();
    assert!(jwts.len() >= 2, "an ID token and an access token at least");
    for jwt in jwts {
        let response = told(&doorward, format!("logout_token={jwt}")).await;
        assert_eq!(
            (response.status(), response.json()["error"].as_str()),
            (400, Some("invalid_request")),
            "{response}"
        );
    }
    assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
}

#[tokio::test]
async fn oversized_or_ambiguous_form_ends_nothing() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let token = doorward
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
        assert_refused(&told(&doorward, form).await, "logout_token_missing");
    }
    let in_the_query = RequestSpec::new(
        Kind::Program,
        &format!("{}?logout_token={token}", doorward.store_url(PATH)),
    );
    assert_refused(
        &doorward
            .browser()
            .send(in_the_query.clone().method("POST"))
            .await,
        "logout_request_not_a_form",
    );
    let asked = doorward.browser().send(in_the_query).await;
    assert_eq!(
        (asked.status(), asked.header("allow")),
        (405, Some("POST")),
        "{asked}"
    );
    assert_eq!(asked.header("cache-control"), Some("no-store"), "{asked}");
    assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    ends(&doorward, json!({ "sub": "alice-id" })).await;
    is_over(&doorward, &mut browser).await;
}

#[tokio::test]
async fn logout_token_outside_a_form_ends_nothing() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let send = async |kind: &str| {
        let token = doorward
            .provider
            .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
        let request = RequestSpec::new(Kind::Program, &doorward.store_url(PATH))
            .method("POST")
            .body(kind, format!("logout_token={token}"));
        doorward.browser().send(request).await
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
    assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    let response = send("Application/X-WWW-Form-URLencoded; charset=utf-8").await;
    assert_eq!(response.status(), 200, "{response}");
    is_over(&doorward, &mut browser).await;
}

#[tokio::test]
async fn logout_token_without_exp_is_accepted_if_allowed() {
    let doorward = Setup::plain()
        .provider("dangerously_allow_logout_tokens_without_exp = true")
        .start();
    let mut browser = alice(&doorward).await;
    let about = json!({ "sub": "alice-id" });
    let token = |flaws: &[Flaw]| {
        let token = doorward.provider.logout_token("store", &about, flaws);
        format!("logout_token={token}")
    };
    let old = json!(doorward.now().secs() - 330);
    let old = token(&[Flaw::Without("exp"), Flaw::Claim("iat", old)]);
    assert_refused(&told(&doorward, old).await, "token_expired");
    assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    let response = told(&doorward, token(&[Flaw::Without("exp")])).await;
    assert_eq!(response.status(), 200, "{response}");
    is_over(&doorward, &mut browser).await;
}

/// A provider session may be unknown because no token has a `sid`.
#[tokio::test]
async fn logout_by_sid_and_sub_ends_sessions_whose_sid_is_unknown() {
    for jwt in ["id", "access"] {
        let doorward = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        let cart = doorward.store_url(CART);
        let mut with_sid = alice(&doorward).await;
        doorward.provider.behave(|provider| {
            provider.id_token_flaws = vec![Flaw::Without("sid")];
            provider.access_token_flaws = vec![Flaw::Without("sid")];
        });
        let (mut first, mut second) = (alice(&doorward).await, alice(&doorward).await);
        let mut bob = doorward.logged_in("bob", CART).await;
        doorward.advance_secs(1);
        ends(&doorward, json!({ "sid": "of-another-browser" })).await;
        assert_session_valid(&mut first, &cart).await;
        ends(
            &doorward,
            json!({ "sid": "of-another-browser", "sub": "alice-id" }),
        )
        .await;
        is_over(&doorward, &mut first).await;
        second.jar.remove(doorward.store_host(), |cookie| {
            cookie.name.starts_with("doorward_jwt")
        });
        is_over(&doorward, &mut second).await;
        assert_session_valid(&mut bob, &cart).await;
        assert_session_valid(&mut with_sid, &cart).await;
        doorward.advance_secs(1);
        let mut later = alice(&doorward).await;
        assert_session_valid(&mut later, &cart).await;
        doorward.advance_secs(301);
        assert_session_valid(&mut later, &cart).await;
        assert_session_valid(&mut bob, &cart).await;
    }
}

#[tokio::test]
async fn unavailable_provider_keys_yield_503() {
    let mut doorward = Setup::plain().without_provider().start();
    doorward.provider.fault(Endpoint::Jwks, Fault::Status(500));
    doorward.provider.restart();
    doorward.advance_secs(3);
    let token = doorward
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    let response = told(&doorward, format!("logout_token={token}")).await;
    assert_eq!(response.status(), 503, "{response}");
    assert_eq!(
        response.json()["error"],
        "temporarily_unavailable",
        "{response}"
    );
    doorward.provider.heal(Endpoint::Jwks);
    // It was not counted. A failed key fetch is cached for two seconds.
    let mut tries = 0;
    while told(&doorward, format!("logout_token={token}"))
        .await
        .status()
        != 200
    {
        tries += 1;
        assert!(tries < 10, "the keys are there again");
        doorward.advance_secs(3);
    }
    assert!(
        doorward
            .metric(&revocations("provider_keys_unavailable"))
            .await
            >= 1.0
    );
    metric_reaches(&doorward, &revocations("back_channel"), 1.0).await;
}

#[tokio::test]
async fn logout_ends_session_with_expired_jwt() {
    for by_person in [false, true] {
        let doorward = Setup::plain().start();
        let mut browser = alice(&doorward).await;
        let about = if by_person {
            json!({ "sub": "alice-id" })
        } else {
            json!({ "sid": doorward.provider.session() })
        };
        ends(&doorward, about).await;
        doorward.advance_secs(301);
        is_over(&doorward, &mut browser).await;
        assert_eq!(
            doorward.provider.grants("refresh_token"),
            0,
            "there is nothing to refresh"
        );
    }
}

/// With the access token as session JWT and no `sid` in it, the `sid` comes from the ID token, at
/// refreshes too.
#[tokio::test]
async fn logout_by_sid_ends_session_whose_jwt_lacks_sid() {
    let doorward = Setup::plain().store("session_jwt = \"access\"").start();
    doorward
        .provider
        .behave(|provider| provider.access_token_flaws = vec![Flaw::Without("sid")]);
    let cart = doorward.store_url(CART);
    let (mut kept, mut lost) = (alice(&doorward).await, doorward.browser());
    let sid = doorward.provider.session();
    assert_eq!(lost.visit(&cart).await.status(), 200);
    doorward.advance_secs(301);
    lost.jar.remove(doorward.store_host(), |cookie| {
        cookie.name.starts_with("doorward_jwt")
    });
    assert_session_valid(&mut kept, &cart).await;
    assert_session_valid(&mut lost, &cart).await;
    assert_eq!(doorward.provider.grants("refresh_token"), 2);
    ends(&doorward, json!({ "sid": sid })).await;
    is_over(&doorward, &mut kept).await;
    is_over(&doorward, &mut lost).await;
}

/// A refresh cookie alone names the user and the provider session.
#[tokio::test]
async fn logout_ends_session_without_jwt_cookie() {
    for by_person in [true, false] {
        let doorward = Setup::plain().start();
        let mut browser = alice(&doorward).await;
        let about = if by_person {
            json!({ "sub": "alice-id" })
        } else {
            json!({ "sid": doorward.provider.session() })
        };
        ends(&doorward, about).await;
        browser.jar.remove(doorward.store_host(), |cookie| {
            cookie.name.starts_with("doorward_jwt")
        });
        is_over(&doorward, &mut browser).await;
        assert_eq!(
            doorward.provider.grants("refresh_token"),
            0,
            "there is nothing to refresh"
        );
    }
}
