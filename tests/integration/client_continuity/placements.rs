//! Continuity of clients behind proxies, at replicas, with a login host, and for clients that are no
//! browsers.

use serde_json::json;

use super::{
    CHROME, ENFORCED, FIREFOX, OTHER_NETWORK, assert_no_change, assert_shown, enforcing, logged_in,
    prompts,
};
use crate::decisions::check::{Check, Dialect, HTML, cookies, decided_by};
use crate::mobile_workflow::{PASSWORD, started};
use crate::support::assertions::{CART, alice, fetched};
use crate::support::bound_browser::BoundBrowser;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::Client;

#[tokio::test]
async fn address_from_a_trusted_proxy_is_compared() {
    let doorward = Setup::over_tls()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .store(ENFORCED)
        .start();
    doorward.sign_in("alice");
    let at = |address| ("x-forwarded-for", address);
    let mut browser = doorward.browser();
    let url = doorward.store_url(CART);
    for (address, status) in [
        ("198.51.100.7", 200),
        ("198.51.100.8", 200),
        ("203.0.113.7", 401),
        ("2001:db8:1::1", 401),
    ] {
        let (name, value) = at(address);
        browser = browser.sending(name, value);
        if status == 200 {
            assert_shown(&browser.visit(&url).await);
        }
        let page = fetched(&mut browser, &url).await;
        assert_eq!(page.status(), status, "{address}: {page}");
    }
    assert_eq!(prompts(&doorward), [None]);
}

#[tokio::test]
async fn any_replica_checks_and_confirms() {
    let mut doorward = enforcing();
    let second = doorward.add_replica();
    let mut browser = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    browser = doorward.moved_to(second, browser);
    assert_shown(&browser.step(&url).await);
    browser = browser.from_address(OTHER_NETWORK);
    assert_eq!(fetched(&mut browser, &url).await.status(), 401);
    assert_shown(&browser.visit(&url).await);
    browser = doorward.moved_to(0, browser);
    assert_shown(&browser.step(&url).await);
    assert_eq!(prompts(&doorward).len(), 2);
}

#[tokio::test]
async fn session_of_before_the_setting_is_compared_after_the_next_login() {
    let doorward = Setup::over_tls()
        .store("unbound_sessions = { client_change = \"off\" }")
        .start();
    let mut browser = logged_in(&doorward, "alice").await;
    doorward.edit("client_change = \"off\"", "client_change = \"enforce\"");
    doorward.reload().await.expect("a valid configuration");
    browser = browser.from_address(OTHER_NETWORK);
    assert_shown(&browser.step(&doorward.store_url(CART)).await);
    let mut next = logged_in(&doorward, "alice")
        .await
        .from_address(OTHER_NETWORK);
    let page = fetched(&mut next, &doorward.store_url(CART)).await;
    assert_eq!(page.status(), 401, "{page}");
}

#[tokio::test]
async fn bound_session_may_change_its_network_and_browser() {
    let doorward = Setup::over_tls()
        .store(ENFORCED)
        .store("device_binding = { mode = \"offer\" }")
        .start();
    doorward.sign_in("alice");
    let mut browser = BoundBrowser::new(doorward.browser());
    browser.visit(&doorward.store_url(CART)).await;
    let style = doorward.store_url("/style.css");
    browser.fetch("GET", &style).await;
    assert!(browser.session.is_some(), "not registered");
    let http = browser.browser.clone();
    browser.browser = http
        .from_address(OTHER_NETWORK)
        .sending("user-agent", FIREFOX);
    let page = browser.fetch("GET", &doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_no_change(&doorward).await;
}

#[tokio::test]
async fn native_tokens_may_be_used_anywhere() {
    let setup = Setup::plain().store(ENFORCED);
    let doorward = started(setup.more("\n[apps.store.native]\npassword_grant = true\n"));
    let login = json!({ "username": "alice", "password": PASSWORD });
    let login = RequestSpec::new(
        Kind::Program,
        &doorward.store_url("/.doorward/native/login"),
    )
    .method("POST")
    .body("application/json", login.to_string());
    let page = doorward.browser().send(login).await;
    let token = page.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    for agent in [CHROME, FIREFOX] {
        let request = RequestSpec::new(Kind::Program, &doorward.store_url(CART))
            .header("authorization", &format!("Bearer {token}"))
            .header("user-agent", agent);
        let mut elsewhere = doorward.browser().from_address(OTHER_NETWORK);
        let page = elsewhere.send(request).await;
        assert_eq!(page.status(), 200, "{page}");
    }
    assert_no_change(&doorward).await;
}

#[tokio::test]
async fn decision_for_another_proxy_refuses_and_sends_to_the_login() {
    let doorward = decided_by(Setup::plain().store(ENFORCED)).start();
    doorward.sign_in("alice");
    let mut browser = doorward
        .browser()
        .sending("x-forwarded-for", "198.51.100.7");
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
    let cookie = cookies(&doorward, &browser);
    let check = |address: &str| {
        Check::new(Dialect::ForwardAuth, CART)
            .header("Cookie", &cookie)
            .header("X-Forwarded-For", address)
    };
    // A proxy that does not pass the browser's headers on.
    let permitted = check("198.51.100.9").request(&doorward).await;
    assert_eq!(permitted.status(), 200, "{}", permitted.text());
    let refused = check("203.0.113.7").request(&doorward).await;
    assert_eq!(refused.status(), 401, "{}", refused.text());
    let sent = check("203.0.113.7")
        .header("Accept", HTML)
        .request(&doorward)
        .await;
    let login = sent.head.header("location").expect("a redirect").to_owned();
    assert!(login.contains("/.doorward/login"), "{login}");
    browser = browser.sending("x-forwarded-for", "203.0.113.7");
    assert_shown(&browser.visit(&login).await);
    assert_eq!(prompts(&doorward), [None, Some("none".to_owned())]);
}

#[tokio::test]
async fn login_host_asks_silently_and_then_shows_the_form() {
    const LOGIN: &str = "https://signin.example.test";
    let doorward = Setup::over_tls()
        .provider(&format!("login_url = \"{LOGIN}\""))
        .store(ENFORCED)
        .start();
    doorward.provider.register(Client::of_app("store", LOGIN));
    let mut browser = alice(&doorward).await.from_address(OTHER_NETWORK);
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
    let silent = || Some("none".to_owned());
    assert_eq!(prompts(&doorward), [None, silent()]);
    doorward.provider.sign_out();
    let mut elsewhere = browser.from_address([127, 0, 10, 1].into());
    elsewhere.visit(&doorward.store_url(CART)).await;
    assert_eq!(doorward.provider.forms_shown(), 1);
    assert_eq!(prompts(&doorward), [None, silent(), silent(), None]);
}
