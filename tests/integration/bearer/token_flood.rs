//! A flood of invalid tokens uses its own limit only: logins and known clients are not
//! affected.

use serde_json::json;

use super::{CART, door, of_bob, token, with_token};
use crate::support::assertions::assert_problem;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, Flaw};

/// The number of requests that may wait for keys at once.
const ROOM: usize = 256;

#[tokio::test]
async fn flood_of_invalid_tokens_does_not_starve_others() {
    let door = door();
    let known = token(&door, json!({}));
    assert_eq!(with_token(&door, CART, &known).await.status(), 200);
    door.advance_secs(11);
    let gate = Gate::default();
    door.provider
        .fault(Endpoint::Jwks, Fault::Held(gate.clone()));
    let fetched = door.provider.calls(Endpoint::Jwks);
    let made_up = door.provider.access_token(&json!({}), &[Flaw::KeyMissing]);
    let mut waiting = Vec::new();
    for _ in 0..ROOM {
        let (mut program, ask) = (
            door.browser(),
            super::ask(&door, CART, &format!("Bearer {made_up}")),
        );
        waiting.push(tokio::spawn(
            async move { program.send(ask).await.status() },
        ));
    }
    eventually("the keys are asked for", || {
        door.provider.calls(Endpoint::Jwks) == fetched + 1
    })
    .await;
    // Arrival cannot be observed from outside, but the first request over the limit gets its
    // response at once.
    let refused = loop {
        let answer = with_token(&door, CART, &made_up).await;
        if answer.json()["code"] == "too_many_provider_calls" {
            break answer;
        }
    };
    assert_problem(&refused, 503, "too_many_provider_calls");
    assert_eq!(with_token(&door, CART, &known).await.status(), 200);
    assert_eq!(
        with_token(&door, CART, &token(&door, of_bob()))
            .await
            .status(),
        200,
        "never seen, of a key that is known"
    );
    door.logged_in("alice", CART).await;
    gate.open();
    for one in waiting {
        let status = one.await.expect("an answer");
        assert!(matches!(status, 401 | 503), "{status}");
    }
    assert_eq!(
        door.provider.calls(Endpoint::Jwks),
        fetched + 1,
        "one fetch for all of them"
    );
}
