//! The log after data loss in Redis.

use super::super::log::READ_AT_ONCE;
use super::*;

async fn publish(store: &Redis, text: &str) {
    store
        .publish(
            vec![LogEntry {
                value: Bytes::copy_from_slice(text.as_bytes()),
                ends_at: LATER,
            }],
            NOW,
        )
        .await
        .unwrap();
}

async fn read_since(store: &Redis, since: &Cursor) -> (Vec<String>, bool, Cursor) {
    let batch = eventually(async || store.read_since(since, NOW).await).await;
    let texts = batch
        .entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
    (texts.collect(), batch.lost, batch.cursor)
}

#[tokio::test]
async fn data_loss_is_detected() {
    let mut server = RedisServer::start();
    let first = store(&at(&server));
    let second = store(&at(&server));
    publish(&first, "before").await;
    let (_, _, read) = read_since(&second, &Cursor::default()).await;
    server.restart();
    publish_again(&first, "after").await;
    let (texts, lost, now_read) = read_since(&second, &read).await;
    assert_eq!((texts, lost), (vec!["after".to_owned()], true));
    assert_ne!(now_read.epoch, read.epoch);
    assert!(!read_since(&second, &now_read).await.1, "reported once");
    assert!(
        !read_since(&second, &Cursor::default()).await.1,
        "not for the default cursor"
    );
}

async fn publish_again(store: &Redis, text: &str) {
    let entry = LogEntry {
        value: Bytes::copy_from_slice(text.as_bytes()),
        ends_at: LATER,
    };
    eventually(async || store.publish(vec![entry.clone()], NOW).await).await;
}

#[tokio::test]
async fn restart_without_data_loss_keeps_the_log() {
    let mut server = RedisServer::start_persistent();
    let first = store(&at(&server));
    let second = store(&at(&server));
    publish(&first, "1").await;
    let (_, _, read) = read_since(&second, &Cursor::default()).await;
    publish(&first, "2").await;
    server.restart();
    publish_again(&first, "3").await;
    let (texts, lost, read) = read_since(&second, &read).await;
    assert_eq!((texts, lost), (vec!["2".to_owned(), "3".to_owned()], false));
    assert_eq!(read_since(&second, &read).await, (Vec::new(), false, read));
}

#[tokio::test]
async fn older_state_is_detected() {
    let mut server = RedisServer::start();
    let store = store(&at(&server));
    publish(&store, "saved").await;
    let (_, _, saved) = read_since(&store, &Cursor::default()).await;
    server.command(&["SAVE"]);
    publish(&store, "not saved").await;
    let (_, _, read) = read_since(&store, &saved).await;
    server.restart();
    publish_again(&store, "after").await;
    let whole = vec!["saved".to_owned(), "after".to_owned()];
    let (texts, lost, now_read) = read_since(&store, &read).await;
    assert_eq!((texts, lost), (whole, true));
    assert_eq!(now_read.epoch, read.epoch);
    // A reader that had not read the lost entries has lost nothing.
    let (texts, lost, _) = read_since(&store, &saved).await;
    assert_eq!((texts, lost), (vec!["after".to_owned()], false));
}

#[tokio::test]
async fn missing_key_is_data_loss() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    for (key, left) in [("items", vec![]), ("state", vec!["a".to_owned()])] {
        server.command(&["FLUSHALL"]);
        publish(&store, "a").await;
        let (_, _, read) = read_since(&store, &Cursor::default()).await;
        server.command(&["DEL", &format!("doorward:test:{{feed}}:{key}")]);
        let (texts, lost, again) = read_since(&store, &read).await;
        assert_eq!((texts, lost), (left, true), "{key}");
        assert_eq!(
            read_since(&store, &again).await,
            (Vec::new(), false, again),
            "{key}"
        );
    }
}

#[tokio::test]
async fn trimming_is_not_data_loss() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    let stream = "doorward:test:{feed}:items";
    let old = |id: &str, text: &str| {
        server.command(&["XADD", stream, id, "i", &format!("{}{text}", digits(LATER))]);
    };
    read_since(&store, &Cursor::default()).await;
    server.command(&["DEL", stream]);
    old("5-1", "ancient");
    let (_, _, read) = read_since(&store, &Cursor::default()).await;
    old("5-2", "old");
    let (texts, lost, _) = read_since(&store, &read).await;
    assert_eq!((texts, lost), (vec!["old".to_owned()], false));
    publish(&store, "new").await;
    assert_eq!(server.command(&["XLEN", stream]), "1");
    let (texts, lost, _) = read_since(&store, &read).await;
    assert_eq!((texts, lost), (vec!["new".to_owned()], false));
}

#[tokio::test]
async fn log_is_bounded() {
    let server = RedisServer::start();
    let limits = LogLimits {
        max_entries: 3,
        ..LIMITS
    };
    let store = Redis::new(&at(&server), "test", 64, limits).unwrap();
    for text in ["a", "b", "c"] {
        publish(&store, text).await;
    }
    let entry = |length| LogEntry {
        value: vec![b'x'; length].into(),
        ends_at: LATER,
    };
    assert_eq!(
        store.publish(vec![entry(1)], NOW).await,
        Err(StoreError::Full)
    );
    let (_, _, read) = read_since(&store, &Cursor::default()).await;
    store.compact(&read, vec![entry(1)], NOW).await.unwrap();
    publish(&store, "d").await;
    assert_eq!(read_since(&store, &read).await.0, ["x", "d"]);
    assert_eq!(
        store.publish(vec![entry(1_000_000)], NOW).await,
        Err(StoreError::Full)
    );
}

