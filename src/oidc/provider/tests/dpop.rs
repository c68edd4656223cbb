//! Proofs of possession in requests to the provider, and its nonces.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::oidc::DpopKeys;
use crate::oidc::client_key::ClientKey;
use crate::oidc::testing::client_key;

const TOKENS: &str = r#"{"access_token":"at","token_type":"DPoP","refresh_token":"rt"}"#;

fn binding(test: &TestProvider, keys: &[&Arc<ClientKey>]) -> ClientSettings {
    let (current, previous) = keys.split_first().unwrap();
    let previous = previous.iter().map(|key| Arc::clone(key)).collect();
    ClientSettings {
        dpop_keys: Some(DpopKeys::new(Arc::clone(current), previous)),
        ..test.client()
    }
}

/// A part of the proof of a request.
fn proof_part(request: &ReceivedRequest, part: usize) -> Value {
    let mut lines = request.head.lines();
    let proof = lines.find_map(|line| line.strip_prefix("dpop: "));
    let part = proof.expect("a proof").split('.').nth(part).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn exchange(
    test: &TestProvider,
    client: &ClientSettings,
) -> impl Future<Output = Result<TokenResponse, TokenError>> {
    let verifier = PkceVerifier::from_entropy([7; 32]);
    test.provider
        .exchange_code(client, AuthorizationCode::new("c"), verifier)
}

fn nonce_required(nonce: &str) -> Reply {
    let body = r#"{"error":"use_dpop_nonce"}"#;
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ndpop-nonce: {nonce}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Reply::Raw(head.into_bytes())
}

#[tokio::test]
async fn code_and_userinfo_are_requested_with_proofs_of_one_key() {
    let test = TestProvider::new().await;
    test.on("/token", || Reply::Json(200, TOKENS.to_owned()));
    let key = Arc::new(client_key());
    let client = binding(&test, &[&key]);
    let response = exchange(&test, &client).await.unwrap();
    assert_eq!(response.dpop_key, Some(key.fingerprint()));
    let claims = proof_part(&test.server.last("/token"), 1);
    let port = test.server.address.port();
    assert_eq!(claims["htm"], "POST");
    assert_eq!(
        claims["htu"],
        format!("http://login.localhost:{port}/token")
    );
    assert_eq!(claims["ath"], Value::Null);

    let request = UserinfoRequest {
        client: &client,
        access_token: &response.access_token,
        dpop_key: response.dpop_key.as_ref(),
        subject: &Subject::new("alice"),
    };
    test.provider.userinfo(request).await.unwrap();
    let request = test.server.last("/userinfo");
    assert!(
        request.head.contains("authorization: DPoP at"),
        "{}",
        request.head
    );
    let claims = proof_part(&request, 1);
    assert_eq!(claims["htm"], "GET");
    // The SHA-256 of `at`.
    assert_eq!(claims["ath"], "sda5G2fCr6XjIpiNlGJjjTVN34oe9526mH-BXCK0uu4");
}

#[tokio::test]
async fn refresh_uses_the_key_that_the_token_is_bound_to() {
    let test = TestProvider::new().await;
    test.on("/token", || Reply::Json(200, TOKENS.to_owned()));
    let [new, old] = [(); 2].map(|()| Arc::new(client_key()));
    let client = binding(&test, &[&new, &old]);
    let token = RefreshToken::new("rt");
    for (bound_to, expected) in [(Some(&old), &old), (Some(&new), &new), (None, &new)] {
        let fingerprint = bound_to.map(|key| key.fingerprint());
        let token = BoundRefreshToken {
            token: &token,
            dpop_key: fingerprint.as_ref(),
        };
        let response = test.provider.refresh(&client, token).await.unwrap();
        assert_eq!(response.dpop_key, Some(expected.fingerprint()));
        let header = proof_part(&test.server.last("/token"), 0);
        assert_eq!(header["typ"], "dpop+jwt");
        assert_eq!(header["jwk"]["x"], expected.public_jwk()["x"]);
        assert_eq!(header["jwk"]["d"], Value::Null);
    }
}

#[tokio::test]
async fn nonce_is_used_once_more_and_remembered() {
    let test = TestProvider::new().await;
    test.on("/token", || nonce_required("first"));
    let client = binding(&test, &[&Arc::new(client_key())]);
    let error = exchange(&test, &client).await.unwrap_err();
    assert!(error.to_string().contains("use_dpop_nonce"), "{error}");
    assert_eq!(test.server.count("/token"), 2, "one more try, not several");
    let last = proof_part(&test.server.last("/token"), 1);
    assert_eq!(last["nonce"], "first");

    test.on("/token", || Reply::Json(200, TOKENS.to_owned()));
    exchange(&test, &client).await.unwrap();
    assert_eq!(test.server.count("/token"), 3);
    let next = proof_part(&test.server.last("/token"), 1);
    assert_eq!(next["nonce"], "first");
    assert_ne!(next["jti"], last["jti"]);
}

#[tokio::test]
async fn error_without_a_nonce_is_final() {
    let test = TestProvider::new().await;
    let body = r#"{"error":"use_dpop_nonce"}"#;
    test.on("/token", move || Reply::Json(400, body.to_owned()));
    let client = binding(&test, &[&Arc::new(client_key())]);
    exchange(&test, &client).await.unwrap_err();
    assert_eq!(test.server.count("/token"), 1);
}

#[tokio::test]
async fn tokens_that_are_not_bound_are_refused() {
    let test = TestProvider::new().await;
    let client = binding(&test, &[&Arc::new(client_key())]);
    let error = exchange(&test, &client).await.unwrap_err();
    assert_eq!(error.code(), "token_response_malformed");
    assert!(error.to_string().contains("`token_type`"), "{error}");
}

#[tokio::test]
async fn refreshed_tokens_that_are_not_bound_have_no_key() {
    let test = TestProvider::new().await;
    let client = binding(&test, &[&Arc::new(client_key())]);
    let token = RefreshToken::new("rt");
    let refreshed = test
        .provider
        .refresh(&client, BoundRefreshToken::unbound(&token));
    assert_eq!(refreshed.await.unwrap().dpop_key, None);
}
