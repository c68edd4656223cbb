//! HTTP/1.0 and 1.1 over a raw socket.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::capture::Capture;
use super::{Case, TIMEOUT, before, cases, judge_with_probe};
use crate::support::assertions::Dialogue;
use crate::support::doorward::Doorward;
use crate::support::wire::Wire;

pub(super) const PROBE: &str = "GET /public/probe HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n";

pub(super) async fn dialogue(doorward: &Doorward) -> Dialogue {
    let stream = TcpStream::connect(doorward.address())
        .await
        .expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    Dialogue(Wire::new(stream))
}

/// How a case is tried.
pub(super) struct Trial<'t> {
    pub(super) doorward: &'t Doorward,
    pub(super) backend: &'t Capture,
    pub(super) case: &'t Case,
    pub(super) bytes: &'t [u8],
    /// The bytes are sent in pieces of this size.
    pub(super) piece: usize,
    /// The path at which the backend gets the probe.
    pub(super) probe: &'t str,
    /// Whether another app has other paths of the host: ambiguous ones then belong to no app (404).
    pub(super) shares_host: bool,
}

/// Sends the bytes and reports differences from the case.
pub(super) async fn try_out(trial: Trial<'_>) -> Result<(), String> {
    let Trial {
        doorward,
        backend,
        case,
        bytes,
        piece,
        probe: probe_target,
        shares_host,
    } = trial;
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
            Ok(Some(reply)) => {
                let told = case.responses.get(statuses.len()).copied();
                let refused = told.filter(|told| *told >= 400 && shares_host);
                let is_of_no_app = reply.status() == 404;
                statuses.push(refused.filter(|_| is_of_no_app).unwrap_or(reply.status()));
            }
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
    let went = judge_with_probe(case, backend, probe_target);
    if statuses != case.responses
        || (ends != case.ends && !(ends && case.may_end))
        || !rest.is_empty()
    {
        let rest = rest.escape_ascii().to_string();
        return Err(format!(
            "answered {statuses:?}, ended: {ends}, more was said: {rest:?}, upstream: {went:?}"
        ));
    }
    if probe != Some((200, probe_target.to_owned())) {
        return Err(format!("the next request got {probe:?}"));
    }
    went
}

#[tokio::test]
async fn http_1_corpus_yields_canonical_requests() {
    let backend = Capture::start();
    let doorward = before(&backend);
    let cases = cases(".http");
    assert!(cases.len() > 200, "only {} cases were found", cases.len());
    let mut complaints = Vec::new();
    for (name, case, bytes) in &cases {
        // Byte by byte, no parser sees more than one at a time.
        for piece in [usize::MAX, 1] {
            let trial = Trial {
                doorward: &doorward,
                backend: &backend,
                case,
                bytes,
                piece,
                probe: "/public/probe",
                shares_host: false,
            };
            if let Err(why) = try_out(trial).await {
                complaints.push(format!("{name}, in pieces of {piece}: {why}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
