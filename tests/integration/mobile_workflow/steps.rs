//! The steps of the mobile workflow: open the app, log in, load the cart with the JWT, refresh an
//! expired JWT in the same request, refresh token lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{
    CART, PASSWORD, Phone, calls, is_told_to_log_in, last_request, shows_the_cart, started, store,
};
use crate::support::doorward::Setup;
use crate::support::provider::Endpoint;
use crate::support::websocket::WebSocket;

const INLINE: &str = "inline_refresh = true";

#[tokio::test]
async fn step_1_app_opens_and_cart_requires_login() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    let request = phone.request("GET", CART);
    let page = phone.send(request).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (401, Some("no_session")),
        "{page}"
    );
    assert_eq!((doorward.store.count(), calls(&doorward)), (0, (0, 0)));
}

#[tokio::test]
async fn step_2_login_sends_password_grant_and_returns_json() {
    let doorward = started(store(""));
    let mut phone = Phone::of(&doorward);
    let page = phone.log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.header("content-type")),
        (200, Some("application/json")),
        "{page}"
    );
    assert_eq!(
        (page.header("cache-control"), page.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    assert_eq!(page.header("set-cookie"), None, "{page}");
    let response = page.json();
    assert_eq!(
        (
            response["token_type"].as_str(),
            response["expires_in"].as_u64()
        ),
        (Some("Bearer"), Some(300))
    );
    assert_eq!(
        response["scope"].as_str(),
        Some("openid email profile offline_access")
    );
    for (name, prefix) in [
        ("access_token", "doorward_at_"),
        ("refresh_token", "doorward_rt_"),
        ("device_token", "doorward_dt_"),
    ] {
        assert!(
            response[name]
                .as_str()
                .is_some_and(|token| token.starts_with(prefix)),
            "{name}: {page}"
        );
    }

    let asked = |name| last_request(&doorward, name);
    assert_eq!(asked("grant_type").as_deref(), Some("password"));
    assert_eq!(
        (asked("username").as_deref(), asked("password").as_deref()),
        (Some("alice"), Some(PASSWORD))
    );
    assert_eq!(
        asked("scope").as_deref(),
        Some("openid email profile offline_access")
    );
    let visits = doorward.provider.visits(Endpoint::Token);
    let secret = format!("Basic {}", STANDARD.encode("store:store-secret"));
    assert_eq!(
        (visits.len(), visits[0].header("authorization")),
        (1, Some(secret.as_str()))
    );
    assert_eq!(
        doorward.store.count(),
        0,
        "the store's API hears nothing of logins"
    );
}

#[tokio::test]
async fn step_3_cart_is_forwarded_with_identity_without_authorization() {
    let doorward = started(store(""));
    let mut phone = Phone::logged_in(&doorward).await;
    let before = doorward.provider.calls(Endpoint::Token);
    for _ in 0..3 {
        let page = phone.load(CART).await;
        shows_the_cart(&page);
        assert_eq!(page.header("doorward-access-token"), None, "{page}");
        assert!(
            page.header("cache-control")
                .is_some_and(|value| value.contains("private")),
            "{page}"
        );
    }
    let received = doorward.store.last();
    assert_eq!(
        received.header("x-forwarded-email"),
        Some("alice@example.com")
    );
    assert_eq!(received.header("authorization"), None);
    assert_eq!(
        doorward.provider.calls(Endpoint::Token),
        before,
        "the provider is not asked again"
    );
}

#[tokio::test]
async fn step_3_rules_apply_to_tokens_as_to_cookies() {
    let doorward = started(store(""));
    let mut alice = Phone::logged_in(&doorward).await;
    let page = alice.load("/admin/x").await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (403, Some("forbidden")),
        "{page}"
    );
    let mut bob = Phone::of(&doorward);
    bob.log_in("bob", "bob").await;
    assert_eq!(bob.load("/admin/x").await.status(), 200);
    let session = alice.load("/.doorward/session").await.json();
    assert_eq!(
        (session["sub"].as_str(), session["jwt_expires_in"].as_u64()),
        (Some("alice-id"), Some(300))
    );
}

