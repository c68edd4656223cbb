//! Extended CONNECT (RFC 8441): tunnels in streams, which end from either side and stay within the
//! limits of their client and their connection.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use tokio::time::timeout;

use super::super::ListenerSettings;
use super::http2::{client, request};
use super::support::{TestServer, eventually, start};

/// The client's side of a tunnel.
struct Tunnel {
    status: u16,
    to: SendStream<Bytes>,
    from: RecvStream,
}

fn connect(path: &str, protocol: &'static str) -> Request<()> {
    let mut request = request("CONNECT", path);
    let protocol = Protocol::from_static(protocol);
    request.extensions_mut().insert(protocol);
    request
}

/// A connection whose settings have arrived.
async fn connected(server: &TestServer) -> SendRequest<Bytes> {
    let client = client(server).await;
    let mut ready = client.clone().ready().await.unwrap();
    let (response, _) = ready.send_request(request("GET", "/"), true).unwrap();
    response.await.unwrap();
    client
}

async fn open(client: &SendRequest<Bytes>) -> Tunnel {
    let mut client = client.clone().ready().await.unwrap();
    let request = connect("/tunnel", "websocket");
    let (response, to) = client.send_request(request, false).unwrap();
    let (head, from) = response.await.unwrap().into_parts();
    assert!(!head.headers.contains_key("upgrade") && !head.headers.contains_key("content-length"));
    Tunnel {
        status: head.status.as_u16(),
        to,
        from,
    }
}

impl Tunnel {
    fn send(&mut self, text: &'static str) {
        self.to
            .send_data(Bytes::from_static(text.as_bytes()), false)
            .unwrap();
    }

    /// The next data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        next(&mut self.from).await
    }
}

async fn next(from: &mut RecvStream) -> Option<Bytes> {
    loop {
        let data = timeout(Duration::from_secs(10), from.data()).await;
        let data = data.unwrap()?.unwrap();
        from.flow_control().release_capacity(data.len()).unwrap();
        if !data.is_empty() {
            return Some(data);
        }
    }
}

#[tokio::test]
async fn tunnel_passes_data_until_the_client_ends_it() {
    let server = start(ListenerSettings::default(), None);
    let client = connected(&server).await;
    assert!(client.is_extended_connect_protocol_enabled());
    let mut tunnel = open(&client).await;
    assert_eq!(tunnel.status, 200);
    for text in ["one", "two"] {
        tunnel.send(text);
        assert_eq!(tunnel.next().await.unwrap(), text);
    }
    assert_eq!(server.metrics.http2_streams.get(), 1);
    // A half-closed stream still delivers what is on its way.
    tunnel.send("three");
    tunnel.to.send_data(Bytes::new(), true).unwrap();
    assert_eq!(tunnel.next().await.unwrap(), "three");
    assert_eq!(tunnel.next().await, None);
    eventually(|| server.metrics.http2_streams.get() == 0).await;
}

#[tokio::test]
async fn ended_stream_opens_a_tunnel_that_ends() {
    let server = start(ListenerSettings::default(), None);
    let mut client = connected(&server).await;
    let (response, _) = client
        .send_request(connect("/tunnel", "websocket"), true)
        .unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(next(&mut response.into_body()).await, None);
    eventually(|| server.metrics.http2_streams.get() == 0).await;
}

/// Tunnels that were open are no cancelled requests, however many a client resets.
#[tokio::test]
async fn tunnels_that_the_client_resets_cost_no_resets() {
    let server = start(
        ListenerSettings {
            http2_reset_burst: 20,
            http2_resets_per_second: 0,
            ..ListenerSettings::default()
        },
        None,
    );
    let client = connected(&server).await;
    for _ in 0..60 {
        let mut tunnel = open(&client).await;
        tunnel.send("hello");
        assert_eq!(tunnel.next().await.unwrap(), "hello");
        tunnel.to.send_reset(Reason::CANCEL);
    }
    eventually(|| server.metrics.http2_streams.get() == 0).await;
    assert_eq!(server.error_count("http2_resets"), 0);
    assert_eq!(open(&client).await.status, 200);
}

#[tokio::test]
async fn tunnel_counts_as_a_connection_of_its_client() {
    let server = start(
        ListenerSettings {
            max_connections_per_client: 3,
            ..ListenerSettings::default()
        },
        None,
    );
    let client = connected(&server).await;
    let mut first = open(&client).await;
    let second = open(&client).await;
    assert_eq!((first.status, second.status), (200, 200));
    let before = server.seen().len();
    assert_eq!(open(&client).await.status, 429);
    assert_eq!(server.seen().len(), before, "it reached the handler");
    // Other requests do not count.
    let mut ready = client.clone().ready().await.unwrap();
    let (response, _) = ready.send_request(request("GET", "/"), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);

    first.to.send_reset(Reason::CANCEL);
    eventually(|| server.metrics.http2_streams.get() == 1).await;
    assert_eq!(open(&client).await.status, 200);
}

/// An echo that is not read must not be buffered without limit.
#[tokio::test]
async fn client_that_does_not_read_is_not_read_from() {
    const MIB: usize = 1 << 20;
    let server = start(ListenerSettings::default(), None);
    let client = connected(&server).await;
    let mut tunnel = open(&client).await;
    let mut sent = 0;
    while sent < 64 * MIB {
        tunnel.to.reserve_capacity(16 << 10);
        let capacity = poll_fn(|cx| tunnel.to.poll_capacity(cx));
        let Ok(Some(capacity)) = timeout(Duration::from_millis(500), capacity).await else {
            break;
        };
        let data = vec![b'x'; capacity.unwrap()];
        sent += data.len();
        tunnel.to.send_data(data.into(), false).unwrap();
    }
    assert!(sent < 4 * MIB, "{sent} bytes were taken");
    // What was taken is delivered.
    let mut received = 0;
    while received < sent.min(MIB) {
        received += tunnel.next().await.unwrap().len();
    }
}

#[tokio::test]
async fn drain_waits_for_a_tunnel_and_then_ends_the_connection() {
    let server = start(ListenerSettings::default(), None);
    let client = connected(&server).await;
    let mut tunnel = open(&client).await;
    server.trigger.start();
    tunnel.send("still there");
    assert_eq!(tunnel.next().await.unwrap(), "still there");
    tunnel.to.send_data(Bytes::new(), true).unwrap();
    assert_eq!(tunnel.next().await, None);
    eventually(|| server.metrics.connections.get() == 0).await;
}
