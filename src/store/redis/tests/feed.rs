//! The feed of a Redis that lost its memory, or a part of it.

use super::*;

async fn publish(store: &Redis, text: &str) {
    store
        .publish(
            LogEntry {
                value: Bytes::copy_from_slice(text.as_bytes()),
                ends_at: LATER,
            },
            NOW,
        )
        .await
        .unwrap();
}

async fn read_since(store: &Redis, since: &Cursor) -> (Vec<String>, bool, Cursor) {
    let read_since = eventually(async || store.read_since(since, NOW).await).await;
    let said = read_since
        .items
        .iter()
        .map(|item| String::from_utf8_lossy(&item.value).into_owned());
    (said.collect(), read_since.lost, read_since.cursor)
}

#[tokio::test]
async fn a_memory_that_was_lost_shows() {
    let mut server = RedisServer::start();
    let (one, other) = (store(&at(&server)), store(&at(&server)));
    publish(&one, "before").await;
    let (_, _, read) = read_since(&other, &Cursor::default()).await;
    server.restart();
    announce_again(&one, "after").await;
    let (said, lost, now_read) = read_since(&other, &read).await;
    assert_eq!((said, lost), (vec!["after".to_owned()], true));
    assert_ne!(now_read.epoch, read.epoch);
    assert!(!read_since(&other, &now_read).await.1, "said once");
    assert!(
        !read_since(&other, &Cursor::default()).await.1,
        "never to who begins"
    );
}

async fn announce_again(store: &Redis, text: &str) {
    let item = LogEntry {
        value: Bytes::copy_from_slice(text.as_bytes()),
        ends_at: LATER,
    };
    eventually(async || store.publish(item.clone(), NOW).await).await;
}

#[tokio::test]
async fn a_memory_that_was_kept_goes_on() {
    let mut server = RedisServer::start_persistent();
    let (one, other) = (store(&at(&server)), store(&at(&server)));
    publish(&one, "1").await;
    let (_, _, read) = read_since(&other, &Cursor::default()).await;
    publish(&one, "2").await;
    server.restart();
    announce_again(&one, "3").await;
    let (said, lost, read) = read_since(&other, &read).await;
    assert_eq!((said, lost), (vec!["2".to_owned(), "3".to_owned()], false));
    assert_eq!(read_since(&other, &read).await, (Vec::new(), false, read));
}

#[tokio::test]
async fn a_redis_that_came_back_with_an_older_state_is_noticed() {
    let mut server = RedisServer::start();
    let store = store(&at(&server));
    publish(&store, "saved").await;
    let (_, _, saved) = read_since(&store, &Cursor::default()).await;
    server.command(&["SAVE"]);
    publish(&store, "not saved").await;
    let (_, _, read) = read_since(&store, &saved).await;
    server.restart();
    announce_again(&store, "after").await;
    let whole = vec!["saved".to_owned(), "after".to_owned()];
    let (said, lost, now_read) = read_since(&store, &read).await;
    assert_eq!((said, lost), (whole, true));
    assert_eq!(now_read.epoch, read.epoch);
    // Who had not read what was lost has lost nothing.
    let (said, lost, _) = read_since(&store, &saved).await;
    assert_eq!((said, lost), (vec!["after".to_owned()], false));
}

#[tokio::test]
async fn a_part_that_is_gone_is_a_memory_that_is_gone() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    for (key, left) in [("items", vec![]), ("state", vec!["a".to_owned()])] {
        server.command(&["FLUSHALL"]);
        publish(&store, "a").await;
        let (_, _, read) = read_since(&store, &Cursor::default()).await;
        server.command(&["DEL", &format!("doorward:test:{{feed}}:{key}")]);
        let (said, lost, again) = read_since(&store, &read).await;
        assert_eq!((said, lost), (left, true), "{key}");
        assert_eq!(
            read_since(&store, &again).await,
            (Vec::new(), false, again),
            "{key}"
        );
    }
}

#[tokio::test]
async fn what_no_session_can_outlive_is_trimmed_and_nobody_takes_that_for_a_loss() {
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
    let (said, lost, _) = read_since(&store, &read).await;
    assert_eq!((said, lost), (vec!["old".to_owned()], false));
    publish(&store, "new").await;
    assert_eq!(server.command(&["XLEN", stream]), "1");
    let (said, lost, _) = read_since(&store, &read).await;
    assert_eq!((said, lost), (vec!["new".to_owned()], false));
}

#[tokio::test]
async fn the_feed_is_bounded() {
    let server = RedisServer::start();
    let limits = FeedLimits {
        max_items: 3,
        ..LIMITS
    };
    let store = Redis::new(&at(&server), "test", 64, limits).unwrap();
    for text in ["a", "b", "c"] {
        publish(&store, text).await;
    }
    let item = |length| LogEntry {
        value: vec![b'x'; length].into(),
        ends_at: LATER,
    };
    assert_eq!(store.publish(item(1), NOW).await, Err(StoreError::Full));
    let (_, _, read) = read_since(&store, &Cursor::default()).await;
    store.compact(&read, vec![item(1)], NOW).await.unwrap();
    publish(&store, "d").await;
    assert_eq!(read_since(&store, &read).await.0, ["x", "d"]);
    assert_eq!(
        store.publish(item(1_000_000), NOW).await,
        Err(StoreError::Full)
    );
}

#[tokio::test]
async fn what_is_no_item_is_passed_over() {
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
    let (said, lost, read) = read_since(&store, &Cursor::default()).await;
    assert_eq!((said, lost), (vec!["a".to_owned(), "b".to_owned()], false));
    assert_eq!(read_since(&store, &read).await, (Vec::new(), false, read));
    server.command(&["SET", stream, "no stream"]);
    let answer = store.read_since(&Cursor::default(), NOW).await;
    is_unavailable(answer, "WRONGTYPE");
}

#[tokio::test]
async fn the_replica_that_a_sentinel_makes_the_master_is_found() {
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
    announce_again(&store, "2").await;
    assert_eq!(read_since(&store, &read).await.0, ["2"]);
}
