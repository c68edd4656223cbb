//! The contract of [`super::Store`] as tests, for every implementation, as seen by two replicas.

mod log;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Claim, Claimed, Cursor, LogBatch, LogEntry, Memory, Store, StoreError};
use crate::types::time::Timestamp;

/// Two clients of one empty store.
pub(super) struct Replicas {
    pub(super) one: Arc<dyn Store>,
    pub(super) other: Arc<dyn Store>,
}

const fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn entry(text: &str, ends_at: u64) -> LogEntry {
    LogEntry {
        value: value(text),
        ends_at: at(ends_at),
    }
}

fn texts(batch: &LogBatch) -> Vec<&str> {
    batch
        .entries
        .iter()
        .map(|entry| std::str::from_utf8(&entry.value).unwrap())
        .collect()
}

/// Checks the all_entries contract.
pub(super) async fn check(fresh: impl Fn() -> Replicas) {
    entries_expire_by_the_callers_clock(&fresh()).await;
    put_overwrites(&fresh()).await;
    put_if_absent_keeps_the_first_until_it_expires(&fresh()).await;
    swap_needs_the_expected_value(&fresh()).await;
    remove_needs_the_expected_value(&fresh()).await;
    append_extends_the_value_and_its_life(&fresh()).await;
    expire_needs_the_expected_beginning(&fresh()).await;
    claim_reads_the_others_in_any_case(&fresh()).await;
    keys_and_values_are_opaque(&fresh()).await;
    one_of_concurrent_claims_succeeds(&fresh()).await;
    concurrent_swaps_are_not_lost(&fresh()).await;
    concurrent_appends_are_not_lost(&fresh()).await;
    one_of_concurrent_removes_succeeds(&fresh()).await;
    log::check(fresh).await;
}

async fn entries_expire_by_the_callers_clock(Replicas { one, other }: &Replicas) {
    one.put("a", value("1"), at(1010), at(1000)).await.unwrap();
    for (asked_at, found) in [
        (1009, true),
        (1010, false),
        (5000, false),
        (1000, true),
        (3, true),
    ] {
        let expected = found.then(|| value("1"));
        assert_eq!(
            one.get("a", at(asked_at)).await,
            Ok(expected.clone()),
            "{asked_at}"
        );
        assert_eq!(
            other.get("a", at(asked_at)).await,
            Ok(expected),
            "{asked_at}"
        );
    }
    one.sweep(at(1010));
    assert_eq!(one.get("a", at(1010)).await, Ok(None));
    assert_eq!(one.get("never", at(0)).await, Ok(None));
}

async fn put_overwrites(Replicas { one, other }: &Replicas) {
    one.put("a", value("1"), at(100), at(0)).await.unwrap();
    other.put("a", value("2"), at(10), at(0)).await.unwrap();
    assert_eq!(one.get("a", at(9)).await, Ok(Some(value("2"))));
    assert_eq!(one.get("a", at(10)).await, Ok(None));
    one.put("a", value("3"), at(u64::MAX), at(0)).await.unwrap();
    assert_eq!(other.get("a", at(u64::MAX - 1)).await, Ok(Some(value("3"))));
    one.put("a", value("4"), at(5), at(7)).await.unwrap();
    assert_eq!(
        one.get("a", at(7)).await,
        Ok(None),
        "expired before the put"
    );
}

async fn put_if_absent_keeps_the_first_until_it_expires(Replicas { one, other }: &Replicas) {
    let claim = |store: &Arc<dyn Store>, text: &str, now| {
        let (store, value) = (Arc::clone(store), value(text));
        async move { store.put_if_absent("b", value, at(10), at(now)).await }
    };
    assert_eq!(claim(one, "1", 0).await, Ok(None));
    assert_eq!(
        claim(one, "1", 0).await,
        Ok(Some(value("1"))),
        "an equal value is another claim"
    );
    assert_eq!(claim(other, "2", 9).await, Ok(Some(value("1"))));
    assert_eq!(claim(other, "3", 10).await, Ok(None));
    assert_eq!(claim(one, "", 9).await, Ok(Some(value("3"))));
}

async fn swap_needs_the_expected_value(Replicas { one, other }: &Replicas) {
    let compare_and_swap = |store: &Arc<dyn Store>, before: &'static str, after: &str, now| {
        let (store, value) = (Arc::clone(store), value(after));
        async move {
            store
                .compare_and_swap("c", before.as_bytes(), value, at(10), at(now))
                .await
        }
    };
    assert_eq!(
        compare_and_swap(one, "", "1", 0).await,
        Ok(false),
        "an absent value is not empty"
    );
    one.put("c", value("1"), at(5), at(0)).await.unwrap();
    assert_eq!(compare_and_swap(other, "2", "3", 1).await, Ok(false));
    assert_eq!(compare_and_swap(other, "1", "2", 1).await, Ok(true));
    assert_eq!(compare_and_swap(one, "1", "3", 1).await, Ok(false));
    assert_eq!(
        one.get("c", at(9)).await,
        Ok(Some(value("2"))),
        "with the new expiry"
    );
    assert_eq!(
        compare_and_swap(one, "2", "2", 9).await,
        Ok(true),
        "also with the same value"
    );
    assert_eq!(
        compare_and_swap(one, "2", "3", 10).await,
        Ok(false),
        "it has ended"
    );
}

