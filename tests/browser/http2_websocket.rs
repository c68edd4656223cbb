//! WebSockets of a real browser over HTTP/2 with TLS (RFC 8441).

use crate::chromium::{Chromium, Launch};
use crate::support::assertions::metric_reaches;
use crate::support::backend::{Answer, Content};
use crate::support::doorward::Setup;

/// Shows what is received, and how the socket ended.
const PAGE: &str = r#"<!doctype html>
<p id="protocol"></p><p id="heard"></p><p id="end"></p><button>end</button>
<script>
const show = (id, text) => document.getElementById(id).textContent = text;
show("protocol", performance.getEntriesByType("navigation")[0].nextHopProtocol);
const socket = new WebSocket("wss://store.example.test/public/chat");
socket.onopen = () => socket.send("hello");
socket.onmessage = event => show("heard", event.data);
socket.onclose = event => show("end", [event.code, event.wasClean].join(", "));
document.querySelector("button").onclick = () => socket.close(1000);
</script>"#;

#[tokio::test]
async fn chromium_opens_websockets_in_its_http2_connection() {
    let doorward = Setup::over_tls().start();
    let page = Answer {
        body: Content::Bytes(PAGE.into()),
        ..Answer::default()
    };
    let page = page.with_header("Content-Type", "text/html");
    doorward.store.response("/public/page", page);
    let chromium = Chromium::launch(&Launch {
        trusted_keys: vec![doorward.spki_sha256()],
        ports: vec![("store.example.test", doorward.port_of(0))],
        features: None,
    })
    .await;
    chromium.open(&doorward.store_url("/public/page")).await;
    chromium.says("#protocol", "h2").await;
    chromium.says("#heard", "hello").await;
    // Over HTTP/1.1 the WebSocket would be no stream.
    metric_reaches(&doorward, "doorward_http2_streams", 1.0).await;
    assert_eq!(doorward.metric("doorward_upgraded_connections").await, 1.0);
    let upgrade = doorward.store.received();
    let upgrade = upgrade
        .iter()
        .find(|request| request.target == "/public/chat");
    let upgrade = upgrade.expect("an upgrade");
    assert_eq!(upgrade.head.all("sec-websocket-key").len(), 1);
    assert_eq!(upgrade.header("origin"), Some("https://store.example.test"));
    chromium.click("button").await;
    chromium.says("#end", "1000, true").await;
    metric_reaches(&doorward, "doorward_upgraded_connections", 0.0).await;
    chromium.close().await;
}
