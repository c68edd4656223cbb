//! `max_age` and `acr_values` of the authorization request, which a provider may ignore.

use serde_json::{Value, json};

use crate::support::assertions::{CART, alice, assert_error_page};
use crate::support::doorward::{BEGIN, Doorward, Setup};
use crate::support::provider::Flaw;

fn doorward_with(parameters: &str) -> Doorward {
    let parameters = format!("extra_authorization_params = {{ {parameters} }}");
    Setup::plain().store(&parameters).start()
}

/// The login fails with this code, if there is one.
async fn assert_login(doorward: &Doorward, claim: Option<Flaw>, code: Option<&str>) {
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws = claim.clone().into_iter().collect());
    let Some(code) = code else {
        alice(doorward).await;
        return;
    };
    doorward.sign_in("alice");
    let page = doorward.browser().visit(&doorward.store_url(CART)).await;
    let status = if code.ends_with("malformed") {
        502
    } else {
        403
    };
    assert_eq!(page.status(), status, "{claim:?}: {page}");
    assert_error_page(&page, status, code);
}

#[tokio::test]
async fn authentication_older_than_max_age_is_rejected() {
    let doorward = doorward_with("max_age = \"300\"");
    let at = |time: u64| Some(Flaw::Claim("auth_time", json!(time)));
    let began = BEGIN.secs();
    for (claim, code) in [
        (at(began), None),
        (at(began - 330), None),
        (at(began - 331), Some("token_authentication_too_old")),
        (
            Some(Flaw::Without("auth_time")),
            Some("token_auth_time_missing"),
        ),
        (
            Some(Flaw::Claim("auth_time", json!("now"))),
            Some("token_auth_time_malformed"),
        ),
    ] {
        assert_login(&doorward, claim, code).await;
    }
}

#[tokio::test]
async fn max_age_does_not_limit_the_session() {
    let doorward = doorward_with("max_age = \"0\"");
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn acr_that_was_not_requested_is_rejected() {
    let doorward = doorward_with("acr_values = \"gold silver\"");
    let acr = |value: Value| Some(Flaw::Claim("acr", value));
    for (claim, code) in [
        (acr(json!("silver")), None),
        (acr(json!("bronze")), Some("token_acr_mismatch")),
        (acr(json!(["gold"])), Some("token_acr_malformed")),
        (None, Some("token_acr_missing")),
    ] {
        assert_login(&doorward, claim, code).await;
    }
}
