//! Identity of a bearer token: a user through an OAuth client, or the client itself.

use serde_json::json;

use super::{
    CART, ORDERS, PROFILE, ask, assert_no_token_reached_the_app, challenges, door, sent, setup,
    token, with_token,
};
use crate::support::assertions::assert_problem;
use crate::support::provider::Endpoint;
use crate::support::websocket::WebSocket;

#[tokio::test]
async fn bearer_request_has_the_identity_of_the_token_user() {
    let door = door();
    for path in [CART, PROFILE, "/public/news"] {
        let answer = with_token(
            &door,
            path,
            &token(&door, json!({ "email": "alice@example.com" })),
        )
        .await;
        assert_eq!(answer.status(), 200, "{path}: {answer}");
        assert!(
            answer.head.all("set-cookie").is_empty(),
            "{path}: a program has no session"
        );
        let seen = door.store.last();
        assert_eq!(
            (
                seen.header("x-forwarded-user"),
                seen.header("x-forwarded-email"),
                seen.header("x-forwarded-client")
            ),
            (Some("alice-id"), Some("alice@example.com"), None),
            "{path}"
        );
    }
    let private = with_token(&door, CART, &token(&door, json!({}))).await;
    assert_eq!(
        private.header("cache-control"),
        Some("private"),
        "no shared cache may keep it"
    );
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn verified_token_is_cached_and_revalidated() {
    let door = door();
    let (plain, admin) = (
        token(&door, json!({})),
        token(&door, json!({ "roles": ["admin"] })),
    );
    for _ in 0..3 {
        assert_eq!(with_token(&door, CART, &plain).await.status(), 200);
        assert_problem(&with_token(&door, "/admin", &plain).await, 403, "forbidden");
        assert_eq!(with_token(&door, "/admin", &admin).await.status(), 200);
    }
    door.advance_secs(329);
    assert_eq!(
        with_token(&door, CART, &plain).await.status(),
        200,
        "within the leeway"
    );
    door.advance_secs(1);
    let expired = with_token(&door, CART, &plain).await;
    assert_problem(&expired, 401, "token_expired");
    assert_eq!(
        (
            door.provider.calls(Endpoint::Token),
            door.provider.calls(Endpoint::Introspection)
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn scope_rule_admits_granted_scopes_and_names_missing_ones() {
    let door = door();
    let granted = token(&door, json!({ "scope": "openid orders:read" }));
    assert_eq!(with_token(&door, ORDERS, &granted).await.status(), 200);
    let lacking = with_token(
        &door,
        ORDERS,
        &token(&door, json!({ "scope": "openid orders:write" })),
    )
    .await;
    assert_problem(&lacking, 403, "forbidden");
    assert_eq!(
        challenges(&lacking),
        [
            r#"Bearer realm="store.localhost", error="insufficient_scope", error_description="forbidden", scope="orders:read""#
        ]
    );
    assert_eq!(door.store.count(), 1);
}

#[tokio::test]
async fn client_token_is_never_a_user() {
    let door = door();
    let clients = [
        json!({ "sub": null, "client_id": "reports", "scope": "orders:read" }),
        json!({ "sub": "reports", "client_id": "reports", "scope": "orders:read" }),
        json!({ "sub": "reports", "client_id": null, "azp": "reports", "scope": "orders:read" }),
    ];
    for claims in clients {
        let client = token(&door, claims.clone());
        let forged =
            ask(&door, ORDERS, &format!("Bearer {client}")).header("X-Forwarded-User", "alice-id");
        assert_eq!(
            sent(&mut door.browser(), forged).await.status(),
            200,
            "{claims}"
        );
        let seen = door.store.last();
        assert_eq!(
            (
                seen.header("x-forwarded-user"),
                seen.header("x-forwarded-client")
            ),
            (None, Some("reports")),
            "{claims}"
        );
        for path in [CART, PROFILE] {
            let refused = with_token(&door, path, &client).await;
            assert_problem(&refused, 403, "user_required");
            assert!(
                challenges(&refused)[0].contains(r#"error="insufficient_scope""#),
                "{refused}"
            );
        }
    }
    assert_eq!(door.store.count(), 3);
    // A client cannot claim it in a header either.
    let anonymous =
        ask(&door, "/public/news", "Basic eDp5").header("X_Forwarded.Client", "reports");
    assert_eq!(sent(&mut door.browser(), anonymous).await.status(), 200);
    assert!(!String::from_utf8_lossy(&door.store.last().head.raw).contains("reports"));
}

#[tokio::test]
async fn client_header_name_can_be_configured() {
    let door = setup("client_header = \"X-Machine\"").start();
    let client = token(
        &door,
        json!({ "sub": null, "client_id": "caf\u{e9}", "scope": "orders:read" }),
    );
    assert_eq!(with_token(&door, ORDERS, &client).await.status(), 200);
    assert_eq!(door.store.last().header("x-machine"), Some("caf%C3%A9"));
    for spelling in ["X-Machine", "x_machine"] {
        let forged = ask(&door, "/public/news", "Basic eDp5").header(spelling, "reports");
        assert_eq!(sent(&mut door.browser(), forged).await.status(), 200);
        assert_eq!(door.store.last().header(spelling), None);
    }
}

#[tokio::test]
async fn public_path_accepts_any_token_and_names_known_callers() {
    let door = door();
    let (good, expired) = (token(&door, json!({})), token(&door, json!({ "exp": 1 })));
    // Keys are fetched for protected paths, not for public ones.
    assert_eq!(with_token(&door, CART, &good).await.status(), 200);
    let cases = [
        (good.as_str(), Some("alice-id")),
        (&expired, None),
        ("opaque", None),
        ("", None),
        ("a b", None),
    ];
    for (token, user) in cases {
        assert_eq!(
            with_token(&door, "/public/news", token).await.status(),
            200,
            "{token}"
        );
        assert_eq!(
            door.store.last().header("x-forwarded-user"),
            user,
            "{token}"
        );
    }
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn websocket_by_token_lasts_as_long_as_the_token() {
    let door = door();
    let mut program = door.browser();
    let bearer = format!("Bearer {}", token(&door, json!({})));
    let mut talk = WebSocket::open(&mut program, ask(&door, "/api/feed", &bearer))
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    assert_eq!(
        door.store.last().header("x-forwarded-user"),
        Some("alice-id")
    );
    door.advance_secs(330);
    let end = talk.poll().await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
    let refused = WebSocket::open(&mut program, ask(&door, "/api/feed", &bearer)).await;
    assert_eq!(refused.err().expect("no socket").status(), 401);
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn access_log_identifies_token_without_revealing_it() {
    let door = door();
    let (good, bad) = (
        token(&door, json!({})),
        token(&door, json!({ "aud": "forum" })),
    );
    assert_eq!(with_token(&door, CART, &good).await.status(), 200);
    assert_eq!(with_token(&door, CART, &good).await.status(), 200);
    assert_eq!(with_token(&door, CART, &bad).await.status(), 401);
    let line = door.log.line(CART, "token_audience_mismatch").await;
    assert_eq!(
        line.get("session").and_then(serde_json::Value::as_str),
        None,
        "{line}"
    );
    let line = door.log.line(CART, "forward").await;
    let name = line["session"].as_str().expect("a name");
    assert!(name.len() == 16 && !good.contains(name), "{name}");
    let text = door.log.text();
    assert!(
        ![&good, &bad]
            .into_iter()
            .any(|token| text.contains(token.as_str())),
        "{text}"
    );
    let refused = r#"doorward_tokens_rejected_total{app="store",reason="token_audience_mismatch"}"#;
    assert_eq!(door.metric(refused).await, 1.0);
    assert_eq!(
        door.metric(
            r#"doorward_sessions_rejected_total{app="store",reason="token_audience_mismatch"}"#
        )
        .await,
        0.0
    );
}
