//! Opaque access tokens (RFC 7662): introspected with the app's client credentials, cached within
//! bounds, and active only for a boolean `true`.

use std::collections::HashSet;
use std::sync::Arc;

use doorward::types::time::ManualClock;
use serde_json::{Value, json};

use super::{CART, ORDERS, assert_no_token_reached_the_app, challenges, sent, setup, with_token};
use crate::support::assertions::assert_problem;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{BEGIN, Doorward};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::provider::{Client, Endpoint, FakeProvider, Fault};

const INTROSPECT: &str = "opaque_tokens = \"introspect\"";

fn door() -> Doorward {
    setup(INTROSPECT).start()
}

fn asked(door: &Doorward) -> usize {
    door.provider.calls(Endpoint::Introspection)
}

#[tokio::test]
async fn introspection_result_is_cached_for_a_minute() {
    let door = door();
    let token = door
        .provider
        .opaque_token(&json!({ "scope": "openid orders:read" }));
    for path in [CART, ORDERS, CART] {
        assert_eq!(
            with_token(&door, path, &token).await.status(),
            200,
            "{path}"
        );
        assert_eq!(door.store_saw().as_deref(), Some("alice-id"));
    }
    assert_problem(&with_token(&door, "/admin", &token).await, 403, "forbidden");
    assert_eq!(asked(&door), 1);
    let visit = &door.provider.visits(Endpoint::Introspection)[0];
    assert_eq!(visit.parameter("token_type_hint"), Some("access_token"));
    assert!(
        visit
            .header("authorization")
            .is_some_and(|value| value.starts_with("Basic ")),
        "{visit:?}"
    );
    door.advance_secs(59);
    assert_eq!(
        (with_token(&door, CART, &token).await.status(), asked(&door)),
        (200, 1)
    );
    door.provider.forget_opaque_token(&token);
    door.advance_secs(1);
    assert_problem(
        &with_token(&door, CART, &token).await,
        401,
        "token_inactive",
    );
    assert_eq!(asked(&door), 2);
    let outcomes = ["active", "inactive"].map(|outcome| {
        format!(r#"doorward_introspections_total{{app="store",outcome="{outcome}"}}"#)
    });
    for series in outcomes {
        assert_eq!(door.metric(&series).await, 1.0, "{series}");
    }
    assert_no_token_reached_the_app(&door);
}

#[tokio::test]
async fn token_expiry_wins_over_cache_lifetime() {
    let door = setup(&format!("{INTROSPECT}\nintrospection_cache = \"1h\"")).start();
    let token = door.provider.opaque_token(&json!({}));
    assert_eq!(with_token(&door, CART, &token).await.status(), 200);
    door.advance_secs(329);
    assert_eq!(with_token(&door, CART, &token).await.status(), 200);
    door.advance_secs(1);
    assert_problem(&with_token(&door, CART, &token).await, 401, "token_expired");
    assert_eq!(asked(&door), 1);
    // A token without `exp` is introspected again when its cache entry expires.
    let endless = door
        .provider
        .opaque_token(&json!({ "exp": null, "iat": null }));
    for _ in 0..3 {
        assert_eq!(with_token(&door, CART, &endless).await.status(), 200);
        door.advance_secs(3600);
    }
    assert_eq!(asked(&door), 4);
}

#[tokio::test]
async fn only_boolean_true_is_active() {
    let door = door();
    let claims = |active: Value| json!({ "active": active, "sub": "alice-id", "aud": "store", "client_id": "phone" });
    let answers = [
        (claims(json!(false)), 401, "token_inactive"),
        (claims(json!("true")), 503, "introspection_malformed"),
        (claims(json!(1)), 503, "introspection_malformed"),
        (claims(json!([true])), 503, "introspection_malformed"),
        (
            json!({ "sub": "alice-id", "aud": "store" }),
            503,
            "introspection_malformed",
        ),
        (json!([claims(json!(true))]), 503, "introspection_malformed"),
    ];
    for (index, (answer, status, code)) in answers.into_iter().enumerate() {
        door.provider
            .behave(|behaviour| behaviour.introspection_answer = Some(answer.clone()));
        let told = with_token(&door, CART, &format!("opaque-{index}")).await;
        assert_problem(&told, status, code);
    }
    assert_eq!(door.store.count(), 0, "a request reached the app");
    door.provider
        .behave(|behaviour| behaviour.introspection_answer = Some(claims(json!(true))));
    assert_eq!(with_token(&door, CART, "opaque").await.status(), 200);
}

#[tokio::test]
async fn active_token_of_other_audience_or_issuer_is_rejected() {
    let door = door();
    let cases = [
        (json!({ "aud": "forum" }), "token_audience_mismatch"),
        (json!({ "aud": null }), "token_audience_mismatch"),
        (
            json!({ "iss": "https://evil.example" }),
            "token_issuer_mismatch",
        ),
        (json!({ "exp": 1 }), "token_expired"),
        (
            json!({ "token_type": "refresh_token" }),
            "token_kind_mismatch",
        ),
        (
            json!({ "sub": null, "client_id": null }),
            "token_sub_missing",
        ),
    ];
    for (claims, code) in cases {
        let token = door.provider.opaque_token(&claims);
        assert_problem(&with_token(&door, CART, &token).await, 401, code);
    }
    assert_eq!(door.store.count(), 0);
    // A token of the app's own client is accepted without an audience.
    let own = door
        .provider
        .opaque_token(&json!({ "aud": null, "client_id": "store" }));
    assert_eq!(with_token(&door, CART, &own).await.status(), 200);
}

#[tokio::test]
async fn concurrent_requests_share_one_introspection() {
    let door = door();
    let token = door.provider.opaque_token(&json!({}));
    let gate = Gate::default();
    door.provider
        .fault(Endpoint::Introspection, Fault::Held(gate.clone()));
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let (mut program, ask) = (
            door.browser(),
            super::ask(&door, CART, &format!("Bearer {token}")),
        );
        waiting.push(tokio::spawn(
            async move { program.send(ask).await.status() },
        ));
    }
    eventually("the provider is asked", || asked(&door) == 1).await;
    gate.open();
    let mut statuses = HashSet::new();
    for one in waiting {
        statuses.insert(one.await.expect("an answer"));
    }
    assert_eq!((statuses, asked(&door)), (HashSet::from([200]), 1));
}

