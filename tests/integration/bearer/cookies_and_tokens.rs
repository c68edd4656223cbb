//! Sessions and bearer tokens together: the session wins, a rule may accept one of them only, and
//! an app without bearer tokens keeps `Authorization`.

use serde_json::json;

use super::{
    CART, PROFILE, ask, assert_no_token_reached_the_app, challenges, door, of_bob, sent, token,
    with_token,
};
use crate::support::assertions::{alice, assert_login_starts, assert_problem};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::journey::cookie;
use crate::support::provider::Endpoint;

#[tokio::test]
async fn valid_session_wins_and_token_is_not_verified() {
    let door = door();
    let mut browser = alice(&door).await;
    let bob = token(&door, of_bob());
    for authorization in [
        format!("Bearer {bob}"),
        "Bearer garbage".to_owned(),
        format!("DPoP {bob}"),
    ] {
        let answer = sent(&mut browser, ask(&door, CART, &authorization)).await;
        assert_eq!(answer.status(), 200, "{authorization:.20}: {answer}");
        assert_eq!(
            door.store_saw().as_deref(),
            Some("alice-id"),
            "{authorization:.20}"
        );
    }
    door.advance_secs(301);
    let refreshed = sent(&mut browser, ask(&door, CART, &format!("Bearer {bob}"))).await;
    assert_eq!(
        (refreshed.status(), door.provider.grants("refresh_token")),
        (200, 1),
        "{refreshed}"
    );
    assert_eq!(door.store_saw().as_deref(), Some("alice-id"));
    assert_eq!(
        door.metric(r#"doorward_tokens_rejected_total{app="store",reason="token_malformed"}"#)
            .await,
        0.0
    );
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn token_counts_without_valid_session() {
    let door = door();
    let mut browser = alice(&door).await;
    let mut spoiled = browser.clone();
    spoiled
        .jar
        .tamper(door.store_host(), &door.cookie_name("jwt"), |value| {
            value.to_ascii_lowercase()
        });
    door.advance_secs(1801);
    for (browser, is_told) in [(&mut browser, true), (&mut spoiled, false)] {
        let bob = token(&door, of_bob());
        let answer = sent(browser, ask(&door, CART, &format!("Bearer {bob}"))).await;
        assert_eq!(
            (answer.status(), door.store_saw().as_deref()),
            (200, Some("bob-id")),
            "{answer}"
        );
        let forgets = answer
            .head
            .all("set-cookie")
            .iter()
            .any(|line| line.starts_with("doorward_jwt=;"));
        assert_eq!(forgets, is_told, "that its session is over: {answer}");
    }
}

#[tokio::test]
async fn bearer_only_rule_ignores_session() {
    let door = door();
    let mut browser = alice(&door).await;
    let reached = door.store.count();
    assert_eq!(browser.step(&door.store_url(PROFILE)).await.status(), 401);
    let fetched = browser
        .send(RequestSpec::new(Kind::Fetch, &door.store_url(PROFILE)))
        .await;
    assert_problem(&fetched, 401, "token_missing");
    assert!(
        challenges(&fetched)
            .iter()
            .all(|way| !way.starts_with("Cookie")),
        "{fetched}"
    );
    assert_eq!(door.store.count(), reached, "a request reached the app");
    let bob = token(&door, of_bob());
    assert_eq!(
        sent(&mut browser, ask(&door, PROFILE, &format!("Bearer {bob}")))
            .await
            .status(),
        200
    );
    assert_eq!(
        door.store_saw().as_deref(),
        Some("bob-id"),
        "only the token counts there"
    );
    assert!(
        cookie(&browser, door.store_host(), "jwt").is_some(),
        "and the session is left alone"
    );
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn session_only_rule_ignores_token() {
    let door = door();
    let good = token(&door, json!({}));
    let answer = with_token(&door, "/pages/1", &good).await;
    assert_problem(&answer, 401, "no_session");
    assert_eq!(challenges(&answer), [r#"Cookie realm="doorward""#]);
    let navigation = RequestSpec::new(Kind::Navigation, &door.store_url("/pages/1"));
    let bearer = format!("Bearer {good}");
    let page = sent(
        &mut door.browser(),
        navigation.header("Authorization", &bearer),
    )
    .await;
    assert_login_starts(&door, &page);
    assert_eq!(door.store.count(), 0);
    let mut browser = alice(&door).await;
    assert_eq!(
        sent(&mut browser, ask(&door, "/pages/1", &bearer))
            .await
            .status(),
        200
    );
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn ambiguous_path_requires_method_allowed_by_every_rule() {
    let door = super::setup("")
        .store("allow_ambiguous_paths = [\"double-slash\"]")
        .start();
    let all = json!({ "roles": ["admin"], "scope": "orders:read" });
    let answer = with_token(&door, "//public/news", &token(&door, all)).await;
    assert_problem(&answer, 403, "denied");
    assert_eq!(door.store.count(), 0);
}

#[tokio::test]
async fn doorward_endpoints_ignore_bearer_tokens() {
    let door = door();
    let good = token(&door, json!({}));
    let answer = with_token(&door, "/.doorward/session", &good).await;
    assert_problem(&answer, 401, "no_session");
    let logout = ask(&door, "/.doorward/logout", &format!("Bearer {good}"));
    let page = sent(&mut door.browser(), logout).await;
    assert!(
        page.status() == 200 && !page.text().contains("alice"),
        "{page}"
    );
}

#[tokio::test]
async fn app_credentials_pass_untouched() {
    const OPEN: &str = "[[apps.forum.rules]]\npaths = [\"/**\"]\nallow = \"public\"\n";
    let door = super::setup("").more(OPEN).start();
    // An app without bearer tokens gets every `Authorization`, tokens included.
    let own = token(&door, json!({}));
    for value in [
        "Basic eDp5".to_owned(),
        format!("Bearer {own}"),
        format!("DPoP {own}"),
        "Custom x".to_owned(),
    ] {
        let ask = RequestSpec::new(Kind::Program, &door.forum_url("/posts"))
            .header("Authorization", &value);
        let ask = ask.header("DPoP", "proof");
        assert_eq!(
            sent(&mut door.browser(), ask).await.status(),
            200,
            "{value:.12}"
        );
        let seen = door.forum.last();
        assert_eq!(
            (seen.header("authorization"), seen.header("dpop")),
            (Some(value.as_str()), Some("proof"))
        );
        assert_eq!(seen.header("x-forwarded-user"), None);
    }
    // An app with bearer tokens gets other `Authorization` values.
    for value in ["Basic eDp5", "Digest username=\"x\"", "Custom x"] {
        assert_eq!(
            sent(&mut door.browser(), ask(&door, "/public/x", value))
                .await
                .status(),
            200,
            "{value}"
        );
        assert_eq!(door.store.last().header("authorization"), Some(value));
        let answer = sent(&mut door.browser(), ask(&door, CART, value)).await;
        assert_problem(&answer, 401, "no_session");
    }
    assert_eq!(door.provider.calls(Endpoint::Introspection), 0);
}

#[tokio::test]
async fn app_without_bearer_table_accepts_no_token() {
    let door = Setup::plain().start();
    let answer = with_token(&door, CART, &token(&door, json!({}))).await;
    assert_problem(&answer, 401, "no_session");
    assert_eq!((challenges(&answer).len(), door.store.count()), (1, 0));
}
