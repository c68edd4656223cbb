//! HTTP/2 requests that are cancelled: a few by every browser, without end by an attacker.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};

use super::super::ListenerSettings;
use super::http2::{
    DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, RST_STREAM, RawFrame, client, frame, get,
    opening, read_frames, request,
};
use super::support::start;

/// CVE-2023-44487: all at once, so that each request is cancelled before it is accepted.
#[tokio::test]
async fn reset_flood_before_accept_closes_the_connection() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    let flood: Vec<u8> = (0..2000)
        .flat_map(|n| {
            [
                get(2 * n + 1),
                frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]),
            ]
            .concat()
        })
        .collect();
    // The server may close before it has read everything.
    let _ = stream.write_all(&[opening(), flood].concat()).await;
    let (frames, closed) = read_frames(&mut stream).await;
    assert!(
        closed || frames.iter().any(|frame| frame.kind == GOAWAY),
        "{frames:?}"
    );
    assert!(server.seen().len() < 400, "{}", server.seen().len());
}

/// CVE-2023-44487 at a slower pace: each request is accepted before it is cancelled.
#[tokio::test]
async fn reset_flood_after_accept_closes_the_connection() {
    let server = start(
        ListenerSettings {
            http2_reset_burst: 30,
            http2_resets_per_second: 0,
            ..ListenerSettings::default()
        },
        None,
    );
    let client = client(&server).await;
    let mut cancelled = 0;
    while cancelled < 500 {
        let Ok(mut ready) = client.clone().ready().await else {
            break;
        };
        let Ok((response, mut stream)) = ready.send_request(request("GET", "/slow"), false) else {
            break;
        };
        sleep(Duration::from_millis(2)).await;
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        cancelled += 1;
    }
    assert!((30..100).contains(&cancelled), "{cancelled}");
    assert_eq!(server.error_count("http2_resets"), 1);
    timeout(Duration::from_secs(5), async {
        while (
            server.metrics.connections.get(),
            server.metrics.http2_streams.get(),
        ) != (0, 0)
        {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

/// A map that scrolls cancels as many tiles as it may request, all in one flight.
#[tokio::test]
async fn requests_cancelled_in_one_flight_cost_no_connection() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    let numbers = || (0..100).map(|number| 2 * number + 1);
    let cancel = |number| frame(RST_STREAM, 0, number, &[0, 0, 0, 8]);
    let requests: Vec<u8> = numbers().flat_map(get).collect();
    let cancels: Vec<u8> = numbers().flat_map(cancel).collect();
    let flight = [opening(), requests, cancels, get(201)].concat();
    stream.write_all(&flight).await.unwrap();
    let (frames, closed) = read_frames(&mut stream).await;
    let is_answer = |frame: &RawFrame| (frame.kind, frame.stream) == (DATA, 201);
    assert!(!closed && frames.iter().any(is_answer), "{frames:?}");
    assert_eq!(server.error_count("http2_resets"), 0);
}

/// A client that cancels too much is told to open another connection, and its other requests are
/// answered.
#[tokio::test]
async fn requests_in_flight_are_answered_after_too_many_cancels() {
    let settings = ListenerSettings {
        http2_reset_burst: 30,
        http2_resets_per_second: 0,
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let mut stream = server.connect().await;
    // Its body is still to come.
    let upload = frame(HEADERS, END_HEADERS, 1, GET);
    stream
        .write_all(&[opening(), upload].concat())
        .await
        .unwrap();
    let mut number = 3;
    while server.error_count("http2_resets") == 0 {
        // One at a time, so that each is accepted before it is cancelled.
        let open = frame(HEADERS, END_HEADERS, number, GET);
        stream.write_all(&open).await.unwrap();
        let seen = usize::try_from(number.div_ceil(2)).unwrap();
        let accepted = || {
            server
                .seen()
                .iter()
                .filter(|line| line.starts_with("GET"))
                .count()
        };
        while accepted() < seen && server.error_count("http2_resets") == 0 {
            tokio::task::yield_now().await;
        }
        let cancel = frame(RST_STREAM, 0, number, &[0, 0, 0, 8]);
        stream.write_all(&cancel).await.unwrap();
        number += 2;
    }
    let (frames, closed) = read_frames(&mut stream).await;
    let is_goaway = |frame: &RawFrame| frame.kind == GOAWAY;
    assert!(!closed && frames.iter().any(is_goaway), "{frames:?}");
    let end = frame(DATA, END_STREAM, 1, b"end");
    stream.write_all(&end).await.unwrap();
    let (frames, _) = read_frames(&mut stream).await;
    let is_answer = |frame: &RawFrame| (frame.kind, frame.stream) == (DATA, 1);
    assert!(frames.iter().any(is_answer), "{frames:?}");
}
