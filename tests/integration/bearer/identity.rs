//! Identity of a bearer token: a user through an OAuth client, or the client itself.

use serde_json::json;

use super::{
    CART, ORDERS, PROFILE, assert_no_token_reached_the_app, challenges, doorward, request_with,
    sent, setup, token, with_token,
};
use crate::support::assertions::assert_problem;
use crate::support::provider::Endpoint;
use crate::support::websocket::WebSocket;

#[tokio::test]
async fn bearer_request_has_the_identity_of_the_token_user() {
    let doorward = doorward();
    for path in [CART, PROFILE, "/public/news"] {
        let response = with_token(
            &doorward,
            path,
            &token(&doorward, json!({ "email": "alice@example.com" })),
        )
        .await;
        assert_eq!(response.status(), 200, "{path}: {response}");
        assert!(
            response.head.all("set-cookie").is_empty(),
            "{path}: a program has no session"
        );
        let seen = doorward.store.last();
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
    let private = with_token(&doorward, CART, &token(&doorward, json!({}))).await;
    assert_eq!(
        private.header("cache-control"),
        Some("private"),
        "no shared cache may keep it"
    );
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn verified_token_is_cached_and_revalidated() {
    let doorward = doorward();
    let (plain, admin) = (
        token(&doorward, json!({})),
        token(&doorward, json!({ "roles": ["admin"] })),
    );
    for _ in 0..3 {
        assert_eq!(with_token(&doorward, CART, &plain).await.status(), 200);
        assert_problem(
            &with_token(&doorward, "/admin", &plain).await,
            403,
            "forbidden",
        );
        assert_eq!(with_token(&doorward, "/admin", &admin).await.status(), 200);
    }
    doorward.advance_secs(329);
    assert_eq!(
        with_token(&doorward, CART, &plain).await.status(),
        200,
        "within the leeway"
    );
    doorward.advance_secs(1);
    let expired = with_token(&doorward, CART, &plain).await;
    assert_problem(&expired, 401, "token_expired");
    assert_eq!(
        (
            doorward.provider.calls(Endpoint::Token),
            doorward.provider.calls(Endpoint::Introspection)
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn scope_rule_admits_granted_scopes_and_names_missing_ones() {
    let doorward = doorward();
    let granted = token(&doorward, json!({ "scope": "openid orders:read" }));
    assert_eq!(with_token(&doorward, ORDERS, &granted).await.status(), 200);
    let lacking = with_token(
        &doorward,
        ORDERS,
        &token(&doorward, json!({ "scope": "openid orders:write" })),
    )
    .await;
    assert_problem(&lacking, 403, "forbidden");
    assert_eq!(
        challenges(&lacking),
        [
            r#"Bearer realm="store.localhost", error="insufficient_scope", error_description="forbidden", scope="orders:read""#
        ]
    );
    assert_eq!(doorward.store.count(), 1);
}

#[tokio::test]
async fn client_token_is_never_a_user() {
    let doorward = doorward();
    let clients = [
        json!({ "sub": null, "client_id": "reports", "scope": "orders:read" }),
        json!({ "sub": "reports", "client_id": "reports", "scope": "orders:read" }),
        json!({ "sub": "reports", "client_id": null, "azp": "reports", "scope": "orders:read" }),
    ];
    for claims in clients {
        let client = token(&doorward, claims.clone());
        let forged = request_with(&doorward, ORDERS, &format!("Bearer {client}"))
            .header("X-Forwarded-User", "alice-id");
        assert_eq!(
            sent(&mut doorward.browser(), forged).await.status(),
            200,
            "{claims}"
        );
        let seen = doorward.store.last();
        assert_eq!(
            (
                seen.header("x-forwarded-user"),
                seen.header("x-forwarded-client")
            ),
            (None, Some("reports")),
            "{claims}"
        );
        for path in [CART, PROFILE] {
            let refused = with_token(&doorward, path, &client).await;
            assert_problem(&refused, 403, "user_required");
            assert!(
                challenges(&refused)[0].contains(r#"error="insufficient_scope""#),
                "{refused}"
            );
        }
    }
    assert_eq!(doorward.store.count(), 3);
    // A client cannot claim it in a header either.
    let anonymous = request_with(&doorward, "/public/news", "Basic eDp5")
        .header("X_Forwarded.Client", "reports");
    assert_eq!(sent(&mut doorward.browser(), anonymous).await.status(), 200);
    assert!(!String::from_utf8_lossy(&doorward.store.last().head.raw).contains("reports"));
}

#[tokio::test]
async fn client_header_name_can_be_configured() {
    let doorward = setup("client_header = \"X-Machine\"").start();
    let client = token(
        &doorward,
        json!({ "sub": null, "client_id": "caf\u{e9}", "scope": "orders:read" }),
    );
    assert_eq!(with_token(&doorward, ORDERS, &client).await.status(), 200);
    assert_eq!(doorward.store.last().header("x-machine"), Some("caf%C3%A9"));
    for spelling in ["X-Machine", "x_machine"] {
        let forged =
            request_with(&doorward, "/public/news", "Basic eDp5").header(spelling, "reports");
        assert_eq!(sent(&mut doorward.browser(), forged).await.status(), 200);
        assert_eq!(doorward.store.last().header(spelling), None);
    }
}

#[tokio::test]
async fn public_path_accepts_any_token_and_names_known_callers() {
    let doorward = doorward();
    let (good, expired) = (
        token(&doorward, json!({})),
        token(&doorward, json!({ "exp": 1 })),
    );
    // Keys are fetched for protected paths, not for public ones.
    assert_eq!(with_token(&doorward, CART, &good).await.status(), 200);
    let cases = [
        (good.as_str(), Some("alice-id")),
        (&expired, None),
        ("opaque", None),
        ("", None),
        ("a b", None),
    ];
    for (token, user) in cases {
        assert_eq!(
            with_token(&doorward, "/public/news", token).await.status(),
            200,
            "{token}"
        );
        assert_eq!(
            doorward.store.last().header("x-forwarded-user"),
            user,
            "{token}"
        );
    }
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn websocket_by_token_lasts_as_long_as_the_token() {
    let doorward = doorward();
    let mut program = doorward.browser();
    let bearer = format!("Bearer {}", token(&doorward, json!({})));
    let mut talk = WebSocket::open(&mut program, request_with(&doorward, "/api/feed", &bearer))
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    assert_eq!(
        doorward.store.last().header("x-forwarded-user"),
        Some("alice-id")
    );
    doorward.advance_secs(330);
    let end = talk.poll().await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
    let refused =
        WebSocket::open(&mut program, request_with(&doorward, "/api/feed", &bearer)).await;
    assert_eq!(refused.err().expect("no socket").status(), 401);
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn access_log_identifies_token_without_revealing_it() {
    let doorward = doorward();
    let (good, bad) = (
        token(&doorward, json!({})),
        token(&doorward, json!({ "aud": "forum" })),
    );
    assert_eq!(with_token(&doorward, CART, &good).await.status(), 200);
    assert_eq!(with_token(&doorward, CART, &good).await.status(), 200);
    assert_eq!(with_token(&doorward, CART, &bad).await.status(), 401);
    let line = doorward.log.line(CART, "token_audience_mismatch").await;
    assert_eq!(
        line.get("session").and_then(serde_json::Value::as_str),
        None,
        "{line}"
    );
    let line = doorward.log.line(CART, "forward").await;
    let name = line["session"].as_str().expect("a name");
    assert!(name.len() == 16 && !good.contains(name), "{name}");
    let text = doorward.log.text();
    assert!(
        ![&good, &bad]
            .into_iter()
            .any(|token| text.contains(token.as_str())),
        "{text}"
    );
    let refused = r#"doorward_tokens_rejected_total{app="store",reason="token_audience_mismatch"}"#;
    assert_eq!(doorward.metric(refused).await, 1.0);
    assert_eq!(
        doorward
            .metric(
                r#"doorward_sessions_rejected_total{app="store",reason="token_audience_mismatch"}"#
            )
            .await,
        0.0
    );
}
