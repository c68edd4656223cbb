//! FusionAuth: reasons of its own, and registrations.

use serde_json::json;

use crate::support::assertions::{
    CART, alice, assert_error_page, assert_problem, fetched, metric_reaches,
};
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, Fault, Flaw, User};

#[tokio::test]
async fn fusionauth_reasons_are_codes_in_pages_and_metrics() {
    let doorward = Setup::plain()
        .provider("kind = \"fusionauth\"\nrequire_registration = false")
        .start();
    doorward.provider.behave(|provider| {
        provider.authorize_error = Some("access_denied");
        provider.extra_callback_parameters =
            vec![("error_reason".to_owned(), "user_locked".to_owned())];
    });
    assert_error_page(
        &doorward.browser().visit(&doorward.store_url(CART)).await,
        403,
        "user_locked",
    );
    metric_reaches(
        &doorward,
        "doorward_logins_total{app=\"store\",outcome=\"user_locked\",provider=\"login\"}",
        1.0,
    )
    .await;
    // Unlisted values are not passed on.
    doorward.provider.behave(|provider| {
        provider.extra_callback_parameters =
            vec![("error_reason".to_owned(), "made_up".to_owned())];
    });
    assert_error_page(
        &doorward.browser().visit(&doorward.store_url(CART)).await,
        403,
        "declined_by_provider",
    );
    doorward.provider.behave(|provider| {
        provider.authorize_error = None;
        provider.extra_callback_parameters.clear();
    });
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    let body = r#"{"error":"invalid_client","error_reason":"invalid_client_authentication"}"#;
    doorward
        .provider
        .fault(Endpoint::Token, Fault::Json(401, body));
    assert_error_page(
        &browser.step(&doorward.store_url(CART)).await,
        503,
        "invalid_client_authentication",
    );
    doorward.advance_secs(5);
    let body = r#"{"error":"invalid_request","error_reason":"refresh_token_not_found"}"#;
    doorward
        .provider
        .fault(Endpoint::Token, Fault::Json(400, body));
    assert_problem(
        &fetched(&mut browser, &doorward.store_url(CART)).await,
        401,
        "refresh_rejected",
    );
}

#[tokio::test]
async fn unregistered_user_is_rejected_unless_allowed() {
    let access = "session_jwt = \"access\"";
    for (lines, user, status) in [
        ("", User::new("alice", &[]), 403),
        (
            "",
            User::new("alice", &[]).with_claim("applicationId", json!("forum")),
            403,
        ),
        (
            "",
            User::new("alice", &[]).with_claim("applicationId", json!("store")),
            200,
        ),
        (
            "\nrequire_registration = false",
            User::new("alice", &[]),
            200,
        ),
    ] {
        let doorward = Setup::plain()
            .provider(&format!("kind = \"fusionauth\"{lines}"))
            .store(access)
            .forum(access)
            .start();
        doorward.provider.sign_in(user);
        let mut browser = doorward.browser();
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), status, "{lines}: {page}");
        if status == 403 {
            assert_error_page(&page, 403, "not_registered");
            assert_eq!(
                (doorward.cookie(&browser, "jwt"), doorward.store.count()),
                (None, 0)
            );
        }
    }
}

#[tokio::test]
async fn withdrawn_registration_ends_session_at_next_refresh() {
    let access = "session_jwt = \"access\"";
    let doorward = Setup::plain()
        .provider("kind = \"fusionauth\"")
        .store(access)
        .forum(access)
        .start();
    let registered = Flaw::Claim("applicationId", json!("store"));
    doorward
        .provider
        .behave(|provider| provider.access_token_flaws = vec![registered]);
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    doorward.advance_secs(301);
    doorward
        .provider
        .behave(|provider| provider.access_token_flaws.clear());
    let reached = doorward.store.count();
    assert_problem(
        &fetched(&mut browser, &doorward.store_url(CART)).await,
        401,
        "refresh_rejected",
    );
    assert_eq!(
        (doorward.store.count(), doorward.cookie(&browser, "refresh")),
        (reached, None)
    );
}
