//! HTTP/2 corpus: requests without an HTTP/1.1 form are refused, all others get one canonical form.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::capture::Capture;
use super::frames::Message;
use super::{TIMEOUT, before, cases, judge};

const PROBE: &str =
    ":method: GET\n:scheme: http\n:authority: raw.localhost:8080\n:path: /public/probe\n";

#[tokio::test]
async fn http_2_corpus_yields_canonical_requests() {
    let backend = Capture::start();
    let doorward = before(&backend);
    let cases = cases(".h2");
    assert!(cases.len() > 80, "only {} cases were found", cases.len());
    let mut complaints = Vec::new();
    for (name, case, bytes) in &cases {
        let text = std::str::from_utf8(bytes).expect("text");
        let mut responses = Vec::new();
        for text in [text, PROBE] {
            let stream = TcpStream::connect(doorward.address())
                .await
                .expect("a connection");
            let response = timeout(TIMEOUT, Message::read(text).request(stream)).await;
            responses.extend(response.map_err(|_| complaints.push(format!("{name}: no answer"))));
        }
        let expected = vec![case.responses.first().copied(), Some(200)];
        if responses != expected {
            complaints.push(format!(
                "{name}: answered {responses:?} instead of {expected:?}"
            ));
        }
        if let Err(why) = judge(case, &backend) {
            complaints.push(format!("{name}: {why}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
