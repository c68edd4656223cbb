//! The client address: from the PROXY protocol or forwarded headers, only of trusted proxies.

use crate::support::assertions::{Dialogue, metric_reaches};
use crate::support::doorward::{Doorward, Setup};

const GET: &str = "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\n";
const FIRST: &[u8] = b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 8080\r\n";

async fn dialogue(doorward: &Doorward) -> Dialogue {
    Dialogue::with(&doorward.browser(), &doorward.site().store).await
}

/// The client address that the store gets for a connection with this prefix and these headers.
async fn told(doorward: &Doorward, before: &[u8], fields: &str) -> String {
    let mut dialogue = dialogue(doorward).await;
    let reply = dialogue
        .request(
            "GET",
            [before, GET.as_bytes(), fields.as_bytes(), b"\r\n"].concat(),
        )
        .await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    doorward
        .store
        .last()
        .header("x-forwarded-for")
        .expect("an address")
        .to_owned()
}

fn second(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[127, 0, 0, 1, 0x12, 0x67, 0x1f, 0x90]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &addresses].concat()
}

#[tokio::test]
async fn proxy_protocol_v1_and_v2_set_the_client_address() {
    let doorward = Setup::plain()
        .server("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .start();
    assert_eq!(told(&doorward, FIRST, "").await, "198.51.100.7");
    assert_eq!(
        told(&doorward, &second([198, 51, 100, 8]), "").await,
        "198.51.100.8"
    );
    assert_eq!(told(&doorward, b"PROXY UNKNOWN\r\n", "").await, "127.0.0.1");
    // The client in the PROXY header is not a trusted proxy, so its forwarded headers are removed.
    assert_eq!(
        told(
            &doorward,
            FIRST,
            "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
        )
        .await,
        "198.51.100.7"
    );
    // The client in the PROXY header is a trusted proxy.
    assert_eq!(
        told(
            &doorward,
            &second([127, 0, 0, 9]),
            "X-Forwarded-For: 6.6.6.6\r\n"
        )
        .await,
        "6.6.6.6, 127.0.0.9"
    );
    assert_eq!(
        doorward.log.line("/public/x", "forward").await["client_ip"]
            .as_str()
            .map(str::is_empty),
        Some(false)
    );
}

#[tokio::test]
async fn proxy_protocol_requires_header_and_trust() {
    let doorward = Setup::plain()
        .server("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .start();
    for bytes in [
        format!("{GET}\r\n").into_bytes(),
        b"PROXY TCP4 198.51.100.7\r\n".to_vec(),
        second([1, 2, 3, 4])[..20].to_vec(),
    ] {
        let mut dialogue = dialogue(&doorward).await;
        dialogue.say(&bytes).await;
        dialogue.0.shut().await.expect("its end");
        assert!(dialogue.hear_end().await.is_empty());
    }
    metric_reaches(
        &doorward,
        r#"doorward_connection_errors_total{reason="proxy_protocol"}"#,
        3.0,
    )
    .await;
    // A second PROXY header is an invalid request.
    let mut twice = dialogue(&doorward).await;
    twice
        .say([FIRST, FIRST, GET.as_bytes(), b"\r\n"].concat())
        .await;
    assert!(
        twice
            .try_hear("GET")
            .await
            .is_none_or(|reply| reply.status() == 400)
    );

    let strict = Setup::plain()
        .server("proxy_protocol = true\ntrusted_proxies = [\"10.0.0.0/8\"]")
        .start();
    let mut dialogue = Dialogue::with(&strict.browser(), &strict.site().store).await;
    dialogue
        .say([FIRST, GET.as_bytes(), b"\r\n"].concat())
        .await;
    assert!(dialogue.hear_end().await.is_empty());
    metric_reaches(
        &strict,
        r#"doorward_connection_errors_total{reason="proxy_protocol_untrusted"}"#,
        1.0,
    )
    .await;
    assert_eq!(doorward.store.count() + strict.store.count(), 0);
}

#[tokio::test]
async fn disabled_proxy_protocol_treats_header_as_invalid_request() {
    let doorward = Setup::plain()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .start();
    for header in [FIRST.to_vec(), second([198, 51, 100, 7])] {
        let mut dialogue = dialogue(&doorward).await;
        dialogue
            .say([&header[..], GET.as_bytes(), b"\r\n"].concat())
            .await;
        assert!(
            dialogue
                .try_hear("GET")
                .await
                .is_none_or(|reply| reply.status() == 400)
        );
    }
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn missing_proxy_header_times_out() {
    let more =
        "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nfirst_byte_timeout = \"1s\"";
    let doorward = Setup::plain().server(more).start();
    let mut dialogue = dialogue(&doorward).await;
    dialogue.say("PROXY TCP4 ").await;
    assert!(dialogue.hear_end().await.is_empty());
    metric_reaches(
        &doorward,
        r#"doorward_connection_errors_total{reason="proxy_protocol_timeout"}"#,
        1.0,
    )
    .await;
}

#[tokio::test]
async fn only_the_configured_forwarded_header_is_used() {
    let both = "X-Forwarded-For: 198.51.100.1\r\nForwarded: for=198.51.100.2\r\n";
    let trusting = |more: &str| {
        Setup::plain()
            .server(&format!("trusted_proxies = [\"127.0.0.0/8\"]\n{more}"))
            .start()
    };
    assert_eq!(
        told(&trusting(""), b"", both).await,
        "198.51.100.1, 127.0.0.1"
    );
    let doorward = trusting("forwarded_header = \"forwarded\"");
    assert_eq!(told(&doorward, b"", both).await, "198.51.100.2, 127.0.0.1");
    assert_eq!(
        told(&doorward, b"", "X-Forwarded-For: 198.51.100.1\r\n").await,
        "127.0.0.1"
    );
    assert_eq!(doorward.store.last().header("forwarded"), None);
}

#[tokio::test]
async fn connections_per_client_are_limited() {
    let more = "max_connections_per_client = 2\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let doorward = Setup::plain().server(more).start();
    let (mut first, mut second_one) = (dialogue(&doorward).await, dialogue(&doorward).await);
    for dialogue in [&mut first, &mut second_one] {
        assert_eq!(
            dialogue
                .request("GET", [FIRST, GET.as_bytes(), b"\r\n"].concat())
                .await
                .status(),
            200
        );
    }
    let mut third = dialogue(&doorward).await;
    third.say([FIRST, GET.as_bytes(), b"\r\n"].concat()).await;
    assert!(third.hear_end().await.is_empty());
    metric_reaches(
        &doorward,
        r#"doorward_connection_errors_total{reason="client_connections"}"#,
        1.0,
    )
    .await;
    assert_eq!(
        told(&doorward, &second([198, 51, 100, 8]), "").await,
        "198.51.100.8"
    );
    assert_eq!(
        second_one
            .request("GET", format!("{GET}\r\n"))
            .await
            .status(),
        200
    );
    drop(first);
    metric_reaches(&doorward, "doorward_connections", 2.0).await;
    assert_eq!(told(&doorward, FIRST, "").await, "198.51.100.7");
}
