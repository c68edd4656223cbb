//! JWT expiry, idle timeout and absolute timeout, and the activity cookie.

use std::time::Duration;

use super::{CART, expired, is_sent_to_log_in, load, set};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::cookies::Cookie;
use crate::support::doorward::{Doorward, Setup};

/// A provider with very long-lived JWTs, so that the idle and absolute timeouts take effect.
fn long_lived(doorward: &Doorward) {
    doorward
        .provider
        .behave(|provider| provider.token_lifetime = Duration::from_secs(1_000_000));
}

/// A copy of the browser whose cookies never expire.
fn hoarding(doorward: &Doorward, browser: &Browser) -> Browser {
    let mut hoarder = browser.clone();
    let cookies: Vec<_> = browser
        .jar
        .of(doorward.store_host())
        .into_iter()
        .cloned()
        .collect();
    hoarder.jar.remove(doorward.store_host(), |_| true);
    for cookie in cookies {
        hoarder.jar.plant(Cookie {
            expires: None,
            ..cookie
        });
    }
    hoarder
}

async fn session(doorward: &Doorward, browser: &mut Browser) -> serde_json::Value {
    let from = url::Url::parse(&doorward.store_url("/")).unwrap();
    let page = browser
        .send(RequestSpec::new(Kind::Fetch, &doorward.store_url("/.doorward/session")).from(&from))
        .await;
    assert_eq!(page.status(), 200, "{page}");
    page.json()
}

#[tokio::test]
async fn idle_session_ends_between_nine_tenths_and_all_of_timeout() {
    for last_use in [0, 1, 59, 60, 61, 119, 250] {
        let doorward = Setup::plain().session("idle_timeout = \"10m\"").start();
        long_lived(&doorward);
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(last_use);
        load(&doorward, &mut browser, "alice").await;
        let mut early = browser.clone();
        doorward.advance_secs(540);
        load(&doorward, &mut early, "alice").await;
        doorward.advance_secs(60);
        let page = is_sent_to_log_in(&doorward, &mut browser).await;
        assert!(
            expired(&page).contains(&doorward.cookie_name("refresh")),
            "{page}"
        );
    }
}

#[tokio::test]
async fn active_session_ends_at_absolute_timeout() {
    for jwts_live_long in [true, false] {
        let doorward = Setup::plain()
            .session("idle_timeout = \"10m\"\nabsolute_timeout = \"1h\"")
            .start();
        if jwts_live_long {
            long_lived(&doorward);
        }
        let mut browser = doorward.logged_in("alice", CART).await;
        for _ in 0..11 {
            doorward.advance_secs(320);
            load(&doorward, &mut browser, "alice").await;
        }
        doorward.advance_secs(3600 - 11 * 320 - 1);
        load(&doorward, &mut browser, "alice").await;
        let mut hoarder = hoarding(&doorward, &browser);
        doorward.advance_secs(1);
        is_sent_to_log_in(&doorward, &mut browser).await;
        let page = is_sent_to_log_in(&doorward, &mut hoarder).await;
        assert!(
            expired(&page).contains(&doorward.cookie_name("jwt")),
            "{page}"
        );
    }
}

#[tokio::test]
async fn activity_is_written_every_tenth_of_idle_timeout() {
    let doorward = Setup::plain().session("idle_timeout = \"10m\"").start();
    long_lived(&doorward);
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut written = 0;
    for second in 1..=240 {
        doorward.advance_secs(1);
        let page = load(&doorward, &mut browser, "alice").await;
        match set(&page).as_slice() {
            [] => {}
            [name] if *name == doorward.cookie_name("activity") => written += 1,
            more => panic!("a clock that writes more than the clock, after {second} s: {more:?}"),
        }
    }
    assert_eq!(written, 4);
}

#[tokio::test]
async fn session_endpoint_reports_three_clocks() {
    let doorward = Setup::plain()
        .session("idle_timeout = \"30m\"\nabsolute_timeout = \"12h\"")
        .start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(100);
    let shown = session(&doorward, &mut browser).await;
    assert_eq!(shown["sub"], "alice-id");
    assert_eq!(shown["jwt_expires_in"], 200);
    assert_eq!(shown["idle_expires_in"], 1700);
    assert_eq!(shown["session_expires_in"], 43_100);
    assert_eq!(shown["logout_url"], doorward.store_url("/.doorward/logout"));
    doorward.advance_secs(200);
    let shown = session(&doorward, &mut browser).await;
    assert_eq!(shown["jwt_expires_in"], 300);
    assert_eq!(
        shown["idle_expires_in"], 1500,
        "a refresh is no activity by itself"
    );
    assert_eq!(shown["session_expires_in"], 42_900);
    let text = shown.to_string();
    for secret in doorward.provider.secrets() {
        assert!(!text.contains(&secret), "{text}");
    }
}

#[tokio::test]
async fn session_endpoint_starts_no_login() {
    let doorward = Setup::plain().start();
    let from = url::Url::parse(&doorward.store_url(CART)).unwrap();
    let request =
        RequestSpec::new(Kind::Fetch, &doorward.store_url("/.doorward/session")).from(&from);
    let page = doorward.browser().send(request).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (401, Some("no_session")),
        "{page}"
    );
    assert!(page.head.all("set-cookie").is_empty(), "{page}");
}

