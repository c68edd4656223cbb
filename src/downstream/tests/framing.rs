//! HTTP/1.1 framing: request smuggling, chunked encoding, pipelining, early responses and upgrades,
//! with raw bytes.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::super::ListenerSettings;
use super::support::{read_until_idle, response_count, start};

/// Each must get a 400 and a closed connection, and no second request may be parsed from it.
#[tokio::test]
async fn ambiguous_framing_gets_400_and_closes() {
    const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = start(ListenerSettings::default(), None);
    for (name, head) in [
        (
            "differing lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        ),
        (
            "listed lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nxx",
        ),
        (
            "signed length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        ),
        (
            "empty length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        ),
        (
            "hexadecimal length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
        ),
        (
            "huge length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        ),
        (
            "coding other than chunked",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nx",
        ),
        (
            "chunked before the last coding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "unknown coding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "coding over HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "space before colon",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx",
        ),
        (
            "obsolete line folding",
            "POST / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
        ),
        ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        (
            "NUL in a value",
            "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n",
        ),
        (
            "CR in a value",
            "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n",
        ),
        ("no version", "GET /\r\n\r\n"),
        ("unknown version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ] {
        let (received, closed) = server.send(format!("{head}{NEXT}")).await;
        assert!(
            received.starts_with("HTTP/1.1 400") || received.starts_with("HTTP/1.0 400"),
            "{name}: {received}"
        );
        assert!(
            closed && response_count(&received) == 1,
            "{name}: {received}"
        );
    }
    assert_eq!(server.seen(), Vec::<String>::new());
    assert!(server.error_count("malformed_request") >= 15);
}

#[tokio::test]
async fn malformed_chunk_closes_the_connection() {
    let server = start(ListenerSettings::default(), None);
    for (name, body) in [
        ("bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        (
            "size over 64 bit",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
        ),
        ("negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ] {
        let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let chunked = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (received, closed) = server.send(format!("{chunked}{body}{next}")).await;
        assert!(closed && !received.contains("200 OK"), "{name}: {received}");
    }
    let seen = server.seen();
    assert!(
        seen.iter()
            .all(|line| line == "POST /body" || line == "broken body"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn long_chunk_extensions_close_the_connection() {
    let server = start(ListenerSettings::default(), None);
    let head = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;";
    let (received, closed) = server
        .send(format!("{head}{}\r\nx\r\n0\r\n\r\n", "e".repeat(64 * 1024)))
        .await;
    assert!(closed && !received.contains("200 OK"), "{received}");
}

/// `Transfer-Encoding` overrides `Content-Length`, and the connection closes after the response
/// (RFC 9112 section 6.3).
#[tokio::test]
async fn content_length_with_chunked_is_ignored_and_closes() {
    let server = start(ListenerSettings::default(), None);
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes =
            format!("POST /te HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n1\r\nz\r\n0\r\n\r\n{next}");
        let (received, closed) = server.send(bytes).await;
        assert!(
            closed && response_count(&received) == 1 && received.contains("body=z"),
            "{fields}: {received}"
        );
    }
    assert_eq!(server.seen(), ["POST /te", "POST /te"]);
}

#[tokio::test]
async fn get_with_body_keeps_the_next_request_separate() {
    let server = start(ListenerSettings::default(), None);
    let bytes = "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    let (received, closed) = server.send(bytes).await;
    assert!(
        !closed && received.contains("[GET /a body=hello") && received.contains("[GET /b body=]"),
        "{received}"
    );
}

#[tokio::test]
async fn pipelined_requests_get_responses_in_order() {
    let server = start(ListenerSettings::default(), None);
    let bytes: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    let (received, _) = server.send(bytes).await;
    let expected: Vec<_> = (0..20).map(|n| format!("GET /{n}")).collect();
    assert_eq!((response_count(&received), server.seen()), (20, expected));
}

/// The rest of an unread body must never be parsed as a request.
#[tokio::test]
async fn unread_body_after_early_response_is_not_parsed() {
    let server = start(ListenerSettings::default(), None);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        format!(
            "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            smuggled.len()
        ),
        "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n".to_owned(),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        // The server may have closed the connection already, which is as safe.
        let _ = stream.write_all(smuggled.as_bytes()).await;
        let (received, _) = read_until_idle(&mut stream).await;
        assert_eq!(response_count(&received), 1, "{received}");
        let (received, _) = server.send(format!("{head}{smuggled}")).await;
        assert_eq!(response_count(&received), 1, "{received}");
    }
    assert!(
        server.seen().iter().all(|line| line == "POST /early"),
        "{:?}",
        server.seen()
    );
}

/// The rejection of a large upload must arrive although the upload was not read.
#[tokio::test]
async fn early_response_reaches_a_client_still_sending() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&vec![b'x'; 9_000_000]).await.unwrap();
    let (received, closed) = read_until_idle(&mut stream).await;
    assert!(closed && received.ends_with("early"), "{received}");
}

/// Bytes after an upgrade request are the next request unless the response is 101.
#[tokio::test]
async fn upgrade_without_101_stays_http() {
    let server = start(ListenerSettings::default(), None);
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    server
        .send(format!("{upgrade}GET /second HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    assert_eq!(server.seen(), ["GET /ws", "GET /second"]);
}

#[tokio::test]
async fn expect_continue_gets_100_only_when_the_body_is_read() {
    let server = start(ListenerSettings::default(), None);
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    assert!(
        server
            .send(head("/body"))
            .await
            .0
            .starts_with("HTTP/1.1 100")
    );
    assert!(
        server
            .send(head("/early"))
            .await
            .0
            .starts_with("HTTP/1.1 200")
    );
}
