//! Password throttling: how many of ten thousand guesses reach the provider, and that the account's
//! owner can still log in.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{CART, PASSWORD, Phone, calls, shows_the_cart, started, store};
use crate::support::doorward::Doorward;
use crate::support::provider::User;

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

/// Sends `each` guesses from each of so many addresses concurrently. Returns the number of
/// responses per status.
async fn guess(
    doorward: &Doorward,
    addresses: usize,
    each: usize,
    name: impl Fn(usize) -> String,
) -> Vec<u16> {
    let room = Arc::new(Semaphore::new(64));
    let mut guessing = JoinSet::new();
    for address in 0..addresses {
        let mut phone = Phone::of(doorward);
        phone.address = Some(format!("198.{}.{}.7", 18 + address / 256, address % 256));
        let (room, name) = (Arc::clone(&room), name(address));
        guessing.spawn(async move {
            let mut statuses = Vec::with_capacity(each);
            for guess in 0..each {
                let _place = room.acquire().await.expect("open");
                statuses.push(
                    phone
                        .log_in(&name, &format!("guess {address} {guess}"))
                        .await
                        .status(),
                );
            }
            statuses
        });
    }
    guessing.join_all().await.into_iter().flatten().collect()
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|found| **found == status).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distributed_guessing_is_throttled_and_owner_is_not() {
    let doorward = started(store("").server(TRUSTED));
    let mut owner = Phone::logged_in(&doorward).await;
    let before = calls(&doorward).0;
    let statuses = guess(&doorward, 1000, 10, |_| "alice".to_owned()).await;
    let reached = calls(&doorward).0 - before;
    assert_eq!(
        reached, 5,
        "`failures_per_account` of them reached the provider"
    );
    assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 9995));

    // From a new device the owner is throttled too and told how long to wait.
    let mut elsewhere = Phone::of(&doorward);
    let page = elsewhere.log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (429, Some("throttled_account")),
        "{page}"
    );
    let wait: u64 = page
        .header("retry-after")
        .and_then(|wait| wait.parse().ok())
        .expect("seconds");
    assert!((1..=15).contains(&wait), "{wait}");
    let page = elsewhere
        .post_form(&[
            ("grant_type", "password"),
            ("username", "alice"),
            ("password", PASSWORD),
        ])
        .await;
    assert_eq!(
        (page.status(), page.json()["error"].as_str()),
        (429, Some("slow_down")),
        "{page}"
    );

    // From the known device the owner is not throttled, and one wrong password does not matter.
    assert_eq!(
        owner.log_in("alice", "a typing mistake").await.status(),
        401
    );
    assert_eq!(owner.log_in("alice", PASSWORD).await.status(), 200);
    shows_the_cart(&owner.load(CART).await);

    doorward.advance_secs(wait);
    assert_eq!(elsewhere.log_in("alice", PASSWORD).await.status(), 200);
    let throttled = doorward
        .metric(r#"doorward_password_logins_total{app="store",outcome="throttled_account"}"#)
        .await;
    assert!((throttled - 9997.0).abs() < f64::EPSILON, "{throttled}");
}

#[tokio::test]
async fn slow_guessing_gets_one_try_per_max_backoff() {
    let doorward = started(store("failures_per_account = 3\nmax_backoff = \"1m\""));
    let mut phone = Phone::of(&doorward);
    let mut guesses = 0;
    for _ in 0..360 {
        if phone.log_in("alice", "wrong").await.status() == 401 {
            guesses += 1;
        }
        doorward.advance_secs(10);
    }
    // Three at once, then after 20 s (15 s, tried every 10 s), 30 s, 60 s, and one per minute.
    assert!((58..=63).contains(&guesses), "{guesses} guesses an hour");
}

#[tokio::test]
async fn name_spellings_share_a_bucket_and_names_do_not() {
    let doorward = started(store("failures_per_account = 2"));
    let mut phone = Phone::of(&doorward);
    for spelling in ["Alice", " ALICE\u{200b}"] {
        assert_eq!(phone.log_in(spelling, "wrong").await.status(), 401);
    }
    for spelling in ["alice", "\u{ff21}lice", "a lice"] {
        assert_eq!(
            phone.log_in(spelling, PASSWORD).await.status(),
            429,
            "{spelling}"
        );
    }
    assert_eq!(phone.log_in("bob", "bob").await.status(), 200);
}

/// Many providers compare names by a collation that ignores accents and case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_a_collation_takes_for_equal_share_a_bucket() {
    let doorward = started(store("").server(TRUSTED));
    let marks = [
        "", "\u{300}", "\u{301}", "\u{302}", "\u{308}", "\u{30a}", "\u{328}",
    ];
    let letters = ["a", "A", "\u{ff41}", "\u{24d0}", "\u{1d51e}"];
    let name = |number: usize| {
        let mark = |number: usize| marks[number % marks.len()];
        let first = letters[number % letters.len()];
        format!("{first}{}lice{}", mark(number), mark(number / marks.len()))
    };
    let statuses = guess(&doorward, 400, 1, name).await;
    assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 395));
    assert_eq!(calls(&doorward).0, 5);
}

