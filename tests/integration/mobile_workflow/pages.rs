//! Sealed access tokens at the app's pages: which tokens pass, and which headers are removed in
//! both directions.

use super::{CART, PASSWORD, Phone, is_told_to_log_in, shows_the_cart, started, store};
use crate::support::backend::Answer;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::websocket::WebSocket;

const INLINE: &str = "inline_refresh = true";

#[tokio::test]
async fn native_token_never_reaches_the_backend() {
    let doorward = started(store(INLINE));
    let mut phone = Phone::logged_in(&doorward).await;
    let dead = "doorward_at_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
    for token in [phone.access_token.clone(), dead] {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let request = phone
                .request("GET", "/public/x")
                .header("Authorization", &format!("{scheme} {token}"));
            let request = request
                .header("Doorward-Refresh-Token", &phone.refresh_token)
                .header("doorward_refresh.token", "x");
            let page = phone.send(request).await;
            assert_eq!(
                page.status(),
                200,
                "everyone's page fails for no token: {page}"
            );
        }
    }
    for received in doorward.store.received() {
        for name in [
            "authorization",
            "doorward-refresh-token",
            "doorward_refresh.token",
            "doorward-access-token",
        ] {
            assert_eq!(received.header(name), None, "{received:?}");
        }
    }
    doorward.store.assert_never_saw(&[
        &phone.access_token,
        &phone.refresh_token,
        "doorward_at_",
        "doorward_rt_",
    ]);
    assert_eq!(
        doorward.store.received()[0].header("x-forwarded-user"),
        Some("alice-id")
    );
    assert_eq!(doorward.store.last().header("x-forwarded-user"), None);
}

#[tokio::test]
async fn public_path_neither_waits_for_nor_returns_a_refresh() {
    let doorward = started(store(INLINE));
    let mut phone = Phone::logged_in(&doorward).await;
    doorward.advance_secs(300);
    let page = phone.load_with_both("/public/x").await;
    assert_eq!(
        (page.status(), page.header("doorward-access-token")),
        (200, None),
        "{page}"
    );
    assert_eq!(doorward.provider.grants("refresh_token"), 0);
}

#[tokio::test]
async fn invalid_token_yields_401_even_for_browsers() {
    let doorward = started(store(""));
    let mut phone = Phone::logged_in(&doorward).await;
    doorward.advance_secs(300);
    for kind in [Kind::Navigation, Kind::Frame, Kind::Fetch, Kind::Program] {
        let request = RequestSpec::new(kind, &doorward.store_url(CART));
        let page = phone
            .send(request.header("Authorization", &format!("Bearer {}", phone.access_token)))
            .await;
        is_told_to_log_in(&page, "jwt_expired");
    }
    let request = phone
        .request("POST", CART)
        .header("Authorization", &format!("Bearer {}", phone.access_token));
    let page = phone
        .send(request.body("application/x-www-form-urlencoded", "item=7"))
        .await;
    is_told_to_log_in(&page, "jwt_expired");
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn cookie_session_wins_over_native_token() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    phone.log_in("bob", "bob").await;
    let mut browser = doorward.logged_in("alice", CART).await;
    for token in [phone.access_token.as_str(), "doorward_at_AAAA"] {
        let request = RequestSpec::new(Kind::Navigation, &doorward.store_url(CART))
            .header("Authorization", &format!("Bearer {token}"));
        let page = browser.send(request).await;
        assert_eq!(
            (page.status(), doorward.store_saw().as_deref()),
            (200, Some("alice-id")),
            "{page}"
        );
    }
    assert_eq!(doorward.store.last().header("authorization"), None);
}

#[tokio::test]
async fn invalid_cookies_do_not_block_a_native_token() {
    let doorward = started(store(""));
    let phone = Phone::logged_in(&doorward).await;
    let request = phone
        .request("GET", CART)
        .header("Authorization", &format!("Bearer {}", phone.access_token));
    let page = phone
        .copy()
        .send(request.header("Cookie", "doorward_jwt=garbage; other=1"))
        .await;
    shows_the_cart(&page);
    assert_eq!(doorward.store.last().header("cookie"), Some("other=1"));
}

