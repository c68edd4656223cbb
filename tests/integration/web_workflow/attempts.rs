//! Login attempts: a lost attempt restarts once automatically; the number of attempts is limited.

use super::{CART, expired, is_sent_to_log_in, load, location, set, sets_session};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::Endpoint;

fn attempts(doorward: &Doorward, browser: &Browser) -> Vec<String> {
    let cookies = browser.jar.of(doorward.store_host()).into_iter();
    cookies
        .filter(|cookie| cookie.name.contains("_login_"))
        .map(|cookie| cookie.name.clone())
        .collect()
}

fn lose(doorward: &Doorward, browser: &mut Browser) {
    browser.jar.remove(doorward.store_host(), |cookie| {
        cookie.name.contains("_login_")
    });
}

#[tokio::test]
async fn lost_attempt_cookie_restarts_login_to_same_page() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = is_sent_to_log_in(&doorward, &mut browser).await;
    lose(&doorward, &mut browser);
    let at_provider = browser.next(&start).await;
    let page = browser.visit(location(&at_provider)).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, doorward.store_url(CART).as_str()),
        "{page}"
    );
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 2);
}

#[tokio::test]
async fn attempt_lost_twice_yields_page_naming_the_cause() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let mut page = is_sent_to_log_in(&doorward, &mut browser).await;
    for _ in 0..2 {
        assert_eq!(page.status(), 302, "{page}");
        lose(&doorward, &mut browser);
        let at_provider = browser.next(&page).await;
        page = browser.step(location(&at_provider)).await;
    }
    assert_eq!(page.status(), 400, "{page}");
    assert!(
        page.text().contains("login_cookie_missing")
            && page.words().to_lowercase().contains("cookie"),
        "{page}"
    );
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 2, "no loop");
    doorward
        .log
        .line("/.doorward/callback", "login_cookie_missing")
        .await;
}

#[tokio::test]
async fn attempt_from_other_browser_twice_yields_page() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let mut page = is_sent_to_log_in(&doorward, &mut browser).await;
    for _ in 0..2 {
        assert_eq!(page.status(), 302, "{page}");
        let at_provider = browser.next(&page).await;
        let turned = |value: &str| value.chars().rev().collect();
        browser.jar.tamper(
            doorward.store_host(),
            &doorward.cookie_name("browser"),
            turned,
        );
        page = browser.step(location(&at_provider)).await;
    }
    assert_eq!(page.status(), 400, "{page}");
    assert!(
        page.text().contains("login_browser_mismatch") && !sets_session(&page),
        "{page}"
    );
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 2, "no loop");
}

#[tokio::test]
async fn browser_without_cookies_gets_page_and_no_loop() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut page = doorward.browser().step(&doorward.store_url(CART)).await;
    let mut redirects = 0;
    while page.header("location").is_some() {
        page = doorward.browser().step(location(&page)).await;
        redirects += 1;
        assert!(redirects < 10, "{page}");
    }
    assert_eq!(page.status(), 400, "{page}");
    assert!(page.text().contains("login_cookie_missing"), "{page}");
}

#[tokio::test]
async fn expired_attempt_restarts_with_or_without_cookie() {
    for keeps_cookie in [false, true] {
        let doorward = Setup::plain().start();
        doorward.sign_in("alice");
        let mut browser = doorward.browser();
        let start = is_sent_to_log_in(&doorward, &mut browser).await;
        let at_provider = browser.next(&start).await;
        if keeps_cookie {
            let name = attempts(&doorward, &browser).pop().expect("an attempt");
            let mut cookie = browser
                .jar
                .get(doorward.store_host(), &name)
                .expect("its cookie")
                .clone();
            lose(&doorward, &mut browser);
            cookie.expires = None;
            browser.jar.plant(cookie);
        }
        doorward.advance_secs(601);
        let page = browser.step(location(&at_provider)).await;
        assert!(page.status() == 302 && !sets_session(&page), "{page}");
        assert!(
            location(&page).starts_with(&doorward.provider.url(Endpoint::Authorize)),
            "{page}"
        );
        let page = browser.visit(location(&page)).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, doorward.store_url(CART).as_str()),
            "{page}"
        );
    }
}

#[tokio::test]
async fn attempt_just_before_expiry_succeeds() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = is_sent_to_log_in(&doorward, &mut browser).await;
    doorward.advance_secs(599);
    let at_provider = browser.next(&start).await;
    assert!(sets_session(&browser.next(&at_provider).await));
}

#[tokio::test]
async fn attempts_are_capped_and_oldest_is_evicted() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.browser();
    let mut started = Vec::new();
    for number in 0..12 {
        let page = browser.step(&doorward.store_url(CART)).await;
        started.extend(
            set(&page)
                .into_iter()
                .filter(|name| name.contains("_login_")),
        );
        let gone: Vec<String> = expired(&page);
        assert_eq!(
            gone,
            started
                .iter()
                .nth_back(8)
                .cloned()
                .into_iter()
                .collect::<Vec<_>>(),
            "after {number}"
        );
        assert_eq!(
            page.chain.iter().flat_map(|hop| &hop.refused).count(),
            0,
            "{page}"
        );
    }
    assert_eq!(attempts(&doorward, &browser), started[4..]);
}

#[tokio::test]
async fn attempt_cookies_are_sent_to_callback_only() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.browser();
    is_sent_to_log_in(&doorward, &mut browser).await;
    for cookie in browser.jar.of(doorward.store_host()) {
        let expected = if cookie.name.contains("_login_") {
            "/.doorward/callback"
        } else {
            "/"
        };
        assert_eq!(
            (cookie.path.as_str(), cookie.host_only, cookie.http_only),
            (expected, true, true),
            "{}",
            cookie.name
        );
    }
}
