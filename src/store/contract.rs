//! The contract of a store as tests, run against every one that there is: each rule by itself, as two replicas see it.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Cursor, LogBatch, LogEntry, Memory, Store, StoreError};
use crate::types::time::Timestamp;

/// An empty store, as two replicas have it.
pub(super) struct Shared {
    pub(super) one: Arc<dyn Store>,
    pub(super) other: Arc<dyn Store>,
}

const fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn item(text: &str, ends_at: u64) -> LogEntry {
    LogEntry {
        value: value(text),
        ends_at: at(ends_at),
    }
}

fn said(read_since: &LogBatch) -> Vec<&str> {
    read_since
        .items
        .iter()
        .map(|item| std::str::from_utf8(&item.value).unwrap())
        .collect()
}

/// Holds a store to everything in the contract.
pub(super) async fn is_kept_by(fresh: impl Fn() -> Shared) {
    entries_end_by_the_clock_of_who_asks(&fresh()).await;
    the_last_put_counts(&fresh()).await;
    only_the_first_is_kept_until_it_ends(&fresh()).await;
    a_swap_takes_place_only_where_the_old_value_is(&fresh()).await;
    only_what_is_there_is_removed(&fresh()).await;
    keys_and_values_are_data(&fresh()).await;
    of_many_claims_one_is_kept(&fresh()).await;
    no_swap_is_lost(&fresh()).await;
    one_of_many_removes(&fresh()).await;
    everybody_hears_everything_in_order(&fresh()).await;
    what_has_ended_is_no_news(&fresh()).await;
    fewer_words_take_the_place_of_many(&fresh()).await;
    who_reads_on_meanwhile_misses_nothing(&fresh()).await;
    what_is_condensed_is_said_even_in_the_place_of_nothing(&fresh()).await;
    nothing_is_condensed_that_is_not_known(&fresh()).await;
    a_stranger_to_this_memory_begins_anew(&fresh()).await;
    long_news_are_whole(&fresh()).await;
}

async fn entries_end_by_the_clock_of_who_asks(Shared { one, other }: &Shared) {
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

async fn the_last_put_counts(Shared { one, other }: &Shared) {
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
        "it had ended when it came"
    );
}

async fn only_the_first_is_kept_until_it_ends(Shared { one, other }: &Shared) {
    let claim = |store: &Arc<dyn Store>, text: &str, now| {
        let (store, value) = (Arc::clone(store), value(text));
        async move { store.put_if_absent("b", value, at(10), at(now)).await }
    };
    assert_eq!(claim(one, "1", 0).await, Ok(None));
    assert_eq!(
        claim(one, "1", 0).await,
        Ok(Some(value("1"))),
        "the same words are another claim"
    );
    assert_eq!(claim(other, "2", 9).await, Ok(Some(value("1"))));
    assert_eq!(claim(other, "3", 10).await, Ok(None));
    assert_eq!(claim(one, "", 9).await, Ok(Some(value("3"))));
}

async fn a_swap_takes_place_only_where_the_old_value_is(Shared { one, other }: &Shared) {
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
        "nothing is not an empty value"
    );
    one.put("c", value("1"), at(5), at(0)).await.unwrap();
    assert_eq!(compare_and_swap(other, "2", "3", 1).await, Ok(false));
    assert_eq!(compare_and_swap(other, "1", "2", 1).await, Ok(true));
    assert_eq!(compare_and_swap(one, "1", "3", 1).await, Ok(false));
    assert_eq!(
        one.get("c", at(9)).await,
        Ok(Some(value("2"))),
        "with the new end"
    );
    assert_eq!(
        compare_and_swap(one, "2", "2", 9).await,
        Ok(true),
        "also for the same"
    );
    assert_eq!(
        compare_and_swap(one, "2", "3", 10).await,
        Ok(false),
        "it has ended"
    );
}

async fn only_what_is_there_is_removed(Shared { one, other }: &Shared) {
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

async fn keys_and_values_are_data(Shared { one, other }: &Shared) {
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

/// Runs `call` with numbers from 0, all at once, at both replicas in turn.
async fn at_once<F, T>(
    shared: &Shared,
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
            &shared.one
        } else {
            &shared.other
        };
        calls.spawn(call(Arc::clone(store), number));
    }
    calls.join_all().await
}

async fn of_many_claims_one_is_kept(shared: &Shared) {
    let claims = at_once(shared, 50, |store, number| async move {
        let mine = value(&number.to_string());
        let there = store
            .put_if_absent("e", mine.clone(), at(10), at(0))
            .await
            .unwrap();
        (there.is_none(), there.unwrap_or(mine))
    });
    let claims = claims.await;
    assert_eq!(claims.iter().filter(|(won, _)| *won).count(), 1);
    let winner = shared.one.get("e", at(0)).await.unwrap().unwrap();
    assert!(
        claims.iter().all(|(_, kept)| *kept == winner),
        "everybody is told of the same"
    );
}

