//! Client authentication of requests, and its failures.

use std::fs;

use super::*;
use crate::oidc::{AssertionFile, AssertionType, TlsClient, TlsIdentity};
use crate::types::secret::Secret;

fn with_auth(test: &TestProvider, token_auth: ClientAuth) -> ClientSettings {
    ClientSettings {
        token_auth,
        ..test.client()
    }
}

async fn refresh(test: &TestProvider, client: &ClientSettings) -> Result<(), TokenError> {
    let token = RefreshToken::new("rt");
    test.provider
        .refresh(client, BoundRefreshToken::unbound(&token))
        .await
        .map(|_| ())
}

fn announcing(test: &TestProvider, member: &'static str, value: Value) {
    let port = test.server.address.port().to_string();
    let document = with(&metadata(&port), member, Some(value)).to_string();
    test.on("/d", move || Reply::Json(200, document.clone()));
}

#[tokio::test]
async fn secret_is_sent_as_the_provider_announces() {
    for (methods, parameter, header) in [
        (json!(["client_secret_post"]), true, false),
        (json!(["client_secret_basic"]), false, true),
    ] {
        let test = TestProvider::new().await;
        let member = "token_endpoint_auth_methods_supported";
        announcing(&test, member, methods.clone());
        let secret = ClientAuth::Secret(ClientSecret::new("s3cret"));
        refresh(&test, &with_auth(&test, secret)).await.unwrap();
        let request = test.server.last("/token");
        assert_eq!(
            request.body.contains("client_secret=s3cret"),
            parameter,
            "{methods}"
        );
        assert_eq!(
            request.head.contains("authorization: Basic "),
            header,
            "{methods}"
        );
    }
}

#[tokio::test]
async fn assertion_in_a_file_is_read_for_each_request() {
    let test = TestProvider::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let auth = ClientAuth::AssertionFile(AssertionFile {
        path: path.clone(),
        kind: AssertionType::JwtSpiffe,
    });
    let client = with_auth(&test, auth);
    for (content, is_sent) in [
        (Some("a.b.first\n"), true),
        (Some("a.b.second"), true),
        (Some("no token"), false),
        (Some(""), false),
        (None, false),
    ] {
        let before = test.server.count("/token");
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let result = refresh(&test, &client).await;
        assert_eq!(test.server.count("/token") - before, usize::from(is_sent));
        match result {
            Ok(()) => {
                let body = test.server.last("/token").body;
                let expected = format!("client_assertion={}", content.unwrap().trim());
                assert!(body.contains(&expected), "{body}");
                assert!(
                    body.contains("client-assertion-type%3Ajwt-spiffe"),
                    "{body}"
                );
            }
            Err(error) => {
                assert!(matches!(error, TokenError::Unreachable(_)), "{error:?}");
                assert_eq!(error.code(), "client_assertion_missing");
                assert!(error.to_string().contains("token"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn client_with_a_certificate_uses_the_alias_of_an_endpoint() {
    let test = TestProvider::new().await;
    let port = test.server.address.port();
    let alias = format!("http://login.localhost:{port}/mtls/token");
    announcing(
        &test,
        "mtls_endpoint_aliases",
        json!({"token_endpoint": alias}),
    );
    let certified = rcgen::generate_simple_self_signed(vec!["store".to_owned()]).unwrap();
    let pem = format!(
        "{}{}",
        certified.signing_key.serialize_pem(),
        certified.cert.pem()
    );
    let auth = ClientAuth::Tls(TlsClient {
        identity: Arc::new(TlsIdentity {
            pem: Secret::new(pem.into_bytes()),
        }),
        is_self_signed: true,
    });
    let client = with_auth(&test, auth);
    assert!(refresh(&test, &client).await.is_err(), "404");
    assert_eq!(test.server.count("/mtls/token"), 1);
    assert_eq!(test.server.count("/token"), 0);
    let body = test.server.last("/mtls/token").body;
    assert!(body.contains("client_id=store"), "{body}");
    test.refresh().await.unwrap();
    assert_eq!(test.server.count("/token"), 1, "without a certificate");
}

#[tokio::test]
async fn rejected_client_is_logged_with_its_method() {
    let log = LogCapture::start();
    let test = TestProvider::new().await;
    let rejected = r#"{"error":"invalid_client","error_description":"wrong\u000asecret"}"#;
    test.on("/token", move || Reply::Json(401, rejected.to_owned()));
    let error = test.refresh().await.unwrap_err();
    assert_eq!(error.code(), "client_rejected");
    let expected = "(client_secret_post): `invalid_client` (wrongsecret)";
    assert!(error.to_string().contains(expected), "{error}");
    assert!(log.text().contains(expected), "{}", log.text());
}
