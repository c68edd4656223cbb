//! Work on streams is activity: what a client sends on a WebSocket or in a long request body resets
//! the idle timeout, although no response meanwhile can record that in a cookie.

use std::time::Duration;

use crate::support::assertions::{
    CART, Dialogue, SOON, alice, assert_problem, fetched, metric_reaches,
};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::redis::RedisServer;
use crate::support::websocket::WebSocket;
use crate::support::{eventually, eventually_async};

const IDLE: &str = "idle_timeout = \"10m\"";
const SESSIONS: &str = "doorward_stream_activity_sessions";

async fn socket(doorward: &Doorward, browser: &mut Browser, path: &str) -> WebSocket {
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url(path));
    let spec = spec.header("Origin", &doorward.site().store);
    WebSocket::open(browser, spec).await.expect("a socket")
}

/// Sends a message, and waits until the app has it.
async fn say(socket: &mut WebSocket) {
    socket.say("work").await.expect("sent");
    assert_eq!(socket.poll().await.expect("open").as_deref(), Some("work"));
}

async fn page_is_served(doorward: &Doorward, browser: &mut Browser) {
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
}

async fn is_idle(doorward: &Doorward, browser: &mut Browser) {
    let page = fetched(browser, &doorward.store_url(CART)).await;
    assert_problem(&page, 401, "idle_timeout");
}

/// The seconds until the idle timeout, by a request that is no activity.
async fn idle_expires_in(doorward: &Doorward, browser: &mut Browser) -> Option<u64> {
    let page = fetched(browser, &doorward.store_url("/.doorward/session")).await;
    page.json()["idle_expires_in"].as_u64()
}

#[tokio::test]
async fn messages_on_a_websocket_reset_the_idle_timeout() {
    let mut doorward = Setup::plain().session(IDLE).start();
    let other = doorward.add_replica();
    let mut busy = alice(&doorward).await;
    let mut away = doorward.logged_in("bob", CART).await;
    let mut work = socket(&doorward, &mut busy, "/chat").await;
    let mut open = socket(&doorward, &mut away, "/chat").await;
    for _ in 0..25 {
        doorward.advance_secs(60);
        say(&mut work).await;
        open.ping().await.expect("open");
    }
    assert_eq!(doorward.metric(SESSIONS).await, 1.0);
    page_is_served(&doorward, &mut busy).await;
    is_idle(&doorward, &mut away).await;
    // The page has written it down, for other replicas.
    doorward.advance_secs(599);
    page_is_served(&doorward, &mut doorward.moved_to(other, busy)).await;
}

#[tokio::test]
async fn background_request_writes_down_the_activity_on_streams() {
    let mut doorward = Setup::plain().session(IDLE).start();
    let other = doorward.add_replica();
    let mut browser = alice(&doorward).await;
    let mut work = socket(&doorward, &mut browser, "/chat").await;
    doorward.advance_secs(480);
    say(&mut work).await;
    doorward.advance_secs(60);
    assert_eq!(idle_expires_in(&doorward, &mut browser).await, Some(540));
    doorward.advance_secs(479);
    let mut moved = doorward.moved_to(other, browser);
    page_is_served(&doorward, &mut moved.clone()).await;
    doorward.advance_secs(61);
    is_idle(&doorward, &mut moved).await;
}

#[tokio::test]
async fn messages_are_no_activity_if_the_app_says_so() {
    for setting in ["stream_activity = false", "background_paths = [\"/chat\"]"] {
        let doorward = Setup::plain().session(IDLE).store(setting).start();
        let mut browser = alice(&doorward).await;
        let mut work = socket(&doorward, &mut browser, "/chat").await;
        for _ in 0..10 {
            doorward.advance_secs(60);
            say(&mut work).await;
        }
        is_idle(&doorward, &mut browser).await;
        assert_eq!(doorward.metric(SESSIONS).await, 0.0, "{setting}");
    }
}

#[tokio::test]
async fn parts_of_a_request_body_reset_the_idle_timeout() {
    let doorward = Setup::plain().session(IDLE).start();
    doorward
        .provider
        .behave(|provider| provider.token_lifetime = Duration::from_secs(10_000));
    let mut browser = alice(&doorward).await;
    let mut upload = Dialogue::with(&browser, &doorward.site().store).await;
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url("/upload"))
        .method("PUT")
        .header("Origin", &doorward.site().store)
        .header("Transfer-Encoding", "chunked");
    let head = String::from_utf8(browser.request_bytes(&spec, &[])).expect("ASCII");
    upload.say(head.replace("Content-Length: 0\r\n", "")).await;
    for _ in 0..25 {
        doorward.advance_secs(60);
        upload.say("4\r\nwork\r\n").await;
        eventually_async("the part is noticed", SOON, async || {
            idle_expires_in(&doorward, &mut browser).await == Some(600)
        })
        .await;
    }
    upload.say("0\r\n\r\n").await;
    assert_eq!(upload.poll("PUT").await.status(), 200);
    page_is_served(&doorward, &mut browser).await;
}

#[tokio::test]
async fn activity_on_streams_reaches_other_replicas_through_the_store() {
    let redis = RedisServer::start();
    let url = format!("url = \"{}\"", redis.url());
    let mut doorward = Setup::plain().session(IDLE).remembering(&url).start();
    let other = doorward.add_replica();
    let mut browser = alice(&doorward).await;
    let mut away = doorward.moved_to(other, doorward.logged_in("bob", CART).await);
    let mut work = socket(&doorward, &mut browser, "/chat").await;
    doorward.advance_secs(540);
    say(&mut work).await;
    eventually("the activity is stored", || {
        !redis
            .command(&["KEYS", "*stream-activity/*"])
            .trim()
            .is_empty()
    })
    .await;
    doorward.advance_secs(540);
    let mut browser = doorward.moved_to(other, browser);
    page_is_served(&doorward, &mut browser).await;
    metric_reaches(&doorward, SESSIONS, 1.0).await;
    is_idle(&doorward, &mut away).await;
}
