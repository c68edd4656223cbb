//! Browsers: a login with the right parameters, at most one.

use serde_json::json;

use super::{ACCOUNT, VAULT, challenges, doorward, member, opened, provider_grants, requested};
use crate::support::assertions::{
    CART, alice, assert_error_page, assert_problem, fetched, metric_reaches,
};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::provider::{Endpoint, Flaw};

#[tokio::test]
async fn old_login_is_repeated_and_leads_to_the_page() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let page = opened(&mut browser, &doorward.store_url(ACCOUNT), 0).await;
    assert_eq!(page.status(), 200, "the login is recent: {page}");

    doorward.advance_secs(331);
    let page = opened(&mut browser, &doorward.store_url(CART), 0).await;
    assert_eq!(page.status(), 200, "other pages do not care: {page}");
    // The provider lets the user authenticate again.
    doorward.sign_in("alice");
    let page = opened(&mut browser, &doorward.store_url(ACCOUNT), 3).await;
    assert_eq!((page.status(), page.url.path()), (200, ACCOUNT), "{page}");
    assert_eq!(requested(&doorward, "max_age").as_deref(), Some("300"));
    assert_eq!(requested(&doorward, "acr_values"), None);
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 2);
}

#[tokio::test]
async fn refresh_does_not_make_a_login_recent() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(331);
    // The JWT of the session has expired: this refreshes it.
    let refreshed = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(refreshed.status(), 200, "{refreshed}");
    let page = browser.step(&doorward.store_url(ACCOUNT)).await;
    assert_eq!(page.status(), 302, "{page}");
    doorward.log.line(ACCOUNT, "start_login").await;
}

#[tokio::test]
async fn refreshed_session_keeps_the_acr_of_its_login() {
    let doorward = doorward();
    provider_grants(&doorward, "silver");
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(331);
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws.clear());
    let page = opened(&mut browser, &doorward.store_url(VAULT), 0).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn first_login_already_asks_for_what_the_rule_requires() {
    let doorward = doorward();
    provider_grants(&doorward, "gold");
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let page = opened(&mut browser, &doorward.store_url(VAULT), 3).await;
    assert_eq!((page.status(), page.url.path()), (200, VAULT), "{page}");
    assert_eq!(
        requested(&doorward, "acr_values").as_deref(),
        Some("gold silver")
    );
}

#[tokio::test]
async fn insufficient_login_ends_on_a_page_and_keeps_the_session() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    for (flaw, url, code) in [
        (
            Some(Flaw::Claim("acr", json!("bronze"))),
            VAULT,
            "token_acr_mismatch",
        ),
        (None, VAULT, "token_acr_missing"),
        (
            Some(Flaw::Claim("auth_time", json!(1000))),
            ACCOUNT,
            "token_authentication_too_old",
        ),
        (
            Some(Flaw::Without("auth_time")),
            ACCOUNT,
            "token_auth_time_missing",
        ),
    ] {
        doorward.advance_secs(331);
        opened(&mut browser, &doorward.store_url(CART), 0).await;
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws = flaw.clone().into_iter().collect());
        let before = doorward.provider.calls(Endpoint::Authorize);
        let page = opened(&mut browser, &doorward.store_url(url), 2).await;
        assert_error_page(&page, 403, code);
        assert_eq!(
            doorward.provider.calls(Endpoint::Authorize),
            before + 1,
            "{code}"
        );
        metric_reaches(
            &doorward,
            &format!(r#"doorward_logins_total{{app="store",outcome="{code}",provider="login"}}"#),
            1.0,
        )
        .await;
        // Its link makes the provider ask the user.
        let (link, _) = page.links().into_iter().next().expect("a link");
        let again = browser.step(page.resolve(&link).as_str()).await;
        let location = again.header("location").unwrap_or_default();
        assert!(location.contains("prompt=login"), "{location}");
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws.clear());
        let page = opened(&mut browser, &doorward.store_url(CART), 0).await;
        assert_eq!(page.status(), 200, "the session is still there: {page}");
    }
}

#[tokio::test]
async fn error_of_the_provider_is_not_repeated_without_end() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(331);
    for (error, requests, code) in [
        ("login_required", 2, "declined_by_provider"),
        ("access_denied", 1, "declined_by_provider"),
        (
            "unmet_authentication_requirements",
            1,
            "unmet_authentication_requirements",
        ),
    ] {
        doorward
            .provider
            .behave(|provider| provider.authorize_error = Some(error));
        let before = doorward.provider.calls(Endpoint::Authorize);
        let page = browser.visit(&doorward.store_url(ACCOUNT)).await;
        assert_error_page(&page, 403, code);
        let after = doorward.provider.calls(Endpoint::Authorize);
        assert_eq!(after - before, requests, "{error}");
        assert_eq!(requested(&doorward, "max_age").as_deref(), Some("300"));
    }
}

#[tokio::test]
async fn script_gets_401_with_the_requirement_and_a_link() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let page = fetched(&mut browser, &doorward.store_url(VAULT)).await;
    assert_problem(&page, 401, "insufficient_user_authentication");
    assert_eq!(
        challenges(&page),
        [
            "Cookie realm=\"doorward\", error=\"insufficient_user_authentication\", \
             error_description=\"insufficient_user_authentication\", acr_values=\"gold silver\""
        ]
    );
    let problem = page.json();
    let login_url = member(&problem, "login_url");
    assert!(
        login_url.ends_with("&acr_values=gold+silver"),
        "{login_url}"
    );

    provider_grants(&doorward, "gold");
    let page = opened(&mut browser, login_url, 3).await;
    assert_eq!(page.status(), 200, "{page}");
    let page = fetched(&mut browser, &doorward.store_url(VAULT)).await;
    assert_eq!(page.status(), 200, "{page}");
    // The same link has nothing left to do.
    let calls = doorward.provider.calls(Endpoint::Authorize);
    opened(&mut browser, login_url, 1).await;
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), calls);
}

#[tokio::test]
async fn frame_shows_a_link_and_a_websocket_is_refused() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let page = doorward.store_url(CART).parse().expect("a URL");
    let frame = RequestSpec::new(Kind::Frame, &doorward.store_url(VAULT)).from(&page);
    let frame = browser.send(frame).await;
    assert_error_page(&frame, 401, "login_blocked_in_frame");
    let (link, _) = frame.links().into_iter().next().expect("a link");
    assert!(link.contains("acr_values=gold+silver"), "{link}");

    let socket = RequestSpec::new(Kind::Program, &doorward.store_url(VAULT))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Origin", &doorward.site().store);
    let refused = browser.send(socket).await;
    assert_problem(&refused, 401, "insufficient_user_authentication");
}

#[tokio::test]
async fn form_is_preserved_while_the_user_logs_in_again() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(331);
    doorward.sign_in("alice");
    let form_page = doorward.store_url("/account").parse().expect("a URL");
    let form = RequestSpec::new(Kind::Navigation, &doorward.store_url(ACCOUNT))
        .method("POST")
        .from(&form_page)
        .body(
            "application/x-www-form-urlencoded",
            "email=new%40example.com",
        );
    let confirm = browser.send(form.following()).await;
    assert_eq!(
        (confirm.status(), confirm.url.path()),
        (200, "/.doorward/form"),
        "{confirm}"
    );
    assert_eq!(requested(&doorward, "max_age").as_deref(), Some("300"));
    let sent = browser.submit(&confirm, &[]).await;
    assert_eq!(sent.status(), 200, "{sent}");
    let posts = doorward.store.received();
    let posts: Vec<_> = posts.iter().filter(|one| one.method == "POST").collect();
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].target, ACCOUNT);
}
