//! The part of the contract about the log and the time.

use std::sync::Arc;

use super::{Replicas, at, concurrently, entry, texts};
use crate::store::{Cursor, LogBatch, LogEntry, Store, StoreTime};

/// Checks the log of fresh stores.
pub(super) async fn check(fresh: impl Fn() -> Replicas) {
    all_readers_get_all_entries_in_order(&fresh()).await;
    expired_entries_are_not_read(&fresh()).await;
    compaction_replaces_entries(&fresh()).await;
    reader_misses_nothing_during_compaction(&fresh()).await;
    compaction_of_an_empty_log_adds_entries(&fresh()).await;
    compaction_of_another_log_changes_nothing(&fresh()).await;
    cursor_of_another_log_starts_over(&fresh()).await;
    time_of_the_store_orders_calls(&fresh()).await;
    long_log_is_read_completely(&fresh()).await;
}

async fn all_readers_get_all_entries_in_order(Replicas { one, other }: &Replicas) {
    let nothing = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert!(nothing.entries.is_empty() && !nothing.lost && nothing.held == 0);
    let empty = other.read_since(&nothing.cursor, at(0)).await.unwrap();
    assert!(empty.entries.is_empty() && !empty.lost && empty.cursor == nothing.cursor);
    for (number, store) in [one, other, one, other].into_iter().enumerate() {
        store
            .publish(vec![entry(&number.to_string(), 10)], at(0))
            .await
            .unwrap();
    }
    let all_entries = one.read_since(&nothing.cursor, at(0)).await.unwrap();
    assert_eq!(
        (texts(&all_entries), all_entries.held, all_entries.lost),
        (vec!["0", "1", "2", "3"], 4, false)
    );
    assert_eq!(all_entries.entries[0], entry("0", 10));
    let late = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert_eq!(late, all_entries, "a later reader gets the same");
    one.publish(vec![entry("4", 10)], at(0)).await.unwrap();
    let more = other.read_since(&all_entries.cursor, at(0)).await.unwrap();
    assert_eq!((texts(&more), more.held), (vec!["4"], 5));
    let silence = one.read_since(&more.cursor, at(0)).await.unwrap();
    assert!(silence.entries.is_empty() && silence.cursor == more.cursor && !silence.lost);
    let all: Vec<u8> = (0..=255).collect();
    one.publish(
        vec![LogEntry {
            value: all.clone().into(),
            ends_at: at(u64::MAX),
        }],
        at(0),
    )
    .await
    .unwrap();
    assert_eq!(
        other.read_since(&more.cursor, at(0)).await.unwrap().entries[0].value,
        all
    );
}

async fn expired_entries_are_not_read(Replicas { one, other }: &Replicas) {
    for (text, ends_at) in [("short", 10), ("long", 20), ("over", 3)] {
        one.publish(vec![entry(text, ends_at)], at(5))
            .await
            .unwrap();
    }
    assert_eq!(
        texts(&other.read_since(&Cursor::default(), at(9)).await.unwrap()),
        ["short", "long"]
    );
    let later = one.read_since(&Cursor::default(), at(10)).await.unwrap();
    assert_eq!(texts(&later), ["long"]);
    assert_eq!(
        texts(&one.read_since(&later.cursor, at(10)).await.unwrap()),
        Vec::<&str>::new()
    );
    assert_eq!(
        texts(&other.read_since(&Cursor::default(), at(5)).await.unwrap()),
        ["short", "long"],
        "clock skew"
    );
}

async fn compaction_replaces_entries(Replicas { one, other }: &Replicas) {
    for number in 0..5 {
        one.publish(vec![entry(&number.to_string(), 10)], at(0))
            .await
            .unwrap();
    }
    let read = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    other
        .publish(vec![entry("meanwhile", 10)], at(0))
        .await
        .unwrap();
    one.compact(
        &read.cursor,
        vec![entry("0 to 2", 10), entry("3 and 4", 10)],
        at(0),
    )
    .await
    .unwrap();
    let read_since = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert_eq!(
        (texts(&read_since), read_since.held, read_since.lost),
        (vec!["meanwhile", "0 to 2", "3 and 4"], 3, false)
    );
    one.compact(&read_since.cursor, Vec::new(), at(0))
        .await
        .unwrap();
    let nothing = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    assert!(nothing.entries.is_empty() && nothing.held == 0 && !nothing.lost);
    one.publish(vec![entry("after", 10)], at(0)).await.unwrap();
    for since in [&nothing.cursor, &read_since.cursor, &read.cursor] {
        let read_since = other.read_since(since, at(0)).await.unwrap();
        assert_eq!(
            (texts(&read_since), read_since.lost),
            (vec!["after"], false)
        );
    }
}

