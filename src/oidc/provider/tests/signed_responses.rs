//! Signed authorization responses (JARM): each rule of its section 2.4, and confusion with other tokens.

use super::*;
use crate::oidc::callback::{Callback, CallbackError, Outcome, signed_response};
use crate::oidc::{Algorithm, ResponseMode};

/// The provider's key, published by the test.
fn signer() -> Signer {
    Signer::es256("old")
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "store", "exp": NOW + 600, "code": "c", "state": "s",
    })
}

fn signed_client(test: &TestProvider) -> ClientSettings {
    ClientSettings {
        response_mode: ResponseMode::Jwt,
        ..test.client()
    }
}

/// The outcome of the response in a login of a client that requests a signed one.
async fn outcome(test: &TestProvider, token: &str) -> Result<Outcome, CallbackError> {
    let callback = test.provider.verify_authorization_response(token).await;
    callback?.outcome(&signed_client(test))
}

#[tokio::test]
async fn claims_of_a_signed_response_are_the_response() {
    let test = TestProvider::new().await;
    let signer = signer();
    test.publish(&[&signer]);
    let token = signer.sign(&claims());
    let callback = test.provider.verify_authorization_response(&token).await;
    let callback = callback.unwrap();
    assert_eq!(callback.state.expose(), "s");
    let code = callback.outcome(&signed_client(&test)).unwrap();
    assert!(matches!(code, Outcome::Code(code) if code.expose() == "c"));
    let refused = with(&claims(), "code", None);
    let refused = with(&refused, "error", Some(json!("access_denied")));
    let refused = outcome(&test, &signer.sign(&refused)).await.unwrap();
    assert!(matches!(refused, Outcome::Refused(refused) if refused.error == "access_denied"));
}

#[tokio::test]
async fn responses_that_break_a_rule_are_refused() {
    let test = TestProvider::new().await;
    let signer = signer();
    test.publish(&[&signer]);
    for (member, value, code) in [
        ("iss", None, "token_iss_missing"),
        (
            "iss",
            Some(json!("https://evil.example")),
            "callback_issuer_mismatch",
        ),
        ("aud", None, "token_aud_missing"),
        ("aud", Some(json!("forum")), "token_audience_mismatch"),
        ("exp", None, "token_exp_missing"),
        ("exp", Some(json!(NOW - 60)), "token_expired"),
        ("nbf", Some(json!(NOW + 60)), "token_not_yet_valid"),
        ("state", None, "callback_state_missing"),
        ("state", Some(json!("")), "callback_state_missing"),
        ("state", Some(json!(7)), "callback_malformed"),
        ("code", None, "callback_malformed"),
        ("code", Some(json!(["c"])), "callback_malformed"),
        ("error", Some(json!("access_denied")), "callback_malformed"),
    ] {
        let token = signer.sign(&with(&claims(), member, value.clone()));
        let error = outcome(&test, &token).await.unwrap_err();
        assert_eq!(error.code(), code, "{member} {value:?}");
    }
}

#[tokio::test]
async fn algorithm_and_key_are_not_chosen_by_the_token() {
    let test = TestProvider::new().await;
    let (signer, stranger) = (signer(), Signer::es256("old"));
    test.publish(&[&signer]);
    let claims = claims().to_string();
    let header = |alg: &str| json!({"alg": alg, "kid": "old"}).to_string();
    for (token, code) in [
        (
            stranger.sign_raw(&header("ES256"), &claims),
            "token_signature_invalid",
        ),
        (
            signer.sign_raw(&header("none"), &claims),
            "token_algorithm_not_allowed",
        ),
        (
            signer.sign_raw(&header("HS256"), &claims),
            "token_algorithm_not_allowed",
        ),
        (
            signer.sign_raw(&header("RS256"), &claims),
            "token_algorithm_mismatch",
        ),
        ("a.b.c.d.e".to_owned(), "token_encrypted"),
        ("no JWT".to_owned(), "token_malformed"),
    ] {
        let error = outcome(&test, &token).await.unwrap_err();
        assert_eq!(error.code(), code, "{token}");
    }
    let only = |settings: &mut ProviderSettings| settings.algorithms = vec![Algorithm::Ps256];
    let strict = TestProvider::with_settings(only).await;
    strict.publish(&[&signer]);
    let error = outcome(&strict, &signer.sign_raw(&header("ES256"), &claims)).await;
    assert_eq!(error.unwrap_err().code(), "token_algorithm_not_allowed");
}

#[tokio::test]
async fn plain_responses_are_refused_where_signed_ones_were_requested() {
    let test = TestProvider::new().await;
    let issuer = Issuer::new(ISSUER);
    for query in ["code=c&state=s", "error=access_denied&state=s"] {
        assert_eq!(signed_response(query).unwrap(), None);
        let callback = Callback::parse(query, &issuer, false).unwrap();
        let error = callback.outcome(&signed_client(&test)).unwrap_err();
        assert_eq!(error.code(), "callback_mode_mismatch", "{query}");
    }
    let signer = signer();
    test.publish(&[&signer]);
    let token = signer.sign(&claims());
    let callback = test.provider.verify_authorization_response(&token).await;
    let error = callback.unwrap().outcome(&test.client()).unwrap_err();
    assert_eq!(error.code(), "callback_mode_mismatch");
    let twice = signed_response("response=a&response=b").unwrap_err();
    assert_eq!(twice.code(), "callback_parameter_repeated");
}

#[tokio::test]
async fn response_is_no_browser_failure_while_keys_are_unavailable() {
    let test = TestProvider::new().await;
    test.on("/keys", || Reply::Json(503, String::new()));
    let error = outcome(&test, &signer().sign(&claims())).await.unwrap_err();
    assert!(error.is_outage(), "{error}");
    assert_eq!(error.code(), "provider_keys_unavailable");
}