/// Background requests of a page: the session endpoint and a configured background path.
#[tokio::test]
async fn background_paths_refresh_and_are_no_activity() {
    for jwts_live_long in [true, false] {
        let doorward = Setup::plain()
            .session("idle_timeout = \"10m\"")
            .store("background_paths = [\"/api/news/**\"]\ncase_insensitive_paths = true")
            .start();
        if jwts_live_long {
            long_lived(&doorward);
        }
        let mut browser = doorward.logged_in("alice", CART).await;
        let seen = doorward.cookie(&browser, "activity");
        for minute in 1..10 {
            doorward.advance_secs(60);
            let left = session(&doorward, &mut browser).await["idle_expires_in"].as_u64();
            assert_eq!(left, Some(600 - minute * 60));
            let page = browser.step(&doorward.store_url("/API/news?since=3")).await;
            assert_eq!(
                (page.status(), doorward.store_saw().as_deref()),
                (200, Some("alice-id")),
                "{page}"
            );
            assert_eq!(doorward.cookie(&browser, "activity"), seen, "{page}");
        }
        assert_eq!(
            doorward.provider.grants("refresh_token") > 0,
            !jwts_live_long
        );
        let mut back = browser.clone();
        load(&doorward, &mut back, "alice").await;
        assert_ne!(
            doorward.cookie(&back, "activity"),
            seen,
            "somebody is there again"
        );
        doorward.advance_secs(60);
        load(&doorward, &mut back, "alice").await;
        let from = url::Url::parse(&doorward.store_url("/")).unwrap();
        for path in ["/.doorward/session", "/api/news"] {
            let request = RequestSpec::new(Kind::Fetch, &doorward.store_url(path)).from(&from);
            let page = browser.clone().send(request).await;
            assert_eq!(
                (page.status(), page.json()["code"].as_str()),
                (401, Some("idle_timeout")),
                "{page}"
            );
        }
    }
}

#[tokio::test]
async fn dropping_activity_cookie_does_not_extend_session() {
    let doorward = Setup::plain().session("idle_timeout = \"10m\"").start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let name = doorward.cookie_name("activity");
    for _ in 1..=10 {
        browser
            .jar
            .remove(doorward.store_host(), |cookie| cookie.name == name);
        let page = browser
            .step(&doorward.store_url("/.doorward/session"))
            .await;
        assert_eq!(page.status(), 200, "{page}");
        doorward.advance_secs(60);
    }
    assert!(
        doorward.provider.grants("refresh_token") > 0,
        "polling refreshed"
    );
    browser
        .jar
        .remove(doorward.store_host(), |cookie| cookie.name == name);
    is_sent_to_log_in(&doorward, &mut browser).await;
}

#[tokio::test]
async fn clock_set_back_keeps_sessions() {
    let doorward = Setup::plain()
        .session("idle_timeout = \"10m\"\nabsolute_timeout = \"1h\"")
        .start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(320);
    load(&doorward, &mut browser, "alice").await;
    // Only the server's clock is wrong: the cookies must not expire in the browser.
    let mut browser = hoarding(&doorward, &browser);
    let seen = doorward.cookie(&browser, "activity");
    for back in [1, 300, 3600] {
        doorward.clock.set_back(Duration::from_secs(back));
        load(&doorward, &mut browser, "alice").await;
        assert_eq!(doorward.cookie(&browser, "activity"), seen, "{back} s back");
        let shown = session(&doorward, &mut browser).await;
        assert!(shown["idle_expires_in"].as_u64() >= Some(600), "{shown}");
        doorward.advance_secs(back);
    }
    // The clock is correct again: the timeouts are unchanged.
    doorward.advance_secs(599);
    load(&doorward, &mut browser.clone(), "alice").await;
    doorward.advance_secs(1);
    is_sent_to_log_in(&doorward, &mut browser).await;
}

#[tokio::test]
async fn clock_jump_ahead_ends_only_expired_sessions() {
    let doorward = Setup::plain()
        .session("idle_timeout = \"10m\"\nabsolute_timeout = \"1h\"")
        .start();
    let browser = doorward.logged_in("alice", CART).await;
    for (ahead, lives) in [
        (0, true),
        (301, true),
        (599, true),
        (600, false),
        (3600, false),
        (1_000_000, false),
    ] {
        doorward.advance_secs(ahead);
        let mut browser = hoarding(&doorward, &browser);
        if lives {
            load(&doorward, &mut browser, "alice").await;
        } else {
            is_sent_to_log_in(&doorward, &mut browser).await;
        }
        doorward.clock.set_back(Duration::from_secs(ahead));
    }
    load(&doorward, &mut hoarding(&doorward, &browser), "alice").await;
}

#[tokio::test]
async fn app_timeouts_can_be_configured() {
    let doorward = Setup::plain()
        .session("idle_timeout = \"10m\"")
        .forum("idle_timeout = \"2h\"")
        .start();
    long_lived(&doorward);
    let mut browser = doorward.logged_in("alice", CART).await;
    browser.visit(&doorward.forum_url("/posts")).await;
    doorward.advance_secs(700);
    is_sent_to_log_in(&doorward, &mut browser).await;
    assert_eq!(
        browser.step(&doorward.forum_url("/posts")).await.status(),
        200
    );
}
