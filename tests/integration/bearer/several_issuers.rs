//! Access tokens of additional providers: verified with that provider's keys, at apps that list it.

use std::sync::Arc;

use doorward::types::time::ManualClock;
use serde_json::{Value, json};

use super::{CART, assert_no_token_reached_the_app, setup, token, with_token};
use crate::support::assertions::assert_problem;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{BEGIN, Doorward};
use crate::support::provider::FakeProvider;

/// A store that accepts tokens of these providers.
fn doorward_with(providers: &str) -> (Doorward, FakeProvider) {
    let machines = FakeProvider::start_as(
        "machines.localhost",
        Arc::new(ManualClock::starting_at(BEGIN)),
    );
    let table = format!(
        "\n[providers.machines]\nissuer = \"{}\"\n",
        machines.issuer()
    );
    let bearer = format!(
        "providers = {providers}\naudiences = [\"https://api.example.com\", \"store\"]\n{table}"
    );
    (setup(&bearer).start(), machines)
}

#[tokio::test]
async fn each_listed_provider_verifies_its_own_tokens() {
    let (doorward, machines) = doorward_with(r#"["login", "machines"]"#);
    assert_eq!(
        with_token(&doorward, CART, &token(&doorward, json!({})))
            .await
            .status(),
        200
    );
    let other = machines.access_token(
        &json!({ "aud": "https://api.example.com", "sub": "robot-7" }),
        &[],
    );
    assert_eq!(with_token(&doorward, CART, &other).await.status(), 200);
    assert_eq!(doorward.store_saw().as_deref(), Some("robot-7"));
    // Neither provider can issue tokens for the other.
    for (forger, victim) in [
        (&machines, &doorward.provider),
        (&doorward.provider, &machines),
    ] {
        let forged = forger.access_token(&json!({ "iss": victim.issuer() }), &[]);
        assert_problem(
            &with_token(&doorward, CART, &forged).await,
            401,
            "token_key_unknown",
        );
    }
    let nobodys = machines.access_token(&json!({ "iss": "https://evil.example" }), &[]);
    assert_problem(
        &with_token(&doorward, CART, &nobodys).await,
        401,
        "token_issuer_mismatch",
    );
    assert_eq!(doorward.store.count(), 2);
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn unlisted_provider_is_rejected_even_the_apps_own() {
    let (doorward, machines) = doorward_with(r#"["machines"]"#);
    assert_eq!(
        with_token(&doorward, CART, &machines.access_token(&json!({}), &[]))
            .await
            .status(),
        200
    );
    assert_problem(
        &with_token(&doorward, CART, &token(&doorward, json!({}))).await,
        401,
        "token_key_unknown",
    );
    assert_eq!(doorward.store.count(), 1);
    // Logins at the app's own provider still work.
    doorward.logged_in("alice", CART).await;
}

/// Sends a logout token of this provider to the store.
async fn log_out(
    doorward: &Doorward,
    provider: &FakeProvider,
    audience: &str,
    claims: Value,
) -> u16 {
    let token = provider.logout_token(audience, &claims, &[]);
    let request_with = RequestSpec::new(
        Kind::Program,
        &doorward.store_url("/.doorward/backchannel-logout"),
    );
    let form = format!("logout_token={token}");
    let request_with = request_with
        .method("POST")
        .body("application/x-www-form-urlencoded", form);
    doorward.browser().send(request_with).await.status()
}

#[tokio::test]
async fn logout_token_ends_sessions_and_tokens_of_its_own_issuer_only() {
    for by_sid in [false, true] {
        let (doorward, machines) = doorward_with(r#"["login", "machines"]"#);
        let mut browser = doorward.logged_in("alice", CART).await;
        let session = doorward.provider.session();
        let claims = json!({ "sub": "alice-id", "sid": session });
        let (own, other) = (
            token(&doorward, claims.clone()),
            machines.access_token(&claims, &[]),
        );
        let status = async |token: &str| with_token(&doorward, CART, token).await.status();
        assert_eq!((status(&own).await, status(&other).await), (200, 200));
        let about = if by_sid {
            json!({ "sid": session })
        } else {
            json!({ "sub": "alice-id" })
        };
        assert_eq!(
            log_out(&doorward, &machines, "somebody-else", about.clone()).await,
            400
        );
        assert_eq!(
            log_out(
                &doorward,
                &machines,
                "https://api.example.com",
                about.clone()
            )
            .await,
            200
        );
        assert_eq!((status(&own).await, status(&other).await), (200, 401));
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
        // Audiences of access tokens are no clients of the app's own provider.
        assert_eq!(
            log_out(
                &doorward,
                &doorward.provider,
                "https://api.example.com",
                about.clone()
            )
            .await,
            400
        );
        assert_eq!(
            log_out(&doorward, &doorward.provider, "store", about).await,
            200
        );
        assert_eq!(status(&own).await, 401);
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 302);
    }
}

#[tokio::test]
async fn logout_token_of_an_unlisted_provider_is_rejected() {
    let (doorward, machines) = doorward_with(r#"["login"]"#);
    let about = json!({ "sub": "alice-id" });
    assert_eq!(log_out(&doorward, &machines, "store", about).await, 400);
}

#[tokio::test]
async fn outage_of_one_provider_spares_the_others() {
    let (doorward, machines) = doorward_with(r#"["login", "machines"]"#);
    machines.stop();
    let unknown = with_token(&doorward, CART, &machines.access_token(&json!({}), &[])).await;
    // Its keys may have been fetched before the outage.
    assert!(matches!(unknown.status(), 200 | 503), "{unknown}");
    assert_eq!(
        with_token(&doorward, CART, &token(&doorward, json!({})))
            .await
            .status(),
        200
    );
}
