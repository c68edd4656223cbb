//! Provider failures: a failed login ends on a page that names the cause; a failed refresh keeps
//! the session and yields 503, unless the provider rejects the grant.

use crate::support::assertions::{CART, alice, assert_error_page};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::journey::cookie;

mod conformance;
mod discovery;
mod login;
mod refresh;

fn secrets(browser: &Browser, doorward: &Doorward) -> [Option<String>; 2] {
    ["jwt", "refresh"].map(|kind| cookie(browser, doorward.store_host(), kind))
}

/// Asserts that the first login fails with this page and without a session.
async fn assert_login_fails(doorward: &Doorward, what: &str, status: u16, code: &str) {
    let mut browser = doorward.browser();
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), status, "{what}: {page}");
    let reference = assert_error_page(&page, status, code);
    assert_eq!(
        secrets(&browser, doorward),
        [None, None],
        "{what}: a session in spite of it"
    );
    assert_eq!(
        doorward.store.count(),
        0,
        "{what}: a request reached the app"
    );
    let path = page.url.path().to_owned();
    assert_eq!(
        doorward.log.line(&path, code).await["request_id"],
        reference.as_str(),
        "{what}"
    );
}

#[tokio::test]
async fn valid_sessions_and_public_paths_need_no_provider() {
    let mut doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    doorward.provider.stop();
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(
        doorward
            .browser()
            .step(&doorward.store_url("/public/page"))
            .await
            .status(),
        200
    );
    doorward.advance_secs(301);
    assert_error_page(
        &browser.step(&doorward.store_url(CART)).await,
        503,
        "provider_unreachable",
    );
    doorward.provider.restart();
    doorward.advance_secs(5);
    assert_eq!(
        browser.step(&doorward.store_url(CART)).await.status(),
        200,
        "found again"
    );
}
