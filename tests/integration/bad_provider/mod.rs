//! Provider failures: a failed login ends on a page that names the cause; a failed refresh keeps
//! the session and yields 503, unless the provider rejects the grant.

use crate::support::assertions::{CART, alice, assert_error_page};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::journey::cookie;

mod discovery;
mod login;
mod refresh;

fn secrets(browser: &Browser, door: &Doorward) -> [Option<String>; 2] {
    ["jwt", "refresh"].map(|kind| cookie(browser, door.store_host(), kind))
}

/// Asserts that the first login fails with this page and without a session.
async fn assert_login_fails(door: &Doorward, what: &str, status: u16, code: &str) {
    let mut browser = door.browser();
    let page = browser.visit(&door.store_url(CART)).await;
    assert_eq!(page.status(), status, "{what}: {page}");
    let reference = assert_error_page(&page, status, code);
    assert_eq!(
        secrets(&browser, door),
        [None, None],
        "{what}: a session in spite of it"
    );
    assert_eq!(door.store.count(), 0, "{what}: a request reached the app");
    let path = page.url.path().to_owned();
    assert_eq!(
        door.log.line(&path, code).await["request_id"],
        reference.as_str(),
        "{what}"
    );
}

#[tokio::test]
async fn valid_sessions_and_public_paths_need_no_provider() {
    let mut door = Setup::plain().start();
    let mut browser = alice(&door).await;
    door.provider.stop();
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
    assert_eq!(
        door.browser()
            .step(&door.store_url("/public/page"))
            .await
            .status(),
        200
    );
    door.advance_secs(301);
    assert_error_page(
        &browser.step(&door.store_url(CART)).await,
        503,
        "provider_unreachable",
    );
    door.provider.restart();
    door.advance_secs(5);
    assert_eq!(
        browser.step(&door.store_url(CART)).await.status(),
        200,
        "found again"
    );
}