#[tokio::test]
async fn backend_cannot_set_or_suppress_token_headers() {
    let doorward = started(store(INLINE));
    doorward.store.respond_to_all(
        Answer {
            status: 500,
            ..Answer::default()
        }
        .with_header("Doorward-Access-Token", "doorward_at_forged")
        .with_header("Doorward-Refresh-Token", "doorward_rt_forged")
        .with_header("Cache-Control", "public, max-age=600"),
    );
    let mut phone = Phone::logged_in(&doorward).await;
    let page = phone.load(CART).await;
    assert_eq!(
        (
            page.header("doorward-access-token"),
            page.header("doorward-refresh-token")
        ),
        (None, None),
        "{page}"
    );
    doorward.advance_secs(300);
    let before = phone.clone();
    let page = phone.load_with_both(CART).await;
    assert_eq!(
        (page.status(), page.header("cache-control")),
        (500, Some("no-store")),
        "{page}"
    );
    assert_eq!(page.head.all("doorward-access-token").len(), 1, "{page}");
    assert!(phone.access_token != before.access_token && !phone.access_token.contains("forged"));
}

#[tokio::test]
async fn body_passes_intact_when_its_request_is_refreshed() {
    let doorward = started(store(INLINE));
    let mut phone = Phone::logged_in(&doorward).await;
    doorward.advance_secs(300);
    let request = phone
        .request("POST", CART)
        .header("Authorization", &format!("Bearer {}", phone.access_token));
    let request = request
        .header("Doorward-Refresh-Token", &phone.refresh_token)
        .body("application/json", r#"{"item":7}"#);
    let page = phone.send(request).await;
    assert_eq!(
        (page.status(), doorward.store.last().body.as_slice()),
        (200, r#"{"item":7}"#.as_bytes()),
        "{page}"
    );
    assert!(page.header("doorward-access-token").is_some(), "{page}");
}

#[tokio::test]
async fn websocket_opens_with_valid_token_and_never_refreshes() {
    let doorward = started(store(INLINE));
    let mut phone = Phone::logged_in(&doorward).await;
    let socket = |phone: &Phone| {
        let request = RequestSpec::new(Kind::Program, &doorward.store_url("/chat"));
        request
            .header("Authorization", &format!("Bearer {}", phone.access_token))
            .header("Doorward-Refresh-Token", &phone.refresh_token)
    };
    let request = socket(&phone);
    let mut talk = WebSocket::open(&mut phone.http, request)
        .await
        .expect("a socket");
    talk.say("hello").await.expect("sent");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("hello")
    );
    assert_eq!(doorward.store.last().header("authorization"), None);
    doorward.advance_secs(300);
    let request = socket(&phone);
    assert!(WebSocket::open(&mut phone.http, request).await.is_err());
    assert_eq!(doorward.provider.grants("refresh_token"), 0);
}

#[tokio::test]
async fn other_authorization_passes_on_public_paths() {
    let doorward = started(store(""));
    let mut phone = Phone::logged_in(&doorward).await;
    for value in ["Basic YTpi", "Bearer doorward", "Bearer of.the.backend"] {
        let request = phone
            .request("GET", "/public/x")
            .header("Authorization", value);
        assert_eq!(phone.send(request).await.status(), 200);
        assert_eq!(doorward.store.last().header("authorization"), Some(value));
    }
    let two = phone
        .request("GET", CART)
        .header("Authorization", &format!("Bearer {}", phone.access_token));
    let page = phone.send(two.header("Authorization", "Basic YTpi")).await;
    assert_eq!(
        page.status(),
        400,
        "which of two counts cannot be told: {page}"
    );
    let _ = PASSWORD;
}
