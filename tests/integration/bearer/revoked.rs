//! Back-channel logout ends access tokens too, by provider session ID, or by subject and time of
//! issue.

use serde_json::{Value, json};

use super::{CART, ORDERS, PROFILE, ask, of_bob, setup, token, with_token};
use crate::support::assertions::assert_problem;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Doorward;
use crate::support::websocket::WebSocket;

async fn ends(door: &Doorward, claims: Value) {
    let token = door.provider.logout_token("store", &claims, &[]);
    let ask = RequestSpec::new(
        Kind::Program,
        &door.store_url("/.doorward/backchannel-logout"),
    )
    .method("POST");
    let form = format!("logout_token={token}");
    let answer = door
        .browser()
        .send(ask.body("application/x-www-form-urlencoded", form))
        .await;
    assert_eq!(answer.status(), 200, "{answer}");
}

#[tokio::test]
async fn revocation_by_session_ends_its_tokens_only() {
    let door = super::door();
    let (ended, other) = (
        token(&door, json!({ "sid": "s-1" })),
        token(&door, json!({ "sid": "s-2" })),
    );
    let never_seen = token(&door, json!({ "sid": "s-1" }));
    for token in [&ended, &other] {
        assert_eq!(with_token(&door, CART, token).await.status(), 200);
    }
    ends(&door, json!({ "sid": "s-1" })).await;
    for token in [&ended, &never_seen] {
        assert_problem(&with_token(&door, CART, token).await, 401, "token_revoked");
    }
    assert_eq!(with_token(&door, CART, &other).await.status(), 200);
}

#[tokio::test]
async fn revocation_by_subject_ends_earlier_tokens_only() {
    let door = super::door();
    let (before, of_bob) = (token(&door, json!({})), token(&door, of_bob()));
    assert_eq!(with_token(&door, CART, &before).await.status(), 200);
    door.advance_secs(60);
    ends(&door, json!({ "sub": "alice-id" })).await;
    assert_problem(
        &with_token(&door, PROFILE, &before).await,
        401,
        "token_revoked",
    );
    assert_eq!(with_token(&door, CART, &of_bob).await.status(), 200);
    door.advance_secs(31);
    let later = token(&door, json!({}));
    assert_eq!(with_token(&door, CART, &later).await.status(), 200);
}

#[tokio::test]
async fn user_token_never_outlives_its_revocation_record() {
    let door = setup("")
        .session("absolute_timeout = \"1h\"\nidle_timeout = \"30m\"")
        .start();
    let end = door.now().secs() + 30 * 24 * 3600;
    let user = token(&door, json!({ "exp": end, "scope": "orders:read" }));
    let client = token(
        &door,
        json!({ "exp": end, "scope": "orders:read", "sub": null }),
    );
    ends(&door, json!({ "sub": "alice-id" })).await;
    assert_problem(
        &with_token(&door, ORDERS, &user).await,
        401,
        "token_revoked",
    );
    door.advance_secs(3600);
    let late = with_token(&door, ORDERS, &user).await;
    assert!(late.status() == 401 && door.store.count() == 0, "{late}");
    assert_eq!(
        with_token(&door, ORDERS, &client).await.status(),
        200,
        "a client has no sessions that could be ended"
    );
}

#[tokio::test]
async fn websocket_is_closed_with_its_token() {
    let door = super::door();
    let bearer = format!("Bearer {}", token(&door, json!({ "sid": "s-1" })));
    let mut program = door.browser();
    let mut talk = WebSocket::open(&mut program, ask(&door, "/api/feed", &bearer))
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    ends(&door, json!({ "sid": "s-1" })).await;
    let end = talk.poll().await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
}
