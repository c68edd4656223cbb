//! No secret of a phone or the provider reaches the backend, a log, a metric or a page.

use serde_json::json;

use super::{CART, PASSWORD, Phone, started, store};
use crate::support::doorward::Doorward;
use crate::support::provider::{Endpoint, Fault, User};

/// Configuration for [`live`].
pub(crate) const NATIVE: &str =
    "\n[apps.store.native]\npassword_grant = true\ninline_refresh = true\n";

const WRONG: &str = "a-wrong-password-that-is-a-near-miss";

/// Runs a native app's life cycle with its failure cases. Returns all secrets and all response
/// texts.
pub(crate) async fn live(doorward: &Doorward) -> (Vec<String>, Vec<String>) {
    doorward
        .provider
        .add_user("alice", PASSWORD, User::new("alice", &[]));
    let (mut secrets, mut responses) = (vec![PASSWORD.to_owned(), WRONG.to_owned()], Vec::new());
    let mut phone = Phone::of(doorward);
    let mut keep = |phone: &Phone| {
        secrets.extend([&phone.access_token, &phone.refresh_token].map(Clone::clone));
        secrets.extend(phone.device_token.clone());
    };
    responses.push(phone.log_in("alice", WRONG).await.text());
    phone.log_in("alice", PASSWORD).await;
    keep(&phone);
    responses.push(phone.load(CART).await.text());
    for fault in [Fault::Status(500), Fault::Html, Fault::CutBefore] {
        doorward.provider.fault(Endpoint::Token, fault);
        responses.push(phone.log_in("alice", PASSWORD).await.text());
        responses.push(phone.refresh().await.text());
        doorward.provider.heal(Endpoint::Token);
    }
    doorward.advance_secs(301);
    responses.push(phone.load(CART).await.text());
    let old = phone.clone();
    responses.push(phone.load_with_both(CART).await.text());
    keep(&phone);
    responses.push(phone.load(CART).await.text());
    // Invalid JSON that contains a password, and a form with a duplicated field.
    let request = phone
        .request("POST", "/.doorward/native/login")
        .body("application/json", format!("{{\"password\":\"{WRONG}\""));
    responses.push(phone.send(request).await.text());
    let fields = [
        ("grant_type", "password"),
        ("username", "alice"),
        ("password", WRONG),
        ("password", PASSWORD),
    ];
    responses.push(phone.post_form(&fields).await.text());
    let request = phone
        .request("GET", CART)
        .header("Authorization", &format!("Bearer {}x", phone.access_token));
    responses.push(phone.send(request).await.text());
    doorward.advance_secs(31);
    responses.push(old.copy().refresh().await.text());
    phone.log_in("alice", PASSWORD).await;
    keep(&phone);
    let token = phone.refresh_token.clone();
    phone
        .post_json("native/logout", &json!({ "refresh_token": token }))
        .await;
    secrets.extend(
        [PASSWORD, WRONG]
            .map(|secret| url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()),
    );
    secrets.extend(doorward.provider.secrets());
    secrets.extend(["store-secret".to_owned()]);
    (secrets, responses)
}

#[tokio::test]
async fn echo_backend_never_sees_token_password_or_doorward_header() {
    let doorward = started(store("inline_refresh = true"));
    let (secrets, responses) = live(&doorward).await;
    assert!(
        secrets.len() > 15 && doorward.store.count() >= 3,
        "{}",
        secrets.len()
    );
    let names = [
        "authorization",
        "doorward-refresh-token",
        "doorward-access-token",
        "doorward_at_",
        "doorward_rt_",
    ];
    let canaries: Vec<&str> = secrets.iter().map(String::as_str).chain(names).collect();
    doorward.store.assert_never_saw(&canaries);
    for (response, secret) in responses
        .iter()
        .flat_map(|response| secrets.iter().map(move |secret| (response, secret)))
    {
        assert!(
            !response.contains(secret.as_str()),
            "`{secret}` in {response}"
        );
    }
    let log = doorward.log.text();
    assert!(
        secrets.iter().all(|secret| !log.contains(secret.as_str())),
        "{log}"
    );
}
