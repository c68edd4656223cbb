//! Configured changes of request and response headers, and the request ID that the app gets.

use serde_json::json;

use crate::support::assertions::{CART, Dialogue, Reply, fetched, signed_in};
use crate::support::backend::Answer;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::User;

const EDITS: &str = r#"
[apps.store.request_headers]
set = { X-Real-IP = "{client_ip}", X-Department = "{department}", X-Seen = "{request_id}@{host}" }
add = { Accept-Language = "de;q=0.1" }
remove = ["X-Debug"]
[apps.store.response_headers]
set = { X-Frame-Options = "DENY", X-Team = "{department}" }
add = { Vary = "Cookie" }
remove = ["X-Debug-Token"]
"#;

const FORGED: &str = "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nX-Real_IP: 6.6.6.6\r\n\
    X-Department: board\r\nX_Department: board\r\nX-Debug: 1\r\nx.debug: 1\r\nX-Seen: no\r\n\
    Accept-Language: en\r\nX-Request-Id: forged\r\nX_Request_Id: forged\r\n";

async fn request(doorward: &Doorward, fields: &str) -> Reply {
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    let reply = dialogue.request("GET", format!("{fields}\r\n")).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply
}

#[tokio::test]
async fn request_headers_are_set_added_and_removed() {
    let doorward = Setup::plain().more(EDITS).start();
    request(&doorward, FORGED).await;
    let seen = doorward.store.last();
    let request_id = doorward.log.line("/public/x", "forward").await["request_id"].clone();
    let request_id = request_id.as_str().unwrap();
    assert_eq!(seen.head.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.head.all("accept-language"), ["en", "de;q=0.1"]);
    assert_eq!(
        seen.head.all("x-seen"),
        [format!("{request_id}@store.localhost:8080")]
    );
    assert_eq!(seen.head.all("x-request-id"), [request_id]);
    // Without a session there is no claim.
    for name in [
        "x-department",
        "x_department",
        "x-debug",
        "x.debug",
        "x-real_ip",
        "x_request_id",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let user = User::new("alice", &[]).with_claim("department", json!("Köln"));
    signed_in(&doorward, user).await;
    assert_eq!(
        doorward.store.last().header("x-department"),
        Some("K%C3%B6ln")
    );
}

#[tokio::test]
async fn response_headers_are_set_added_and_removed() {
    let doorward = Setup::plain()
        .more(EDITS)
        .store("security_headers = \"strict\"\nhide_server_headers = true")
        .start();
    let response = Answer::default()
        .with_header("Server", "Apache/2.4.1")
        .with_header("X-Powered-By", "PHP/5.3")
        .with_header("X-Debug-Token", "1")
        .with_header("Vary", "Accept")
        .with_header("X-Frame-Options", "ALLOWALL")
        .with_header("Referrer-Policy", "no-referrer")
        .with_header("X-Team", "forged");
    doorward.store.response("/public/x", response.clone());
    let reply = request(&doorward, FORGED).await;
    let reply = String::from_utf8_lossy(&reply.head.raw).to_lowercase();
    for field in [
        "\r\nx-frame-options: deny\r\n",
        "\r\nvary: accept\r\n",
        "\r\nvary: cookie\r\n",
        "\r\nreferrer-policy: no-referrer\r\n",
        "\r\nx-content-type-options: nosniff\r\n",
        "\r\ncross-origin-opener-policy: same-origin\r\n",
    ] {
        assert_eq!(reply.matches(field).count(), 1, "{field:?} in {reply}");
    }
    for field in [
        "server:",
        "x-powered-by",
        "x-debug-token",
        "x-team",
        "allowall",
    ] {
        assert!(!reply.contains(field), "{field} in {reply}");
    }
    doorward.store.response(CART, response);
    let user = User::new("alice", &[]).with_claim("department", json!("sales"));
    let mut browser = signed_in(&doorward, user).await;
    let page = fetched(&mut browser, &doorward.store_url(CART)).await;
    assert_eq!(page.header("x-team"), Some("sales"));
    assert_eq!(page.header("cache-control"), Some("private"));
}

#[tokio::test]
async fn request_id_of_a_trusted_proxy_is_kept() {
    for (trusted, kept) in [("trusted_proxies = [\"127.0.0.0/8\"]", true), ("", false)] {
        let doorward = Setup::plain().server(trusted).start();
        let sent = "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\n\
            X-Request-Id: 0af7651916cd43dd8448eb211c80319c\r\n";
        request(&doorward, sent).await;
        let logged = doorward.log.line("/public/x", "forward").await["request_id"].clone();
        let logged = logged.as_str().unwrap();
        assert_eq!(logged == "0af7651916cd43dd8448eb211c80319c", kept);
        assert_eq!(doorward.store.last().head.all("x-request-id"), [logged]);
    }
}

#[tokio::test]
async fn upstream_host_is_the_configured_one() {
    for (setting, host) in [
        ("", "store.localhost:8080"),
        ("upstream_host = \"client\"", "store.localhost:8080"),
        ("upstream_host = \"shop.internal:81\"", "shop.internal:81"),
    ] {
        let doorward = Setup::plain().store(setting).start();
        request(
            &doorward,
            "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\n",
        )
        .await;
        assert_eq!(doorward.store.last().head.all("host"), [host], "{setting}");
    }
}
