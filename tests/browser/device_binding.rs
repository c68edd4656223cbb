//! Device-bound sessions in a real Chromium, which keeps keys in software with a feature flag. The server's
//! clock is advanced, so that proofs end without waiting.

use serde_json::{Value, json};

use crate::chromium::{Chromium, Launch};
use crate::support::backend::{Answer, Content};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::provider::{Endpoint, User};

const HOST: &str = "store.example.test";
const CART: &str = "/shopping-cart";
const WITH_QUOTA: &str =
    "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting";
const WITHOUT_QUOTA: &str = "DeviceBoundSessions:RefreshQuota/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting";
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// A store whose pages have a style sheet, and alice, who logs in with a form.
fn store() -> Doorward {
    let doorward = Setup::over_tls()
        .store("device_binding = { mode = \"offer\" }")
        .start();
    let page = "<!doctype html><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/style.css\"><h1>cart</h1>";
    for (path, kind, text) in [
        (CART, "text/html", page),
        ("/style.css", "text/css", "h1 { color: green }"),
    ] {
        let answer = Answer {
            body: Content::Bytes(text.as_bytes().to_vec()),
            ..Answer::default()
        };
        let answer = answer.with_header("Content-Type", kind);
        doorward.store.response(path, answer);
    }
    doorward
}

async fn chromium(doorward: &Doorward, features: &str) -> Chromium {
    let launch = Launch {
        trusted_keys: vec![doorward.spki_sha256()],
        ports: vec![(HOST, doorward.port_of(0))],
        features: Some(features),
    };
    Chromium::launch(&launch).await
}

/// Opens the cart and logs in by a redirect through the provider, which is another site.
async fn log_in(doorward: &Doorward, chromium: &Chromium) {
    doorward.provider.sign_in(User::new("alice", &[]));
    chromium.open(&doorward.store_url(CART)).await;
    chromium.says("h1", "cart").await;
}

/// The response to a script of the page: status, whether it was redirected, and the text.
async fn fetch(chromium: &Chromium, method: &str, path: &str, body_length: usize) -> Value {
    let script = "const [method, path, length, done] = arguments;
        const body = length ? 'x'.repeat(length) : undefined;
        fetch(path, { method, body }).then(
            async (response) => done({ status: response.status, redirected: response.redirected, text: await response.text() }),
            (error) => done({ status: 0, text: String(error) }));";
    let arguments = vec![json!(method), json!(path), json!(body_length)];
    let fetched = chromium.client().execute_async(script, arguments).await;
    fetched.expect("a script runs")
}

async fn is_bound(chromium: &Chromium) -> bool {
    let session = fetch(chromium, "GET", "/.doorward/session", 0).await;
    let text = session["text"].as_str().unwrap_or_default();
    let session: Value = serde_json::from_str(text).unwrap_or_default();
    session["device_bound"] == true
}

async fn becomes_bound(chromium: &Chromium) {
    eventually_async("the session is bound", SOON, async || {
        is_bound(chromium).await
    })
    .await;
}

/// Chromium with a bound session of alice.
async fn bound(doorward: &Doorward, features: &str) -> Chromium {
    let chromium = chromium(doorward, features).await;
    log_in(doorward, &chromium).await;
    becomes_bound(&chromium).await;
    chromium
}

async fn forget(chromium: &Chromium, kinds: &[&str]) {
    for kind in kinds {
        let name = format!("__Host-doorward_{kind}");
        let deleted = chromium.client().delete_cookie(&name).await;
        deleted.expect("a cookie is deleted");
    }
}

fn logins(doorward: &Doorward) -> usize {
    doorward.provider.calls(Endpoint::Authorize)
}

async fn proofs(doorward: &Doorward, outcome: &str) -> f64 {
    let series = format!("doorward_device_proofs_total{{app=\"store\",outcome=\"{outcome}\"}}");
    doorward.metric(&series).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_at_another_site_binds_session_without_a_refused_request() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let bound = r#"doorward_device_registrations_total{app="store",outcome="bound"}"#;
    assert_eq!(doorward.metric(bound).await, 1.0);
    let log = doorward.log.text();
    for refused in ["\"status\":401", "\"status\":403", "\"status\":503"] {
        let lines = log.lines().filter(|line| line.contains(refused));
        let lines: Vec<&str> = lines
            .filter(|line| !line.contains("device_challenge"))
            .collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_proof_is_renewed_and_requests_arrive_whole() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let before = logins(&doorward);
    for (method, length) in [("GET", 0), ("POST", 9), ("PUT", 10 * 1024 * 1024)] {
        doorward.advance_secs(60);
        let response = fetch(&chromium, method, "/upload", length).await;
        assert_eq!(response["status"], 200, "{method}: {response}");
        assert_eq!(response["redirected"], true, "{method}");
        let seen = doorward.store.last();
        assert_eq!((seen.method.as_str(), seen.body.len()), (method, length));
    }
    doorward.advance_secs(60);
    chromium.open(&doorward.store_url(CART)).await;
    chromium.says("h1", "cart").await;
    assert_eq!(logins(&doorward), before);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_of_another_site_reaches_the_page_without_a_login() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    let before = logins(&doorward);
    let link = format!(
        "data:text/html,<a id=link href={}>cart</a>",
        doorward.store_url(CART)
    );
    forget(&chromium, &["device"]).await;
    chromium.open(&link).await;
    chromium.click("#link").await;
    chromium.says("h1", "cart").await;
    assert_eq!(logins(&doorward), before);
    assert!(doorward.log.text().contains("device_proof_reload"));
    assert!(is_bound(&chromium).await);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_login_in_the_same_browser_is_bound_and_stays() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    forget(&chromium, &["jwt", "refresh"]).await;
    log_in(&doorward, &chromium).await;
    becomes_bound(&chromium).await;
    let before = logins(&doorward);
    for _ in 0..4 {
        doorward.advance_secs(60);
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{response}");
        forget(&chromium, &["device"]).await;
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{response}");
    }
    assert_eq!(logins(&doorward), before);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsing_for_a_while_stays_within_the_default_quota() {
    let doorward = store();
    let chromium = bound(&doorward, WITH_QUOTA).await;
    for step in 0..25 {
        doorward.advance_secs(20);
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{step}: {response}");
    }
    assert!(is_bound(&chromium).await);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookie_is_recognized_by_its_announced_attributes() {
    let doorward = store();
    let chromium = bound(&doorward, WITHOUT_QUOTA).await;
    for _ in 0..20 {
        let response = fetch(&chromium, "GET", "/api", 0).await;
        assert_eq!(response["status"], 200, "{response}");
    }
    // Otherwise each request would renew it.
    let renewed = proofs(&doorward, "device_proof_renewed").await;
    assert!(renewed < 5.0, "{renewed}");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_without_the_feature_keeps_its_unbound_session() {
    let doorward = store();
    let chromium = Chromium::launch(&Launch {
        trusted_keys: vec![doorward.spki_sha256()],
        ports: vec![(HOST, doorward.port_of(0))],
        features: None,
    })
    .await;
    log_in(&doorward, &chromium).await;
    doorward.advance_secs(150);
    let response = fetch(&chromium, "GET", "/api", 0).await;
    assert_eq!(response["status"], 200, "{response}");
    assert!(!is_bound(&chromium).await);
    chromium.close().await;
}