async fn no_swap_is_lost(shared: &Shared) {
    shared
        .one
        .put("f", value("0"), at(10), at(0))
        .await
        .unwrap();
    let tries = at_once(shared, 20, |store, _| async move {
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
        unreachable!("it tries until it can");
    });
    assert!(tries.await.iter().sum::<u32>() >= 20);
    assert_eq!(shared.other.get("f", at(0)).await, Ok(Some(value("20"))));
}

async fn one_of_many_removes(shared: &Shared) {
    shared
        .one
        .put("g", value("1"), at(10), at(0))
        .await
        .unwrap();
    let removed = at_once(shared, 20, |store, _| async move {
        store.remove("g", b"1", at(0)).await.unwrap()
    })
    .await;
    assert_eq!(removed.into_iter().filter(|removed| *removed).count(), 1);
}

async fn everybody_hears_everything_in_order(Shared { one, other }: &Shared) {
    let nothing = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert!(nothing.items.is_empty() && !nothing.lost && nothing.held == 0);
    let empty = other.read_since(&nothing.cursor, at(0)).await.unwrap();
    assert!(empty.items.is_empty() && !empty.lost && empty.cursor == nothing.cursor);
    for (number, store) in [one, other, one, other].into_iter().enumerate() {
        store
            .publish(item(&number.to_string(), 10), at(0))
            .await
            .unwrap();
    }
    let whole = one.read_since(&nothing.cursor, at(0)).await.unwrap();
    assert_eq!(
        (said(&whole), whole.held, whole.lost),
        (vec!["0", "1", "2", "3"], 4, false)
    );
    assert_eq!(whole.items[0], item("0", 10));
    let late = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert_eq!(late, whole, "who comes later hears the same");
    one.publish(item("4", 10), at(0)).await.unwrap();
    let more = other.read_since(&whole.cursor, at(0)).await.unwrap();
    assert_eq!((said(&more), more.held), (vec!["4"], 5));
    let silence = one.read_since(&more.cursor, at(0)).await.unwrap();
    assert!(silence.items.is_empty() && silence.cursor == more.cursor && !silence.lost);
    let all: Vec<u8> = (0..=255).collect();
    one.publish(
        LogEntry {
            value: all.clone().into(),
            ends_at: at(u64::MAX),
        },
        at(0),
    )
    .await
    .unwrap();
    assert_eq!(
        other.read_since(&more.cursor, at(0)).await.unwrap().items[0].value,
        all
    );
}

async fn what_has_ended_is_no_news(Shared { one, other }: &Shared) {
    for (text, ends_at) in [("short", 10), ("long", 20), ("over", 3)] {
        one.publish(item(text, ends_at), at(5)).await.unwrap();
    }
    assert_eq!(
        said(&other.read_since(&Cursor::default(), at(9)).await.unwrap()),
        ["short", "long"]
    );
    let later = one.read_since(&Cursor::default(), at(10)).await.unwrap();
    assert_eq!(said(&later), ["long"]);
    assert_eq!(
        said(&one.read_since(&later.cursor, at(10)).await.unwrap()),
        Vec::<&str>::new()
    );
    assert_eq!(
        said(&other.read_since(&Cursor::default(), at(5)).await.unwrap()),
        ["short", "long"],
        "clocks differ"
    );
}

async fn fewer_words_take_the_place_of_many(Shared { one, other }: &Shared) {
    for number in 0..5 {
        one.publish(item(&number.to_string(), 10), at(0))
            .await
            .unwrap();
    }
    let read = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    other.publish(item("meanwhile", 10), at(0)).await.unwrap();
    one.compact(
        &read.cursor,
        vec![item("0 to 2", 10), item("3 and 4", 10)],
        at(0),
    )
    .await
    .unwrap();
    let read_since = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert_eq!(
        (said(&read_since), read_since.held, read_since.lost),
        (vec!["meanwhile", "0 to 2", "3 and 4"], 3, false)
    );
    one.compact(&read_since.cursor, Vec::new(), at(0))
        .await
        .unwrap();
    let nothing = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert!(nothing.items.is_empty() && nothing.held == 0 && !nothing.lost);
    one.publish(item("after", 10), at(0)).await.unwrap();
    for since in [&nothing.cursor, &read_since.cursor, &read.cursor] {
        let read_since = other.read_since(since, at(0)).await.unwrap();
        assert_eq!((said(&read_since), read_since.lost), (vec!["after"], false));
    }
}

