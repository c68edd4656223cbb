//! Replicas with a shared Redis: password attempts are counted together, and any replica serves a
//! phone.

use super::{CART, PASSWORD, Phone, calls, is_told_to_log_in, shows_the_cart, started, store};
use crate::support::doorward::Doorward;
use crate::support::redis::RedisServer;

const REPLICAS: usize = 3;

fn replicas(redis: &RedisServer, lines: &str) -> Doorward {
    let mut doorward = started(store(lines).remembering(&format!("url = \"{}\"", redis.url())));
    for _ in 1..REPLICAS {
        doorward.add_replica();
    }
    doorward
}

/// The same phone at another replica.
fn at(doorward: &Doorward, replica: usize, phone: &Phone) -> Phone {
    Phone {
        http: doorward.browser_of(replica),
        ..phone.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_counted_across_replicas() {
    let redis = RedisServer::start();
    let doorward = replicas(&redis, "failures_per_account = 5");
    let phone = Phone::of(&doorward);
    let mut guessing = tokio::task::JoinSet::new();
    for guess in 0..60 {
        let mut phone = at(&doorward, guess % REPLICAS, &phone);
        guessing.spawn(async move {
            phone
                .log_in("alice", &format!("guess {guess}"))
                .await
                .status()
        });
    }
    let statuses = guessing.join_all().await;
    let reached = statuses.iter().filter(|status| **status == 401).count();
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );
    // Contention on one bucket rejects requests rather than letting them through.
    assert!((1..=5).contains(&reached), "{statuses:?}");
    assert_eq!(calls(&doorward).0, reached);
}

#[tokio::test]
async fn overwritten_throttle_state_counts_as_full_once() {
    let redis = RedisServer::start();
    let doorward = replicas(&redis, "failures_per_account = 5\nmax_backoff = \"1m\"");
    let mut phone = Phone::of(&doorward);
    assert_eq!(phone.log_in("alice", "wrong").await.status(), 401);
    let key = redis.command(&["KEYS", "*throttle/store/account/*"]);
    let written = redis.command(&["GET", &key]);
    redis.command(&["APPEND", &key, "x"]);
    let page = phone.log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (429, Some("throttled_account")),
        "{page}"
    );
    let replaced = redis.command(&["GET", &key]);
    assert!(
        replaced != written && !replaced.ends_with('x'),
        "{replaced}"
    );
    doorward.advance_secs(60);
    assert_eq!(phone.log_in("alice", PASSWORD).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_moves_between_replicas_and_logout_reaches_all() {
    let redis = RedisServer::start();
    let doorward = replicas(&redis, "inline_refresh = true");
    let phone = Phone::logged_in(&doorward).await;
    doorward.advance_secs(300);
    let mut loading = tokio::task::JoinSet::new();
    for replica in 0..REPLICAS {
        let mut phone = at(&doorward, replica, &phone);
        loading.spawn(async move {
            shows_the_cart(&phone.load_with_both(CART).await);
            phone
        });
    }
    let phones = loading.join_all().await;
    assert_eq!(calls(&doorward), (1, 1), "one refresh for all of them");
    let mut phone = at(&doorward, 1, &phones[0]);
    shows_the_cart(&phone.load(CART).await);
    let token = phone.refresh_token.clone();
    let page = phone
        .post_json(
            "native/logout",
            &serde_json::json!({ "refresh_token": token }),
        )
        .await;
    assert_eq!(page.status(), 204, "{page}");
    let mut elsewhere = at(&doorward, 2, &phone);
    let begun = std::time::Instant::now();
    while elsewhere.load(CART).await.status() == 200 {
        assert!(begun.elapsed().as_secs() < 10, "the logout is not heard");
    }
    is_told_to_log_in(&elsewhere.load(CART).await, "session_revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_blocks_passwords_and_not_valid_tokens() {
    let mut redis = RedisServer::start();
    let doorward = replicas(&redis, "");
    let mut phone = Phone::logged_in(&doorward).await;
    redis.stop();
    let page = Phone::of(&doorward).log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (503, Some("store_unavailable")),
        "{page}"
    );
    assert!(page.header("retry-after").is_some(), "{page}");
    assert_eq!(
        calls(&doorward),
        (1, 0),
        "what cannot be counted is not sent"
    );
    shows_the_cart(&phone.load(CART).await);
}
