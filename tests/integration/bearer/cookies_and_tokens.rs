//! Sessions and bearer tokens together: the session wins, a rule may accept one of them only, and
//! an app without bearer tokens keeps `Authorization`.

use serde_json::json;

use super::{
    CART, PROFILE, assert_no_token_reached_the_app, challenges, doorward, of_bob, request_with,
    sent, token, with_token,
};
use crate::support::assertions::{alice, assert_login_starts, assert_problem};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::journey::cookie;
use crate::support::provider::Endpoint;

#[tokio::test]
async fn valid_session_wins_and_token_is_not_verified() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let bob = token(&doorward, of_bob());
    for authorization in [
        format!("Bearer {bob}"),
        "Bearer garbage".to_owned(),
        format!("DPoP {bob}"),
    ] {
        let response = sent(&mut browser, request_with(&doorward, CART, &authorization)).await;
        assert_eq!(response.status(), 200, "{authorization:.20}: {response}");
        assert_eq!(
            doorward.store_saw().as_deref(),
            Some("alice-id"),
            "{authorization:.20}"
        );
    }
    doorward.advance_secs(301);
    let refreshed = sent(
        &mut browser,
        request_with(&doorward, CART, &format!("Bearer {bob}")),
    )
    .await;
    assert_eq!(
        (
            refreshed.status(),
            doorward.provider.grants("refresh_token")
        ),
        (200, 1),
        "{refreshed}"
    );
    assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
    assert_eq!(
        doorward
            .metric(r#"doorward_tokens_rejected_total{app="store",reason="token_malformed"}"#)
            .await,
        0.0
    );
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn token_counts_without_valid_session() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let mut spoiled = browser.clone();
    spoiled.jar.tamper(
        doorward.store_host(),
        &doorward.cookie_name("jwt"),
        |value| value.to_ascii_lowercase(),
    );
    doorward.advance_secs(1801);
    for (browser, is_told) in [(&mut browser, true), (&mut spoiled, false)] {
        let bob = token(&doorward, of_bob());
        let response = sent(
            browser,
            request_with(&doorward, CART, &format!("Bearer {bob}")),
        )
        .await;
        assert_eq!(
            (response.status(), doorward.store_saw().as_deref()),
            (200, Some("bob-id")),
            "{response}"
        );
        let forgets = response
            .head
            .all("set-cookie")
            .iter()
            .any(|line| line.starts_with("doorward_jwt=;"));
        assert_eq!(forgets, is_told, "that its session is over: {response}");
    }
}

#[tokio::test]
async fn bearer_only_rule_ignores_session() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let reached = doorward.store.count();
    assert_eq!(
        browser.step(&doorward.store_url(PROFILE)).await.status(),
        401
    );
    let fetched = browser
        .send(RequestSpec::new(Kind::Fetch, &doorward.store_url(PROFILE)))
        .await;
    assert_problem(&fetched, 401, "token_missing");
    assert!(
        challenges(&fetched)
            .iter()
            .all(|way| !way.starts_with("Cookie")),
        "{fetched}"
    );
    assert_eq!(doorward.store.count(), reached, "a request reached the app");
    let bob = token(&doorward, of_bob());
    assert_eq!(
        sent(
            &mut browser,
            request_with(&doorward, PROFILE, &format!("Bearer {bob}"))
        )
        .await
        .status(),
        200
    );
    assert_eq!(
        doorward.store_saw().as_deref(),
        Some("bob-id"),
        "only the token counts there"
    );
    assert!(
        cookie(&browser, doorward.store_host(), "jwt").is_some(),
        "and the session is left alone"
    );
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn session_only_rule_ignores_token() {
    let doorward = doorward();
    let good = token(&doorward, json!({}));
    let response = with_token(&doorward, "/pages/1", &good).await;
    assert_problem(&response, 401, "no_session");
    assert_eq!(challenges(&response), [r#"Cookie realm="doorward""#]);
    let navigation = RequestSpec::new(Kind::Navigation, &doorward.store_url("/pages/1"));
    let bearer = format!("Bearer {good}");
    let page = sent(
        &mut doorward.browser(),
        navigation.header("Authorization", &bearer),
    )
    .await;
    assert_login_starts(&doorward, &page);
    assert_eq!(doorward.store.count(), 0);
    let mut browser = alice(&doorward).await;
    assert_eq!(
        sent(&mut browser, request_with(&doorward, "/pages/1", &bearer))
            .await
            .status(),
        200
    );
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn ambiguous_path_requires_method_allowed_by_every_rule() {
    let doorward = super::setup("")
        .store("allow_ambiguous_paths = [\"double-slash\"]")
        .start();
    let all = json!({ "roles": ["admin"], "scope": "orders:read" });
    let response = with_token(&doorward, "//public/news", &token(&doorward, all)).await;
    assert_problem(&response, 403, "denied");
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn doorward_endpoints_ignore_bearer_tokens() {
    let doorward = doorward();
    let good = token(&doorward, json!({}));
    let response = with_token(&doorward, "/.doorward/session", &good).await;
    assert_problem(&response, 401, "no_session");
    let logout = request_with(&doorward, "/.doorward/logout", &format!("Bearer {good}"));
    let page = sent(&mut doorward.browser(), logout).await;
    assert!(
        page.status() == 200 && !page.text().contains("alice"),
        "{page}"
    );
}

#[tokio::test]
async fn app_credentials_pass_untouched() {
    const OPEN: &str = "[[apps.forum.rules]]\npaths = [\"/**\"]\nallow = \"public\"\n";
    let doorward = super::setup("").more(OPEN).start();
    // An app without bearer tokens gets every `Authorization`, tokens included.
    let own = token(&doorward, json!({}));
    for value in [
        "Basic eDp5".to_owned(),
        format!("Bearer {own}"),
        format!("DPoP {own}"),
        "Custom x".to_owned(),
    ] {
        let request_with = RequestSpec::new(Kind::Program, &doorward.forum_url("/posts"))
            .header("Authorization", &value);
        let request_with = request_with.header("DPoP", "proof");
        assert_eq!(
            sent(&mut doorward.browser(), request_with).await.status(),
            200,
            "{value:.12}"
        );
        let seen = doorward.forum.last();
        assert_eq!(
            (seen.header("authorization"), seen.header("dpop")),
            (Some(value.as_str()), Some("proof"))
        );
        assert_eq!(seen.header("x-forwarded-user"), None);
    }
    // An app with bearer tokens gets other `Authorization` values.
    for value in ["Basic eDp5", "Digest username=\"x\"", "Custom x"] {
        assert_eq!(
            sent(
                &mut doorward.browser(),
                request_with(&doorward, "/public/x", value)
            )
            .await
            .status(),
            200,
            "{value}"
        );
        assert_eq!(doorward.store.last().header("authorization"), Some(value));
        let response = sent(
            &mut doorward.browser(),
            request_with(&doorward, CART, value),
        )
        .await;
        assert_problem(&response, 401, "no_session");
    }
    assert_eq!(doorward.provider.calls(Endpoint::Introspection), 0);
}

#[tokio::test]
async fn app_without_bearer_table_accepts_no_token() {
    let doorward = Setup::plain().start();
    let response = with_token(&doorward, CART, &token(&doorward, json!({}))).await;
    assert_problem(&response, 401, "no_session");
    assert_eq!(
        (challenges(&response).len(), doorward.store.count()),
        (1, 0)
    );
}
