//! Reuse of a superseded refresh token: tolerated during the grace period, treated as theft after
//! it.

use super::{CART, is_sent_to_log_in, load, refreshes};
use crate::support::doorward::Setup;
use crate::support::eventually;

#[tokio::test]
async fn old_cookie_within_grace_gets_newest_tokens() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut old = browser.clone();
    doorward.advance_secs(300);
    load(&doorward, &mut browser, "alice").await;
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(29);
    load(&doorward, &mut old, "alice").await;
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(refreshes(&doorward), 1);
}

#[tokio::test]
async fn reuse_after_confirmation_and_grace_ends_session() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut old = browser.clone();
    doorward.advance_secs(300);
    load(&doorward, &mut browser, "alice").await;
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(31);
    is_sent_to_log_in(&doorward, &mut old).await;
    is_sent_to_log_in(&doorward, &mut browser).await;
    assert_eq!(refreshes(&doorward), 1);
    let newest = doorward.provider.revoked();
    assert!(
        newest.len() == 1 && !doorward.provider.is_live(&newest[0]),
        "{newest:?}"
    );
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn old_refresh_cookie_beside_valid_jwt_is_reuse() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut old = browser.clone();
    doorward.advance_secs(240);
    while doorward.cookie(&browser, "refresh") == doorward.cookie(&old, "refresh") {
        load(&doorward, &mut browser, "alice").await;
    }
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(31);
    load(&doorward, &mut old, "alice").await;
    eventually("the session has ended", || {
        !doorward.provider.revoked().is_empty()
    })
    .await;
    is_sent_to_log_in(&doorward, &mut old).await;
    is_sent_to_log_in(&doorward, &mut browser).await;
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn many_refreshes_in_many_tabs_are_no_reuse() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    for round in 1..8 {
        doorward.advance_secs(300);
        let mut tabs: Vec<_> = (0..3).map(|_| browser.clone()).collect();
        for tab in &mut tabs {
            let page = load(&doorward, tab, "alice").await;
            super::arrive(&doorward, &mut browser, &page);
        }
        load(&doorward, &mut browser, "alice").await;
        assert_eq!(refreshes(&doorward), round);
    }
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}
