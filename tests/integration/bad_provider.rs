//! A provider that misbehaves. At login: a page that names the cause, no session, and a good login
//! right after. At a refresh: the session is kept and everybody is told to come back, unless the
//! provider says that the grant is gone.

use serde_json::{Value, json};

use crate::support::assertions::{
    CART, alice, assert_error_page, assert_login_starts, assert_problem, fetched, signed_in,
};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::journey::{self, cookie};
use crate::support::provider::{Endpoint, Fault, Flaw, IssParameter, Person, RefreshRefusal};

fn secrets(browser: &Browser, door: &Doorward) -> [Option<String>; 2] {
    ["jwt", "refresh"].map(|kind| cookie(browser, door.store_host(), kind))
}

/// The first login of all fails with this page, and without a session.
async fn assert_login_fails(door: &Doorward, what: &str, status: u16, code: &str) {
    let mut browser = door.browser();
    let page = browser.visit(&door.store_url(CART)).await;
    assert_eq!(page.status(), status, "{what}: {page}");
    let reference = assert_error_page(&page, status, code);
    assert_eq!(
        secrets(&browser, door),
        [None, None],
        "{what}: a session in spite of it"
    );
    assert_eq!(door.store.count(), 0, "{what}: a request reached the app");
    let path = page.url.path().to_owned();
    assert_eq!(
        door.log.line(&path, code).await["request_id"],
        reference.as_str(),
        "{what}"
    );
}

#[tokio::test]
async fn invalid_id_token_at_login_yields_page_naming_the_flaw() {
    let cases: Vec<(Flaw, &str)> = vec![
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongNonce, "token_nonce_mismatch"),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::KeyMissing, "token_key_unknown"),
        (Flaw::Expired, "token_expired"),
        (Flaw::Without("exp"), "token_exp_missing"),
        (Flaw::Without("iss"), "token_iss_missing"),
        (Flaw::Without("aud"), "token_aud_missing"),
        (Flaw::Without("sub"), "token_sub_missing"),
        (Flaw::Without("nonce"), "token_nonce_missing"),
        (
            Flaw::Claim("exp", json!("9999999999")),
            "token_exp_malformed",
        ),
        (Flaw::Claim("exp", Value::Null), "token_exp_malformed"),
        (Flaw::Claim("sub", json!(7)), "token_sub_malformed"),
        (
            Flaw::Claim("sub", json!(["alice-id"])),
            "token_sub_malformed",
        ),
        (Flaw::Claim("sub", json!("")), "token_sub_malformed"),
        (
            Flaw::Claim("aud", json!(["store", "somebody"])),
            "token_azp_mismatch",
        ),
        (Flaw::Claim("azp", json!("somebody")), "token_azp_mismatch"),
        (
            Flaw::Claim("nbf", json!(1_900_000_000)),
            "token_not_yet_valid",
        ),
        (
            Flaw::Claim("iat", json!(1_900_000_000)),
            "token_issued_in_future",
        ),
        (
            Flaw::Claim("at_hash", json!("AAAA")),
            "token_at_hash_mismatch",
        ),
        (Flaw::Header("crit", json!(["exp"])), "token_extension"),
        (Flaw::Header("typ", json!("at+jwt")), "token_kind_mismatch"),
        (
            Flaw::Header("alg", json!("RS256")),
            "token_algorithm_mismatch",
        ),
        (Flaw::Header("alg", json!(7)), "token_algorithm_not_allowed"),
    ];
    let door = Setup::plain().start();
    door.sign_in("alice");
    let mut references = Vec::new();
    for (flaw, code) in cases {
        let mut browser = door.browser();
        door.provider
            .behave(|provider| provider.id_token_flaws = vec![flaw.clone()]);
        let asked = door.provider.calls(Endpoint::Authorize);
        let page = browser.visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), 502, "{flaw:?}: {page}");
        references.push((assert_error_page(&page, 502, code), code));
        assert_eq!(page.url.path(), "/.doorward/callback", "{flaw:?}");
        assert_eq!(
            door.provider.calls(Endpoint::Authorize),
            asked + 1,
            "{flaw:?}: the login ran in circles"
        );
        assert_eq!(secrets(&browser, &door), [None, None], "{flaw:?}");
        assert_eq!(door.store.count(), 0, "{flaw:?}: a request reached the app");
    }
    door.provider
        .behave(|provider| provider.id_token_flaws.clear());
    alice(&door).await;
    for (reference, code) in references {
        let logged = || {
            door.log
                .lines()
                .iter()
                .any(|line| line["request_id"] == reference.as_str() && line["decision"] == code)
        };
        eventually(&format!("a line {reference} with {code}"), logged).await;
    }
}

