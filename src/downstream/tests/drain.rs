//! Graceful shutdown: idle connections, requests in flight, the drain timeout and upgraded
//! connections.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::super::{ListenerSettings, drain};
use super::support::{read_until_idle, start};

#[test]
fn dropped_trigger_starts_the_drain() {
    let (trigger, drain) = drain();
    trigger.announce();
    assert!(!drain.has_started());
    drop(trigger);
    assert!(drain.has_started());
}

#[tokio::test]
async fn drain_finishes_responses_and_closes_idle_connections() {
    let server = start(ListenerSettings::default(), None);
    let mut idle = server.connect().await;
    idle.write_all(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(!read_until_idle(&mut idle).await.1);
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    server.trigger.start();
    assert_eq!(read_until_idle(&mut idle).await, (String::new(), true));
    let mut all = String::new();
    busy.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("[GET /slow"), "{all}");
    timeout(Duration::from_secs(1), server.trigger.finished())
        .await
        .unwrap();
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn drain_timeout_closes_remaining_connections() {
    let settings = ListenerSettings {
        drain_timeout: Duration::from_millis(100),
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let mut stuck = server.connect().await;
    stuck
        .write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nxx")
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    server.trigger.start();
    timeout(Duration::from_secs(1), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(server.metrics.connections.get(), 0);
}

/// Upgraded connections are not part of hyper's graceful shutdown. They still hold their connection
/// slot.
#[tokio::test]
async fn upgraded_connection_keeps_its_slot_and_does_not_delay_drain() {
    let server = start(
        ListenerSettings {
            max_connections: 1,
            ..ListenerSettings::default()
        },
        None,
    );
    let mut tunnel = server.connect().await;
    tunnel
        .write_all(
            b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await
        .unwrap();
    assert!(
        read_until_idle(&mut tunnel)
            .await
            .0
            .starts_with("HTTP/1.1 101")
    );
    assert_eq!(server.metrics.connections.get(), 1);
    assert_eq!(
        server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.0,
        "",
        "a second connection was accepted"
    );
    server.trigger.start();
    timeout(Duration::from_secs(1), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    tunnel.write_all(b"still here").await.unwrap();
    assert_eq!(read_until_idle(&mut tunnel).await.0, "still here");
    drop(tunnel);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.metrics.connections.get(), 0);
}
