//! Without a refresh token the session ends with the JWT; the provider's own session makes the next
//! login silent.

use super::{CART, exchanges, load, refreshes, set};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;

#[tokio::test]
async fn navigation_after_jwt_expiry_passes_provider_without_form() {
    let doorward = Setup::over_tls().start();
    doorward
        .provider
        .behave(|provider| provider.grants_refresh_token = false);
    let mut browser = doorward.logged_in("alice", CART).await;
    assert_eq!(doorward.cookie(&browser, "refresh"), None);
    doorward.advance_secs(299);
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(1);
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, doorward.store_url(CART).as_str()),
        "{page}"
    );
    assert_eq!(
        (
            doorward.provider.forms_shown(),
            refreshes(&doorward),
            exchanges(&doorward)
        ),
        (0, 0, 2)
    );
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn script_after_jwt_expiry_gets_401() {
    let doorward = Setup::plain().start();
    doorward
        .provider
        .behave(|provider| provider.grants_refresh_token = false);
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let from = url::Url::parse(&doorward.store_url(CART)).unwrap();
    let page = browser
        .send(RequestSpec::new(Kind::Fetch, &doorward.store_url("/api")).from(&from))
        .await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (401, Some("jwt_expired")),
        "{page}"
    );
    assert_eq!(set(&page), Vec::<String>::new());
}

#[tokio::test]
async fn login_without_refresh_token_clears_older_refresh_cookie() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.end_grants_of("alice-id");
    doorward
        .provider
        .behave(|provider| provider.grants_refresh_token = false);
    doorward.advance_secs(300);
    browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(doorward.cookie(&browser, "refresh"), None);
    load(&doorward, &mut browser, "alice").await;
}
