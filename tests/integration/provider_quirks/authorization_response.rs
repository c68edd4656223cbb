//! Unusual responses of the authorization endpoint.

use crate::support::assertions::{CART, alice, assert_error_page};
use crate::support::doorward::Setup;
use crate::support::provider::Endpoint;

#[tokio::test]
async fn prompt_none_answered_by_page_or_error_makes_no_loop() {
    let doorward = Setup::plain()
        .store("extra_authorization_params = { prompt = \"none\" }")
        .start();
    doorward
        .provider
        .behave(|provider| provider.ignores_prompt_none = true);
    let page = doorward.browser().visit(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/authorize"),
        "the person sees the form: {page}"
    );
    doorward
        .provider
        .behave(|provider| provider.ignores_prompt_none = false);
    let asked = doorward.provider.calls(Endpoint::Authorize);
    let page = doorward.browser().visit(&doorward.store_url(CART)).await;
    assert_error_page(&page, 403, "declined_by_provider");
    assert_eq!(
        doorward.provider.calls(Endpoint::Authorize),
        asked + 1,
        "the login ran in circles"
    );
    alice(&doorward).await;
}

#[tokio::test]
async fn extra_callback_parameters_are_ignored() {
    let doorward = Setup::plain().start();
    let added = [
        ("locale", "en"),
        ("userState", "AuthenticatedNotRegistered"),
        ("session_state", "x"),
        ("scope", "a b"),
    ];
    doorward.provider.behave(|provider| {
        let added = added
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        provider.extra_callback_parameters = added.collect();
    });
    alice(&doorward).await;
}