#[tokio::test]
async fn access_token_as_session_jwt_is_verified_equally() {
    let door = Setup::plain().store("session_jwt = \"access\"").start();
    door.sign_in("alice");
    let cases = [
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::Expired, "token_expired"),
        (Flaw::Without("exp"), "token_exp_missing"),
        (Flaw::Claim("sub", json!({})), "token_sub_malformed"),
        (Flaw::Claim("sub", json!("bob-id")), "subject_changed"),
    ];
    for (flaw, code) in cases {
        door.provider
            .behave(|provider| provider.access_token_flaws = vec![flaw.clone()]);
        let mut browser = door.browser();
        let page = browser.visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), 502, "{flaw:?}: {page}");
        assert_error_page(&page, 502, code);
        assert_eq!(secrets(&browser, &door), [None, None], "{flaw:?}");
    }
    door.provider
        .behave(|provider| provider.access_token_flaws.clear());
    door.provider
        .behave(|provider| provider.opaque_access_token = true);
    assert_login_fails(
        &door,
        "an opaque access token",
        502,
        "access_token_not_a_jwt",
    )
    .await;
    door.provider
        .behave(|provider| provider.opaque_access_token = false);
    alice(&door).await;
}

#[tokio::test]
async fn opaque_access_token_is_accepted_with_id_token_sessions() {
    let door = Setup::plain().start();
    door.provider
        .behave(|provider| provider.opaque_access_token = true);
    alice(&door).await;
}

#[tokio::test]
async fn failing_token_endpoint_at_login_yields_page_without_session() {
    let cases = [
        (Fault::Html, 502, "token_response_malformed"),
        (Fault::BrokenJson, 502, "token_response_malformed"),
        (Fault::Huge(8_000_000), 502, "token_response_malformed"),
        (Fault::Status(404), 502, "token_response_malformed"),
        (Fault::Status(302), 502, "token_response_malformed"),
        (Fault::Status(500), 503, "provider_unavailable"),
        (Fault::Status(503), 503, "provider_unavailable"),
        (Fault::Status(429), 503, "provider_unavailable"),
        (Fault::CutBefore, 503, "provider_no_response"),
        (Fault::CutAfter, 503, "provider_no_response"),
    ];
    let door = Setup::plain().start();
    door.sign_in("alice");
    for (fault, status, code) in cases {
        let what = format!("{fault:?}");
        let (asked, calls) = (
            door.provider.calls(Endpoint::Authorize),
            door.provider.calls(Endpoint::Token),
        );
        door.provider.fault(Endpoint::Token, fault);
        let mut browser = door.browser();
        let page = browser.visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), status, "{what}: {page}");
        assert_error_page(&page, status, code);
        assert_eq!(
            page.header("retry-after").is_some(),
            status == 503,
            "{what}"
        );
        assert_eq!(secrets(&browser, &door), [None, None], "{what}");
        assert_eq!(
            door.provider.calls(Endpoint::Authorize),
            asked + 1,
            "{what}: the login ran in circles"
        );
        assert_eq!(
            door.provider.calls(Endpoint::Token),
            calls + 1,
            "{what}: a code is sent once"
        );
        door.provider.heal(Endpoint::Token);
        assert_eq!(
            browser.visit(&door.store_url(CART)).await.status(),
            200,
            "{what}: the next login"
        );
    }
}