async fn who_reads_on_meanwhile_misses_nothing(Shared { one, other }: &Shared) {
    one.publish(item("a", 10), at(0)).await.unwrap();
    let half = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    one.publish(item("b", 10), at(0)).await.unwrap();
    let whole = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    one.compact(&whole.cursor, vec![item("a and b", 10)], at(0))
        .await
        .unwrap();
    let rest = other.read_since(&half.cursor, at(0)).await.unwrap();
    assert_eq!((said(&rest), rest.lost), (vec!["a and b"], false));
    // Both had the same thought: what was said meanwhile stays, and nothing that somebody says is left out.
    other
        .compact(&whole.cursor, vec![item("a and b, again", 10)], at(0))
        .await
        .unwrap();
    let twice = one.read_since(&whole.cursor, at(0)).await.unwrap();
    assert_eq!(said(&twice), ["a and b", "a and b, again"]);
}

async fn what_is_condensed_is_said_even_in_the_place_of_nothing(Shared { one, other }: &Shared) {
    let empty = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    one.compact(&empty.cursor, vec![item("a", 10)], at(0))
        .await
        .unwrap();
    let first = other.read_since(&empty.cursor, at(0)).await.unwrap();
    one.compact(&first.cursor, Vec::new(), at(0)).await.unwrap();
    for text in ["b", "c"] {
        other
            .compact(&first.cursor, vec![item(text, 10)], at(0))
            .await
            .unwrap();
    }
    assert_eq!(
        said(&one.read_since(&Cursor::default(), at(0)).await.unwrap()),
        ["b", "c"]
    );
}

async fn nothing_is_condensed_that_is_not_known(Shared { one, other }: &Shared) {
    one.publish(item("a", 10), at(0)).await.unwrap();
    let read = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    let elsewhere = Cursor {
        epoch: "elsewhere".to_owned(),
        ..read.cursor
    };
    for until in [elsewhere, Cursor::default()] {
        other
            .compact(&until, vec![item("b", 10)], at(0))
            .await
            .unwrap();
        assert_eq!(
            said(&one.read_since(&Cursor::default(), at(0)).await.unwrap()),
            ["a"],
            "{until:?}"
        );
    }
}

async fn a_stranger_to_this_memory_begins_anew(Shared { one, other }: &Shared) {
    one.publish(item("a", 10), at(0)).await.unwrap();
    let Cursor { epoch, position } = one
        .read_since(&Cursor::default(), at(0))
        .await
        .unwrap()
        .cursor;
    let elsewhere = Cursor {
        epoch: "elsewhere".to_owned(),
        position,
    };
    let nonsense = Cursor {
        epoch,
        position: "\0nonsense".to_owned(),
    };
    for since in [elsewhere, nonsense] {
        let read_since = other.read_since(&since, at(0)).await.unwrap();
        assert_eq!(
            (said(&read_since), read_since.lost),
            (vec!["a"], true),
            "{since:?}"
        );
        let again = other.read_since(&read_since.cursor, at(0)).await.unwrap();
        assert!(again.items.is_empty() && !again.lost);
    }
}

async fn long_news_are_whole(shared: &Shared) {
    let announced = at_once(shared, 1203, |store, number| async move {
        store
            .publish(item(&number.to_string(), 10), at(0))
            .await
            .unwrap();
    });
    announced.await;
    let whole = shared
        .one
        .read_since(&Cursor::default(), at(0))
        .await
        .unwrap();
    assert_eq!((whole.items.len(), whole.held), (1203, 1203));
    let mut numbers: Vec<u32> = said(&whole)
        .into_iter()
        .map(|number| number.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..1203));
    let fewer: Vec<LogEntry> = (0..1100)
        .map(|number| item(&format!("again {number}"), 10))
        .collect();
    shared
        .other
        .compact(&whole.cursor, fewer.clone(), at(0))
        .await
        .unwrap();
    let condensed = shared.one.read_since(&whole.cursor, at(0)).await.unwrap();
    assert_eq!((condensed.items, condensed.held), (fewer, 1100));
}

#[tokio::test]
async fn memory_keeps_it() {
    is_kept_by(|| {
        let store: Arc<dyn Store> = Arc::new(Memory::new(5000));
        Shared {
            one: Arc::clone(&store),
            other: store,
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_memory_refuses_and_forgets_nothing_that_lives() {
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
async fn a_full_feed_refuses_too() {
    let store = Memory::new(2);
    store.publish(item("a", 10), at(0)).await.unwrap();
    store.publish(item("b", 20), at(0)).await.unwrap();
    assert_eq!(
        store.publish(item("c", 20), at(9)).await,
        Err(StoreError::Full)
    );
    store.publish(item("c", 20), at(10)).await.unwrap();
    assert_eq!(
        said(&store.read_since(&Cursor::default(), at(9)).await.unwrap()),
        ["b", "c"]
    );
}
