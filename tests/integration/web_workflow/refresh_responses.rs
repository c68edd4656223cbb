//! Refresh responses: a rotated key, another user, missing tokens.

use super::{CART, calls, exchanges, is_sent_to_log_in, load, refreshes, shown};
use crate::support::doorward::Setup;
use crate::support::provider::{ExpiresIn, Flaw, RefreshRefusal};

#[tokio::test]
async fn rotated_provider_keys_are_followed() {
    for keep_old in [true, false] {
        let doorward = Setup::plain().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.provider.rotate_keys(keep_old);
        doorward.advance_secs(300);
        load(&doorward, &mut browser, "alice").await;
        load(&doorward, &mut doorward.logged_in("bob", CART).await, "bob").await;
    }
}

#[tokio::test]
async fn jwt_of_withdrawn_key_is_refreshed_early() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    doorward.provider.rotate_keys(false);
    doorward.advance_secs(60);
    doorward.logged_in("bob", CART).await;
    assert_eq!(refreshes(&doorward), 0);
    load(&doorward, &mut alice, "alice").await;
    assert_eq!(refreshes(&doorward), 1);
}

#[tokio::test]
async fn subject_change_at_refresh_ends_session() {
    for jwt in ["id", "access"] {
        let doorward = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let mut copy = browser.clone();
        doorward
            .provider
            .behave(|provider| provider.refreshed_sub = Some("mallory-id".to_owned()));
        doorward.advance_secs(300);
        is_sent_to_log_in(&doorward, &mut browser).await;
        is_sent_to_log_in(&doorward, &mut copy).await;
        assert!(
            doorward
                .store
                .received()
                .iter()
                .all(|request| request.header("x-forwarded-user") != Some("mallory-id"))
        );
    }
}

#[tokio::test]
async fn missing_new_refresh_token_keeps_the_old_one() {
    let doorward = Setup::plain().start();
    doorward
        .provider
        .behave(|provider| provider.rotates_refresh_tokens = false);
    let mut browser = doorward.logged_in("alice", CART).await;
    for round in 1..4 {
        doorward.advance_secs(300);
        load(&doorward, &mut browser, "alice").await;
        assert_eq!(refreshes(&doorward), round);
    }
    let presented = doorward.provider.presented();
    assert!(presented.windows(2).all(|two| two[0].token == two[1].token));
    assert_eq!(exchanges(&doorward), 1);
}

#[tokio::test]
async fn missing_new_jwt_keeps_claims_with_new_expiry() {
    let doorward = Setup::plain().start();
    doorward
        .provider
        .behave(|provider| provider.refresh_brings_id_token = false);
    let mut browser = doorward.logged_in("alice", CART).await;
    for round in 1..4 {
        doorward.advance_secs(300);
        let page = load(&doorward, &mut browser, "alice").await;
        assert_eq!(
            (shown(&page).as_deref(), refreshes(&doorward)),
            (Some("alice-id"), round)
        );
        assert_eq!(
            doorward.store.last().header("x-forwarded-email"),
            Some("alice@example.com")
        );
    }
    let before = calls(&doorward);
    doorward.advance_secs(200);
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(calls(&doorward), before);
}

#[tokio::test]
async fn rejected_refresh_token_ends_session_however_worded() {
    for (status, error) in [(400, Some("invalid_grant")), (401, Some("invalid_grant"))] {
        let doorward = Setup::plain().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let mut copy = browser.clone();
        doorward
            .provider
            .behave(|provider| provider.refresh_refusal = Some(RefreshRefusal { status, error }));
        doorward.advance_secs(300);
        is_sent_to_log_in(&doorward, &mut browser).await;
        is_sent_to_log_in(&doorward, &mut copy).await;
        assert_eq!(refreshes(&doorward), 1);
        assert_eq!(doorward.cookie(&browser, "refresh"), None);
    }
}

#[tokio::test]
async fn flawed_refreshed_token_is_never_used() {
    for flaw in [
        Flaw::WrongSignature,
        Flaw::WrongIssuer,
        Flaw::WrongAudience,
        Flaw::AlgNone,
        Flaw::Expired,
    ] {
        let doorward = Setup::plain().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(300);
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws = vec![flaw.clone()]);
        let before = doorward.store.count();
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(
            (page.status(), doorward.store.count()),
            (503, before),
            "{flaw:?}: {page}"
        );
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws.clear());
        doorward.advance_secs(5);
        load(&doorward, &mut browser, "alice").await;
        doorward.provider.assert_no_dead_refresh_token_was_sent();
    }
}

#[tokio::test]
async fn refresh_without_jwt_or_lifetime_keeps_previous_lifetime() {
    let doorward = Setup::plain().start();
    doorward.provider.behave(|provider| {
        provider.refresh_brings_id_token = false;
        provider.expires_in = ExpiresIn::Missing;
    });
    let mut browser = doorward.logged_in("alice", CART).await;
    for refreshed in 1..3 {
        doorward.advance_secs(300);
        browser.step(&doorward.store_url(CART)).await;
        load(&doorward, &mut browser, "alice").await;
        assert_eq!(refreshes(&doorward), refreshed);
    }
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn consumed_token_is_never_sent_after_flawed_refresh() {
    for flaws in [None, Some(vec![Flaw::WrongSignature])] {
        let doorward = Setup::plain().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let name = doorward.cookie_name("jwt");
        browser
            .jar
            .remove(doorward.store_host(), |cookie| cookie.name == name);
        doorward.provider.behave(|provider| match flaws {
            Some(flaws) => provider.id_token_flaws = flaws,
            None => provider.refresh_brings_id_token = false,
        });
        for _ in 0..2 {
            is_sent_to_log_in(&doorward, &mut browser).await;
        }
        doorward.provider.assert_no_dead_refresh_token_was_sent();
        assert_eq!(refreshes(&doorward), 1);
    }
}
