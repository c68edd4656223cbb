//! Back-channel logout ends access tokens too, by provider session ID, or by subject and time of
//! issue.

use serde_json::{Value, json};

use super::{CART, ORDERS, PROFILE, of_bob, request_with, setup, token, with_token};
use crate::support::assertions::assert_problem;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Doorward;
use crate::support::websocket::WebSocket;

async fn ends(doorward: &Doorward, claims: Value) {
    let token = doorward.provider.logout_token("store", &claims, &[]);
    let request_with = RequestSpec::new(
        Kind::Program,
        &doorward.store_url("/.doorward/backchannel-logout"),
    )
    .method("POST");
    let form = format!("logout_token={token}");
    let response = doorward
        .browser()
        .send(request_with.body("application/x-www-form-urlencoded", form))
        .await;
    assert_eq!(response.status(), 200, "{response}");
}

#[tokio::test]
async fn revocation_by_session_ends_its_tokens_only() {
    let doorward = super::doorward();
    let (ended, other) = (
        token(&doorward, json!({ "sid": "s-1" })),
        token(&doorward, json!({ "sid": "s-2" })),
    );
    let never_seen = token(&doorward, json!({ "sid": "s-1" }));
    for token in [&ended, &other] {
        assert_eq!(with_token(&doorward, CART, token).await.status(), 200);
    }
    ends(&doorward, json!({ "sid": "s-1" })).await;
    for token in [&ended, &never_seen] {
        assert_problem(
            &with_token(&doorward, CART, token).await,
            401,
            "token_revoked",
        );
    }
    assert_eq!(with_token(&doorward, CART, &other).await.status(), 200);
}

#[tokio::test]
async fn revocation_by_subject_ends_earlier_tokens_only() {
    let doorward = super::doorward();
    let (before, of_bob) = (token(&doorward, json!({})), token(&doorward, of_bob()));
    assert_eq!(with_token(&doorward, CART, &before).await.status(), 200);
    doorward.advance_secs(60);
    ends(&doorward, json!({ "sub": "alice-id" })).await;
    assert_problem(
        &with_token(&doorward, PROFILE, &before).await,
        401,
        "token_revoked",
    );
    assert_eq!(with_token(&doorward, CART, &of_bob).await.status(), 200);
    doorward.advance_secs(31);
    let later = token(&doorward, json!({}));
    assert_eq!(with_token(&doorward, CART, &later).await.status(), 200);
}

#[tokio::test]
async fn user_token_never_outlives_its_revocation_record() {
    let doorward = setup("")
        .session("absolute_timeout = \"1h\"\nidle_timeout = \"30m\"")
        .start();
    let end = doorward.now().secs() + 30 * 24 * 3600;
    let user = token(&doorward, json!({ "exp": end, "scope": "orders:read" }));
    let client = token(
        &doorward,
        json!({ "exp": end, "scope": "orders:read", "sub": null }),
    );
    ends(&doorward, json!({ "sub": "alice-id" })).await;
    assert_problem(
        &with_token(&doorward, ORDERS, &user).await,
        401,
        "token_revoked",
    );
    doorward.advance_secs(3600);
    let late = with_token(&doorward, ORDERS, &user).await;
    assert!(
        late.status() == 401 && doorward.store.count() == 0,
        "{late}"
    );
    assert_eq!(
        with_token(&doorward, ORDERS, &client).await.status(),
        200,
        "a client has no sessions that could be ended"
    );
}

#[tokio::test]
async fn websocket_is_closed_with_its_token() {
    let doorward = super::doorward();
    let bearer = format!("Bearer {}", token(&doorward, json!({ "sid": "s-1" })));
    let mut program = doorward.browser();
    let mut talk = WebSocket::open(&mut program, request_with(&doorward, "/api/feed", &bearer))
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    ends(&doorward, json!({ "sid": "s-1" })).await;
    let end = talk.poll().await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
}