#[tokio::test]
async fn step_4_expired_jwt_with_refresh_token_is_refreshed_inline() {
    let doorward = started(store(INLINE));
    let mut phone = Phone::logged_in(&doorward).await;
    let old = phone.clone();
    doorward.advance_secs(300);
    let page = phone.load_with_both(CART).await;
    shows_the_cart(&page);
    assert_eq!(page.header("cache-control"), Some("no-store"), "{page}");
    assert_ne!(phone.access_token, old.access_token);
    assert_ne!(
        phone.refresh_token, old.refresh_token,
        "the rotated refresh token comes along"
    );
    assert_eq!(calls(&doorward), (1, 1));
    let received = doorward.store.last();
    assert_eq!(
        (
            received.header("authorization"),
            received.header("doorward-refresh-token")
        ),
        (None, None)
    );

    // While the JWT is valid, an accompanying refresh token is ignored.
    let page = phone.load_with_both(CART).await;
    shows_the_cart(&page);
    assert_eq!(
        (page.header("doorward-access-token"), calls(&doorward)),
        (None, (1, 1))
    );
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn step_4_concurrent_requests_share_one_refresh() {
    let doorward = started(store(INLINE));
    let phone = Phone::logged_in(&doorward).await;
    doorward.advance_secs(300);
    let mut loading = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut phone = phone.copy();
        loading.spawn(async move {
            shows_the_cart(&phone.load_with_both(CART).await);
            phone
        });
    }
    for mut phone in loading.join_all().await {
        shows_the_cart(&phone.load(CART).await);
    }
    assert_eq!(calls(&doorward), (1, 1));
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn step_4_refresh_endpoint_does_the_same() {
    let doorward = started(store(""));
    let mut phone = Phone::logged_in(&doorward).await;
    doorward.advance_secs(300);
    is_told_to_log_in(&phone.load_with_both(CART).await, "jwt_expired");
    assert_eq!(
        calls(&doorward),
        (1, 0),
        "without `inline_refresh` the header means nothing"
    );
    let page = phone.refresh().await;
    assert_eq!(
        (page.status(), page.json()["expires_in"].as_u64()),
        (200, Some(300)),
        "{page}"
    );
    assert_eq!(
        page.json()["device_token"].as_str(),
        None,
        "a refresh makes no device known"
    );
    shows_the_cart(&phone.load(CART).await);
    assert_eq!(calls(&doorward), (1, 1));
}

#[tokio::test]
async fn step_4_non_rotating_provider_is_refreshed_repeatedly() {
    for session_jwt in ["access", "id"] {
        let setup = Setup::plain()
            .store(&format!("session_jwt = \"{session_jwt}\""))
            .more(&super::native(INLINE));
        let doorward = started(setup);
        doorward.provider.behave(|provider| {
            provider.rotates_refresh_tokens = false;
            provider.refresh_brings_id_token = false;
        });
        let mut phone = Phone::logged_in(&doorward).await;
        for round in 1..4 {
            doorward.advance_secs(300);
            shows_the_cart(&phone.load_with_both(CART).await);
            doorward.advance_secs(300);
            let page = phone.refresh().await;
            assert_eq!(page.status(), 200, "{session_jwt} {page}");
            shows_the_cart(&phone.load(CART).await);
            assert_eq!(
                doorward.store.last().header("x-forwarded-email"),
                Some("alice@example.com")
            );
            assert_eq!(calls(&doorward), (1, 2 * round), "{session_jwt}");
        }
    }
}

#[tokio::test]
async fn step_5_missing_or_revoked_refresh_token_requires_login() {
    let doorward = started(store(INLINE));
    let mut phone = Phone::logged_in(&doorward).await;
    doorward.provider.end_grants_of("alice-id");
    doorward.advance_secs(300);
    is_told_to_log_in(&phone.load(CART).await, "jwt_expired");
    is_told_to_log_in(&phone.load_with_both(CART).await, "refresh_rejected");
    is_told_to_log_in(&phone.refresh().await, "session_revoked");
    assert_eq!(calls(&doorward), (1, 1), "the provider is asked once");

    let page = phone.log_in("alice", PASSWORD).await;
    assert_eq!(page.status(), 200, "{page}");
    shows_the_cart(&phone.load(CART).await);
}

#[tokio::test]
async fn step_5_work_on_a_websocket_resets_the_idle_timeout() {
    let doorward = started(store("").session("idle_timeout = \"10m\""));
    let mut phone = Phone::logged_in(&doorward).await;
    let mut unused = Phone::logged_in(&doorward).await;
    let authorization = format!("Bearer {}", phone.access_token);
    let request = phone
        .request("GET", "/chat")
        .header("Authorization", &authorization);
    let mut work = WebSocket::open(&mut phone.http, request)
        .await
        .expect("a socket");
    // The idle time begins when the JWT expires.
    doorward.advance_secs(300 + 500);
    work.say("work").await.expect("sent");
    assert_eq!(work.poll().await.expect("open").as_deref(), Some("work"));
    doorward.advance_secs(599);
    assert_eq!(phone.refresh().await.status(), 200);
    is_told_to_log_in(&unused.refresh().await, "idle_timeout");
}

#[tokio::test]
async fn step_5_session_ends_by_absolute_and_idle_timeout() {
    let doorward =
        started(store(INLINE).session("idle_timeout = \"10m\"\nabsolute_timeout = \"1h\""));
    let mut phone = Phone::logged_in(&doorward).await;
    let unused = phone.copy();
    // Use of a JWT is not recorded: the idle time begins when the JWT expires.
    for _ in 0..3 {
        doorward.advance_secs(300 + 599);
        shows_the_cart(&phone.load_with_both(CART).await);
    }
    doorward.advance_secs(300 + 600);
    is_told_to_log_in(&phone.load_with_both(CART).await, "idle_timeout");
    is_told_to_log_in(&unused.copy().refresh().await, "idle_timeout");

    doorward
        .provider
        .behave(|provider| provider.token_lifetime = std::time::Duration::from_secs(7200));
    let mut phone = Phone::of(&doorward);
    let page = phone.log_in("alice", PASSWORD).await;
    assert_eq!(
        page.json()["expires_in"].as_u64(),
        Some(3600),
        "no token outlives its session"
    );
    doorward.advance_secs(3599);
    shows_the_cart(&phone.load(CART).await);
    doorward.advance_secs(1);
    is_told_to_log_in(&phone.load(CART).await, "absolute_timeout");
    is_told_to_log_in(&phone.refresh().await, "absolute_timeout");
}

#[tokio::test]
async fn step_6_logout_ends_session_and_revokes_refresh_token() {
    for by in ["refresh_token", "access_token"] {
        let doorward = started(store(INLINE));
        let mut phone = Phone::logged_in(&doorward).await;
        let token = if by == "refresh_token" {
            phone.refresh_token.clone()
        } else {
            phone.access_token.clone()
        };
        let page = phone
            .post_json("native/logout", &serde_json::json!({ by: token }))
            .await;
        assert_eq!((page.status(), page.text().as_str()), (204, ""), "{page}");
        is_told_to_log_in(&phone.load(CART).await, "session_revoked");
        is_told_to_log_in(&phone.refresh().await, "session_revoked");
        doorward.advance_secs(300);
        is_told_to_log_in(&phone.load_with_both(CART).await, "session_revoked");
        // The access token alone does not reveal the provider's refresh token.
        assert_eq!(
            doorward.provider.revoked().len(),
            usize::from(by == "refresh_token")
        );
        assert_eq!(calls(&doorward), (1, 0));
    }
}