#[tokio::test]
async fn cached_verdicts_count_during_provider_outage() {
    let mut door = door();
    let (known, unknown) = (
        door.provider.opaque_token(&json!({})),
        door.provider.opaque_token(&json!({})),
    );
    assert_eq!(with_token(&door, CART, &known).await.status(), 200);
    door.provider.stop();
    assert_eq!(with_token(&door, CART, &known).await.status(), 200);
    let answer = with_token(&door, CART, &unknown).await;
    assert_problem(&answer, 503, "provider_unreachable");
    assert!(
        answer.header("retry-after").is_some() && challenges(&answer).is_empty(),
        "{answer}"
    );
    door.advance_secs(60);
    assert_problem(
        &with_token(&door, CART, &known).await,
        503,
        "provider_unreachable",
    );
    door.provider.restart();
    assert_eq!(with_token(&door, CART, &known).await.status(), 200);
}

#[tokio::test]
async fn public_path_waits_for_no_introspection() {
    let door = door();
    let token = door.provider.opaque_token(&json!({}));
    assert_eq!(
        with_token(&door, "/public/news", &token).await.status(),
        200
    );
    assert_eq!((asked(&door), door.store_saw()), (0, None));
    assert_eq!(with_token(&door, CART, &token).await.status(), 200);
    assert_eq!(
        with_token(&door, "/public/news", &token).await.status(),
        200
    );
    assert_eq!(
        (asked(&door), door.store_saw().as_deref()),
        (1, Some("alice-id")),
        "what is known is told"
    );
}

#[tokio::test]
async fn introspection_cache_is_per_app() {
    let door = setup(INTROSPECT)
        .more(&format!("[apps.forum.bearer]\n{INTROSPECT}\n"))
        .start();
    let token = door.provider.opaque_token(&json!({}));
    assert_eq!(with_token(&door, CART, &token).await.status(), 200);
    let ask = RequestSpec::new(Kind::Program, &door.forum_url("/posts"));
    let answer = sent(
        &mut door.browser(),
        ask.header("Authorization", &format!("Bearer {token}")),
    )
    .await;
    assert_problem(&answer, 401, "token_audience_mismatch");
    assert_eq!(
        (asked(&door), door.forum.count()),
        (2, 0),
        "the forum asked for itself"
    );
}

#[tokio::test]
async fn introspection_client_error_is_no_verdict() {
    let door = setup(INTROSPECT).start();
    door.provider
        .behave(|behaviour| behaviour.has_introspection = false);
    let token = door.provider.opaque_token(&json!({}));
    // The cached metadata name the endpoint, and nothing listens there.
    let answer = with_token(&door, CART, &token).await;
    assert!(
        answer.status() == 503 && door.store.count() == 0,
        "{answer}"
    );
    let jwt = door.provider.access_token(&json!({}), &[]);
    assert_eq!(with_token(&door, CART, &jwt).await.status(), 200);
}

#[tokio::test]
async fn introspection_endpoint_can_be_configured() {
    // Some providers omit the introspection endpoint from their metadata.
    let elsewhere =
        FakeProvider::start_as("asked.localhost", Arc::new(ManualClock::starting_at(BEGIN)));
    elsewhere.register(Client::of_app("store", "http://store.localhost:8080"));
    let line = format!(
        "introspection_endpoint = \"{}\"",
        elsewhere.url(Endpoint::Introspection)
    );
    let door = setup(INTROSPECT).provider(&line).start();
    let claims = json!({ "iss": door.provider.issuer(), "sub": "carol-id" });
    let token = elsewhere.opaque_token(&claims);
    assert_eq!(with_token(&door, CART, &token).await.status(), 200);
    assert_eq!(
        (door.store_saw().as_deref(), asked(&door)),
        (Some("carol-id"), 0)
    );
}
