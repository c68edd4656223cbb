//! New and removed sealing keys: logins in progress and sessions survive as long as a key opens them.

use crate::support::assertions::{CART, alice};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::page::Page;

const OLD: &str = "key_files = [\"doorward.key\"]";
const BOTH: &str = "key_files = [\"new.key\", \"doorward.key\"]";
const NEW: &str = "key_files = [\"new.key\"]";

/// A browser whose login has started: it is about to send its callback.
async fn half_logged_in(doorward: &Doorward, name: &str) -> (Browser, Page) {
    doorward.sign_in(name);
    let mut browser = doorward.browser();
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{page}");
    let callback = browser.next(&page).await;
    assert_eq!(callback.status(), 302, "{callback}");
    (browser, callback)
}

/// Sends the callback.
async fn finished((mut browser, callback): (Browser, Page)) -> Page {
    let page = browser.next(&callback).await;
    if page.status() == 303 || page.status() == 302 {
        browser.next(&page).await
    } else {
        page
    }
}

#[tokio::test]
async fn login_in_progress_survives_a_new_key_and_ends_with_its_own() {
    let doorward = Setup::plain().start();
    let early = half_logged_in(&doorward, "alice").await;
    let late = half_logged_in(&doorward, "bob").await;
    doorward.add_key("new.key");
    doorward.edit(OLD, BOTH);
    doorward.reload_changes().await;
    let page = finished(early).await;
    assert_eq!((page.status(), page.url.path()), (200, CART), "{page}");
    doorward.edit(BOTH, NEW);
    doorward.reload_changes().await;
    let page = finished(late).await;
    assert!(page.url.path() != CART || page.status() != 200, "{page}");
}

#[tokio::test]
async fn removed_key_ends_only_the_sessions_that_it_sealed() {
    let doorward = Setup::plain().start();
    let mut old = alice(&doorward).await;
    doorward.add_key("new.key");
    doorward.edit(OLD, BOTH);
    doorward.reload_changes().await;
    let mut resealed = old.clone();
    let page = resealed.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    doorward.edit(BOTH, NEW);
    doorward.reload_changes().await;
    let page = resealed.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    let page = old.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{page}");
}
