//! Steps 9 and 10: what an attacker gets with copied cookies. With a device-bound session the theft fails.
//! Otherwise a refresh cookie works until the session ends, at the latest when its reuse is detected, and
//! a JWT cookie until the JWT expires. The last tests hold for both.

use std::net::Ipv4Addr;

use super::{CART, is_sent_to_log_in, load, refreshes, shown};
use crate::support::assertions::fetched;
use crate::support::bound_browser::BoundBrowser;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::cookies::Cookie;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::Endpoint;

/// Another machine with only these of the victim's cookies for the store.
fn thief(doorward: &Doorward, victim: &Browser, kinds: &[&str]) -> Browser {
    let mut thief = doorward.browser();
    for kind in kinds {
        let cookie = victim
            .jar
            .get(doorward.store_host(), &doorward.cookie_name(kind))
            .expect("the victim's cookie");
        thief.jar.plant(cookie.clone());
    }
    thief
}

/// A browser with a bound session of alice.
async fn bound(doorward: &Doorward) -> BoundBrowser {
    let mut owner = BoundBrowser::new(doorward.logged_in("alice", CART).await);
    owner.fetch("GET", &doorward.store_url("/style.css")).await;
    assert!(owner.session.is_some(), "not bound");
    owner
}

fn binding() -> Doorward {
    Setup::over_tls()
        .store("device_binding = { mode = \"offer\" }")
        .start()
}

#[tokio::test]
async fn steps_9_and_10_theft_from_bound_session_fails() {
    let doorward = binding();
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    let before = refreshes(&doorward);
    for kinds in [&["refresh"][..], &["jwt"], &["jwt", "refresh", "activity"]] {
        for secs in [0, 60, 300] {
            doorward.advance_secs(secs);
            let mut thief = thief(&doorward, &owner.browser, kinds);
            assert_eq!(fetched(&mut thief, &url).await.status(), 401, "{kinds:?}");
            is_sent_to_log_in(&doorward, &mut thief).await;
        }
    }
    assert_eq!(refreshes(&doorward), before, "the thief refreshed nothing");
    let page = owner.fetch("GET", &url).await;
    assert_eq!(shown(&page).as_deref(), Some("alice-id"), "{page}");
}

#[tokio::test]
async fn steps_9_and_10_whole_jar_of_bound_session_works_45_seconds() {
    let doorward = binding();
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    owner.fetch("GET", &url).await;
    let copy = owner.browser.clone();
    // At last the jar has no proof any more.
    for (secs, status) in [(0, 200), (44, 200), (1, 307), (600, 401)] {
        doorward.advance_secs(secs);
        let page = fetched(&mut copy.clone(), &url).await;
        assert_eq!(page.status(), status, "{secs} s: {page}");
        let mut elsewhere = copy.clone().from_address(Ipv4Addr::new(127, 0, 7, 1));
        let page = fetched(&mut elsewhere, &url).await;
        assert_ne!(page.status(), 200, "{secs} s: {page}");
        if secs == 0 {
            // The owner's next proof does not prolong the copy.
            owner.fetch("GET", &url).await;
        }
    }
}

#[tokio::test]
async fn step_9_unbound_refresh_cookie_works_until_session_ends() {
    let doorward = Setup::over_tls().start();
    let victim = doorward.logged_in("alice", CART).await;
    let mut thief = thief(&doorward, &victim, &["refresh"]);
    load(&doorward, &mut thief, "alice").await;
    assert_eq!(refreshes(&doorward), 1);
}

