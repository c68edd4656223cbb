//! A flood of invalid tokens uses its own limit only: logins and known clients are not
//! affected.

use serde_json::json;

use super::{CART, doorward, of_bob, token, with_token};
use crate::support::assertions::assert_problem;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, Flaw};

/// The number of requests that may wait for keys at once.
const ROOM: usize = 256;

#[tokio::test]
async fn flood_of_invalid_tokens_does_not_starve_others() {
    let doorward = doorward();
    let known = token(&doorward, json!({}));
    assert_eq!(with_token(&doorward, CART, &known).await.status(), 200);
    doorward.advance_secs(11);
    let gate = Gate::default();
    doorward
        .provider
        .fault(Endpoint::Jwks, Fault::Held(gate.clone()));
    let fetched = doorward.provider.calls(Endpoint::Jwks);
    let made_up = doorward
        .provider
        .access_token(&json!({}), &[Flaw::KeyMissing]);
    let mut waiting = Vec::new();
    for _ in 0..ROOM {
        let (mut program, request_with) = (
            doorward.browser(),
            super::request_with(&doorward, CART, &format!("Bearer {made_up}")),
        );
        waiting.push(tokio::spawn(async move {
            program.send(request_with).await.status()
        }));
    }
    eventually("the keys are asked for", || {
        doorward.provider.calls(Endpoint::Jwks) == fetched + 1
    })
    .await;
    // Arrival cannot be observed from outside, but the first request over the limit gets its
    // response at once.
    let refused = loop {
        let response = with_token(&doorward, CART, &made_up).await;
        if response.json()["code"] == "too_many_provider_calls" {
            break response;
        }
    };
    assert_problem(&refused, 503, "too_many_provider_calls");
    assert_eq!(with_token(&doorward, CART, &known).await.status(), 200);
    assert_eq!(
        with_token(&doorward, CART, &token(&doorward, of_bob()))
            .await
            .status(),
        200,
        "never seen, of a key that is known"
    );
    doorward.logged_in("alice", CART).await;
    gate.open();
    for one in waiting {
        let status = one.await.expect("an answer");
        assert!(matches!(status, 401 | 503), "{status}");
    }
    assert_eq!(
        doorward.provider.calls(Endpoint::Jwks),
        fetched + 1,
        "one fetch for all of them"
    );
}
