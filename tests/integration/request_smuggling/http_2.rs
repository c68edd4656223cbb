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
    let door = before(&backend);
    let cases = cases(".h2");
    assert!(cases.len() > 80, "only {} cases were found", cases.len());
    let mut complaints = Vec::new();
    for (name, case, bytes) in &cases {
        let text = std::str::from_utf8(bytes).expect("text");
        let mut answers = Vec::new();
        for text in [text, PROBE] {
            let stream = TcpStream::connect(door.address())
                .await
                .expect("a connection");
            let answer = timeout(TIMEOUT, Message::read(text).ask(stream)).await;
            answers.extend(answer.map_err(|_| complaints.push(format!("{name}: no answer"))));
        }
        let expected = vec![case.answers.first().copied(), Some(200)];
        if answers != expected {
            complaints.push(format!(
                "{name}: answered {answers:?} instead of {expected:?}"
            ));
        }
        if let Err(why) = judge(case, &backend) {
            complaints.push(format!("{name}: {why}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
