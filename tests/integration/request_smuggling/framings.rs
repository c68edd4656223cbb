//! Every method with every kind of body over every protocol: the exact bytes that are sent
//! upstream.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::capture::{Capture, CapturedRequest};
use super::frames::Message;
use super::{TIMEOUT, before};
use crate::support::assertions::Dialogue;
use crate::support::doorward::Doorward;
use crate::support::wire::Wire;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// How the client's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Zero,
    Length,
    /// Chunked; over HTTP/2 DATA without a length.
    Chunked,
    ChunkedEmpty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http10,
    Http11,
    Http2,
}

const BODIES: [Body; 5] = [
    Body::None,
    Body::Zero,
    Body::Length,
    Body::Chunked,
    Body::ChunkedEmpty,
];

#[tokio::test]
async fn every_method_body_and_protocol_has_one_framing() {
    let backend = Capture::start();
    let doorward = before(&backend);
    for method in METHODS {
        for body in BODIES {
            for protocol in [Protocol::Http10, Protocol::Http11, Protocol::Http2] {
                let what = format!("{method} {body:?} {protocol:?}");
                let status = match protocol {
                    Protocol::Http10 => over_http_1(&doorward, method, body, "1.0").await,
                    Protocol::Http11 => over_http_1(&doorward, method, body, "1.1").await,
                    Protocol::Http2 => over_http_2(&doorward, method, body).await,
                };
                let seen = backend.take().unwrap_or_else(|why| panic!("{what}: {why}"));
                // HTTP/1.0 has no transfer codings (RFC 9112 section 6.1).
                if protocol == Protocol::Http10
                    && matches!(body, Body::Chunked | Body::ChunkedEmpty)
                {
                    assert_eq!((status, seen.len()), (Some(400), 0), "{what}");
                    continue;
                }
                assert_eq!((status, seen.len()), (Some(200), 1), "{what}");
                assert_eq!(bytes(&seen[0]), expected(method, body), "{what}");
            }
        }
    }
}

/// Raw head and body, with fields sorted by name, without the request ID.
fn bytes(seen: &CapturedRequest) -> String {
    let mut lines: Vec<String> = seen
        .fields
        .iter()
        .filter(|(name, _)| name != "x-request-id")
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    lines.sort_unstable();
    let body = seen
        .raw_body
        .escape_ascii()
        .to_string()
        .replace("\\r\\n", "\r\n");
    format!(
        "{} {} HTTP/1.1\r\n{}\r\n{body}",
        seen.method,
        seen.target,
        lines.concat()
    )
}

fn expected(method: &str, body: Body) -> String {
    let has_a_purpose_for_it = ["POST", "PUT", "PATCH"].contains(&method);
    let (framing, body) = match body {
        // RFC 9110 section 8.6: a method that expects content sends `Content-Length: 0` without it.
        Body::None if has_a_purpose_for_it => ("content-length: 0\r\n", ""),
        Body::None => ("", ""),
        Body::Zero => ("content-length: 0\r\n", ""),
        Body::Length => ("content-length: 5\r\n", "hello"),
        Body::Chunked => ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        Body::ChunkedEmpty => ("transfer-encoding: chunked\r\n", "0\r\n\r\n"),
    };
    let coding = framing.strip_prefix("transfer").map_or("", |_| framing);
    let length = framing.strip_prefix("content").map_or("", |_| framing);
    format!(
        "{method} /public/x HTTP/1.1\r\ncdn-loop: raw.localhost:8080\r\n{length}host: raw.localhost:8080\r\n{coding}x-a: b\r\nx-forwarded-for: 127.0.0.1\r\n\
         x-forwarded-host: raw.localhost:8080\r\nx-forwarded-proto: http\r\n\r\n{body}"
    )
}

async fn over_http_1(doorward: &Doorward, method: &str, body: Body, version: &str) -> Option<u16> {
    let (framing, body) = match body {
        Body::None => ("", ""),
        Body::Zero => ("Content-Length: 0\r\n", ""),
        Body::Length => ("Content-Length: 5\r\n", "hello"),
        Body::Chunked => ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        Body::ChunkedEmpty => ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    };
    let request = format!(
        "{method} /public/x HTTP/{version}\r\nHost: raw.localhost:8080\r\nX-A: b\r\n{framing}\r\n{body}"
    );
    let mut dialogue = Dialogue(Wire::new(connection(doorward).await));
    dialogue.say(request).await;
    let reply = dialogue.try_hear(method).await?;
    if version == "1.0" {
        assert_eq!(dialogue.hear_end().await, b"", "{method}");
    }
    Some(reply.status())
}

async fn over_http_2(doorward: &Doorward, method: &str, body: Body) -> Option<u16> {
    let text = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut fields = vec![
        text(":method", method),
        text(":scheme", "http"),
        text(":authority", "raw.localhost:8080"),
        text(":path", "/public/x"),
        text("x-a", "b"),
    ];
    let length = match body {
        Body::Zero => Some("0"),
        Body::Length => Some("5"),
        Body::None | Body::Chunked | Body::ChunkedEmpty => None,
    };
    fields.extend(length.map(|length| text("content-length", length)));
    let body = match body {
        Body::None | Body::Zero => None,
        Body::Length | Body::Chunked => Some(b"hello".to_vec()),
        Body::ChunkedEmpty => Some(Vec::new()),
    };
    let message = Message {
        fields,
        body,
        trailers: None,
    };
    timeout(TIMEOUT, message.request(connection(doorward).await))
        .await
        .expect("an answer in time")
}

async fn connection(doorward: &Doorward) -> TcpStream {
    TcpStream::connect(doorward.address())
        .await
        .expect("a connection")
}
