//! Steps 7 and 8: what an attacker gets with tokens copied from a phone. With DPoP the theft fails: see the
//! same steps in `dpop`. Otherwise a refresh token works until its reuse is detected or the session ends,
//! and an access token until its JWT expires. The tests without a step hold for both.

use serde_json::json;

use super::{
    CART, PASSWORD, Phone, calls, is_told_to_log_in, native, shows_the_cart, started, store,
};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, TokenStatus};

const INLINE: &str = "inline_refresh = true";

#[tokio::test]
async fn step_7_unbound_token_after_owner_refresh_ends_both_sessions() {
    for inline in [true, false] {
        let doorward = started(store(INLINE));
        let mut owner = Phone::logged_in(&doorward).await;
        let mut thief = owner.copy();
        doorward.advance_secs(300);
        shows_the_cart(&owner.load_with_both(CART).await);
        shows_the_cart(&owner.load(CART).await);
        doorward.advance_secs(31);
        let page = if inline {
            thief.load_with_both(CART).await
        } else {
            thief.refresh().await
        };
        is_told_to_log_in(&page, "refresh_token_reused");
        is_told_to_log_in(&owner.load(CART).await, "session_revoked");
        is_told_to_log_in(&owner.refresh().await, "session_revoked");
        let reused = doorward
            .metric(r#"doorward_refresh_tokens_reused_total{app="store",outcome="session_ended",provider="login"}"#)
            .await;
        assert!((reused - 1.0).abs() < f64::EPSILON);
        assert_eq!(
            doorward.provider.revoked().len(),
            1,
            "the provider's token is of no use any more"
        );
        doorward.provider.assert_no_dead_refresh_token_was_sent();

        let page = owner.log_in("alice", PASSWORD).await;
        assert_eq!(page.status(), 200, "the owner logs in again: {page}");
    }
}

#[tokio::test]
async fn step_7_thief_of_unbound_token_is_found_when_owner_refreshes() {
    let doorward = started(store(""));
    let mut owner = Phone::logged_in(&doorward).await;
    let mut thief = owner.copy();
    doorward.advance_secs(300);
    assert_eq!(thief.refresh().await.status(), 200);
    shows_the_cart(&thief.load(CART).await);
    doorward.advance_secs(31);
    is_told_to_log_in(&owner.refresh().await, "refresh_token_reused");
    is_told_to_log_in(&thief.load(CART).await, "session_revoked");
    is_told_to_log_in(&thief.refresh().await, "session_revoked");
}

#[tokio::test]
async fn step_7_lost_response_is_not_reuse() {
    let doorward = started(store(""));
    let mut phone = Phone::logged_in(&doorward).await;
    doorward.advance_secs(300);
    let before_the_tunnel = phone.copy();
    assert_eq!(phone.refresh().await.status(), 200);
    // The phone never received the new tokens and sends the old pair much later.
    let mut phone = before_the_tunnel;
    doorward.advance_secs(120);
    assert_eq!(phone.refresh().await.status(), 200);
    shows_the_cart(&phone.load(CART).await);
    assert_eq!(calls(&doorward), (1, 1), "the successor was waiting");
}

#[tokio::test]
async fn step_8_unbound_jwt_works_until_expiry_logout_or_revocation() {
    let doorward = started(store(INLINE));
    let mut owner = Phone::logged_in(&doorward).await;
    let mut thief = owner.copy();
    thief.refresh_token = String::new();
    shows_the_cart(&thief.load(CART).await);
    doorward.advance_secs(300);
    is_told_to_log_in(&thief.load_with_both(CART).await, "unknown_token");
    is_told_to_log_in(&thief.load(CART).await, "jwt_expired");

    shows_the_cart(&owner.load_with_both(CART).await);
    let mut thief = owner.copy();
    let token = owner.refresh_token.clone();
    assert_eq!(
        owner
            .post_json("native/logout", &json!({ "refresh_token": token }))
            .await
            .status(),
        204
    );
    is_told_to_log_in(&thief.load(CART).await, "session_revoked");

    doorward.advance_secs(1);
    let mut owner = Phone::logged_in(&doorward).await;
    shows_the_cart(&owner.load(CART).await);
    let token = doorward
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("logout_token", &token)
        .finish();
    let request = owner
        .request("POST", "/.doorward/backchannel-logout")
        .body("application/x-www-form-urlencoded", body);
    assert_eq!(owner.send(request).await.status(), 200);
    is_told_to_log_in(&owner.load(CART).await, "session_revoked");
}

#[tokio::test]
async fn tokens_are_useless_at_other_app_provider_or_purpose() {
    let forum = "\n[apps.forum.native]\npassword_grant = true\n";
    let doorward = started(store("").more(forum));
    let phone = Phone::logged_in(&doorward).await;
    let mut at_forum = phone.copy();
    at_forum.store = doorward.site().forum;
    is_told_to_log_in(&at_forum.load("/posts").await, "unknown_token");
    is_told_to_log_in(&at_forum.refresh().await, "unknown_refresh_token");
    assert_eq!((doorward.forum.count(), calls(&doorward)), (0, (1, 0)));

    let form = |token: &str| {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", "store"),
            ("client_secret", "store-secret"),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request =
            RequestSpec::new(Kind::Program, &doorward.provider.url(Endpoint::Token)).method("POST");
        request.body("application/x-www-form-urlencoded", body)
    };
    for token in [&phone.refresh_token, &phone.access_token] {
        let page = doorward.browser().send(form(token)).await;
        assert_eq!(page.status(), 400, "{page}");
    }
    assert!(
        doorward
            .provider
            .presented()
            .iter()
            .all(|presented| presented.status == TokenStatus::Unknown)
    );

    // Tokens of one kind are not accepted as another kind, and none is accepted as a cookie.
    let swapped = Phone {
        access_token: phone.refresh_token.clone(),
        refresh_token: phone.access_token.clone(),
        ..phone.copy()
    };
    assert_eq!(swapped.copy().load(CART).await.status(), 401);
    is_told_to_log_in(&swapped.copy().refresh().await, "unknown_refresh_token");
    let seal = phone.access_token.trim_start_matches("doorward_at_");
    for cookie in [seal, &phone.access_token] {
        let request = phone
            .request("GET", CART)
            .header("Cookie", &format!("doorward_jwt={cookie}"));
        assert_eq!(phone.copy().send(request).await.status(), 401);
    }
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    browser.visit(&doorward.store_url(CART)).await;
    let cookie = doorward.cookie(&browser, "jwt").expect("a cookie");
    let mut by_cookie = Phone::of(&doorward);
    by_cookie.access_token = format!("doorward_at_{cookie}");
    is_told_to_log_in(&by_cookie.load(CART).await, "unknown_token");
}

#[tokio::test]
async fn tokens_of_two_sessions_do_not_combine() {
    let doorward = started(store(INLINE));
    let alice = Phone::logged_in(&doorward).await;
    let mut bob = Phone::of(&doorward);
    bob.log_in("bob", "bob").await;
    doorward.advance_secs(300);
    let mut mixed = Phone {
        refresh_token: bob.refresh_token.clone(),
        ..alice.copy()
    };
    is_told_to_log_in(&mixed.load_with_both(CART).await, "unknown_token");
    assert_eq!(calls(&doorward), (2, 0));
}

#[tokio::test]
async fn modified_token_is_rejected_and_key_rotation_is_not() {
    let mut doorward = started(
        Setup::plain()
            .store("session_jwt = \"access\"")
            .more(&native(INLINE)),
    );
    let phone = Phone::logged_in(&doorward).await;
    let length = phone.access_token.len();
    for at in [0, 5, 12, 13, 20, 40, length / 2, length - 30, length - 2] {
        let mut bytes = phone.access_token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let mut forged = Phone {
            access_token: String::from_utf8(bytes).expect("ASCII"),
            ..phone.copy()
        };
        assert_eq!(forged.load(CART).await.status(), 401, "changed at {at}");
    }
    assert_eq!(doorward.store.count(), 0);
    let replica = doorward.add_replica_with_keys(&["newer.key", "doorward.key"]);
    let mut elsewhere = phone.copy();
    elsewhere.http = doorward.browser_of(replica);
    shows_the_cart(&elsewhere.load(CART).await);
    assert_eq!(elsewhere.refresh().await.status(), 200);
    shows_the_cart(&elsewhere.load(CART).await);
}
