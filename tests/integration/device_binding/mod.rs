//! Device-bound sessions with a scripted browser: registration, renewal of proofs, requests without a
//! valid proof, changes of network, strict paths, streams, stolen cookies, and replicas.

use crate::support::assertions::CART;
use crate::support::bound_browser::BoundBrowser;
use crate::support::browser::{Browser, Page};
use crate::support::doorward::{Doorward, Setup};

mod gate;
mod network;
mod registration;
mod renewal;
mod replicas;
mod streams;
mod strict;
mod survival;
mod theft;

/// A store that offers to bind sessions.
fn offering() -> Doorward {
    Setup::over_tls()
        .store("device_binding = { mode = \"offer\" }")
        .start()
}

/// The same with more keys of the table.
fn offering_with(keys: &str) -> Doorward {
    Setup::over_tls()
        .store(&format!("device_binding = {{ mode = \"offer\", {keys} }}"))
        .start()
}

/// A store that requires bound sessions.
fn requiring() -> Doorward {
    Setup::over_tls()
        .store("device_binding = { mode = \"require\" }")
        .start()
}

/// A browser with a session of `alice` that waits for a registration.
async fn pending(doorward: &Doorward) -> BoundBrowser {
    doorward.sign_in("alice");
    let mut browser = BoundBrowser::new(doorward.browser());
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!((page.status(), page.url.path()), (200, CART), "{page}");
    assert!(browser.session.is_none(), "{page}");
    browser
}

/// A browser with a bound session of `alice`.
async fn bound(doorward: &Doorward) -> BoundBrowser {
    let mut browser = pending(doorward).await;
    browser
        .fetch("GET", &doorward.store_url("/style.css"))
        .await;
    assert!(browser.session.is_some(), "not registered");
    assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
    browser
}

/// Asserts a response of the app to a request of alice.
fn assert_shown(page: &Page) {
    assert_eq!(page.status(), 200, "{page}");
    assert!(page.text().contains("alice-id"), "{page}");
}

/// The binding, as `/session` shows it.
async fn is_bound(doorward: &Doorward, browser: &mut BoundBrowser) -> bool {
    let url = doorward.store_url("/.doorward/session");
    let page = browser.fetch("GET", &url).await;
    assert_eq!(page.status(), 200, "{page}");
    page.json()["device_bound"] == true
}

/// Another machine with all cookies of the owner, and without the key.
fn thief(owner: &BoundBrowser) -> Browser {
    owner.browser.clone()
}

fn refreshes(doorward: &Doorward) -> usize {
    doorward.provider.grants("refresh_token")
}
