//! A refreshed ID token continues the login (OpenID Connect Core section 12.2).

use serde_json::{Value, json};

use crate::support::assertions::{CART, alice, assert_problem, fetched};
use crate::support::doorward::{BEGIN, Setup};
use crate::support::provider::{Flaw, Visit};

/// The nonce of the only login.
fn nonce(visits: &[Visit]) -> Value {
    json!(visits.first().and_then(|visit| visit.parameter("nonce")))
}

#[tokio::test]
async fn refreshed_id_token_of_another_login_is_rejected() {
    let cases = [
        (Flaw::WrongNonce, "token_nonce_mismatch"),
        (
            Flaw::Claim("auth_time", json!(BEGIN.secs() - 3600)),
            "token_auth_time_mismatch",
        ),
        (
            Flaw::Claim("iat", json!(BEGIN.secs() - 3600)),
            "token_issued_before_login",
        ),
    ];
    for jwt in ["id", "access"] {
        for (flaw, code) in &cases {
            let doorward = Setup::plain()
                .store(&format!("session_jwt = \"{jwt}\""))
                .start();
            let mut browser = alice(&doorward).await;
            doorward
                .provider
                .behave(|provider| provider.id_token_flaws = vec![flaw.clone()]);
            doorward.advance_secs(301);
            let response = fetched(&mut browser, &doorward.store_url(CART)).await;
            assert_problem(&response, 503, code);
        }
    }
}

/// Many providers report the newest authentication of the user, some in another unit.
#[tokio::test]
async fn refreshed_id_token_with_another_auth_time_continues_the_session() {
    for auth_time in [BEGIN.secs() + 301, BEGIN.secs() * 1000, BEGIN.secs() - 10] {
        let doorward = Setup::plain().start();
        let mut browser = alice(&doorward).await;
        doorward.provider.behave(|provider| {
            provider.id_token_flaws = vec![Flaw::Claim("auth_time", json!(auth_time))];
        });
        doorward.advance_secs(301);
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{auth_time}");
    }
}

#[tokio::test]
async fn login_is_remembered_over_several_refreshes() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    // The claims that a later token is compared with are not in the one before it.
    doorward.provider.behave(|provider| {
        provider.id_token_flaws = ["nonce", "auth_time"].map(Flaw::Without).to_vec();
    });
    doorward.advance_secs(301);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    let nonce = nonce(
        &doorward
            .provider
            .visits(crate::support::provider::Endpoint::Authorize),
    );
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws = vec![Flaw::Claim("nonce", nonce)]);
    doorward.advance_secs(301);
    assert_eq!(
        browser.step(&doorward.store_url(CART)).await.status(),
        200,
        "the same nonce"
    );
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws = vec![Flaw::WrongNonce]);
    doorward.advance_secs(301);
    let response = fetched(&mut browser, &doorward.store_url(CART)).await;
    assert_problem(&response, 503, "token_nonce_mismatch");
}
