//! Streams of bound sessions end when the device has not proven its key for some time.

use std::time::Duration;

use tokio::time::timeout;

use super::{assert_shown, bound, offering_with, thief};
use crate::support::assertions::{CART, SOON};
use crate::support::bound_browser::BoundBrowser;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::Doorward;
use crate::support::websocket::WebSocket;

const TIMEOUT: &str = "stream_proof_timeout = \"10m\"";

async fn socket(doorward: &Doorward, browser: &mut Browser) -> WebSocket {
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url("/chat"));
    let spec = spec.header("Origin", &doorward.site().store);
    WebSocket::open(browser, spec).await.expect("a socket")
}

/// Exchanges messages for longer than the session is checked.
async fn is_open(socket: &mut WebSocket) {
    for _ in 0..4 {
        socket.say("work").await.expect("sent");
        assert_eq!(socket.poll().await.expect("open").as_deref(), Some("work"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ends(socket: &mut WebSocket) {
    let close = timeout(SOON, socket.hear_close()).await;
    let close = close.expect("it is closed in time").expect("a close frame");
    assert_eq!(close, (1008, "session ended".to_owned()));
}

async fn browse(doorward: &Doorward, browser: &mut BoundBrowser) {
    doorward.advance_secs(300);
    assert_shown(&browser.fetch("GET", &doorward.store_url(CART)).await);
}

#[tokio::test]
async fn stream_ends_when_the_session_is_not_proven_for_the_timeout() {
    let doorward = offering_with(TIMEOUT);
    let mut owner = bound(&doorward).await;
    let mut open = socket(&doorward, &mut owner.browser).await;
    for _ in 0..4 {
        browse(&doorward, &mut owner).await;
        is_open(&mut open).await;
    }
    doorward.advance_secs(598);
    is_open(&mut open).await;
    doorward.advance_secs(2);
    ends(&mut open).await;
    assert_shown(&owner.fetch("GET", &doorward.store_url(CART)).await);
    is_open(&mut socket(&doorward, &mut owner.browser).await).await;
}

#[tokio::test]
async fn requests_without_a_valid_proof_keep_no_stream_open() {
    let doorward = offering_with(TIMEOUT);
    let owner = bound(&doorward).await;
    let mut copy = thief(&owner);
    let mut open = socket(&doorward, &mut copy).await;
    for _ in 0..6 {
        doorward.advance_secs(100);
        let request = RequestSpec::new(Kind::Fetch, &doorward.store_url(CART));
        let page = copy.send(request).await;
        assert_ne!(page.status(), 200, "{page}");
    }
    ends(&mut open).await;
}

#[tokio::test]
async fn proof_at_another_replica_counts_with_the_next_request() {
    let mut doorward = offering_with(TIMEOUT);
    let second = doorward.add_replica();
    let mut owner = bound(&doorward).await;
    let mut open = socket(&doorward, &mut owner.browser).await;
    let first = owner.browser.clone();
    owner.browser = doorward.moved_to(second, owner.browser.clone());
    browse(&doorward, &mut owner).await;
    doorward.advance_secs(200);
    assert_shown(&owner.fetch("GET", &doorward.store_url(CART)).await);
    // The renewed cookie reaches the replica of the stream.
    let jar = owner.browser.jar.clone();
    owner.browser = first;
    owner.browser.jar = jar;
    assert_shown(&owner.fetch("GET", &doorward.store_url(CART)).await);
    doorward.advance_secs(590);
    is_open(&mut open).await;
    // Without such a request the stream ends, whatever happens elsewhere.
    owner.browser = doorward.moved_to(second, owner.browser.clone());
    browse(&doorward, &mut owner).await;
    ends(&mut open).await;
}

#[tokio::test]
async fn streams_of_unbound_sessions_are_not_limited() {
    let doorward = offering_with(TIMEOUT);
    let mut browser = super::pending(&doorward).await.browser;
    doorward.advance_secs(150);
    let page = crate::support::assertions::fetched(&mut browser, &doorward.store_url(CART)).await;
    assert_shown(&page);
    let mut open = socket(&doorward, &mut browser).await;
    doorward.advance_secs(1_200);
    is_open(&mut open).await;
}

#[tokio::test]
async fn stream_of_a_pending_session_needs_proofs_once_that_is_bound() {
    let doorward = offering_with(TIMEOUT);
    let mut owner = super::pending(&doorward).await;
    let mut open = socket(&doorward, &mut thief(&owner)).await;
    owner.fetch("GET", &doorward.store_url("/style.css")).await;
    assert!(owner.session.is_some(), "not registered");
    doorward.advance_secs(598);
    is_open(&mut open).await;
    doorward.advance_secs(2);
    ends(&mut open).await;
}
