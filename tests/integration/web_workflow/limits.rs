//! The three clocks of a session, and how the browser is told of its use.

use std::time::Duration;

use super::{CART, expired, is_sent_to_log_in, load, set};
use crate::support::browser::{Ask, Browser, Kind};
use crate::support::cookies::Cookie;
use crate::support::doorward::{Doorward, Setup};

/// A provider whose JWTs outlive every test, so that the other two clocks show.
fn long_lived(doorward: &Doorward) {
    doorward.provider.behave(|provider| provider.token_lifetime = Duration::from_secs(1_000_000));
}

/// The same browser, were it to keep cookies past their age.
fn hoarding(doorward: &Doorward, browser: &Browser) -> Browser {
    let mut hoarder = browser.clone();
    let cookies: Vec<_> = browser.jar.of(doorward.store_host()).into_iter().cloned().collect();
    hoarder.jar.remove(doorward.store_host(), |_| true);
    for cookie in cookies {
        hoarder.jar.plant(Cookie { expires: None, ..cookie });
    }
    hoarder
}

async fn session(doorward: &Doorward, browser: &mut Browser) -> serde_json::Value {
    let from = url::Url::parse(&doorward.store_url("/")).unwrap();
    let page = browser.send(Ask::new(Kind::Fetch, &doorward.store_url("/.doorward/session")).from(&from)).await;
    assert_eq!(page.status(), 200, "{page}");
    page.json()
}

#[tokio::test]
async fn an_idle_session_ends_between_nine_tenths_and_all_of_the_setting() {
    for last_use in [0, 1, 59, 60, 61, 119, 250] {
        let doorward = Setup::plain().session("idle_timeout = \"10m\"").start();
        long_lived(&doorward);
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.pass(last_use);
        load(&doorward, &mut browser, "alice").await;
        let mut early = browser.clone();
        doorward.pass(540);
        load(&doorward, &mut early, "alice").await;
        doorward.pass(60);
        let page = is_sent_to_log_in(&doorward, &mut browser).await;
        assert!(expired(&page).contains(&doorward.cookie_name("refresh")), "{page}");
    }
}

#[tokio::test]
async fn a_session_in_use_outlasts_the_idle_limit_and_not_the_absolute_one() {
    for jwts_live_long in [true, false] {
        let doorward = Setup::plain().session("idle_timeout = \"10m\"\nabsolute_timeout = \"1h\"").start();
        if jwts_live_long {
            long_lived(&doorward);
        }
        let mut browser = doorward.logged_in("alice", CART).await;
        for _ in 0..11 {
            doorward.pass(320);
            load(&doorward, &mut browser, "alice").await;
        }
        doorward.pass(3600 - 11 * 320 - 1);
        load(&doorward, &mut browser, "alice").await;
        let mut hoarder = hoarding(&doorward, &browser);
        doorward.pass(1);
        is_sent_to_log_in(&doorward, &mut browser).await;
        let page = is_sent_to_log_in(&doorward, &mut hoarder).await;
        assert!(expired(&page).contains(&doorward.cookie_name("jwt")), "{page}");
    }
}

#[tokio::test]
async fn the_last_activity_is_written_at_most_every_tenth_of_the_idle_limit() {
    let doorward = Setup::plain().session("idle_timeout = \"10m\"").start();
    long_lived(&doorward);
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut written = 0;
    for second in 1..=240 {
        doorward.pass(1);
        let page = load(&doorward, &mut browser, "alice").await;
        match set(&page).as_slice() {
            [] => {}
            [name] if *name == doorward.cookie_name("seen") => written += 1,
            more => panic!("a clock that writes more than the clock, after {second} s: {more:?}"),
        }
    }
    assert_eq!(written, 4);
}

#[tokio::test]
async fn the_session_endpoint_shows_the_three_clocks() {
    let doorward = Setup::plain().session("idle_timeout = \"30m\"\nabsolute_timeout = \"12h\"").start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.pass(100);
    let shown = session(&doorward, &mut browser).await;
    assert_eq!(shown["sub"], "alice-id");
    assert_eq!(shown["jwt_expires_in"], 200);
    assert_eq!(shown["idle_expires_in"], 1700);
    assert_eq!(shown["session_expires_in"], 43_100);
    assert_eq!(shown["logout_url"], doorward.store_url("/.doorward/logout"));
    doorward.pass(200);
    let shown = session(&doorward, &mut browser).await;
    assert_eq!(shown["jwt_expires_in"], 300);
    assert_eq!(shown["idle_expires_in"], 1800);
    assert_eq!(shown["session_expires_in"], 42_900);
    let text = shown.to_string();
    for secret in doorward.provider.secrets() {
        assert!(!text.contains(&secret), "{text}");
    }
}

#[tokio::test]
async fn the_session_endpoint_tells_nobody_how_to_log_in_and_starts_nothing() {
    let doorward = Setup::plain().start();
    let from = url::Url::parse(&doorward.store_url(CART)).unwrap();
    let ask = Ask::new(Kind::Fetch, &doorward.store_url("/.doorward/session")).from(&from);
    let page = doorward.browser().send(ask).await;
    assert_eq!((page.status(), page.json()["code"].as_str()), (401, Some("no_session")), "{page}");
    assert!(page.head.all("set-cookie").is_empty(), "{page}");
}

#[tokio::test]
async fn an_app_may_have_limits_of_its_own() {
    let doorward = Setup::plain().session("idle_timeout = \"10m\"").forum("idle_timeout = \"2h\"").start();
    long_lived(&doorward);
    let mut browser = doorward.logged_in("alice", CART).await;
    browser.visit(&doorward.forum_url("/posts")).await;
    doorward.pass(700);
    is_sent_to_log_in(&doorward, &mut browser).await;
    assert_eq!(browser.step(&doorward.forum_url("/posts")).await.status(), 200);
}
