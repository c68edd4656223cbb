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

fn doorward() -> Doorward {
    setup(INTROSPECT).start()
}

fn asked(doorward: &Doorward) -> usize {
    doorward.provider.calls(Endpoint::Introspection)
}

#[tokio::test]
async fn introspection_result_is_cached_for_a_minute() {
    let doorward = doorward();
    let token = doorward
        .provider
        .opaque_token(&json!({ "scope": "openid orders:read" }));
    for path in [CART, ORDERS, CART] {
        assert_eq!(
            with_token(&doorward, path, &token).await.status(),
            200,
            "{path}"
        );
        assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
    }
    assert_problem(
        &with_token(&doorward, "/admin", &token).await,
        403,
        "forbidden",
    );
    assert_eq!(asked(&doorward), 1);
    let visit = &doorward.provider.visits(Endpoint::Introspection)[0];
    assert_eq!(visit.parameter("token_type_hint"), Some("access_token"));
    assert!(
        visit
            .header("authorization")
            .is_some_and(|value| value.starts_with("Basic ")),
        "{visit:?}"
    );
    doorward.advance_secs(59);
    assert_eq!(
        (
            with_token(&doorward, CART, &token).await.status(),
            asked(&doorward)
        ),
        (200, 1)
    );
    doorward.provider.forget_opaque_token(&token);
    doorward.advance_secs(1);
    assert_problem(
        &with_token(&doorward, CART, &token).await,
        401,
        "token_inactive",
    );
    assert_eq!(asked(&doorward), 2);
    let outcomes = ["active", "inactive"].map(|outcome| {
        format!(r#"doorward_introspections_total{{app="store",outcome="{outcome}"}}"#)
    });
    for series in outcomes {
        assert_eq!(doorward.metric(&series).await, 1.0, "{series}");
    }
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn token_expiry_wins_over_cache_lifetime() {
    let doorward = setup(&format!("{INTROSPECT}\nintrospection_cache = \"1h\"")).start();
    let token = doorward.provider.opaque_token(&json!({}));
    assert_eq!(with_token(&doorward, CART, &token).await.status(), 200);
    doorward.advance_secs(329);
    assert_eq!(with_token(&doorward, CART, &token).await.status(), 200);
    doorward.advance_secs(1);
    assert_problem(
        &with_token(&doorward, CART, &token).await,
        401,
        "token_expired",
    );
    assert_eq!(asked(&doorward), 1);
    // A token without `exp` is introspected again when its cache entry expires.
    let endless = doorward
        .provider
        .opaque_token(&json!({ "exp": null, "iat": null }));
    for _ in 0..3 {
        assert_eq!(with_token(&doorward, CART, &endless).await.status(), 200);
        doorward.advance_secs(3600);
    }
    assert_eq!(asked(&doorward), 4);
}

#[tokio::test]
async fn only_boolean_true_is_active() {
    let doorward = doorward();
    let claims = |active: Value| json!({ "active": active, "sub": "alice-id", "aud": "store", "client_id": "phone" });
    let responses = [
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
    for (index, (response, status, code)) in responses.into_iter().enumerate() {
        doorward
            .provider
            .behave(|behaviour| behaviour.introspection_answer = Some(response.clone()));
        let told = with_token(&doorward, CART, &format!("opaque-{index}")).await;
        assert_problem(&told, status, code);
    }
    assert_eq!(doorward.store.count(), 0, "a request reached the app");
    doorward
        .provider
        .behave(|behaviour| behaviour.introspection_answer = Some(claims(json!(true))));
    assert_eq!(with_token(&doorward, CART, "opaque").await.status(), 200);
}

#[tokio::test]
async fn active_token_of_other_audience_or_issuer_is_rejected() {
    let doorward = doorward();
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
        let token = doorward.provider.opaque_token(&claims);
        assert_problem(&with_token(&doorward, CART, &token).await, 401, code);
    }
    assert_eq!(doorward.store.count(), 0);
    // A token of the app's own client is accepted without an audience.
    let own = doorward
        .provider
        .opaque_token(&json!({ "aud": null, "client_id": "store" }));
    assert_eq!(with_token(&doorward, CART, &own).await.status(), 200);
}

#[tokio::test]
async fn concurrent_requests_share_one_introspection() {
    let doorward = doorward();
    let token = doorward.provider.opaque_token(&json!({}));
    let gate = Gate::default();
    doorward
        .provider
        .fault(Endpoint::Introspection, Fault::Held(gate.clone()));
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let (mut program, request_with) = (
            doorward.browser(),
            super::request_with(&doorward, CART, &format!("Bearer {token}")),
        );
        waiting.push(tokio::spawn(async move {
            program.send(request_with).await.status()
        }));
    }
    eventually("the provider is asked", || asked(&doorward) == 1).await;
    gate.open();
    let mut statuses = HashSet::new();
    for one in waiting {
        statuses.insert(one.await.expect("an answer"));
    }
    assert_eq!((statuses, asked(&doorward)), (HashSet::from([200]), 1));
}

#[tokio::test]
async fn cached_verdicts_count_during_provider_outage() {
    let mut doorward = doorward();
    let (known, unknown) = (
        doorward.provider.opaque_token(&json!({})),
        doorward.provider.opaque_token(&json!({})),
    );
    assert_eq!(with_token(&doorward, CART, &known).await.status(), 200);
    doorward.provider.stop();
    assert_eq!(with_token(&doorward, CART, &known).await.status(), 200);
    let response = with_token(&doorward, CART, &unknown).await;
    assert_problem(&response, 503, "provider_unreachable");
    assert!(
        response.header("retry-after").is_some() && challenges(&response).is_empty(),
        "{response}"
    );
    doorward.advance_secs(60);
    assert_problem(
        &with_token(&doorward, CART, &known).await,
        503,
        "provider_unreachable",
    );
    doorward.provider.restart();
    assert_eq!(with_token(&doorward, CART, &known).await.status(), 200);
}

#[tokio::test]
async fn public_path_waits_for_no_introspection() {
    let doorward = doorward();
    let token = doorward.provider.opaque_token(&json!({}));
    assert_eq!(
        with_token(&doorward, "/public/news", &token).await.status(),
        200
    );
    assert_eq!((asked(&doorward), doorward.store_saw()), (0, None));
    assert_eq!(with_token(&doorward, CART, &token).await.status(), 200);
    assert_eq!(
        with_token(&doorward, "/public/news", &token).await.status(),
        200
    );
    assert_eq!(
        (asked(&doorward), doorward.store_saw().as_deref()),
        (1, Some("alice-id")),
        "what is known is told"
    );
}

#[tokio::test]
async fn introspection_cache_is_per_app() {
    let doorward = setup(INTROSPECT)
        .more(&format!("[apps.forum.bearer]\n{INTROSPECT}\n"))
        .start();
    let token = doorward.provider.opaque_token(&json!({}));
    assert_eq!(with_token(&doorward, CART, &token).await.status(), 200);
    let request_with = RequestSpec::new(Kind::Program, &doorward.forum_url("/posts"));
    let response = sent(
        &mut doorward.browser(),
        request_with.header("Authorization", &format!("Bearer {token}")),
    )
    .await;
    assert_problem(&response, 401, "token_audience_mismatch");
    assert_eq!(
        (asked(&doorward), doorward.forum.count()),
        (2, 0),
        "the forum asked for itself"
    );
}

#[tokio::test]
async fn introspection_client_error_is_no_verdict() {
    let doorward = setup(INTROSPECT).start();
    doorward
        .provider
        .behave(|behaviour| behaviour.has_introspection = false);
    let token = doorward.provider.opaque_token(&json!({}));
    // The cached metadata name the endpoint, and nothing listens there.
    let response = with_token(&doorward, CART, &token).await;
    assert!(
        response.status() == 503 && doorward.store.count() == 0,
        "{response}"
    );
    let jwt = doorward.provider.access_token(&json!({}), &[]);
    assert_eq!(with_token(&doorward, CART, &jwt).await.status(), 200);
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
    let doorward = setup(INTROSPECT).provider(&line).start();
    let claims = json!({ "iss": doorward.provider.issuer(), "sub": "carol-id" });
    let token = elsewhere.opaque_token(&claims);
    assert_eq!(with_token(&doorward, CART, &token).await.status(), 200);
    assert_eq!(
        (doorward.store_saw().as_deref(), asked(&doorward)),
        (Some("carol-id"), 0)
    );
}
