//! Concurrent logins in several tabs, each with its own login attempt.

use super::{arrive, exchanges, is_sent_to_log_in, load, location};
use crate::support::browser::{Browser, Page};
use crate::support::doorward::{Doorward, Setup};

/// Processes a response in one tab; all tabs share the cookie jar.
async fn follow_redirects(browser: &mut Browser, page: &Page) -> Page {
    let mut page = browser.next(page).await;
    while page.header("location").is_some() {
        page = browser.next(&page).await;
    }
    page
}

/// Opens these pages before any of the responses is processed.
async fn open_at_once(doorward: &Doorward, browser: &mut Browser, paths: &[&str]) -> Vec<Page> {
    let mut starts = Vec::new();
    for path in paths {
        starts.push(browser.clone().step(&doorward.store_url(path)).await);
    }
    for start in &starts {
        arrive(doorward, browser, start);
    }
    starts
}

#[tokio::test]
async fn tabs_of_known_browser_reach_their_own_pages() {
    let doorward = Setup::over_tls().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    is_sent_to_log_in(&doorward, &mut browser).await;
    let paths = ["/one?a=1", "/two", "/three"];
    let starts = open_at_once(&doorward, &mut browser, &paths).await;
    for (start, path) in starts.iter().zip(paths).rev() {
        let page = follow_redirects(&mut browser, start).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, doorward.store_url(path).as_str()),
            "{page}"
        );
    }
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(exchanges(&doorward), 3);
}

#[tokio::test]
async fn tabs_of_first_visit_all_end_signed_in() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        doorward.sign_in("alice");
        let mut browser = doorward.browser();
        let paths = ["/one", "/two", "/three", "/four"];
        let starts = open_at_once(&doorward, &mut browser, &paths).await;
        for (start, path) in starts.iter().zip(paths) {
            let page = follow_redirects(&mut browser, start).await;
            assert_eq!(
                (page.status(), page.url.as_str()),
                (200, doorward.store_url(path).as_str()),
                "{page}"
            );
        }
        load(&doorward, &mut browser, "alice").await;
    }
}

#[tokio::test]
async fn tabs_with_concurrent_callbacks_all_end_signed_in() {
    let doorward = Setup::over_tls().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    is_sent_to_log_in(&doorward, &mut browser).await;
    let paths = ["/one", "/two"];
    let starts = open_at_once(&doorward, &mut browser, &paths).await;
    let mut callbacks = Vec::new();
    for start in &starts {
        callbacks.push(browser.next(start).await);
    }
    let (mut one, mut two) = (browser.clone(), browser.clone());
    let (first, second) = tokio::join!(one.next(&callbacks[0]), two.next(&callbacks[1]));
    for (page, path) in [(&first, paths[0]), (&second, paths[1])] {
        assert_eq!(location(page), doorward.store_url(path), "{page}");
        arrive(&doorward, &mut browser, page);
    }
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn tabs_beyond_attempt_limit_reach_their_own_pages() {
    let doorward = Setup::over_tls().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    is_sent_to_log_in(&doorward, &mut browser).await;
    let paths: Vec<String> = (0..12).map(|number| format!("/page/{number}")).collect();
    let starts = open_at_once(
        &doorward,
        &mut browser,
        &paths.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let mut responses = Vec::new();
    for start in &starts {
        let at_provider = browser.next(start).await;
        // All callbacks are sent before any response is processed.
        responses.push(browser.clone().next(&at_provider).await);
    }
    for response in &responses {
        arrive(&doorward, &mut browser, response);
    }
    for (response, path) in responses.iter().zip(&paths) {
        let page = follow_redirects(&mut browser, response).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, doorward.store_url(path).as_str()),
            "{page}"
        );
    }
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn login_of_other_user_in_old_tab_ends_previous_session() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.browser();
    let old_tab = is_sent_to_log_in(&doorward, &mut browser).await;
    doorward.sign_in("alice");
    browser.visit(&doorward.store_url("/two")).await;
    load(&doorward, &mut browser, "alice").await;
    let mut copy = browser.clone();
    doorward.sign_in("bob");
    let page = follow_redirects(&mut browser, &old_tab).await;
    assert_eq!(page.status(), 200, "{page}");
    load(&doorward, &mut browser, "bob").await;
    is_sent_to_log_in(&doorward, &mut copy).await;
    doorward.advance_secs(300);
    load(&doorward, &mut browser, "bob").await;
}