async fn remove_needs_the_expected_value(Replicas { one, other }: &Replicas) {
    one.put("d", value("1"), at(10), at(0)).await.unwrap();
    assert_eq!(other.remove("d", b"2", at(9)).await, Ok(false));
    assert_eq!(
        other.remove("d", b"1", at(10)).await,
        Ok(false),
        "it has ended"
    );
    assert_eq!(other.remove("d", b"1", at(9)).await, Ok(true));
    assert_eq!(one.remove("d", b"1", at(9)).await, Ok(false));
    assert_eq!(one.get("d", at(0)).await, Ok(None));
    assert_eq!(
        one.compare_and_swap("d", b"1", value("2"), at(10), at(0))
            .await,
        Ok(false)
    );
    assert_eq!(
        one.put_if_absent("d", value("2"), at(10), at(0)).await,
        Ok(None)
    );
    assert_eq!(other.get("d", at(0)).await, Ok(Some(value("2"))));
}

async fn append_extends_the_value_and_its_life(Replicas { one, other }: &Replicas) {
    let append = |store: &Arc<dyn Store>, text: &str, ends_at, now| {
        let (store, part) = (Arc::clone(store), value(text));
        async move { store.append("h", part, at(ends_at), at(now)).await }
    };
    assert_eq!(append(one, "a", 10, 0).await, Ok(value("a")));
    assert_eq!(append(other, "\0b", 20, 9).await, Ok(value("a\0b")));
    assert_eq!(append(one, "", 30, 19).await, Ok(value("a\0b")));
    assert_eq!(other.get("h", at(29)).await, Ok(Some(value("a\0b"))));
    assert_eq!(
        append(one, "c", 40, 30).await,
        Ok(value("c")),
        "it had ended"
    );
}

async fn expire_needs_the_expected_beginning(Replicas { one, other }: &Replicas) {
    one.put("expiring", value("ab"), at(100), at(0))
        .await
        .unwrap();
    assert_eq!(
        other.expire("expiring", b"b", at(5), at(0)).await,
        Ok(false)
    );
    assert_eq!(
        other.expire("expiring", b"abc", at(5), at(0)).await,
        Ok(false)
    );
    assert_eq!(one.get("expiring", at(9)).await, Ok(Some(value("ab"))));
    assert_eq!(
        other.expire("expiring", b"a", at(10), at(0)).await,
        Ok(true)
    );
    assert_eq!(one.get("expiring", at(9)).await, Ok(Some(value("ab"))));
    assert_eq!(one.get("expiring", at(10)).await, Ok(None));
    assert_eq!(
        one.expire("expiring", b"a", at(20), at(10)).await,
        Ok(false)
    );
    assert_eq!(one.expire("none", b"", at(20), at(0)).await, Ok(false));
}

async fn claim_reads_the_others_in_any_case(Replicas { one, other }: &Replicas) {
    let claim = |store: &Arc<dyn Store>, text: &str, now| {
        let (store, value) = (Arc::clone(store), value(text));
        async move {
            let claim = Claim {
                key: "i",
                value,
                ends_at: at(10),
            };
            store.claim(claim, ["j", "k"], at(now)).await
        }
    };
    let claimed = |holder: Option<&str>, others: [Option<&str>; 2]| Claimed {
        holder: holder.map(value),
        others: others.map(|text| text.map(value)),
    };
    one.put("k", value("2"), at(5), at(0)).await.unwrap();
    assert_eq!(
        claim(one, "x", 0).await,
        Ok(claimed(None, [None, Some("2")]))
    );
    other.put("j", value(""), at(20), at(0)).await.unwrap();
    assert_eq!(
        claim(other, "y", 4).await,
        Ok(claimed(Some("x"), [Some(""), Some("2")]))
    );
    assert_eq!(
        claim(one, "x", 9).await,
        Ok(claimed(Some("x"), [Some(""), None])),
        "an equal value is another claim"
    );
    assert_eq!(
        claim(other, "y", 10).await,
        Ok(claimed(None, [Some(""), None]))
    );
    assert_eq!(one.remove("i", b"y", at(9)).await, Ok(true));
    assert_eq!(
        claim(one, "z", 9).await,
        Ok(claimed(None, [Some(""), None]))
    );
}

async fn keys_and_values_are_opaque(Replicas { one, other }: &Replicas) {
    let all: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; 256 * 1024];
    let values: [&[u8]; 6] = [
        b"",
        &all,
        &large,
        b"99999999999999999999",
        b"$5\r\nhello\r\n",
        b"\0",
    ];
    let long = "k".repeat(2000);
    for key in [
        "",
        " ",
        "{a}b{",
        "a:b/c*?[x]",
        "\r\nDEL x\r\n",
        "ключ\0",
        &long,
    ] {
        for bytes in values {
            let value = Bytes::copy_from_slice(bytes);
            one.put(key, value.clone(), at(10), at(0)).await.unwrap();
            assert_eq!(other.get(key, at(0)).await, Ok(Some(value.clone())));
            assert_eq!(
                other.put_if_absent(key, Bytes::new(), at(10), at(0)).await,
                Ok(Some(value.clone()))
            );
            assert_eq!(
                one.compare_and_swap(key, bytes, Bytes::from_static(b"y"), at(10), at(0))
                    .await,
                Ok(true),
                "{key:?}"
            );
            assert_eq!(
                other
                    .compare_and_swap(key, b"y", value, at(10), at(0))
                    .await,
                Ok(true)
            );
            assert_eq!(other.remove(key, bytes, at(0)).await, Ok(true));
        }
    }
}