async fn reader_misses_nothing_during_compaction(Replicas { one, other }: &Replicas) {
    one.publish(vec![entry("a", 10)], at(0)).await.unwrap();
    let half = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    one.publish(vec![entry("b", 10)], at(0)).await.unwrap();
    let all_entries = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    one.compact(&all_entries.cursor, vec![entry("a and b", 10)], at(0))
        .await
        .unwrap();
    let rest = other.read_since(&half.cursor, at(0)).await.unwrap();
    assert_eq!((texts(&rest), rest.lost), (vec!["a and b"], false));
    // Two replicas compact at the same time. Entries published in between stay.
    other
        .compact(
            &all_entries.cursor,
            vec![entry("a and b, again", 10)],
            at(0),
        )
        .await
        .unwrap();
    let twice = one.read_since(&all_entries.cursor, at(0)).await.unwrap();
    assert_eq!(texts(&twice), ["a and b", "a and b, again"]);
}

async fn compaction_of_an_empty_log_adds_entries(Replicas { one, other }: &Replicas) {
    let empty = one.read_since(&Cursor::default(), at(0)).await.unwrap();
    one.compact(&empty.cursor, vec![entry("a", 10)], at(0))
        .await
        .unwrap();
    let first = other.read_since(&empty.cursor, at(0)).await.unwrap();
    one.compact(&first.cursor, Vec::new(), at(0)).await.unwrap();
    for text in ["b", "c"] {
        other
            .compact(&first.cursor, vec![entry(text, 10)], at(0))
            .await
            .unwrap();
    }
    assert_eq!(
        texts(&one.read_since(&Cursor::default(), at(0)).await.unwrap()),
        ["b", "c"]
    );
}

async fn compaction_of_another_log_changes_nothing(Replicas { one, other }: &Replicas) {
    one.publish(vec![entry("a", 10)], at(0)).await.unwrap();
    let read = other.read_since(&Cursor::default(), at(0)).await.unwrap();
    let elsewhere = Cursor {
        epoch: "elsewhere".to_owned(),
        ..read.cursor
    };
    for until in [elsewhere, Cursor::default()] {
        other
            .compact(&until, vec![entry("b", 10)], at(0))
            .await
            .unwrap();
        assert_eq!(
            texts(&one.read_since(&Cursor::default(), at(0)).await.unwrap()),
            ["a"],
            "{until:?}"
        );
    }
}

async fn cursor_of_another_log_starts_over(Replicas { one, other }: &Replicas) {
    one.publish(vec![entry("a", 10)], at(0)).await.unwrap();
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
            (texts(&read_since), read_since.lost),
            (vec!["a"], true),
            "{since:?}"
        );
        let again = other.read_since(&read_since.cursor, at(0)).await.unwrap();
        assert!(again.entries.is_empty() && !again.lost);
    }
}

async fn time_of_the_store_orders_calls(Replicas { one, other }: &Replicas) {
    let beginning = Cursor::default();
    let mut last = StoreTime::default();
    for store in [one, other, one] {
        // Whatever the callers' clocks say.
        let state = store.log_state(&beginning, at(5)).await.unwrap();
        assert!(state.time >= last);
        last = state.time;
        let bound = store.time_bound(at(0)).unwrap();
        let later = store.log_state(&beginning, at(5)).await.unwrap().time;
        assert!(bound >= last && later >= last, "{bound:?} {later:?}");
    }
}

/// All entries, in batches.
async fn read_all(store: &Arc<dyn Store>, since: &Cursor) -> LogBatch {
    let mut all = store.read_since(since, at(0)).await.unwrap();
    while all.more {
        let mut next = store.read_since(&all.cursor, at(0)).await.unwrap();
        all.entries.append(&mut next.entries);
        all.read += next.read;
        all = LogBatch {
            entries: all.entries,
            read: all.read,
            ..next
        };
    }
    all
}

async fn long_log_is_read_completely(replicas: &Replicas) {
    let announced = concurrently(replicas, 1203, |store, number| async move {
        store
            .publish(vec![entry(&number.to_string(), 10)], at(0))
            .await
            .unwrap();
    });
    announced.await;
    let all_entries = read_all(&replicas.one, &Cursor::default()).await;
    let counts = [
        all_entries.entries.len(),
        all_entries.read,
        all_entries.held,
    ];
    assert_eq!(counts, [1203; 3]);
    let mut numbers: Vec<u32> = texts(&all_entries)
        .into_iter()
        .map(|number| number.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..1203));
    let fewer: Vec<LogEntry> = (0..1100)
        .map(|number| entry(&format!("again {number}"), 10))
        .collect();
    replicas
        .other
        .compact(&all_entries.cursor, fewer.clone(), at(0))
        .await
        .unwrap();
    let compacted = read_all(&replicas.one, &all_entries.cursor).await;
    assert_eq!((compacted.entries, compacted.held), (fewer, 1100));
}
