//! Deep links: a login leads to the requested page, however long its query is and whatever is in it.

use super::{CART, is_sent_to_log_in, location};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

fn long_page() -> String {
    format!("/search?filter={}&page=2", "y".repeat(12_000))
}

async fn arrives_at(doorward: &Doorward, browser: &mut Browser, page: &str) {
    let response = browser.visit(&doorward.store_url(page)).await;
    assert_eq!(response.status(), 200, "{response}");
    assert_eq!(response.url.as_str(), doorward.store_url(page));
}

#[tokio::test]
async fn long_page_survives_the_login_and_stays_out_of_the_url() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = browser.step(&doorward.store_url(&long_page())).await;
    assert!(location(&start).len() < 2048, "{start}");
    arrives_at(&doorward, &mut browser, &long_page()).await;
}

#[tokio::test]
async fn long_page_survives_a_lost_attempt() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = browser.step(&doorward.store_url(&long_page())).await;
    let page = browser.next(&start).await;
    browser.jar.remove(doorward.store_host(), |_| true);
    let restarted = browser.next(&page).await;
    let page = browser.next(&restarted).await;
    let page = browser.next(&page).await;
    assert_eq!(
        (page.status(), location(&page)),
        (302, doorward.store_url(&long_page()).as_str()),
        "{page}"
    );
}

#[tokio::test]
async fn each_attempt_leads_to_its_own_page() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    browser.step(&doorward.store_url(&long_page())).await;
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(page.url.as_str(), doorward.store_url(CART));
}

#[tokio::test]
async fn unusual_characters_in_a_query_survive_the_login() {
    let doorward = Setup::plain().start();
    for page in [
        r"/search?path=C:\Users\alice",
        "/search?q=a|b&r={c}&s=^d`",
        "/search?next=https://evil.test//x",
    ] {
        doorward.sign_in("alice");
        arrives_at(&doorward, &mut doorward.browser(), page).await;
    }
    is_sent_to_log_in(&doorward, &mut doorward.browser()).await;
}

#[tokio::test]
async fn raw_utf8_in_a_query_survives_the_login() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let page = RequestSpec::new(Kind::Navigation, &doorward.store_url("/search?q=RAW"));
    let request = String::from_utf8(browser.request_bytes(&page, &[])).expect("ASCII");
    let request = request.replace("RAW", "caf\u{e9}");
    let mut wire = browser.connect(&page.url).await.expect("a connection");
    wire.write(request.as_bytes()).await.expect("sent");
    let start = wire.read_head().await.expect("a response").expect("a head");
    // The browser has no cookie of this attempt, so the login begins once more.
    let login = start.header("location").expect("a redirect");
    let response = browser.visit(login).await;
    assert_eq!(
        (response.status(), response.url.as_str()),
        (200, doorward.store_url("/search?q=caf%C3%A9").as_str()),
        "{response}"
    );
}
