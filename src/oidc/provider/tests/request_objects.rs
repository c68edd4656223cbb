//! Signed authorization requests.

use super::*;
use crate::oidc::testing::client_key;

const REQUEST: &str = "https://login.example.com/a?tenant=1&client_id=store&response_type=code\
                       &scope=openid&state=s&nonce=n";

fn names(url: &Url) -> Vec<String> {
    let names = url.query_pairs().map(|(name, _)| name.into_owned());
    names.collect()
}

#[tokio::test]
async fn browser_brings_the_object_and_no_other_login_parameter() {
    let test = TestProvider::new().await;
    let metadata = test.provider.metadata().await.unwrap();
    let request = Url::parse(REQUEST).unwrap();
    let mut client = test.client();
    let plain = test
        .provider
        .sign_authorization(&client, &metadata, request.clone());
    assert_eq!(plain.unwrap(), request);
    client.request_object_key = Some(Arc::new(client_key()));
    let signed = test
        .provider
        .sign_authorization(&client, &metadata, request);
    let mut found = names(&signed.unwrap());
    found.retain(|name| name != "tenant");
    assert_eq!(found, ["client_id", "response_type", "scope", "request"]);
}

#[tokio::test]
async fn pushed_object_is_alone() {
    let test = TestProvider::new().await;
    let port = test.server.address.port();
    let url = format!("http://login.localhost:{port}/par");
    let member = "pushed_authorization_request_endpoint";
    let document = with(&metadata(&port.to_string()), member, Some(json!(url))).to_string();
    *test.script.lock().unwrap() = Box::new(move |request| match request.path.as_str() {
        "/d" => Some(Reply::Json(200, document.clone())),
        "/par" => Some(Reply::Json(201, r#"{"request_uri":"urn:x:1"}"#.to_owned())),
        _ => None,
    });
    let mut client = test.client();
    client.request_object_key = Some(Arc::new(client_key()));
    let metadata = test.provider.metadata().await.unwrap();
    let request = Url::parse(REQUEST).unwrap();
    let signed = test
        .provider
        .sign_authorization(&client, &metadata, request);
    let signed = signed.unwrap();
    let pushed = test.provider.push_authorization(&client, &signed).await;
    assert_eq!(names(&pushed.unwrap()), ["client_id", "request_uri"]);
    let body = test.server.last("/par").body;
    let form: Vec<_> = url::form_urlencoded::parse(body.as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect();
    assert_eq!(form, ["request", "client_id", "client_secret"]);
}
