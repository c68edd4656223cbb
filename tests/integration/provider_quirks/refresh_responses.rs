//! Unusual responses to a refresh: none ends a session that the provider did not end.

use serde_json::json;

use crate::support::assertions::{CART, alice, assert_problem, fetched};
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, ExpiresIn, Fault};

#[tokio::test]
async fn unchanged_refresh_token_is_no_reuse() {
    let doorward = Setup::plain().start();
    doorward.provider.behave(|provider| {
        provider.rotates_refresh_tokens = false;
        provider.repeats_refresh_token = true;
    });
    let mut browser = alice(&doorward).await;
    for round in 1..4 {
        doorward.advance_secs(301);
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
        assert_eq!(doorward.provider.grants("refresh_token"), round);
    }
    let presented = doorward.provider.presented();
    assert!(presented.windows(2).all(|two| two[0].token == two[1].token));
    assert_eq!(
        doorward
            .metric("doorward_refresh_tokens_reused_total{app=\"store\",outcome=\"session_ended\",provider=\"login\"}")
            .await,
        0.0
    );
}

#[tokio::test]
async fn opaque_token_without_lifetime_or_id_token_refreshes() {
    let doorward = Setup::plain().start();
    doorward.provider.behave(|provider| {
        provider.opaque_access_token = true;
        provider.refresh_brings_id_token = false;
        provider.expires_in = ExpiresIn::Missing;
        provider.rotates_refresh_tokens = false;
    });
    let mut browser = alice(&doorward).await;
    for round in 1..3 {
        doorward.advance_secs(301);
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
        assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
        assert_eq!(doorward.provider.grants("refresh_token"), round);
    }
}

#[tokio::test]
async fn rejected_refresh_token_ends_session_in_every_dialect() {
    let refusals = [
        Fault::Json(400, r#"{"error":"invalid_grant"}"#),
        Fault::Json(401, r#"{"error":"invalid_grant"}"#),
        Fault::Json(
            403,
            r#"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#,
        ),
        Fault::Json(200, r#"{"error":"bad_refresh_token"}"#),
        Fault::Json(400, r#"{"error":"refresh_token_expired"}"#),
        Fault::Json(400, r#"{"error":"interaction_required"}"#),
        Fault::Json(400, r#"{"error":{"code":"token_revoked"}}"#),
        Fault::Json(
            400,
            r#"{"code":"E0000011","message":"Invalid token provided"}"#,
        ),
        Fault::Json(400, ""),
        Fault::Json(403, ""),
    ];
    for refusal in refusals {
        let doorward = Setup::plain().start();
        let mut browser = alice(&doorward).await;
        doorward.advance_secs(301);
        doorward.provider.fault(Endpoint::Token, refusal.clone());
        let response = fetched(&mut browser, &doorward.store_url(CART)).await;
        assert_problem(&response, 401, "refresh_rejected");
        assert_eq!(doorward.cookie(&browser, "refresh"), None, "{refusal:?}");
        doorward.provider.heal(Endpoint::Token);
        assert_eq!(
            browser.visit(&doorward.store_url(CART)).await.status(),
            200,
            "{refusal:?}: the next login"
        );
    }
}

#[tokio::test]
async fn lifetime_that_is_not_positive_is_ignored() {
    let forms = [
        json!(0),
        json!(-1),
        json!("0"),
        json!("3600.0"),
        json!("soon"),
        json!(null),
        json!({}),
    ];
    for form in forms {
        for brings_id_token in [true, false] {
            let doorward = Setup::plain().start();
            doorward.provider.behave(|provider| {
                provider.token_response_members = vec![("expires_in", form.clone())];
                provider.refresh_brings_id_token = brings_id_token;
            });
            let mut browser = alice(&doorward).await;
            for round in 1..3 {
                doorward.advance_secs(200);
                let page = browser.step(&doorward.store_url(CART)).await;
                assert_eq!(page.status(), 200, "{form}: {page}");
                doorward.advance_secs(101);
                let page = browser.step(&doorward.store_url(CART)).await;
                assert_eq!(page.status(), 200, "{form}: {page}");
                if form != "3600.0" || brings_id_token {
                    assert_eq!(doorward.provider.grants("refresh_token"), round, "{form}");
                }
            }
        }
    }
}

#[tokio::test]
async fn error_member_without_a_value_is_no_error() {
    for error in [json!(null), json!("")] {
        let doorward = Setup::plain().start();
        doorward.provider.behave(|provider| {
            provider.token_response_members = vec![
                ("error", error.clone()),
                ("error_description", error.clone()),
            ];
        });
        let mut browser = alice(&doorward).await;
        doorward.advance_secs(301);
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{error}: {page}");
        assert_eq!(doorward.provider.grants("refresh_token"), 1, "{error}");
    }
}
