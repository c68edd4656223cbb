//! Interim responses, and the demand for another protocol.

use super::{before, connect, get};
use crate::support::assertions::Dialogue;
use crate::support::quirky_backend::QuirkyBackend;

async fn got(client: &mut Dialogue, path: &str) -> u16 {
    get(client, path, "").await.status()
}

#[tokio::test]
async fn many_interim_responses_precede_the_final_one() {
    let backend = QuirkyBackend::start();
    let doorward = before(&backend).start();
    let mut client = connect(&doorward).await;
    assert_eq!(got(&mut client, "/public/interim/500/0").await, 200);
    assert_eq!(got(&mut client, "/public/interim/1/0").await, 200);
}

/// An app that sends 102 at an interval is at work: the whole takes longer than the timeout.
#[tokio::test]
async fn interim_response_extends_the_response_timeout() {
    let backend = QuirkyBackend::start();
    let doorward = before(&backend).store("response_timeout = \"1s\"").start();
    let mut client = connect(&doorward).await;
    assert_eq!(got(&mut client, "/public/interim/30/100").await, 200);
    assert_eq!(got(&mut client, "/public/interim/1/3000").await, 504);
}

#[tokio::test]
async fn demand_for_another_protocol_keeps_its_upgrade_field() {
    let backend = QuirkyBackend::start();
    let doorward = before(&backend).start();
    let mut client = connect(&doorward).await;
    for _ in 0..2 {
        let reply = get(&mut client, "/public/upgrade-required", "").await;
        assert_eq!(reply.status(), 426, "{:?}", reply.head);
        assert_eq!(reply.head.all("upgrade"), ["websocket"]);
        assert_eq!(
            reply.head.all("connection").concat().to_lowercase(),
            "upgrade"
        );
    }
}
