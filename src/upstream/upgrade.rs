//! WebSocket tunnels (RFC 6455, RFC 9110 section 7.8): nothing is passed through before the backend agreed with 101,
//! and every tunnel is counted, ends when it is silent or too old, and can be ended from outside.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body::Body as _;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::telemetry::metrics::Metrics;
use crate::types::body::{Body, Holds};

/// How often a tunnel asks whether the session behind it goes on.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// All upgraded connections of the process.
#[derive(Debug)]
pub struct Tunnels {
    /// Every tunnel holds a receiver.
    end: watch::Sender<bool>,
    open: IntGauge,
}

/// When a tunnel ends by itself.
#[derive(Clone, Debug)]
pub(super) struct TunnelLimits {
    pub(super) idle: Duration,
    pub(super) holds: Option<Holds>,
}

impl Tunnels {
    /// None yet.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self { end: watch::Sender::new(false), open: metrics.tunnels.clone() })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.end.receiver_count()
    }

    /// Ends all of them, also those that open later.
    pub fn end_all(&self) {
        self.end.send_replace(true);
    }

    /// Waits until none is open.
    pub async fn all_ended(&self) {
        self.end.closed().await;
    }

    /// Joins both sides once both have switched protocols.
    pub(super) fn open_between(self: &Arc<Self>, client: OnUpgrade, backend: OnUpgrade, limits: TunnelLimits) {
        let mut end = self.end.subscribe();
        let tunnels = Arc::clone(self);
        tokio::spawn(async move {
            tunnels.open.inc();
            tokio::select! {
                () = splice(client, backend, limits) => {}
                _ = end.wait_for(|end| *end) => {}
            }
            tunnels.open.dec();
        });
    }
}

/// Whether this is a proper request for a WebSocket; anything else is passed on as an ordinary request.
pub(super) fn is_asked_for(parts: &Parts, body: &Body) -> bool {
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && body.is_end_stream()
        && switches_to_websocket(&parts.headers)
}

/// RFC 6455 section 4.1: exactly one `Upgrade`, and `Connection` lists it.
pub(super) fn switches_to_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let websocket = protocols.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let connection = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    websocket
        && protocols.next().is_none()
        && connection.map(<[u8]>::trim_ascii).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// Sets the two fields of the switch, for the backend's request and the client's answer alike.
pub(super) fn set_switch(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, const { HeaderValue::from_static("upgrade") });
    headers.insert(UPGRADE, WEBSOCKET);
}

async fn splice(client: OnUpgrade, backend: OnUpgrade, limits: TunnelLimits) {
    let Ok((client, backend)) = tokio::try_join!(client, backend) else { return };
    let activity = Arc::new(Activity { start: Instant::now(), moved: AtomicU64::new(0) });
    let mut client = Active { io: TokioIo::new(client), activity: Arc::clone(&activity) };
    let mut backend = TokioIo::new(backend);
    let over = async {
        match limits.holds {
            Some(holds) => {
                while holds.still() {
                    sleep(LOOK_EVERY).await;
                }
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // Either side's failure ends the tunnel: there is nobody left to tell.
        _ = copy_bidirectional(&mut client, &mut backend) => {}
        () = activity.silent_for(limits.idle) => {}
        () = over => {}
    }
}

/// When bytes last moved, in milliseconds after the start.
#[derive(Debug)]
struct Activity {
    start: Instant,
    moved: AtomicU64,
}

impl Activity {
    fn note(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let silent = self.start.elapsed().saturating_sub(moved);
            if silent >= limit {
                return;
            }
            sleep(limit - silent).await;
        }
    }
}

/// The client's side; both directions pass it.
struct Active {
    io: TokioIo<Upgraded>,
    activity: Arc<Activity>,
}

impl AsyncRead for Active {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        self.activity.note();
        Poll::Ready(read)
    }
}

impl AsyncWrite for Active {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.activity.note();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
