//! Pushed authorization requests, and the responses that are not accepted.

use super::*;
use crate::oidc::PushedAuthorization;

fn pushing(test: &TestProvider, token_auth: ClientAuth) -> ClientSettings {
    ClientSettings {
        pushed_authorization: PushedAuthorization::Always,
        token_auth,
        ..test.client()
    }
}

/// Replies for the discovery document and the endpoint.
fn offer(test: &TestProvider, status: u16, response: &'static str) {
    let port = test.server.address.port();
    let url = format!("http://login.localhost:{port}/par");
    let member = "pushed_authorization_request_endpoint";
    let document = with(&metadata(&port.to_string()), member, Some(json!(url))).to_string();
    *test.script.lock().unwrap() = Box::new(move |request| match request.path.as_str() {
        "/d" => Some(Reply::Json(200, document.clone())),
        "/par" => Some(Reply::Json(status, response.to_owned())),
        _ => None,
    });
}

fn request() -> Url {
    Url::parse("https://login.example.com/a?client_id=store&state=s%20s&nonce=n").unwrap()
}

#[tokio::test]
async fn browser_gets_a_reference_and_the_provider_the_parameters() {
    let secret = || ClientSecret::new("s3cret");
    for auth in [
        ClientAuth::Post(secret()),
        ClientAuth::Basic(secret()),
        ClientAuth::None,
    ] {
        let test = TestProvider::new().await;
        offer(&test, 201, r#"{"request_uri":"urn:x:1","expires_in":60}"#);
        let client = pushing(&test, auth);
        let request = request();
        let pushed = test.provider.push_authorization(&client, &request);
        let url = pushed.await.unwrap();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let expected = [("client_id", "store"), ("request_uri", "urn:x:1")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
        let body = test.server.last("/par").body;
        assert!(body.contains("state=s+s&nonce=n"), "{body}");
        assert_eq!(body.matches("client_id=store").count(), 1, "{body}");
    }
}

#[tokio::test]
async fn other_responses_are_failures() {
    for (status, response, code) in [
        (201, "{}", "par_response_malformed"),
        (201, r#"{"request_uri":7}"#, "par_response_malformed"),
        (201, r#"{"request_uri":""}"#, "par_response_malformed"),
        (201, r#"{"request_uri":"a b"}"#, "par_response_malformed"),
        (201, "<html>", "par_response_malformed"),
        (400, r#"{"error":"invalid_request"}"#, "provider_status"),
        (302, "", "provider_status"),
    ] {
        let test = TestProvider::new().await;
        offer(&test, status, response);
        let client = pushing(&test, ClientAuth::None);
        let error = test.provider.push_authorization(&client, &request()).await;
        assert_eq!(error.unwrap_err().code(), code, "{status} {response}");
    }
    let test = TestProvider::new().await;
    let client = pushing(&test, ClientAuth::None);
    let error = test.provider.push_authorization(&client, &request()).await;
    assert_eq!(error.unwrap_err().code(), "provider_endpoint_missing");
}

#[tokio::test]
async fn probe_is_pushed_if_the_provider_requires_it() {
    for required in [false, true] {
        let test = TestProvider::new().await;
        offer(&test, 201, r#"{"request_uri":"urn:x:1"}"#);
        let usual = std::mem::replace(&mut *test.script.lock().unwrap(), Box::new(|_| None));
        *test.script.lock().unwrap() = Box::new(move |request| match usual(request)? {
            Reply::Json(200, document) => {
                let document: Value = serde_json::from_str(&document).unwrap();
                let member = "require_pushed_authorization_requests";
                let document = with(&document, member, Some(json!(required)));
                Some(Reply::Json(200, document.to_string()))
            }
            reply @ (Reply::Json(..) | Reply::Raw(_) | Reply::Stall(_)) => Some(reply),
        });
        let client = ClientSettings {
            pushed_authorization: PushedAuthorization::WhenRequired,
            ..test.client()
        };
        test.provider.probe_authorization(&client).await.unwrap();
        assert_eq!(test.server.count("/par"), usize::from(required));
    }
}

#[tokio::test]
async fn resources_are_in_token_requests() {
    let test = TestProvider::new().await;
    let mut client = test.client();
    client.resources = ["https://a.example", "https://b.example"]
        .map(str::to_owned)
        .into();
    let token = RefreshToken::new("rt");
    let token = BoundRefreshToken::unbound(&token);
    test.provider.refresh(&client, token).await.unwrap();
    let body = test.server.last("/token").body;
    let expected = "resource=https%3A%2F%2Fa.example&resource=https%3A%2F%2Fb.example";
    assert!(body.contains(expected), "{body}");
}
