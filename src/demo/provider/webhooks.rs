//! Webhook delivery: signed events in order, with up to three retries each.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use url::Url;

use crate::types::net::is_loopback_host;

/// Capacity of the queue. When it is full, events are dropped.
const MAX_UNSENT: usize = 1_024;
const TIMEOUT: Duration = Duration::from_secs(5);
/// The delays before the retries.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Sends the queued events. It stops when this is dropped.
pub(super) struct Webhooks {
    queue: mpsc::Sender<SignedEvent>,
    sending: AbortHandle,
}

pub(super) struct SignedEvent {
    pub(super) body: String,
    pub(super) signature: String,
}

impl Webhooks {
    /// Starts sending to `urls`, in the current Tokio runtime.
    pub(super) fn start(urls: Vec<String>) -> Self {
        let (queue, events) = mpsc::channel(MAX_UNSENT);
        let sending = tokio::spawn(send_all(urls, events)).abort_handle();
        Self { queue, sending }
    }

    /// Queues an event; `false` if the queue is full.
    pub(super) fn send(&self, event: SignedEvent) -> bool {
        self.queue.try_send(event).is_ok()
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

async fn send_all(urls: Vec<String>, mut events: mpsc::Receiver<SignedEvent>) {
    while let Some(event) = events.recv().await {
        for url in urls.iter().filter_map(|url| Url::parse(url).ok()) {
            for pause in PAUSES.into_iter().map(Some).chain([None]) {
                let sent = tokio::time::timeout(TIMEOUT, send(&url, &event)).await;
                match (sent, pause) {
                    (Ok(Some(())), _) | (_, None) => break,
                    (Ok(None) | Err(_), Some(pause)) => tokio::time::sleep(pause).await,
                }
            }
        }
    }
}

/// Sends one event. `None`: no response, or a status other than 2xx.
async fn send(url: &Url, event: &SignedEvent) -> Option<()> {
    let host = url
        .host_str()
        .filter(|host| url.scheme() == "http" && is_loopback_host(host))?;
    let port = url.port_or_known_default()?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let connection = tokio::spawn(connection).abort_handle();
    let request = Request::post(url.path())
        .header("host", format!("{host}:{port}"))
        .header("content-type", "application/json")
        .header("x-fusionauth-signature-jwt", &event.signature)
        .body(Full::new(Bytes::from(event.body.clone())))
        .ok()?;
    let response = sender.send_request(request).await;
    connection.abort();
    response
        .ok()
        .filter(|response| response.status().is_success())
        .map(drop)
}
