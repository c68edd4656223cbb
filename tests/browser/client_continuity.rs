//! An unbound session in a real Chromium whose network and `User-Agent` change.

use serde_json::{Value, json};

use crate::chromium::{Chromium, Launch};
use crate::rendering::emulate;
use crate::support::backend::{Answer, Content};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, User};

const HOST: &str = "store.example.test";
const CART: &str = "/shopping-cart";

/// A store whose sessions are accepted from their own client only, behind a proxy that reports addresses.
fn store() -> Doorward {
    let doorward = Setup::over_tls()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .store("unbound_sessions = { client_change = \"enforce\" }")
        .start();
    let page = b"<!doctype html><link rel=\"icon\" href=\"data:,\"><h1>cart</h1>";
    let answer = Answer {
        body: Content::Bytes(page.to_vec()),
        ..Answer::default()
    };
    let answer = answer.with_header("Content-Type", "text/html");
    doorward.store.response(CART, answer);
    doorward
}

/// From now on, requests come from this address.
async fn move_to(chromium: &Chromium, address: &str) {
    let headers = json!({ "headers": { "X-Forwarded-For": address } });
    emulate(chromium, "Network.setExtraHTTPHeaders", headers).await;
}

async fn set_agent(chromium: &Chromium, agent: &str) {
    let agent = json!({ "userAgent": agent });
    emulate(chromium, "Network.setUserAgentOverride", agent).await;
}

/// The response to a script of the page: its status, and the code of a problem.
async fn fetched(chromium: &Chromium) -> Value {
    let script = "const done = arguments[0];
        fetch('/api').then(async (response) => {
            const text = await response.text();
            done([response.status, response.ok ? null : JSON.parse(text).code]);
        }, (error) => done([0, String(error)]));";
    let fetched = chromium.client().execute_async(script, Vec::new()).await;
    fetched.expect("a script runs")
}

async fn open_cart(doorward: &Doorward, chromium: &Chromium) {
    chromium.open(&doorward.store_url(CART)).await;
    chromium.says("h1", "cart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_with_another_network_and_agent_notices_nothing() {
    let doorward = store();
    let chromium = Chromium::launch(&Launch {
        trusted_keys: vec![doorward.spki_sha256()],
        ports: vec![(HOST, doorward.port_of(0))],
        features: None,
    })
    .await;
    emulate(&chromium, "Network.enable", json!({})).await;
    move_to(&chromium, "198.51.100.7").await;
    doorward.provider.sign_in(User::new("alice", &[]));
    open_cart(&doorward, &chromium).await;
    assert_eq!(fetched(&chromium).await, json!([200, null]));

    move_to(&chromium, "203.0.113.7").await;
    assert_eq!(fetched(&chromium).await, json!([401, "network_changed"]));
    open_cart(&doorward, &chromium).await;
    assert_eq!(fetched(&chromium).await, json!([200, null]));

    let agent = chromium
        .client()
        .execute("return navigator.userAgent", Vec::new());
    let agent = agent.await.expect("a script runs");
    let agent = agent.as_str().expect("a text");
    let (before, version) = agent.split_once("Chrome/").expect("a version");
    let (_, after) = version.split_once(' ').expect("a product after it");
    set_agent(&chromium, &format!("{before}Chrome/999.0.0.0 {after}")).await;
    assert_eq!(fetched(&chromium).await, json!([200, null]));
    let windows = agent.replace("X11; Linux x86_64", "Windows NT 10.0; Win64; x64");
    set_agent(&chromium, &windows).await;
    assert_eq!(fetched(&chromium).await, json!([401, "browser_changed"]));
    open_cart(&doorward, &chromium).await;
    assert_eq!(fetched(&chromium).await, json!([200, null]));

    // Two changes, and two logins without a form besides the first.
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 3);
    assert_eq!(doorward.provider.forms_shown(), 0);
    chromium.close().await;
}