#[tokio::test]
async fn client_secret_does_not_follow_redirects() {
    let elsewhere = crate::support::backend::Backend::start();
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    for endpoint in [Endpoint::Token, Endpoint::Revocation, Endpoint::Userinfo] {
        door.provider.fault(
            endpoint,
            Fault::Redirect(format!("{}/token", elsewhere.url())),
        );
    }
    assert_error_page(
        &door.browser().visit(&door.store_url(CART)).await,
        502,
        "token_response_malformed",
    );
    door.pass(301);
    assert_error_page(
        &browser.step(&door.store_url(CART)).await,
        503,
        "token_response_malformed",
    );
    journey::log_out(&mut browser, &door.site().store).await;
    assert_eq!(
        (elsewhere.connections(), elsewhere.count()),
        (0, 0),
        "somebody else was asked"
    );
}

#[tokio::test]
async fn slow_provider_at_login_times_out() {
    let door = Setup::plain().provider("request_timeout = \"1s\"").start();
    door.sign_in("alice");
    let gate = Gate::default();
    door.provider
        .fault(Endpoint::Token, Fault::Held(gate.clone()));
    let mut browser = door.browser();
    let page = browser.visit(&door.store_url(CART)).await;
    assert_error_page(&page, 503, "provider_no_response");
    gate.open();
    door.provider.heal(Endpoint::Token);
    assert_eq!(browser.visit(&door.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn failed_discovery_blocks_logins_only() {
    let cases: [(Fault, &str); 5] = [
        (Fault::Html, "discovery_not_json"),
        (Fault::BrokenJson, "discovery_not_json"),
        (Fault::Huge(8_000_000), "provider_response_too_large"),
        (Fault::Status(500), "provider_status"),
        (Fault::CutBefore, "provider_no_response"),
    ];
    for (fault, code) in cases {
        let what = format!("{fault:?}");
        let mut door = Setup::plain().without_provider().start();
        door.provider.fault(Endpoint::Discovery, fault);
        door.provider.restart();
        door.sign_in("alice");
        // What was found out before, that nobody listens, is remembered for two seconds of this
        // clock.
        door.pass(3);
        let page = door.browser().visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), 503, "{what}: {page}");
        assert_error_page(&page, 503, code);
        assert!(page.header("retry-after").is_some(), "{what}");
        assert_problem(
            &fetched(&mut door.browser(), &door.store_url(CART)).await,
            401,
            "no_session",
        );
        assert_eq!(
            door.browser()
                .visit(&door.store_url("/public/page"))
                .await
                .status(),
            200,
            "{what}"
        );
        door.provider.heal(Endpoint::Discovery);
        door.pass(3);
        assert_eq!(
            door.browser().visit(&door.store_url(CART)).await.status(),
            200,
            "{what}: healed"
        );
    }
}

#[tokio::test]
async fn discovery_issuer_mismatch_is_rejected() {
    let mut door = Setup::plain().without_provider().start();
    door.provider.behave(|provider| {
        provider.discovery_issuer = Some("https://somebody.else.test".to_owned())
    });
    door.provider.restart();
    door.pass(3);
    let page = door.browser().visit(&door.store_url(CART)).await;
    assert_error_page(&page, 503, "discovery_issuer_mismatch");
}

#[tokio::test]
async fn callback_issuer_mismatch_or_absence_is_rejected() {
    let door = Setup::plain().start();
    door.sign_in("alice");
    door.provider
        .behave(|provider| provider.iss_parameter = IssParameter::Wrong);
    assert_login_fails(&door, "wrong", 400, "callback_issuer_mismatch").await;
    assert_eq!(
        door.provider.calls(Endpoint::Token),
        0,
        "the code stays here"
    );
    let door = Setup::plain().start();
    door.sign_in("alice");
    door.provider
        .behave(|provider| provider.iss_parameter = IssParameter::Missing);
    assert_login_fails(&door, "missing", 400, "callback_issuer_missing").await;
    assert_eq!(
        door.provider.calls(Endpoint::Token),
        0,
        "the code stays here"
    );
}

#[tokio::test]
async fn missing_keys_are_an_outage_and_one_bad_key_is_skipped() {
    let door = Setup::plain().start();
    eventually("the keys are known", || {
        door.provider.calls(Endpoint::Jwks) > 0
    })
    .await;
    alice(&door).await;
    let mut door = Setup::plain().without_provider().start();
    door.provider.fault(Endpoint::Jwks, Fault::Status(500));
    door.provider.restart();
    door.sign_in("alice");
    door.pass(3);
    let page = door.browser().visit(&door.store_url(CART)).await;
    assert_error_page(&page, 503, "provider_keys_unavailable");
    door.provider.heal(Endpoint::Jwks);
    door.provider
        .behave(|provider| provider.junk_in_jwks = true);
    door.pass(3);
    assert_eq!(
        door.browser().visit(&door.store_url(CART)).await.status(),
        200
    );
}

#[tokio::test]
async fn failed_refresh_keeps_session_and_yields_503() {
    let cases = [
        (Fault::Html, "token_response_malformed"),
        (Fault::BrokenJson, "token_response_malformed"),
        (Fault::Huge(8_000_000), "token_response_malformed"),
        (Fault::Status(302), "token_response_malformed"),
        (Fault::Page(400), "token_response_malformed"),
        (Fault::Page(403), "token_response_malformed"),
        (Fault::Page(404), "token_response_malformed"),
        (
            Fault::Json(403, r#"{"message":"blocked by policy"}"#),
            "token_response_malformed",
        ),
        (
            Fault::Json(404, r#"{"message":"no route matched"}"#),
            "token_response_malformed",
        ),
        (Fault::Json(404, ""), "token_response_malformed"),
        (Fault::Page(500), "provider_unavailable"),
        (Fault::Status(503), "provider_unavailable"),
        (Fault::CutBefore, "provider_no_response"),
    ];
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    for (fault, code) in cases {
        let what = format!("{fault:?}");
        door.pass(301);
        door.provider.fault(Endpoint::Token, fault);
        let (before, authorized, reached) = (
            secrets(&browser, &door),
            door.provider.calls(Endpoint::Authorize),
            door.store.count(),
        );
        let page = browser.visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), 503, "{what}: {page}");
        let reference = assert_error_page(&page, 503, code);
        assert!(page.header("retry-after").is_some(), "{what}");
        assert!(
            page.chain[0].set_cookies.is_empty(),
            "{what}: {:?}",
            page.chain[0].set_cookies
        );
        let answer = fetched(&mut browser, &door.store_url(CART)).await;
        assert_problem(&answer, 503, code);
        assert!(answer.header("retry-after").is_some(), "{what}");
        assert_eq!(
            secrets(&browser, &door),
            before,
            "{what}: the session stays"
        );
        assert_eq!(
            door.provider.calls(Endpoint::Authorize),
            authorized,
            "{what}: no login is begun"
        );
        assert_eq!(
            door.store.count(),
            reached,
            "{what}: a request reached the app"
        );
        eventually("the log has the page's reference", || {
            door.log.text().contains(&reference)
        })
        .await;
        assert_eq!(
            browser.step(&door.store_url("/public/page")).await.status(),
            200,
            "{what}: public pages go on"
        );
        door.provider.heal(Endpoint::Token);
        let page = browser.step(&door.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{what}: healed: {page}");
    }
    door.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn invalid_token_at_refresh_keeps_session() {
    let cases = [
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::Expired, "token_expired"),
        (Flaw::Without("exp"), "token_exp_missing"),
    ];
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    for (flaw, code) in cases {
        door.pass(301);
        door.provider
            .behave(|provider| provider.id_token_flaws = vec![flaw.clone()]);
        let page = browser.visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), 503, "{flaw:?}: {page}");
        assert_error_page(&page, 503, code);
        door.provider
            .behave(|provider| provider.id_token_flaws.clear());
        let page = browser.step(&door.store_url(CART)).await;
        assert_eq!(
            page.status(),
            200,
            "{flaw:?}: the new refresh token was not lost: {page}"
        );
    }
    door.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn slow_refresh_times_out_and_completes_in_background() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    door.pass(301);
    let gate = Gate::default();
    door.provider
        .fault(Endpoint::Token, Fault::Held(gate.clone()));
    let (mut user, mut script) = (browser.clone(), browser.clone());
    let (url, same) = (door.store_url(CART), door.store_url(CART));
    let (page, answer) = tokio::join!(user.step(&url), fetched(&mut script, &same));
    assert_error_page(&page, 503, "refresh_too_slow");
    assert_problem(&answer, 503, "refresh_too_slow");
    assert!(page.header("retry-after").is_some() && answer.header("retry-after").is_some());
    gate.open();
    door.provider.heal(Endpoint::Token);
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
    assert_eq!(
        door.provider.grants("refresh_token"),
        1,
        "the late answer was not lost"
    );
}

