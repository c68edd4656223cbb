//! Redis servers that stop, hang and restart.

use super::*;

#[tokio::test]
async fn stopped_redis_is_unavailable_not_empty() {
    let mut server = RedisServer::start_persistent();
    let settings = RedisSettings {
        timeout: Duration::from_millis(500),
        ..at(&server)
    };
    let store = store(&settings);
    store
        .put("a", Bytes::from_static(b"1"), LATER, NOW)
        .await
        .unwrap();
    server.stop();
    let value = || Bytes::from_static(b"2");
    for _ in 0..20 {
        is_unavailable(store.get("a", NOW).await, "");
        is_unavailable(store.put("a", value(), LATER, NOW).await, "");
        is_unavailable(store.put_if_absent("a", value(), LATER, NOW).await, "");
        is_unavailable(
            store.compare_and_swap("a", b"1", value(), LATER, NOW).await,
            "",
        );
        is_unavailable(store.remove("a", b"1", NOW).await, "");
        is_unavailable(
            store
                .publish(
                    vec![LogEntry {
                        value: value(),
                        ends_at: LATER,
                    }],
                    NOW,
                )
                .await,
            "",
        );
        is_unavailable(store.read_since(&Cursor::default(), NOW).await, "");
    }
    server.restart();
    assert_eq!(
        eventually(async || store.get("a", NOW).await).await,
        Some(Bytes::from_static(b"1"))
    );
}

#[tokio::test]
async fn cluster_reconnects_after_stop_and_hang() {
    let mut server = RedisServer::start_cluster();
    let settings = RedisSettings {
        topology: Topology::Cluster,
        timeout: Duration::from_millis(500),
        ..at(&server)
    };
    let store = store(&settings);
    let value = Bytes::from_static(b"1");
    store.put("a", value.clone(), LATER, NOW).await.unwrap();
    server.pause();
    for _ in 0..3 {
        is_unavailable(store.get("a", NOW).await, "");
    }
    server.resume();
    assert_eq!(
        eventually(async || store.get("a", NOW).await).await,
        Some(value.clone())
    );
    server.stop();
    for _ in 0..3 {
        is_unavailable(store.put("a", value.clone(), LATER, NOW).await, "");
    }
    server.restart();
    assert_eq!(
        eventually(async || store.put_if_absent("a", value.clone(), LATER, NOW).await).await,
        None
    );
}

#[tokio::test]
async fn first_call_after_restart_succeeds() {
    let mut server = RedisServer::start_persistent();
    let store = store(&at(&server));
    let value = || Bytes::from_static(b"1");
    for round in 0..3 {
        let key = round.to_string();
        assert_eq!(
            store.put_if_absent(&key, value(), LATER, NOW).await,
            Ok(None)
        );
        // A connection that fails at once would count as a failure to connect.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        server.restart();
        assert_eq!(
            store.put_if_absent(&key, value(), LATER, NOW).await,
            Ok(Some(value()))
        );
    }
}

#[tokio::test]
async fn hanging_redis_times_out_and_reconnects() {
    let server = RedisServer::start();
    let settings = RedisSettings {
        timeout: Duration::from_millis(200),
        ..at(&server)
    };
    let store = Arc::new(store(&settings));
    store
        .put("a", Bytes::from_static(b"1"), LATER, NOW)
        .await
        .unwrap();
    server.pause();
    let mut calls = tokio::task::JoinSet::new();
    // More than the limit of calls in flight.
    for _ in 0..200 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.get("a", NOW).await });
    }
    for response in calls.join_all().await {
        is_unavailable(response, "");
    }
    is_unavailable(store.get("a", NOW).await, "");
    server.resume();
    assert_eq!(
        eventually(async || store.get("a", NOW).await).await,
        Some(Bytes::from_static(b"1"))
    );
}

#[tokio::test]
async fn concurrent_calls_share_one_connection() {
    let server = RedisServer::start();
    let store = Arc::new(store(&at(&server)));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = Arc::clone(&store);
        calls.spawn(async move {
            store
                .put(&number.to_string(), Bytes::new(), LATER, NOW)
                .await
        });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    let clients = server.command(&["CLIENT", "LIST"]);
    // One connection is that of `redis-cli`.
    assert_eq!(clients.lines().count(), 2, "{clients}");
    let seen = server.command(&["INFO", "stats"]);
    assert!(!seen.contains("total_connections_received:500"), "{seen}");
}
