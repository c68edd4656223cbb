//! Event streams and WebSockets in a real page: they end with the session, and the page learns why.

use std::time::Duration;

use crate::chromium::Chromium;
use crate::support::backend::{Answer, Content};
use crate::support::doorward::Setup;

/// Shows the received events and how each of its streams ended.
const PAGE: &str = r#"<!doctype html>
<p id="heard"></p><p id="end"></p><p id="events"></p>
<script>
const show = (id, text) => document.getElementById(id).textContent = text;
const socket = new WebSocket("ws://store.localhost:8080/chat");
socket.onopen = () => socket.send("hello");
socket.onmessage = event => show("heard", event.data);
socket.onclose = event => show("end", [event.code, event.reason, event.wasClean].join(", "));
const events = new EventSource("/events");
events.onmessage = () => show("events", "open");
events.onerror = () => show("events", events.readyState === EventSource.CLOSED ? "closed" : "tries again");
</script>"#;

#[tokio::test]
async fn websocket_closes_with_session_and_reports_reason() {
    let doorward = Setup::plain().start();
    let page = Answer {
        body: Content::Bytes(PAGE.into()),
        ..Answer::default()
    };
    doorward
        .store
        .response("/page", page.with_header("Content-Type", "text/html"));
    let body = Content::Events {
        count: 1000,
        every: Duration::from_millis(100),
    };
    doorward.store.response(
        "/events",
        Answer {
            body,
            ..Answer::default()
        },
    );
    doorward.sign_in("alice");
    let chromium =
        Chromium::start_with_ports(&[], &[("store.localhost:8080", doorward.address().port())])
            .await;
    chromium.open(&doorward.store_url("/page")).await;
    chromium.says("#heard", "hello").await;
    chromium.says("#events", "open").await;

    let first = chromium.tabs().await;
    chromium
        .open_tabs(&[doorward.store_url("/.doorward/logout")])
        .await;
    let second = chromium.new_tabs(&first, 1).await;
    chromium.switch_to(&second[0]).await;
    chromium.click("form button").await;
    chromium.switch_to(&first[0]).await;
    chromium.says("#end", "1008, session ended, true").await;
    // `EventSource` retries once, gets 401, and gives up: no login is started.
    chromium.says("#events", "closed").await;
    chromium.close().await;
}
