//! WebSockets through Doorward: authentication, authorization, origin policy, framing of the
//! upgrade.

use crate::support::assertions::{CART, Dialogue, SOON, alice, metric_reaches};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::websocket::{WebSocket, upgrade_headers};
use crate::support::wire::Head;

fn socket(doorward: &Doorward, path: &str) -> RequestSpec {
    RequestSpec::new(Kind::Fetch, &doorward.store_url(path))
        .header("Origin", &doorward.site().store)
}

async fn refusal(opened: Result<WebSocket, Head>) -> u16 {
    opened.err().expect("no socket").status()
}

#[tokio::test]
async fn signed_in_websocket_reaches_the_app() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let mut talk = WebSocket::open(&mut browser, socket(&doorward, "/chat?room=1"))
        .await
        .expect("a socket");
    let seen = doorward.store.last();
    assert_eq!(
        (seen.target.as_str(), seen.header("x-forwarded-user")),
        ("/chat?room=1", Some("alice-id"))
    );
    assert_eq!(
        seen.header("cookie"),
        None,
        "no cookie of Doorward goes along"
    );
    let long = "x".repeat(300_000);
    for text in ["hello", "", "Grüße ✓", &long] {
        talk.say(text).await.expect("sent");
        let heard = tokio::time::timeout(SOON, talk.poll())
            .await
            .expect("an echo in time")
            .expect("an echo");
        assert!(
            heard.as_deref() == Some(text),
            "{} bytes came back changed",
            text.len()
        );
    }
    assert_eq!(doorward.metric("doorward_upgraded_connections").await, 1.0);
    drop(talk);
    metric_reaches(&doorward, "doorward_upgraded_connections", 0.0).await;
    let canaries = doorward.provider.secrets();
    doorward
        .store
        .assert_never_saw(&canaries.iter().map(String::as_str).collect::<Vec<_>>());
}

#[tokio::test]
async fn anonymous_websocket_is_refused() {
    let doorward = Setup::plain().start();
    assert_eq!(
        refusal(WebSocket::open(&mut doorward.browser(), socket(&doorward, "/chat")).await).await,
        401
    );
    // Frames sent before the response are not parsed as a request either.
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    let fields: String = upgrade_headers()
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    dialogue
        .say(format!(
            "GET /chat HTTP/1.1\r\nHost: store.localhost:8080\r\n{fields}\r\n\
             GET /public/smuggled HTTP/1.1\r\nHost: store.localhost:8080\r\nX-Forwarded-User: eve\r\n\r\n"
        ))
        .await;
    assert_eq!(dialogue.poll("GET").await.status(), 401);
    // Bytes that follow are a separate request, or nothing.
    if let Some(second) = dialogue.try_hear("GET").await {
        assert_eq!(second.status(), 200);
        assert_eq!(doorward.store.last().header("x-forwarded-user"), None);
    }
    assert!(
        doorward
            .store
            .received()
            .iter()
            .all(|one| one.target == "/public/smuggled"),
        "{:?}",
        doorward.store.received()
    );
}

#[tokio::test]
async fn cross_origin_websocket_is_refused() {
    let doorward = Setup::plain()
        .store("websocket_origins = [\"https://chat.example.com\"]")
        .start();
    let mut browser = alice(&doorward).await;
    let before = doorward.store.count();
    for path in ["/chat", "/public/chat"] {
        for origin in [
            "https://evil.example",
            "null",
            "http://store.localhost",
            "http://forum.localhost:8080",
        ] {
            let request =
                RequestSpec::new(Kind::Fetch, &doorward.store_url(path)).header("Origin", origin);
            assert_eq!(
                refusal(WebSocket::open(&mut browser, request).await).await,
                403,
                "{path} {origin}"
            );
        }
    }
    assert_eq!(doorward.store.count(), before);
    for origin in ["https://chat.example.com", &doorward.site().store] {
        let request =
            RequestSpec::new(Kind::Fetch, &doorward.store_url("/chat")).header("Origin", origin);
        assert!(
            WebSocket::open(&mut browser, request).await.is_ok(),
            "{origin}"
        );
    }
    let _ = doorward.log.line("/public/chat", "cross_site").await;
}

#[tokio::test]
async fn forbidden_path_refuses_websocket() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let reached = doorward.store.count();
    assert_eq!(
        refusal(WebSocket::open(&mut browser, socket(&doorward, "/admin/feed")).await).await,
        403
    );
    assert_eq!(doorward.store.count(), reached);
}

#[tokio::test]
async fn public_websocket_has_no_identity() {
    let doorward = Setup::plain().start();
    let request = socket(&doorward, "/public/feed")
        .header("X-Forwarded-User", "eve")
        .header("X_Forwarded_User", "eve");
    let mut talk = WebSocket::open(&mut doorward.browser(), request)
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    let seen = doorward.store.last();
    assert!(
        !String::from_utf8_lossy(&seen.head.raw).contains("eve"),
        "{:?}",
        seen.head
    );
}

#[tokio::test]
async fn websocket_upgrade_never_refreshes_or_sets_cookies() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    let reached = doorward.store.count();
    assert_eq!(
        refusal(WebSocket::open(&mut browser, socket(&doorward, "/chat")).await).await,
        401
    );
    assert_eq!(
        (
            doorward.provider.grants("refresh_token"),
            doorward.store.count()
        ),
        (0, reached)
    );
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    let mut talk = WebSocket::open(&mut browser, socket(&doorward, "/chat"))
        .await
        .expect("a socket after the refresh");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
}

#[tokio::test]
async fn backend_close_ends_the_websocket() {
    let mut doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let mut talk = WebSocket::open(&mut browser, socket(&doorward, "/chat"))
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    doorward.store.stop();
    let end = tokio::time::timeout(SOON, talk.poll())
        .await
        .expect("an end in time");
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
    doorward.store.restart();
    eventually("the log has the socket", || {
        doorward
            .log
            .lines()
            .iter()
            .any(|line| line["status"] == 101)
    })
    .await;
}
