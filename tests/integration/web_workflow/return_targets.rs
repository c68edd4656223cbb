//! Open redirect: a login returns only to a page of the app's own origin.

use super::{CART, load, location};
use crate::support::doorward::Setup;

#[tokio::test]
async fn open_redirect_is_impossible_after_login() {
    let doorward = Setup::plain().start();
    let browser = doorward.logged_in("alice", CART).await;
    let bad = [
        "https://evil.test/",
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "/%09/evil.test",
        "/%2f/evil.test",
        "/%5cevil.test",
        "/\t/evil.test",
        "/\r\nLocation: https://evil.test",
        "/a/../..//evil.test",
        "/%2e%2e//evil.test",
        "javascript:alert(1)",
        "data:text/html,x",
        "store.localhost:8080.evil.test",
        "@evil.test",
        ".evil.test",
        "/\u{2028}/evil.test",
        "",
        "/.doorward/logout",
    ];
    for wanted in bad {
        let query: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
        let page = browser
            .clone()
            .step(&doorward.store_url(&format!("/.doorward/login?return_to={query}")))
            .await;
        assert_eq!(
            (page.status(), location(&page)),
            (302, doorward.store_url("/").as_str()),
            "{wanted:?}: {page}"
        );
    }
}

#[tokio::test]
async fn invalid_return_target_is_not_sent_through_provider() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    for wanted in [
        "//evil.test",
        "https%3A%2F%2Fevil.test",
        "%2F%5Cevil.test",
        "%2F%252f%2Fevil.test",
    ] {
        let mut browser = doorward.browser();
        let start = browser
            .step(&doorward.store_url(&format!("/.doorward/login?return_to={wanted}")))
            .await;
        let page = browser.next(&start).await;
        let page = browser.next(&page).await;
        assert_eq!(
            (page.status(), location(&page)),
            (302, doorward.store_url("/").as_str()),
            "{wanted}: {page}"
        );
    }
}

#[tokio::test]
async fn own_page_is_kept_with_query() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let query: String =
        url::form_urlencoded::byte_serialize(b"/a%20b?next=https://evil.test/&x=1").collect();
    let page = browser
        .visit(&doorward.store_url(&format!("/.doorward/login?return_to={query}")))
        .await;
    assert_eq!(
        page.url.as_str(),
        doorward.store_url("/a%20b?next=https://evil.test/&x=1"),
        "{page}"
    );
    load(&doorward, &mut browser, "alice").await;
}
