//! How users and operators see which sessions are bound to a device, and how auditors see changes of clients.

use std::fs;

use doorward::auth::session_list::query::{SessionQuery, SessionReport};
use doorward::server;
use serde_json::Value;

use super::{ENFORCED, FIREFOX, OTHER_NETWORK, logged_in};
use crate::support::assertions::{CART, fetched};
use crate::support::bound_browser::BoundBrowser;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;

async fn report(doorward: &Doorward) -> SessionReport {
    let query = SessionQuery {
        given_at: doorward.now(),
        ..SessionQuery::default()
    };
    let message = server::session_query(&doorward.config(), &query).expect("keys");
    let url = format!("http://{}/sessions", doorward.admin_address());
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("text/plain", message.expect("a message"));
    let page = Browser::new(doorward.clock.clone()).send(request).await;
    assert_eq!(page.status(), 200, "{page}");
    serde_json::from_str(&page.text()).expect("a report")
}

#[tokio::test]
async fn page_and_list_show_which_session_is_bound() {
    let doorward = Setup::over_tls()
        .store("device_binding = { mode = \"offer\" }")
        .start();
    logged_in(&doorward, "alice").await;
    let mut bound = BoundBrowser::new(doorward.browser().sending("user-agent", FIREFOX));
    bound.visit(&doorward.store_url(CART)).await;
    let style = doorward.store_url("/style.css");
    bound.fetch("GET", &style).await;
    assert!(bound.session.is_some(), "not registered");
    bound.fetch("GET", &style).await;
    let sessions = report(&doorward).await.sessions;
    let mut by_program: Vec<(Option<&str>, bool)> = sessions
        .iter()
        .map(|session| (session.program.as_deref(), session.device_bound))
        .collect();
    by_program.sort_unstable();
    let expected = [
        (Some("Chrome on Linux"), false),
        (Some("Firefox on Linux"), true),
    ];
    assert_eq!(by_program, expected);
    let mut browser = bound.browser.clone();
    let page = browser
        .step(&doorward.store_url("/.doorward/sessions"))
        .await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(
        page.words().matches("Bound to its device").count(),
        1,
        "{page}"
    );
}

#[tokio::test]
async fn audit_log_has_changes_with_user_session_and_address() {
    let doorward = Setup::over_tls()
        .store(ENFORCED)
        .more("\n[log]\naudit = \"file:audit.log\"\nuser = \"{email}\"\n")
        .start();
    let mut browser = logged_in(&doorward, "alice").await;
    browser = browser.from_address(OTHER_NETWORK);
    fetched(&mut browser, &doorward.store_url(CART)).await;
    fetched(&mut browser, &doorward.store_url(CART)).await;
    let mut other = browser.clone().sending("user-agent", FIREFOX);
    fetched(&mut other, &doorward.store_url(CART)).await;
    browser.visit(&doorward.store_url(CART)).await;
    let file = doorward.file().with_file_name("audit.log");
    let events = || -> Vec<Value> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let events = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        events
            .filter(|event: &Value| event["event"] == "client_changed")
            .collect()
    };
    eventually("the changes are in the audit log", || events().len() >= 3).await;
    let events = events();
    let outcomes: Vec<&str> = events
        .iter()
        .map(|event| event["outcome"].as_str().expect("an outcome"))
        .collect();
    assert_eq!(
        outcomes,
        ["network_refused", "browser_refused", "confirmed"]
    );
    for event in &events {
        assert_eq!(event["user"], "alice@example.com", "{event}");
        assert_eq!(event["app"], "store", "{event}");
        assert_eq!(event["client_ip"], OTHER_NETWORK.to_string(), "{event}");
        assert!(event["session"].is_string(), "{event}");
    }
    assert_eq!(events[0]["session"], events[1]["session"]);
    assert_ne!(events[0]["session"], events[2]["session"]);
}
