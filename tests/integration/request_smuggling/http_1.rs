//! HTTP/1.0 and 1.1 over a raw socket.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::capture::Capture;
use super::{Case, ROUTE, TIMEOUT, before, cases, judge, routed_before};
use crate::support::assertions::Dialogue;
use crate::support::doorward::Doorward;
use crate::support::wire::Wire;
const PROBE: &str = "GET /public/probe HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n";

async fn dialogue(doorward: &Doorward) -> Dialogue {
    let stream = TcpStream::connect(doorward.address())
        .await
        .expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    Dialogue(Wire::new(stream))
}

/// Sends the bytes in pieces of this size and reports differences from the case.
async fn try_out(
    doorward: &Doorward,
    backend: &Capture,
    case: &Case,
    bytes: &[u8],
    piece: usize,
) -> Result<(), String> {
    let method = if bytes.starts_with(b"HEAD ") {
        "HEAD"
    } else {
        "GET"
    };
    let mut dialogue = dialogue(doorward).await;
    for piece in bytes.chunks(piece) {
        // A refused client may find the connection closed.
        if dialogue.0.write(piece).await.is_err() {
            break;
        }
    }
    if case.cut {
        dialogue.0.shut().await.expect("the connection takes it");
    }
    let mut statuses = Vec::new();
    while statuses.len() < case.responses.len() {
        match timeout(TIMEOUT, dialogue.try_hear(method)).await {
            Ok(Some(reply)) => statuses.push(reply.status()),
            Ok(None) => break,
            Err(_) => {
                return Err(format!(
                    "nothing after {statuses:?}, upstream: {:?}",
                    backend.take()
                ));
            }
        }
    }
    let (mut rest, mut probe) = (Vec::new(), None);
    if !case.ends && dialogue.0.write(PROBE.as_bytes()).await.is_ok() {
        let Ok(heard) = timeout(TIMEOUT, dialogue.try_hear("GET")).await else {
            return Err(format!(
                "no answer to the next request, upstream: {:?}",
                backend.take()
            ));
        };
        probe = heard;
    }
    let ends = probe.is_none();
    if ends {
        let Ok(heard) = timeout(TIMEOUT, dialogue.hear_end()).await else {
            return Err(format!(
                "answered {statuses:?} and did not end, upstream: {:?}",
                backend.take()
            ));
        };
        rest = heard;
        probe = Some(self::dialogue(doorward).await.request("GET", PROBE).await);
    }
    let probe = probe.map(|reply| (reply.status(), reply.text()));
    let went = judge(case, backend);
    if statuses != case.responses
        || (ends != case.ends && !(ends && case.may_end))
        || !rest.is_empty()
    {
        let rest = rest.escape_ascii().to_string();
        return Err(format!(
            "answered {statuses:?}, ended: {ends}, more was said: {rest:?}, upstream: {went:?}"
        ));
    }
    if probe != Some((200, "/public/probe".to_owned())) {
        return Err(format!("the next request got {probe:?}"));
    }
    went
}

#[tokio::test]
async fn http_1_corpus_yields_canonical_requests() {
    let backend = Capture::start();
    let doorward = before(&backend);
    yields_canonical_requests(&doorward, &backend).await;
}

#[tokio::test]
async fn http_1_corpus_on_a_route_yields_canonical_requests() {
    let backend = Capture::start();
    let doorward = routed_before(&backend, ROUTE);
    yields_canonical_requests(&doorward, &backend).await;
}

async fn yields_canonical_requests(doorward: &Doorward, backend: &Capture) {
    let cases = cases(".http");
    assert!(cases.len() > 200, "only {} cases were found", cases.len());
    let mut complaints = Vec::new();
    for (name, case, bytes) in &cases {
        // Byte by byte, no parser sees more than one at a time.
        for piece in [usize::MAX, 1] {
            if let Err(why) = try_out(doorward, backend, case, bytes, piece).await {
                complaints.push(format!("{name}, in pieces of {piece}: {why}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
