//! Response desynchronization: whatever bytes a backend sends, the client receives one complete
//! response with one framing, or an error. Surplus bytes never become the response to the next
//! request. The bytes are files in `raw`; `raw/cases.toml` gives the outcome of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::assertions::Reply;
use crate::support::doorward::{Doorward, Setup};
use crate::support::listening::Listening;
use crate::support::wire::{Framing, Head, Wire};

/// Time limit for expected data.
const TIMEOUT: Duration = Duration::from_secs(8);
const FORGED: &str = "forged";

/// The expected outcome of a backend response.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The bytes that the client receives.
    gets: String,
    /// An alternative that is also correct (RFC 9110 section 8.6 leaves it open).
    #[serde(default)]
    or: Option<String>,
    /// The request method.
    #[serde(default)]
    method: Option<String>,
    /// Whether the backend closes the connection after the response.
    #[serde(default)]
    closes: bool,
    #[serde(skip)]
    bytes: Vec<u8>,
}

fn cases() -> BTreeMap<String, Case> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/response_desync/raw");
    let text = std::fs::read_to_string(folder.join("cases.toml")).expect("the list of cases");
    let mut cases: BTreeMap<String, Case> =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    for (name, case) in &mut cases {
        case.bytes =
            std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let files = std::fs::read_dir(folder).expect("the folder").count();
    assert_eq!(files, cases.len() + 1, "every file is in the list");
    cases
}

/// Serves the bytes of case `NAME` at `/public/NAME`, and the request target at all other paths.
async fn serve(stream: TcpStream, cases: Arc<BTreeMap<String, Case>>) {
    let (read, mut write) = stream.into_split();
    let mut wire = Wire::new(tokio::io::join(read, tokio::io::sink()));
    while let Ok(Some(head)) = wire.read_head().await {
        let target = head.start.split(' ').nth(1).unwrap_or_default();
        let case = target
            .strip_prefix("/public/")
            .and_then(|name| cases.get(name));
        let own = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
            target.len()
        );
        let bytes = case.map_or(own.as_bytes(), |case| case.bytes.as_slice());
        if write.write_all(bytes).await.is_err() || case.is_some_and(|case| case.closes) {
            return;
        }
    }
}

/// The response to one request on a separate connection; `None` if it is incomplete.
async fn request(doorward: &Doorward, method: &str, target: &str) -> Option<Reply> {
    let mut wire = Wire::new(
        TcpStream::connect(doorward.address())
            .await
            .expect("a connection"),
    );
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: raw.localhost:8080\r\nConnection: close\r\n\r\n"
    );
    wire.write(request.as_bytes())
        .await
        .expect("the connection takes it");
    let heard = async {
        let head = wire.read_head().await.ok()??;
        let body = wire.read_body(head.answer_framing(method)).await.ok()?;
        let rest = wire.read_body(Framing::UntilClose).await.ok()?;
        assert!(
            rest.is_empty(),
            "{target}: more than an answer: {}",
            rest.escape_ascii()
        );
        Some(Reply { head, body })
    };
    timeout(TIMEOUT, heard)
        .await
        .unwrap_or_else(|_| panic!("{target}: nothing in time"))
}

fn check_head(head: &Head) -> Result<(), String> {
    let text = String::from_utf8_lossy(&head.raw).into_owned();
    let framings = head.all("content-length").len() + head.all("transfer-encoding").len();
    let lines = text.trim_end_matches("\r\n").split("\r\n").skip(1);
    let bad = lines.clone().find(|line| {
        line.contains(['\r', '\n', '\0']) || !line.contains(':') || line.starts_with(' ')
    });
    if framings > 1 || bad.is_some() || text.contains(FORGED) {
        return Err(format!("its head is {text:?}"));
    }
    Ok(())
}

#[tokio::test]
async fn response_corpus_yields_one_response_per_request() {
    let cases = Arc::new(cases());
    assert!(cases.len() > 80, "only {} cases were found", cases.len());
    let inside = Arc::clone(&cases);
    let backend = Listening::start(0, move |stream| serve(stream, Arc::clone(&inside)));
    let app = format!(
        "[apps.raw]\nprovider = \"login\"\npublic_url = \"http://raw.localhost:8080\"\nclient_id = \"raw\"\n\
         upstream = \"http://127.0.0.1:{}\"\n[[apps.raw.rules]]\npaths = [\"/public/**\"]\nallow = \"public\"\n",
        backend.port()
    );
    let doorward = Setup::plain().more(&app).start();
    let mut complaints = Vec::new();
    for (name, case) in cases.iter() {
        let reply = request(
            &doorward,
            case.method.as_deref().unwrap_or("GET"),
            &format!("/public/{name}"),
        )
        .await;
        let gets = match &reply {
            None => "cut".to_owned(),
            Some(reply) if reply.status() == 502 => "502".to_owned(),
            Some(reply) => format!("{} {}", reply.status(), reply.text()),
        };
        if gets != case.gets && case.or.as_ref() != Some(&gets) {
            complaints.push(format!(
                "{name}: the client got {gets:?} instead of {:?}",
                case.gets
            ));
        }
        if let Some(Err(why)) = reply.map(|reply| check_head(&reply.head)) {
            complaints.push(format!("{name}: {why}"));
        }
        // Several requests, as the connection with surplus bytes may belong to another worker.
        for number in 0..4 {
            let target = format!("/public/probe-{number}");
            let reply = request(&doorward, "GET", &target)
                .await
                .map(|reply| (reply.status(), reply.text()));
            if reply.as_ref() != Some(&(200, target)) {
                complaints.push(format!("{name}: the next request got {reply:?}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