#[tokio::test]
async fn invalid_entries_are_skipped() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    let stream = "doorward:test:{feed}:items";
    publish(&store, "a").await;
    let huge = "9".repeat(100_000);
    server.command(&["XADD", stream, "*", "i", "garbage"]);
    server.command(&["XADD", stream, "*", "i", ""]);
    server.command(&["XADD", stream, "*", "i", &huge]);
    server.command(&["XADD", stream, "*", "some", "thing", "i", "else"]);
    publish(&store, "b").await;
    let (texts, lost, read) = read_since(&store, &Cursor::default()).await;
    assert_eq!((texts, lost), (vec!["a".to_owned(), "b".to_owned()], false));
    assert_eq!(read_since(&store, &read).await, (Vec::new(), false, read));
    server.command(&["SET", stream, "no stream"]);
    let response = store.read_since(&Cursor::default(), NOW).await;
    is_unavailable(response, "WRONGTYPE");
}

#[tokio::test]
async fn batches_are_bounded_by_bytes() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    let stream = "doorward:test:{feed}:items";
    let entry = |number: u8| LogEntry {
        value: vec![number; 16 * 1024].into(),
        ends_at: LATER,
    };
    store
        .publish((0..100).map(entry).collect(), NOW)
        .await
        .unwrap();
    // Junk of a writer without a key.
    let junk = "x".repeat(100_000);
    for _ in 0..30 {
        server.command(&["XADD", stream, "*", "i", &junk]);
    }
    store.publish(vec![entry(100)], NOW).await.unwrap();
    let (mut cursor, mut numbers, mut read, mut batches) = (Cursor::default(), Vec::new(), 0, 0);
    loop {
        let batch = store.read_since(&cursor, NOW).await.unwrap();
        assert!(batch.entries.len() < 64 + READ_AT_ONCE && batch.held == 131);
        numbers.extend(batch.entries.iter().map(|entry| entry.value[0]));
        (read, batches, cursor) = (read + batch.read, batches + 1, batch.cursor);
        if !batch.more {
            break;
        }
    }
    assert_eq!(numbers, (0..=100).collect::<Vec<u8>>());
    assert_eq!(read, 131);
    assert!(batches > 2, "{batches}");
}

#[tokio::test]
async fn store_is_intact_until_a_reader_finds_a_loss() {
    let server = RedisServer::start();
    let first = store(&at(&server));
    let second = store(&at(&server));
    publish(&first, "a").await;
    let (_, _, read) = read_since(&first, &Cursor::default()).await;
    let intact = async |store: &Redis, since: &Cursor| {
        let state = store.log_state(since, NOW).await.unwrap();
        state.intact_for > Duration::from_secs(24 * 60 * 60)
    };
    assert!(intact(&first, &read).await, "a new log has lost nothing");
    server.command(&["FLUSHALL"]);
    publish(&second, "b").await;
    assert!(
        intact(&second, &Cursor::default()).await,
        "nobody knows yet"
    );
    assert!(!intact(&first, &read).await);
    assert!(!intact(&second, &Cursor::default()).await);
}

#[tokio::test]
async fn time_bound_is_not_before_the_time_of_redis() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    assert_eq!(store.time_bound(NOW), None);
    let beginning = Cursor::default();
    store.read_since(&beginning, NOW).await.unwrap();
    for _ in 0..10 {
        let state = store.log_state(&beginning, NOW).await.unwrap();
        assert!(store.time_bound(NOW).unwrap() >= state.time);
    }
}

#[tokio::test]
async fn failover_to_the_new_master_is_followed() {
    let server = RedisServer::start();
    let replica = server.start_replica();
    let sentinel = server.start_sentinel("login-store");
    let topology = Topology::Sentinel {
        master: "login-store".to_owned(),
        login: None,
    };
    let store = store(&RedisSettings {
        topology,
        ..at(&sentinel)
    });
    store
        .put("a", Bytes::from_static(b"1"), LATER, NOW)
        .await
        .unwrap();
    publish(&store, "1").await;
    let (_, _, read) = read_since(&store, &Cursor::default()).await;
    let known = eventually(async || {
        let replicas = sentinel.command(&["SENTINEL", "REPLICAS", "login-store"]);
        replicas
            .contains("master-link-status\nok")
            .then_some(())
            .ok_or(StoreError::Full)
    });
    known.await;
    server.command(&["WAIT", "1", "5000"]);
    sentinel.command(&["SENTINEL", "FAILOVER", "login-store"]);
    let written = eventually(async || {
        store.put("b", Bytes::from_static(b"2"), LATER, NOW).await?;
        let role = replica.try_command(&["ROLE"]).unwrap_or_default();
        role.starts_with("master")
            .then_some(())
            .ok_or(StoreError::Full)
    });
    written.await;
    let kept = eventually(async || store.get("a", NOW).await).await;
    assert_eq!(kept, Some(Bytes::from_static(b"1")));
    publish_again(&store, "2").await;
    assert_eq!(read_since(&store, &read).await.0, ["2"]);
}