/// A success of another account with a similar name does not forgive the guesses.
#[tokio::test]
async fn success_forgives_the_failures_of_its_own_spelling_only() {
    let doorward = started(store("failures_per_account = 3"));
    let user = User::new("mallory", &[]);
    doorward.provider.add_user("\u{e4}lice", "mine", user);
    let mut phone = Phone::of(&doorward);
    let mut guesses = 0;
    for _ in 0..10 {
        guesses += usize::from(phone.log_in("alice", "guess").await.status() == 401);
        phone.log_in("\u{e4}lice", "mine").await;
        phone.device_token = None;
    }
    assert_eq!(guesses, 3);
}

#[tokio::test]
async fn names_of_one_account_share_a_bucket_once_they_are_known() {
    let doorward = started(store("failures_per_account = 3"));
    let user = User::new("alice", &[]);
    let names = ["alice", "alice@example.com", "+15550100"];
    for name in &names[1..] {
        doorward.provider.add_user(name, PASSWORD, user.clone());
    }
    for name in names {
        let page = Phone::of(&doorward).log_in(name, PASSWORD).await;
        assert_eq!(page.status(), 200, "{page}");
    }
    let mut guesses = 0;
    for _ in 0..3 {
        for name in names {
            let page = Phone::of(&doorward).log_in(name, "guess").await;
            guesses += usize::from(page.status() == 401);
        }
    }
    assert_eq!(guesses, 3);
    let mut phone = Phone::of(&doorward);
    assert_eq!(phone.log_in("bob", "bob").await.status(), 200);
}

#[tokio::test]
async fn known_device_is_outside_the_limit_of_all_logins() {
    let doorward = started(store("logins_per_minute = 5"));
    let mut owner = Phone::logged_in(&doorward).await;
    for account in 0..5 {
        let name = format!("user{account}");
        Phone::of(&doorward).log_in(&name, "guess").await;
    }
    let page = Phone::of(&doorward).log_in("bob", "bob").await;
    assert_eq!(page.json()["code"].as_str(), Some("throttled_global"));
    for _ in 0..10 {
        assert_eq!(owner.log_in("alice", PASSWORD).await.status(), 200);
    }
}

#[tokio::test]
async fn password_spraying_from_one_address_is_throttled() {
    let doorward = started(store("failures_per_address = 10").server(TRUSTED));
    let mut sprayer = Phone::of(&doorward);
    sprayer.address = Some("2001:db8:7:7::1".to_owned());
    for account in 0..10 {
        // A successful login in between refunds only its own count.
        assert_eq!(sprayer.log_in("bob", "bob").await.status(), 200);
        sprayer.device_token = None;
        assert_eq!(
            sprayer
                .log_in(&format!("user{account}"), "Spring2026!")
                .await
                .status(),
            401
        );
    }
    sprayer.address = Some("2001:db8:7:7:ffff::2".to_owned());
    let page = sprayer.log_in("user10", "Spring2026!").await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (429, Some("throttled_address")),
        "the same /64: {page}"
    );
    sprayer.address = Some("2001:db8:7:8::1".to_owned());
    assert_eq!(sprayer.log_in("user10", "Spring2026!").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn global_flood_is_limited_to_the_rate() {
    let doorward = started(store("logins_per_minute = 60").server(TRUSTED));
    let statuses = guess(&doorward, 300, 1, |address| format!("user{address}")).await;
    assert_eq!((count(&statuses, 401), count(&statuses, 429)), (60, 240));
    assert_eq!(calls(&doorward).0, 60);
    doorward.advance_secs(10);
    let statuses = guess(&doorward, 50, 1, |address| format!("other{address}")).await;
    assert_eq!(count(&statuses, 401), 10, "one a second");
}

#[tokio::test]
async fn device_token_exempts_its_account_up_to_its_own_limit() {
    let doorward = started(store("failures_per_account = 3"));
    let owner = Phone::logged_in(&doorward).await;
    let mut thief = owner.copy();
    for _ in 0..3 {
        assert_eq!(thief.log_in("alice", "wrong").await.status(), 401);
    }
    let page = thief.log_in("alice", PASSWORD).await;
    assert_eq!(
        (page.status(), page.json()["code"].as_str()),
        (429, Some("throttled_device")),
        "{page}"
    );
    // The account's own bucket is not affected.
    assert_eq!(
        Phone::of(&doorward)
            .log_in("alice", PASSWORD)
            .await
            .status(),
        200
    );

    // For bob's account, alice's device is an unknown device.
    let mut phone = owner.copy();
    for _ in 0..3 {
        assert_eq!(phone.log_in("bob", "wrong").await.status(), 401);
    }
    assert_eq!(
        phone.log_in("bob", "bob").await.json()["code"].as_str(),
        Some("throttled_account")
    );
    // Device tokens that are forged, of another app or expired do not count either.
    for device_token in ["doorward_dt_AAAA", "", "x"] {
        let mut phone = Phone::of(&doorward);
        phone.device_token = Some(device_token.to_owned());
        assert_eq!(
            phone.log_in("bob", "bob").await.status(),
            429,
            "{device_token}"
        );
    }
}

#[tokio::test]
async fn full_store_fails_closed() {
    let doorward = started(
        store("")
            .server(TRUSTED)
            .more("\n[store]\nmax_entries = 5\n"),
    );
    let statuses = guess(&doorward, 4, 1, |address| format!("user{address}")).await;
    assert_eq!(
        (count(&statuses, 401), count(&statuses, 503)),
        (2, 2),
        "{statuses:?}"
    );
    assert_eq!(calls(&doorward).0, 2, "what cannot be counted is not sent");
}