/// Runs `call` concurrently with numbers from 0, alternately at both replicas.
async fn concurrently<F, T>(
    replicas: &Replicas,
    times: usize,
    call: impl Fn(Arc<dyn Store>, usize) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut calls = JoinSet::new();
    for number in 0..times {
        let store = if number % 2 == 0 {
            &replicas.one
        } else {
            &replicas.other
        };
        calls.spawn(call(Arc::clone(store), number));
    }
    calls.join_all().await
}

async fn one_of_concurrent_claims_succeeds(replicas: &Replicas) {
    let claims = concurrently(replicas, 50, |store, number| async move {
        let mine = value(&number.to_string());
        let existing = store
            .put_if_absent("e", mine.clone(), at(10), at(0))
            .await
            .unwrap();
        (existing.is_none(), existing.unwrap_or(mine))
    });
    let claims = claims.await;
    assert_eq!(claims.iter().filter(|(won, _)| *won).count(), 1);
    let winner = replicas.one.get("e", at(0)).await.unwrap().unwrap();
    assert!(
        claims.iter().all(|(_, kept)| *kept == winner),
        "all see the same value"
    );
}

async fn concurrent_swaps_are_not_lost(replicas: &Replicas) {
    replicas
        .one
        .put("f", value("0"), at(10), at(0))
        .await
        .unwrap();
    let tries = concurrently(replicas, 20, |store, _| async move {
        for tries in 1.. {
            let before = store.get("f", at(0)).await.unwrap().unwrap();
            let number: u64 = std::str::from_utf8(&before).unwrap().parse().unwrap();
            if store
                .compare_and_swap(
                    "f",
                    &before,
                    value(&(number + 1).to_string()),
                    at(10),
                    at(0),
                )
                .await
                .unwrap()
            {
                return tries;
            }
        }
        unreachable!("retried until it succeeds");
    });
    assert!(tries.await.iter().sum::<u32>() >= 20);
    assert_eq!(replicas.other.get("f", at(0)).await, Ok(Some(value("20"))));
}

async fn concurrent_appends_are_not_lost(replicas: &Replicas) {
    let appends = concurrently(replicas, 20, |store, number| async move {
        let part = Bytes::from(vec![u8::try_from(number).unwrap()]);
        store.append("l", part, at(10), at(0)).await.unwrap()
    });
    let longest = appends.await.into_iter().max_by_key(Bytes::len).unwrap();
    let mut numbers = longest.to_vec();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<u8>>());
}

async fn one_of_concurrent_removes_succeeds(replicas: &Replicas) {
    replicas
        .one
        .put("g", value("1"), at(10), at(0))
        .await
        .unwrap();
    let removed = concurrently(replicas, 20, |store, _| async move {
        store.remove("g", b"1", at(0)).await.unwrap()
    })
    .await;
    assert_eq!(removed.into_iter().filter(|removed| *removed).count(), 1);
}

#[tokio::test]
async fn memory_store_keeps_the_contract() {
    check(|| {
        let store: Arc<dyn Store> = Arc::new(Memory::new(5000));
        Replicas {
            one: Arc::clone(&store),
            other: store,
        }
    })
    .await;
}

#[tokio::test]
async fn full_memory_store_rejects_and_evicts_nothing() {
    let store = Memory::new(2);
    store.put("a", Bytes::new(), at(10), at(0)).await.unwrap();
    store.put("b", Bytes::new(), at(20), at(0)).await.unwrap();
    assert_eq!(
        store.put("c", Bytes::new(), at(20), at(5)).await,
        Err(StoreError::Full)
    );
    assert_eq!(store.put("b", value("2"), at(20), at(5)).await, Ok(()));
    assert_eq!(store.put("c", Bytes::new(), at(20), at(10)).await, Ok(()));
    assert_eq!(store.get("a", at(5)).await, Ok(None));
    assert!(store.get("b", at(5)).await.unwrap().is_some());
}

#[tokio::test]
async fn full_log_rejects() {
    let store = Memory::new(2);
    store.publish(vec![entry("a", 10)], at(0)).await.unwrap();
    store.publish(vec![entry("b", 20)], at(0)).await.unwrap();
    assert_eq!(
        store.publish(vec![entry("c", 20)], at(9)).await,
        Err(StoreError::Full)
    );
    store.publish(vec![entry("c", 20)], at(10)).await.unwrap();
    assert_eq!(
        texts(&store.read_since(&Cursor::default(), at(9)).await.unwrap()),
        ["b", "c"]
    );
}
