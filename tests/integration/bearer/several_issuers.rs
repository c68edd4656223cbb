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
fn door_with(providers: &str) -> (Doorward, FakeProvider) {
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
    let (door, machines) = door_with(r#"["login", "machines"]"#);
    assert_eq!(
        with_token(&door, CART, &token(&door, json!({})))
            .await
            .status(),
        200
    );
    let other = machines.access_token(
        &json!({ "aud": "https://api.example.com", "sub": "robot-7" }),
        &[],
    );
    assert_eq!(with_token(&door, CART, &other).await.status(), 200);
    assert_eq!(door.store_saw().as_deref(), Some("robot-7"));
    // Neither provider can issue tokens for the other.
    for (forger, victim) in [(&machines, &door.provider), (&door.provider, &machines)] {
        let forged = forger.access_token(&json!({ "iss": victim.issuer() }), &[]);
        assert_problem(
            &with_token(&door, CART, &forged).await,
            401,
            "token_key_unknown",
        );
    }
    let nobodys = machines.access_token(&json!({ "iss": "https://evil.example" }), &[]);
    assert_problem(
        &with_token(&door, CART, &nobodys).await,
        401,
        "token_issuer_mismatch",
    );
    assert_eq!(door.store.count(), 2);
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn unlisted_provider_is_rejected_even_the_apps_own() {
    let (door, machines) = door_with(r#"["machines"]"#);
    assert_eq!(
        with_token(&door, CART, &machines.access_token(&json!({}), &[]))
            .await
            .status(),
        200
    );
    assert_problem(
        &with_token(&door, CART, &token(&door, json!({}))).await,
        401,
        "token_key_unknown",
    );
    assert_eq!(door.store.count(), 1);
    // Logins at the app's own provider still work.
    door.logged_in("alice", CART).await;
}

/// Sends a logout token of this provider to the store.
async fn log_out(door: &Doorward, provider: &FakeProvider, audience: &str, claims: Value) -> u16 {
    let token = provider.logout_token(audience, &claims, &[]);
    let ask = RequestSpec::new(
        Kind::Program,
        &door.store_url("/.doorward/backchannel-logout"),
    );
    let form = format!("logout_token={token}");
    let ask = ask
        .method("POST")
        .body("application/x-www-form-urlencoded", form);
    door.browser().send(ask).await.status()
}

#[tokio::test]
async fn logout_token_ends_sessions_and_tokens_of_its_own_issuer_only() {
    for by_sid in [false, true] {
        let (door, machines) = door_with(r#"["login", "machines"]"#);
        let mut browser = door.logged_in("alice", CART).await;
        let session = door.provider.session();
        let claims = json!({ "sub": "alice-id", "sid": session });
        let (own, other) = (
            token(&door, claims.clone()),
            machines.access_token(&claims, &[]),
        );
        let status = async |token: &str| with_token(&door, CART, token).await.status();
        assert_eq!((status(&own).await, status(&other).await), (200, 200));
        let about = if by_sid {
            json!({ "sid": session })
        } else {
            json!({ "sub": "alice-id" })
        };
        assert_eq!(
            log_out(&door, &machines, "somebody-else", about.clone()).await,
            400
        );
        assert_eq!(
            log_out(&door, &machines, "https://api.example.com", about.clone()).await,
            200
        );
        assert_eq!((status(&own).await, status(&other).await), (200, 401));
        assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
        // Audiences of access tokens are no clients of the app's own provider.
        assert_eq!(
            log_out(
                &door,
                &door.provider,
                "https://api.example.com",
                about.clone()
            )
            .await,
            400
        );
        assert_eq!(log_out(&door, &door.provider, "store", about).await, 200);
        assert_eq!(status(&own).await, 401);
        assert_eq!(browser.step(&door.store_url(CART)).await.status(), 302);
    }
}

#[tokio::test]
async fn logout_token_of_an_unlisted_provider_is_rejected() {
    let (door, machines) = door_with(r#"["login"]"#);
    let about = json!({ "sub": "alice-id" });
    assert_eq!(log_out(&door, &machines, "store", about).await, 400);
}

#[tokio::test]
async fn outage_of_one_provider_spares_the_others() {
    let (door, machines) = door_with(r#"["login", "machines"]"#);
    machines.stop();
    let unknown = with_token(&door, CART, &machines.access_token(&json!({}), &[])).await;
    // Its keys may have been fetched before the outage.
    assert!(matches!(unknown.status(), 200 | 503), "{unknown}");
    assert_eq!(
        with_token(&door, CART, &token(&door, json!({})))
            .await
            .status(),
        200
    );
}
