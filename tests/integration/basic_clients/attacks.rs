//! Attacks: credential stuffing, stale devices, one user who fills the cache.

use tokio::task::JoinSet;

use super::{Client, PASSWORD, checks, started};
use crate::support::doorward::Setup;
use crate::support::provider::User;

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distributed_guessing_is_throttled_and_the_owner_is_not() {
    let doorward = started(Setup::plain().server(TRUSTED));
    let mut owner = Client::alice(&doorward);
    owner.is_served("/dav/x").await;
    let before = checks(&doorward);
    let spellings = [
        "alice",
        "ALICE",
        "al\u{200b}ice",
        "\u{ff21}lice",
        "Alic\u{e9}",
    ];
    let mut guesses = JoinSet::new();
    for (number, name) in (0..200).zip(spellings.into_iter().cycle()) {
        let mut client = Client::new(&doorward, name, &format!("guess {number}"));
        client.address = Some(format!("198.18.{number}.7"));
        guesses.spawn(async move { client.get("/dav/x").await });
    }
    let pages = guesses.join_all().await;
    let throttled = pages.iter().filter(|page| page.status() == 429);
    assert_eq!(throttled.clone().count(), 195);
    for page in throttled {
        assert_eq!(page.json()["code"], "throttled_account", "{page}");
        let wait = page
            .header("retry-after")
            .and_then(|wait| wait.parse().ok());
        assert!(
            wait.is_some_and(|wait: u64| (1..=15).contains(&wait)),
            "{page}"
        );
        assert_eq!(page.header("www-authenticate"), None);
    }
    assert_eq!(checks(&doorward) - before, 5);

    // Credentials that were right before count apart.
    doorward.advance_secs(301);
    let mut guess = Client::new(&doorward, "alice", "another guess");
    assert_eq!(guess.get("/dav/x").await.status(), 401);
    assert_eq!(guess.get("/dav/x").await.status(), 429);
    owner.is_served("/dav/x").await;
}

#[tokio::test]
async fn device_with_an_old_password_does_not_lock_the_others_out() {
    let doorward = started(Setup::plain());
    let mut old = Client::alice(&doorward);
    old.is_served("/dav/x").await;
    doorward
        .provider
        .add_user("alice", "new", User::new("alice", &[]));
    doorward.advance_secs(300);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(old.get("/dav/x").await.status());
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert_eq!(statuses[5..], [429; 15]);
    let page = old.get("/dav/x").await;
    assert_eq!(page.json()["code"], "throttled_device", "{page}");
    Client::new(&doorward, "alice", "new")
        .is_served("/dav/x")
        .await;
}

#[tokio::test]
async fn guesses_from_one_address_are_throttled() {
    let doorward = started(Setup::plain().more("[apps.store.native]\nfailures_per_address = 3\n"));
    for number in 0..3 {
        Client::new(&doorward, &format!("user-{number}"), "guess")
            .is_refused("/dav/x", "wrong_credentials")
            .await;
    }
    let page = Client::new(&doorward, "user-3", "guess")
        .get("/dav/x")
        .await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (429, Some("throttled_address"))
    );
    assert_eq!(checks(&doorward), 3);
}

#[tokio::test]
async fn one_user_keeps_at_most_sixteen_logins() {
    let doorward = started(Setup::plain());
    for number in 0..40 {
        let name = format!("alias-{number}");
        doorward
            .provider
            .add_user(&name, PASSWORD, User::new("alice", &[]));
        Client::new(&doorward, &name, PASSWORD)
            .is_served("/dav/x")
            .await;
    }
    Client::new(&doorward, "bob", "bob")
        .is_served("/dav/x")
        .await;
    let kept = doorward.metric("doorward_basic_cached_logins").await;
    assert!((kept - 17.0).abs() < f64::EPSILON, "{kept}");
    let before = checks(&doorward);
    Client::new(&doorward, "bob", "bob")
        .is_served("/dav/x")
        .await;
    Client::new(&doorward, "alias-39", PASSWORD)
        .is_served("/dav/x")
        .await;
    assert_eq!(checks(&doorward), before);
}

#[tokio::test]
async fn cache_is_bounded() {
    let doorward = started(Setup::plain().more("[apps.store.basic]\ncache_size = 10\n"));
    for number in 0..60 {
        let name = format!("user-{number}");
        doorward
            .provider
            .add_user(&name, "x", User::new(&name, &[]));
        Client::new(&doorward, &name, "x").is_served("/dav/x").await;
    }
    let kept = doorward.metric("doorward_basic_cached_logins").await;
    assert!(kept <= 10.0, "{kept}");
}
