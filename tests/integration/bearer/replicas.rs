//! Replicas that share a real Redis accept a DPoP proof once.

use serde_json::json;
use tokio::task::JoinSet;

use super::{CART, request_with, setup, token};
use crate::support::assertions::assert_problem;
use crate::support::browser::RequestSpec;
use crate::support::device::Device;
use crate::support::doorward::Doorward;
use crate::support::redis::RedisServer;

const REPLICAS: usize = 3;

fn replicas(redis: &RedisServer) -> Doorward {
    let mut doorward = setup("")
        .remembering(&format!("url = \"{}\"", redis.url()))
        .start();
    for _ in 1..REPLICAS {
        doorward.add_replica();
    }
    doorward
}

/// A request of a device with a key, and its token.
fn request(doorward: &Doorward) -> RequestSpec {
    let device = Device::new();
    let token = token(doorward, device.binding());
    let proof = device.proof(
        ("GET", &doorward.store_url(CART)),
        &token,
        doorward.now(),
        &json!({}),
    );
    request_with(doorward, CART, &format!("DPoP {token}")).header("DPoP", &proof)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_proof_passes_once_across_replicas() {
    let redis = RedisServer::start();
    let doorward = replicas(&redis);
    let captured = request(&doorward);
    let mut running = JoinSet::new();
    for attempt in 0..60 {
        let (mut thief, request_with) = (doorward.browser_of(attempt % REPLICAS), captured.clone());
        running.spawn(async move { thief.send(request_with).await.status() });
    }
    let statuses = running.join_all().await;
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!((passed, doorward.store.count()), (1, 1), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 401)),
        "{statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_blocks_proofs_and_not_bearers() {
    let mut redis = RedisServer::start_persistent();
    let doorward = replicas(&redis);
    redis.stop();
    let refused = doorward.browser().send(request(&doorward)).await;
    assert_problem(&refused, 503, "store_unavailable");
    assert_eq!(
        (
            refused.header("retry-after").is_some(),
            doorward.store.count()
        ),
        (true, 0),
        "{refused}"
    );
    let bearer = token(&doorward, json!({}));
    assert_eq!(
        super::with_token(&doorward, CART, &bearer).await.status(),
        200
    );
    redis.restart();
    let begun = std::time::Instant::now();
    while doorward.browser().send(request(&doorward)).await.status() != 200 {
        assert!(begun.elapsed().as_secs() < 10, "it never comes back");
    }
}
