//! Shorter timeouts for sessions that are bound to no device.

use super::{assert_shown, logged_in};
use crate::support::assertions::{CART, assert_login_starts, fetched};
use crate::support::bound_browser::BoundBrowser;
use crate::support::doorward::{Doorward, Setup};

/// Bound sessions last for 30 minutes without activity, others for 10.
fn store() -> Doorward {
    Setup::over_tls()
        .store(
            "device_binding = { mode = \"offer\", pending_window = \"5s\" }
             unbound_sessions = { idle_timeout = \"10m\", absolute_timeout = \"1h\" }",
        )
        .start()
}

#[tokio::test]
async fn unbound_session_ends_earlier_than_a_bound_one() {
    let doorward = store();
    let url = doorward.store_url(CART);
    let mut unbound = logged_in(&doorward, "alice").await;
    let mut bound = BoundBrowser::new(doorward.browser());
    bound.visit(&url).await;
    bound.fetch("GET", &doorward.store_url("/style.css")).await;
    assert!(bound.session.is_some(), "not registered");
    doorward.advance_secs(9 * 60);
    assert_shown(&unbound.step(&url).await);
    assert_eq!(bound.fetch("GET", &url).await.status(), 200);
    doorward.advance_secs(11 * 60);
    assert_login_starts(&doorward, &unbound.step(&url).await);
    assert_eq!(bound.fetch("GET", &url).await.status(), 200);
    doorward.advance_secs(29 * 60);
    assert_eq!(bound.fetch("GET", &url).await.status(), 200);
    doorward.advance_secs(29 * 60);
    assert_eq!(bound.fetch("GET", &url).await.status(), 200);
}

#[tokio::test]
async fn absolute_timeout_ends_a_session_in_use() {
    let doorward = store();
    let mut browser = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    let lifetimes = fetched(&mut browser, &doorward.store_url("/.doorward/session")).await;
    assert_eq!(lifetimes.json()["idle_expires_in"], 600, "{lifetimes}");
    assert_eq!(lifetimes.json()["session_expires_in"], 3600, "{lifetimes}");
    for _ in 0..7 {
        doorward.advance_secs(8 * 60);
        assert_shown(&browser.step(&url).await);
    }
    doorward.advance_secs(4 * 60);
    assert_login_starts(&doorward, &browser.step(&url).await);
}
