//! Replicas that share a real Redis.

use crate::support::assertions::{CART, assert_error_page, metric_reaches};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, User};
use crate::support::redis::RedisServer;

const PASSWORD: &str = "correct-horse-battery";

fn redis() -> RedisServer {
    RedisServer::start_with(&[
        "--requirepass",
        PASSWORD,
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ])
}

fn sharing(redis: &RedisServer) -> Doorward {
    Setup::plain()
        .remembering(&format!(
            "url = \"redis://:{PASSWORD}@127.0.0.1:{}\"",
            redis.port()
        ))
        .start()
}

fn asked(redis: &RedisServer, words: &[&str]) -> String {
    redis.command(&[&["-a", PASSWORD, "--no-auth-warning"], words].concat())
}

#[tokio::test]
async fn refreshed_tokens_are_delivered_by_another_replica() {
    let redis = redis();
    let mut doorward = sharing(&redis);
    let other = doorward.add_replica();
    let browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    // The response is lost.
    assert_eq!(
        browser
            .clone()
            .step(&doorward.store_url(CART))
            .await
            .status(),
        200
    );
    let mut browser = doorward.moved_to(other, browser);
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(
        doorward.provider.visits(Endpoint::Token).len(),
        2,
        "the code and one refresh"
    );
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn preserved_post_is_replayed_once_by_another_replica() {
    let mut redis = redis();
    let mut doorward = sharing(&redis);
    let other = doorward.add_replica();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(31 * 60);
    let from = doorward.store_url("/orders/new").parse().expect("an URL");
    let field = "note=a-field-that-nobody-may-see";
    let form = RequestSpec::new(Kind::Navigation, &doorward.store_url("/orders"))
        .method("POST")
        .from(&from);
    let form = form
        .body("application/x-www-form-urlencoded", field)
        .following();
    let page = browser.send(form.clone()).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/form"),
        "{page}"
    );
    let keys = asked(&redis, &["KEYS", "*form*"]);
    assert_eq!(keys.lines().count(), 1, "{keys}");
    assert!(!asked(&redis, &["GET", keys.trim()]).contains("nobody-may-see"));
    let mut browser = doorward.moved_to(other, browser);
    let page = browser.step(page.url.as_str()).await;
    let sent = || {
        doorward
            .store
            .received()
            .into_iter()
            .filter(|one| one.method == "POST")
            .collect::<Vec<_>>()
    };
    assert_eq!(browser.send(page.filled(&[])).await.status(), 200);
    let mut browser = doorward.moved_to(0, browser);
    assert_error_page(
        &browser.send(page.filled(&[])).await,
        404,
        "no_preserved_post",
    );
    assert_eq!(
        (sent().len(), sent()[0].body.as_slice()),
        (1, field.as_bytes())
    );

    // Without the store no form is preserved, and the page says so.
    doorward.advance_secs(31 * 60);
    redis.stop();
    let page = browser
        .send(RequestSpec {
            follow: false,
            ..form
        })
        .await;
    assert!(matches!(page.status(), 401 | 503), "{page}");
    assert_eq!(sent().len(), 1);
}

#[tokio::test]
async fn redis_contents_are_useless_to_a_reader() {
    let redis = redis();
    let doorward = sharing(&redis);
    let browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    assert_eq!(
        browser
            .clone()
            .step(&doorward.store_url(CART))
            .await
            .status(),
        200
    );
    let keys = asked(&redis, &["KEYS", "*"]);
    assert!(
        keys.lines().count() >= 2 && keys.lines().all(|key| key.starts_with("doorward:")),
        "{keys}"
    );
    let entries = keys
        .lines()
        .filter(|key| asked(&redis, &["TYPE", key]) == "string");
    let all: String = entries
        .map(|key| format!("{key} {}\n", asked(&redis, &["GET", key])))
        .collect();
    let secrets = doorward.provider.secrets();
    assert!(secrets.len() >= 4);
    for secret in secrets.iter().filter(|secret| secret.len() >= 16) {
        for part in secret.split('.').filter(|part| part.len() >= 16) {
            assert!(!all.contains(part), "`{part}` is in\n{all}");
        }
    }
    let ttl = |key| {
        asked(&redis, &["TTL", key])
            .parse::<i64>()
            .expect("a number")
    };
    assert!(
        keys.lines().all(|key| ttl(key) > 0),
        "everything ends by itself"
    );
}

#[tokio::test]
async fn redis_outage_keeps_valid_sessions_and_starts_no_login() {
    let mut redis = redis();
    let doorward = sharing(&redis);
    let mut browser = doorward.logged_in("alice", CART).await;
    metric_reaches(&doorward, "doorward_store_up", 1.0).await;
    redis.stop();
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    doorward.provider.sign_in(User::new("bob", &[]));
    let page = doorward.browser().visit(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "store_unavailable");
    assert!(page.header("retry-after").is_some(), "{page}");
    let text = page.text();
    assert!(text.contains("storage"), "{text}");
    // A first visitor was never logged in.
    for other in ["login service", "logged out"] {
        assert!(!text.contains(other), "{other}: {text}");
    }
    let (status, report) = doorward.readiness_of(0).await;
    assert_eq!(status, 200, "an outage makes no replica unready");
    assert_eq!(report["store"]["up"], false, "{report}");
    metric_reaches(&doorward, "doorward_store_up", 0.0).await;
    let lost = r#"doorward_store_calls_total{call="put_if_absent",outcome="store_unavailable"}"#;
    assert!(doorward.metric(lost).await >= 1.0);
    redis.restart();
    let begun = std::time::Instant::now();
    let mut late = doorward.browser();
    while late.visit(&doorward.store_url(CART)).await.status() != 200 {
        assert!(begun.elapsed().as_secs() < 10, "it is not found again");
    }
    metric_reaches(&doorward, "doorward_store_up", 1.0).await;
    let (log, told) = (doorward.log.text(), page.text());
    assert!(
        !log.contains(PASSWORD) && !told.contains(PASSWORD),
        "{log}\n{told}"
    );
}