#[tokio::test]
async fn refused_grant_ends_session_and_client_error_does_not() {
    let door = Setup::plain().start();
    let refused = |status, error| Some(RefreshRefusal { status, error });
    for refusal in [
        refused(400, Some("invalid_grant")),
        refused(403, Some("invalid_grant")),
        refused(400, None),
    ] {
        let browser = alice(&door).await;
        door.pass(301);
        door.provider
            .behave(|provider| provider.refresh_refusal = refusal);
        let mut script = browser.clone();
        let answer = fetched(&mut script, &door.store_url(CART)).await;
        assert_problem(&answer, 401, "refresh_rejected");
        assert_eq!(secrets(&script, &door), [None, None], "{refusal:?}");
        let page = browser.clone().step(&door.store_url(CART)).await;
        assert_login_starts(&door, &page);
        door.provider
            .behave(|provider| provider.refresh_refusal = None);
    }
    for refusal in [
        refused(401, Some("invalid_client")),
        refused(400, Some("invalid_scope")),
        refused(401, None),
    ] {
        let mut browser = alice(&door).await;
        door.pass(301);
        let before = secrets(&browser, &door);
        door.provider
            .behave(|provider| provider.refresh_refusal = refusal);
        assert_error_page(
            &browser.step(&door.store_url(CART)).await,
            503,
            "client_rejected",
        );
        assert_eq!(secrets(&browser, &door), before, "{refusal:?}");
        door.provider
            .behave(|provider| provider.refresh_refusal = None);
        assert_eq!(
            browser.step(&door.store_url(CART)).await.status(),
            200,
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn oversized_tokens_are_refused_at_login() {
    let door = Setup::plain().start();
    let much = "x".repeat(9000);
    door.provider
        .sign_in(Person::new("alice", &[]).with_claim("portrait", json!(much)));
    assert_login_fails(&door, "a large claim", 502, "session_too_large").await;
    let fits = "x".repeat(3000);
    let mut browser = signed_in(
        &door,
        Person::new("alice", &[]).with_claim("portrait", json!(fits)),
    )
    .await;
    let sent = browser
        .jar
        .of(door.store_host())
        .iter()
        .map(|one| one.name.len() + one.value.len() + 3)
        .sum::<usize>();
    assert!(sent <= 2 * 7 * 1024, "{sent} bytes of cookies");
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn valid_sessions_and_public_paths_need_no_provider() {
    let mut door = Setup::plain().start();
    let mut browser = alice(&door).await;
    door.provider.stop();
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
    assert_eq!(
        door.browser()
            .step(&door.store_url("/public/page"))
            .await
            .status(),
        200
    );
    door.pass(301);
    assert_error_page(
        &browser.step(&door.store_url(CART)).await,
        503,
        "provider_unreachable",
    );
    door.provider.restart();
    assert_eq!(
        browser.step(&door.store_url(CART)).await.status(),
        200,
        "found again"
    );
}
