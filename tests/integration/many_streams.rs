//! A thousand WebSockets and a thousand event streams at once, and none is cut. Runs for a few
//! seconds by default; `DOORWARD_STREAM_SECONDS=60` for the full test.

use std::sync::Arc;
use std::time::Duration;

use doorward::types::time::SystemClock;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::folder::{ANY_PORTS, Folder, one_public_app};
use crate::support::listening::Listening;
use crate::support::process::Process;
use crate::support::websocket::{self, WebSocket};
use crate::support::wire::Wire;

const OF_EACH: usize = 1000;
/// The message interval of each stream.
const EVERY: Duration = Duration::from_secs(1);
/// A timeout that allows for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_websockets_and_event_streams_coexist() {
    rlimit::increase_nofile_limit(u64::MAX).expect("more files");
    let seconds = seconds();
    let backend = Listening::start(0, |stream| async move {
        let _gone = talk(Wire::new(stream)).await;
    });
    let folder = Folder::with(
        "doorward.toml",
        &one_public_app(&format!("http://127.0.0.1:{}", backend.port())),
    );
    let more = [
        ("DOORWARD_SERVER__MAX_CONNECTIONS_PER_CLIENT", "5000"),
        ("DOORWARD_SERVER__MAX_IN_FLIGHT_REQUESTS", "100"),
    ];
    let process = Process::run(
        folder.path("doorward.toml").as_os_str(),
        &[&ANY_PORTS[..], &more].concat(),
    );
    let (port, admin) = (process.port("address"), process.port("admin"));

    // All streams are open before the time starts.
    let (opening, open) = (
        Arc::new(Semaphore::new(50)),
        Arc::new(tokio::sync::Barrier::new(2 * OF_EACH + 1)),
    );
    let mut streams = JoinSet::new();
    for number in 0..2 * OF_EACH {
        let (opening, open) = (Arc::clone(&opening), Arc::clone(&open));
        streams.spawn(async move {
            let mut browser = Browser::new(Arc::new(SystemClock)).with_port(80, port);
            let place = opening.acquire().await.expect("a place");
            if number % 2 == 0 {
                let request = RequestSpec::new(Kind::Fetch, "http://store.localhost/public/chat");
                let mut socket = WebSocket::open(&mut browser, request)
                    .await
                    .expect("a socket");
                drop(place);
                open.wait().await;
                let end = Instant::now() + Duration::from_secs(seconds);
                for word in 0.. {
                    let word = format!("{number} {word}");
                    socket.say(&word).await.expect("said");
                    let heard = timeout(TIMEOUT, socket.poll())
                        .await
                        .expect("an echo in time")
                        .expect("an echo");
                    assert_eq!(heard, Some(word));
                    if Instant::now() >= end {
                        break;
                    }
                    sleep_until(end.min(Instant::now() + EVERY)).await;
                }
            } else {
                let request = RequestSpec::new(Kind::Fetch, "http://store.localhost/public/events");
                let mut events = browser.stream(request).await.expect("an answer");
                drop(place);
                open.wait().await;
                let end = Instant::now() + Duration::from_secs(seconds);
                for number in 0.. {
                    let event = timeout(TIMEOUT, events.next())
                        .await
                        .expect("an event in time")
                        .expect("an event");
                    assert_eq!(event, Some(format!("data: {number}\n\n").into_bytes()));
                    if Instant::now() >= end {
                        break;
                    }
                }
            }
        });
    }
    timeout(TIMEOUT, open.wait())
        .await
        .expect("all of them open in time");
    let mut operator = Browser::new(Arc::new(SystemClock));
    let numbers = operator
        .step(&format!("http://127.0.0.1:{admin}/metrics"))
        .await
        .text();
    let tunnels = format!("doorward_upgraded_connections {OF_EACH}");
    assert!(numbers.lines().any(|line| line == tunnels), "not {tunnels}");
    while let Some(stream) = streams.join_next().await {
        stream.expect("a stream that was not cut");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no configuration to read it from"
)]
fn seconds() -> u64 {
    std::env::var("DOORWARD_STREAM_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(5)
}

/// Echoes WebSocket messages, or sends events.
async fn talk(mut wire: Wire) -> std::io::Result<()> {
    let Some(head) = wire.read_head().await? else {
        return Ok(());
    };
    if let Some(key) = head.header("sec-websocket-key") {
        let accept = websocket::accept_key(key);
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        wire.write(format!("{switch}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes())
            .await?;
        return websocket::echo(&mut wire, |_| ()).await;
    }
    wire.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    .await?;
    for number in 0.. {
        let event = format!("data: {number}\n\n");
        wire.write(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
            .await?;
        sleep(EVERY).await;
    }
    Ok(())
}
