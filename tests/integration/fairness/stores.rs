//! Stores and provider calls that one client or one user tries to use up.

use serde_json::json;

use std::net::Ipv4Addr;

use super::{GREEDY, other_browser};
use crate::support::assertions::{CART, metric_reaches};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::device::Device;
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, User};

fn with_token(doorward: &Doorward, token: &str) -> RequestSpec {
    RequestSpec::new(Kind::Program, &doorward.store_url(CART))
        .header("Authorization", &format!("Bearer {token}"))
}

/// Tokens that nobody issued wait for the provider, and their number is limited.
#[tokio::test]
async fn junk_tokens_of_one_client_leave_introspection_to_others() {
    let doorward = Setup::plain()
        .more("[apps.store.bearer]\nopaque_tokens = \"introspect\"\n")
        .start();
    let token = doorward.provider.opaque_token(&json!({}));
    let gate = Gate::default();
    let held = Fault::Held(gate.clone());
    doorward.provider.fault(Endpoint::Introspection, held);
    let mut waiting = Vec::new();
    for number in 0..300 {
        let mut program = doorward.browser().from_address(GREEDY);
        let request = with_token(&doorward, &format!("junk-{number}"));
        waiting.push(tokio::spawn(async move { program.send(request).await }));
    }
    let refused = r#"doorward_requests_total{app="store",decision="too_many_provider_calls",status_class="5xx"}"#;
    metric_reaches(&doorward, refused, 300.0 - 129.0).await;
    let mut other = other_browser(&doorward);
    let request = with_token(&doorward, &token);
    let other = tokio::spawn(async move { other.send(request).await });
    let calls = || doorward.provider.calls(Endpoint::Introspection);
    eventually("the other one's token is introspected", || calls() >= 130).await;
    gate.open();
    let page = other.await.expect("a response");
    assert_eq!(page.status(), 200, "{page}");
    for junk in waiting {
        assert_ne!(junk.await.expect("a response").status(), 200);
    }
}

/// Anybody can make DPoP proofs and send them to the login endpoint.
#[tokio::test]
async fn dpop_proofs_of_failed_logins_leave_the_replay_check_to_bound_tokens() {
    let doorward = Setup::plain()
        .server("max_connections_per_client = 5000")
        .store("session_jwt = \"access\"")
        .remembering("max_entries = 100")
        .more("\n[apps.store.native]\npassword_grant = true\n")
        .start();
    let user = User::new("alice", &[]);
    doorward.provider.add_user("alice", "secret", user);
    let device = Device::new();
    let login = |device: &Device, password: &str| {
        let url = doorward.store_url("/.doorward/native/login");
        let no_token = json!({ "ath": null });
        let proof = device.proof(("POST", &url), "", doorward.now(), &no_token);
        let body = json!({ "username": "alice", "password": password });
        RequestSpec::new(Kind::Program, &url)
            .method("POST")
            .header("DPoP", &proof)
            .body("application/json", body.to_string())
    };
    let mut other = other_browser(&doorward);
    let page = other.send(login(&device, "secret")).await;
    assert_eq!(page.status(), 200, "{page}");
    let access_token = page.json()["access_token"].as_str().map(str::to_owned);
    let access_token = access_token.expect("an access token");
    let (mut greedy, key) = (doorward.browser().from_address(GREEDY), Device::new());
    for _ in 0..200 {
        let page = greedy.send(login(&key, "wrong")).await;
        assert!(matches!(page.status(), 401 | 429), "{page}");
    }
    for _ in 0..30 {
        let url = doorward.store_url(CART);
        let proof = device.proof(("GET", &url), &access_token, doorward.now(), &json!({}));
        let request = RequestSpec::new(Kind::Program, &url)
            .header("Authorization", &format!("DPoP {access_token}"))
            .header("DPoP", &proof);
        let page = other.send(request).await;
        assert_eq!(page.status(), 200, "{page}");
    }
}

/// A user logs in again and again and lets each session refresh.
#[tokio::test]
async fn sessions_of_one_user_leave_the_store_to_refreshes_of_others() {
    let doorward = Setup::plain().remembering("max_entries = 130").start();
    let mut bob = other_browser(&doorward);
    doorward.sign_in("bob");
    let page = bob.visit(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    doorward.sign_in("alice");
    let mut sessions = Vec::new();
    for number in 0..80 {
        let address = Ipv4Addr::new(127, 0, 1, number / 40);
        let mut browser = doorward.browser().from_address(address);
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{page}");
        sessions.push(browser);
    }
    doorward.advance_secs(301);
    let mut refused = 0;
    for browser in &mut sessions {
        let page = browser.step(&doorward.store_url(CART)).await;
        refused += usize::from(page.status() == 503);
    }
    assert!(refused > 0, "alice does reach her share");
    let page = bob.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(doorward.store_saw().as_deref(), Some("bob-id"));
}