#[tokio::test]
async fn step_9_stolen_refresh_cookie_after_rotation_ends_session_of_both() {
    let doorward = Setup::over_tls().start();
    let mut victim = doorward.logged_in("alice", CART).await;
    let mut thief = thief(&doorward, &victim, &["refresh"]);
    doorward.advance_secs(300);
    load(&doorward, &mut victim, "alice").await;
    load(&doorward, &mut victim, "alice").await;
    doorward.advance_secs(31);
    is_sent_to_log_in(&doorward, &mut thief).await;
    is_sent_to_log_in(&doorward, &mut victim).await;
    doorward.provider.assert_no_dead_refresh_token_was_sent();
    let reused = doorward
        .metric(r#"doorward_refresh_tokens_reused_total{app="store",outcome="session_ended",provider="login"}"#)
        .await;
    assert!((reused - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn step_9_stolen_refresh_cookie_fails_after_logout_or_revocation() {
    let doorward = Setup::over_tls().start();
    let mut victim = doorward.logged_in("alice", CART).await;
    let mut stolen = thief(&doorward, &victim, &["refresh"]);
    doorward.provider.end_grants_of("alice-id");
    is_sent_to_log_in(&doorward, &mut stolen).await;

    let mut second = doorward.logged_in("alice", CART).await;
    let mut stolen = thief(&doorward, &second, &["refresh"]);
    let form = second.visit(&doorward.store_url("/.doorward/logout")).await;
    second.submit(&form, &[]).await;
    is_sent_to_log_in(&doorward, &mut stolen).await;
    doorward.advance_secs(300);
    is_sent_to_log_in(&doorward, &mut victim).await;
}

#[tokio::test]
async fn step_10_unbound_jwt_cookie_works_until_expiry() {
    let doorward = Setup::over_tls().start();
    let victim = doorward.logged_in("alice", CART).await;
    let mut thief = thief(&doorward, &victim, &["jwt"]);
    load(&doorward, &mut thief, "alice").await;
    doorward.advance_secs(299);
    load(&doorward, &mut thief, "alice").await;
    doorward.advance_secs(1);
    is_sent_to_log_in(&doorward, &mut thief).await;
    assert_eq!(refreshes(&doorward), 0);
}

#[tokio::test]
async fn step_10_stolen_jwt_cookie_fails_after_logout_or_revocation() {
    let doorward = Setup::over_tls().start();
    let mut victim = doorward.logged_in("alice", CART).await;
    let mut stolen = thief(&doorward, &victim, &["jwt"]);
    let form = victim.visit(&doorward.store_url("/.doorward/logout")).await;
    victim.submit(&form, &[]).await;
    is_sent_to_log_in(&doorward, &mut stolen).await;

    let victim = doorward.logged_in("alice", CART).await;
    let mut stolen = thief(&doorward, &victim, &["jwt", "refresh", "activity"]);
    doorward.provider.end_grants_of("alice-id");
    doorward.advance_secs(300);
    is_sent_to_log_in(&doorward, &mut stolen).await;
}

#[tokio::test]
async fn steps_9_and_10_cookies_fail_at_other_app_or_name() {
    let doorward = Setup::over_tls().start();
    let victim = doorward.logged_in("alice", CART).await;
    let kinds = ["jwt", "refresh", "activity", "browser"];
    for kind in kinds {
        let stolen = victim
            .jar
            .get(doorward.store_host(), &doorward.cookie_name(kind))
            .expect("a cookie")
            .clone();
        for (host, url, name) in kinds.into_iter().flat_map(|name| {
            let store =
                (kind != name).then(|| (doorward.store_host(), doorward.store_url(CART), name));
            [
                store,
                Some((doorward.forum_host(), doorward.forum_url("/posts"), name)),
            ]
            .into_iter()
            .flatten()
        }) {
            let mut thief = doorward.browser();
            let mut cookie = Cookie::host_only(host, &doorward.cookie_name(name), &stolen.value);
            cookie.secure = true;
            thief.jar.plant(cookie);
            let page = thief.step(&url).await;
            assert_eq!(page.status(), 302, "{kind} as {name} at {host}: {page}");
        }
    }
    assert_eq!((refreshes(&doorward), doorward.forum.count()), (0, 0));
}

#[tokio::test]
async fn steps_9_and_10_cookies_fail_at_provider_and_as_bearer() {
    let doorward = Setup::over_tls().start();
    let victim = doorward.logged_in("alice", CART).await;
    for kind in ["jwt", "refresh"] {
        let stolen = doorward.cookie(&victim, kind).expect("a cookie");
        let mut thief = doorward.browser();
        let bearer = format!("Bearer {stolen}");
        let userinfo = doorward.provider.url(Endpoint::Userinfo);
        let page = thief
            .send(RequestSpec::new(Kind::Program, &userinfo).header("Authorization", &bearer))
            .await;
        assert_eq!(page.status(), 401, "{page}");
        let form = format!(
            "grant_type=refresh_token&client_id=store&client_secret=store-secret&refresh_token={stolen}"
        );
        let request =
            RequestSpec::new(Kind::Program, &doorward.provider.url(Endpoint::Token)).method("POST");
        let page = thief
            .send(request.body("application/x-www-form-urlencoded", form))
            .await;
        assert_eq!(page.status(), 400, "{page}");
        let request = RequestSpec::new(Kind::Program, &doorward.store_url(CART))
            .header("Authorization", &bearer);
        assert_eq!(thief.send(request).await.status(), 401);
    }
}

#[tokio::test]
async fn step_9_live_jwt_with_refresh_cookie_of_another_is_no_session() {
    let doorward = Setup::over_tls().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let bob = doorward.logged_in("bob", CART).await;
    load(&doorward, &mut alice, "alice").await;
    let mut mixed = thief(&doorward, &alice, &["jwt", "activity"]);
    mixed.jar.plant(
        bob.jar
            .get(doorward.store_host(), &doorward.cookie_name("refresh"))
            .expect("bob's")
            .clone(),
    );
    is_sent_to_log_in(&doorward, &mut mixed).await;
    load(&doorward, &mut alice, "alice").await;
    load(&doorward, &mut thief(&doorward, &alice, &["jwt"]), "alice").await;
}

#[tokio::test]
async fn step_9_halves_of_two_sessions_are_no_session() {
    let doorward = Setup::over_tls().start();
    let alice = doorward.logged_in("alice", CART).await;
    let bob = doorward.logged_in("bob", CART).await;
    doorward.advance_secs(300);
    let mut mixed = thief(&doorward, &alice, &["jwt"]);
    mixed.jar.plant(
        bob.jar
            .get(doorward.store_host(), &doorward.cookie_name("refresh"))
            .expect("bob's")
            .clone(),
    );
    is_sent_to_log_in(&doorward, &mut mixed).await;
    let page = mixed.visit(&doorward.store_url("/public/x")).await;
    assert_eq!((page.status(), shown(&page)), (200, None), "{page}");
    assert_eq!(refreshes(&doorward), 0);
}
