//! Unusual forms of claims that a standard allows.

use serde_json::{Value, json};

use crate::support::assertions::{CART, alice};
use crate::support::doorward::Setup;
use crate::support::provider::Flaw;

#[tokio::test]
async fn unusual_claim_and_date_forms_are_accepted() {
    let now = 1_800_000_000.0;
    let flaws = [
        Flaw::Claim("auth_time", json!(now - 0.25)),
        Flaw::Claim("iat", json!(now + 0.75)),
        Flaw::Claim("exp", json!(now + 300.5)),
        Flaw::Claim("aud", json!(["store"])),
        Flaw::Claim("azp", json!("store")),
    ];
    for jwt in ["id", "access"] {
        let doorward = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        doorward.provider.behave(|provider| {
            provider.id_token_flaws = flaws.to_vec();
            provider.access_token_flaws =
                [&flaws[..3], &[Flaw::Claim("aud", json!(["api", "store"]))]].concat();
        });
        let mut browser = alice(&doorward).await;
        assert_eq!(
            browser.step(&doorward.store_url(CART)).await.status(),
            200,
            "{jwt}"
        );
    }
}

#[tokio::test]
async fn audience_list_is_accepted_with_azp() {
    let doorward = Setup::plain().start();
    let audiences = Flaw::Claim("aud", json!(["api", "store"]));
    doorward.provider.behave(|provider| {
        provider.id_token_flaws = vec![audiences, Flaw::Claim("azp", json!("store"))]
    });
    alice(&doorward).await;
}

#[tokio::test]
async fn null_optional_claims_break_neither_login_nor_refresh() {
    let null = |name| Flaw::Claim(name, Value::Null);
    let id_token = ["azp", "nbf", "auth_time", "at_hash", "sid", "acr"].map(null);
    for jwt in ["id", "access"] {
        let doorward = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        doorward.provider.behave(|provider| {
            provider.id_token_flaws = id_token.to_vec();
            provider.access_token_flaws = ["azp", "nbf", "auth_time", "sid"].map(null).to_vec();
        });
        let mut browser = alice(&doorward).await;
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws.push(null("nonce")));
        doorward.advance_secs(301);
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{jwt}: {page}");
        assert_eq!(doorward.provider.grants("refresh_token"), 1, "{jwt}");
    }
}

#[tokio::test]
async fn claim_that_nothing_uses_may_have_any_form() {
    let doorward = Setup::plain().start();
    for form in [json!("yesterday"), json!(-1), json!({}), json!([1])] {
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws = vec![Flaw::Claim("auth_time", form)]);
        alice(&doorward).await;
    }
}
