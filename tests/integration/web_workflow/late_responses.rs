//! A late response never overwrites newer session cookies.

use tokio::task::JoinHandle;

use super::{CART, arrive, is_sent_to_log_in, load, refreshes, sets_session};
use crate::support::backend::Answer;
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, RefreshRefusal};

/// Another tab opens a page that the backend delays until the gate opens.
async fn slow_tab(doorward: &Doorward, browser: &Browser) -> (Gate, JoinHandle<Page>) {
    let gate = Gate::default();
    doorward.store.response(
        "/slow",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let (mut tab, url) = (browser.clone(), doorward.store_url("/slow"));
    let late = tokio::spawn(async move { tab.step(&url).await });
    gate.reached(1).await;
    (gate, late)
}

async fn log_out(doorward: &Doorward, browser: &mut Browser) {
    let form = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    let page = browser.submit(&form, &[]).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn late_response_after_refresh_keeps_newer_cookies() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let (gate, late) = slow_tab(&doorward, &browser).await;
    load(&doorward, &mut browser, "alice").await;
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(300);
    load(&doorward, &mut browser, "alice").await;
    let newest = doorward.cookie(&browser, "refresh");
    assert_eq!(refreshes(&doorward), 2);
    gate.open();
    let page = late.await.expect("an answer");
    assert_eq!(page.status(), 200, "{page}");
    arrive(&doorward, &mut browser, &page);
    assert_eq!(doorward.cookie(&browser, "refresh"), newest, "{page}");
    doorward.advance_secs(300);
    load(&doorward, &mut browser, "alice").await;
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn late_activity_update_keeps_refreshed_session() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(200);
    let (gate, late) = slow_tab(&doorward, &browser).await;
    doorward.advance_secs(100);
    load(&doorward, &mut browser, "alice").await;
    gate.open();
    let page = late.await.expect("an answer");
    arrive(&doorward, &mut browser, &page);
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(300);
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn late_response_after_logout_restores_nothing() {
    let doorward = Setup::plain().start();
    for wait in [200, 300] {
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(wait);
        let (gate, late) = slow_tab(&doorward, &browser).await;
        log_out(&doorward, &mut browser).await;
        gate.open();
        let page = late.await.expect("an answer");
        assert!(page.status() == 200 && !sets_session(&page), "{page}");
        arrive(&doorward, &mut browser, &page);
        is_sent_to_log_in(&doorward, &mut browser).await;
    }
}

#[tokio::test]
async fn late_response_after_user_switch_changes_nothing() {
    let doorward = Setup::plain().start();
    for wait in [200, 300] {
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(wait);
        let (gate, late) = slow_tab(&doorward, &browser).await;
        log_out(&doorward, &mut browser).await;
        doorward.sign_in("bob");
        browser.visit(&doorward.store_url(CART)).await;
        gate.open();
        let page = late.await.expect("an answer");
        arrive(&doorward, &mut browser, &page);
        load(&doorward, &mut browser, "bob").await;
    }
}

#[tokio::test]
async fn late_refresh_keeps_cookies_of_new_login() {
    let refusal = RefreshRefusal {
        status: 400,
        error: Some("invalid_grant"),
    };
    for refusal in [None, Some(refusal)] {
        let doorward = Setup::plain().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(300);
        let gate = Gate::default();
        doorward
            .provider
            .behave(|provider| provider.refresh_refusal = refusal);
        doorward
            .provider
            .fault_once(Endpoint::Token, Fault::Held(gate.clone()));
        let mut tab = browser.clone();
        let page = url::Url::parse(&doorward.store_url("/")).unwrap();
        let request = RequestSpec::new(Kind::Fetch, &doorward.store_url("/api")).from(&page);
        let late = tokio::spawn(async move { tab.send(request).await });
        gate.reached(1).await;
        log_out(&doorward, &mut browser).await;
        doorward.sign_in("bob");
        browser.visit(&doorward.store_url(CART)).await;
        gate.open();
        let page = late.await.expect("an answer");
        assert_eq!(page.status(), 401, "{page}");
        arrive(&doorward, &mut browser, &page);
        load(&doorward, &mut browser, "bob").await;
    }
}

#[tokio::test]
async fn ended_session_response_keeps_cookies_of_new_login() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut tab = browser.clone();
    log_out(&doorward, &mut browser).await;
    doorward.sign_in("bob");
    browser.visit(&doorward.store_url(CART)).await;
    let page = url::Url::parse(&doorward.store_url("/")).unwrap();
    let page = tab
        .send(RequestSpec::new(Kind::Fetch, &doorward.store_url("/api")).from(&page))
        .await;
    assert_eq!(page.status(), 401, "{page}");
    arrive(&doorward, &mut browser, &page);
    load(&doorward, &mut browser, "bob").await;
}

#[tokio::test]
async fn late_login_survives_refresh_of_previous_session() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.browser();
    let old_tab = is_sent_to_log_in(&doorward, &mut browser).await;
    doorward.sign_in("alice");
    browser.visit(&doorward.store_url(CART)).await;
    doorward.advance_secs(300);
    let (gate, late) = slow_tab(&doorward, &browser).await;
    doorward.sign_in("bob");
    let mut page = browser.next(&old_tab).await;
    while page.header("location").is_some() {
        page = browser.next(&page).await;
    }
    load(&doorward, &mut browser, "bob").await;
    gate.open();
    let page = late.await.expect("an answer");
    assert!(page.status() == 200 && !sets_session(&page), "{page}");
    arrive(&doorward, &mut browser, &page);
    load(&doorward, &mut browser, "bob").await;
}

#[tokio::test]
async fn public_response_sets_no_cookie_and_waits_for_no_refresh() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    for wait in [250, 50, 2000, 43_200] {
        doorward.advance_secs(wait);
        let page = browser.step(&doorward.store_url("/public/logo.svg")).await;
        assert_eq!(
            (page.status(), page.head.all("set-cookie").len()),
            (200, 0),
            "{page}"
        );
    }
    assert_eq!(refreshes(&doorward), 0);
}
