//! Login CSRF and cookie tossing: a prepared login never changes the victim's user.

use super::{CART, exchanges, is_sent_to_log_in, load, location, sets_session};
use crate::support::browser::{Browser, Page};
use crate::support::doorward::{Doorward, Setup};

/// The attacker logs in and stops before the callback. Returns the callback URL and the attempt's
/// cookie.
async fn prepared(doorward: &Doorward) -> (Browser, Page) {
    doorward.sign_in("mallory");
    let mut attacker = doorward.browser();
    let start = is_sent_to_log_in(doorward, &mut attacker).await;
    let at_provider = attacker.next(&start).await;
    (attacker, at_provider)
}

/// The sibling host `forum.example.test` sets cookies for all of `example.test`.
fn toss(attacker: &Browser, victim: &mut Browser, doorward: &Doorward) {
    let attempts: Vec<_> = attacker
        .jar
        .of(doorward.store_host())
        .into_iter()
        .filter(|cookie| cookie.name.contains("_login_"))
        .cloned()
        .collect();
    assert_eq!(attempts.len(), 1);
    for mut cookie in attempts {
        cookie.host_only = false;
        cookie.domain = "example.test".to_owned();
        victim.jar.plant(cookie);
    }
}

#[tokio::test]
async fn planted_login_never_signs_victim_in_as_attacker() {
    let doorward = Setup::over_tls().start();
    let (attacker, login_csrf) = prepared(&doorward).await;
    doorward.sign_in("alice");
    let known = {
        let mut victim = doorward.browser();
        is_sent_to_log_in(&doorward, &mut victim).await;
        victim
    };
    for mut victim in [doorward.browser(), known] {
        toss(&attacker, &mut victim, &doorward);
        let page = victim.step(location(&login_csrf)).await;
        assert!(!sets_session(&page), "{page}");
        assert_eq!(
            exchanges(&doorward),
            0,
            "the attacker's code must not be redeemed"
        );
    }
}

#[tokio::test]
async fn victim_ends_as_itself_after_planted_login() {
    let doorward = Setup::over_tls().start();
    let (attacker, login_csrf) = prepared(&doorward).await;
    doorward.sign_in("alice");
    let mut victim = doorward.browser();
    toss(&attacker, &mut victim, &doorward);
    victim.visit(location(&login_csrf)).await;
    load(&doorward, &mut victim, "alice").await;
}

#[tokio::test]
async fn signed_in_victim_keeps_its_session() {
    let doorward = Setup::over_tls().start();
    let mut victim = doorward.logged_in("alice", CART).await;
    let (attacker, login_csrf) = prepared(&doorward).await;
    toss(&attacker, &mut victim, &doorward);
    let page = victim.step(location(&login_csrf)).await;
    assert!(!sets_session(&page), "{page}");
    assert_eq!(location(&page), doorward.store_url(CART));
    load(&doorward, &mut victim, "alice").await;
}

#[tokio::test]
async fn callback_of_other_browser_is_refused() {
    let doorward = Setup::plain().start();
    let (_, login_csrf) = prepared(&doorward).await;
    doorward.sign_in("alice");
    let mut victim = doorward.browser();
    let page = victim.step(location(&login_csrf)).await;
    assert!(!sets_session(&page), "{page}");
    let page = victim.visit(location(&login_csrf)).await;
    assert_eq!(page.status(), 200, "{page}");
    load(&doorward, &mut victim, "alice").await;
    assert_eq!(exchanges(&doorward), 1);
}

#[tokio::test]
async fn injected_code_is_refused_by_nonce_and_pkce() {
    let doorward = Setup::plain().start();
    let (_, login_csrf) = prepared(&doorward).await;
    let code = super::parameter(location(&login_csrf), "code").expect("a code");
    doorward.sign_in("alice");
    let mut victim = doorward.browser();
    let start = is_sent_to_log_in(&doorward, &mut victim).await;
    let own = victim.next(&start).await;
    let mut callback = url::Url::parse(location(&own)).expect("an URL");
    let pairs: Vec<(String, String)> = callback.query_pairs().into_owned().collect();
    callback
        .query_pairs_mut()
        .clear()
        .extend_pairs(pairs.iter().map(|(name, value)| {
            (
                name.as_str(),
                if name == "code" {
                    code.as_str()
                } else {
                    value.as_str()
                },
            )
        }));
    let page = victim.step(callback.as_str()).await;
    assert_eq!(page.status(), 400, "{page}");
    assert!(
        !sets_session(&page) && page.text().contains("code_rejected"),
        "{page}"
    );
    is_sent_to_log_in(&doorward, &mut victim).await;
}
