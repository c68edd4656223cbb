//! WebSocket upgrades (RFC 6455, RFC 9110 section 7.8). A tunnel opens only after the backend
//! responded with 101. Tunnels are counted, end when they are idle or too old or their session
//! ends, and can be closed all at once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use prometheus::{IntCounterVec, IntGauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::sleep;

use super::error::UpstreamError;
use super::members::InFlight;
use super::tunnel::{self, Activity, TunnelEnd};
use crate::telemetry::metrics::Metrics;
use crate::types::body::StreamSession;
use crate::types::extended_connect::ExtendedConnect;

/// How often a tunnel checks whether its session is still valid, and its client still there.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long an incomplete frame may take to complete once a tunnel ends. Together with the check
/// interval and the replication of a revocation, a tunnel ends within a second.
const FRAME_TIMEOUT: Duration = Duration::from_millis(250);

/// Hashed with a key, it shows that the server understood the handshake (RFC 6455 section 1.3).
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// All upgraded connections of the process.
#[derive(Debug)]
pub struct Tunnels {
    /// Each tunnel holds receivers until it ends.
    stage: watch::Sender<ShutdownStage>,
    open: IntGauge,
    ended: IntCounterVec,
}

/// The stages of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ShutdownStage {
    Serving,
    Closing,
    Aborted,
}

/// The limits of a tunnel.
#[derive(Debug)]
pub(super) struct TunnelLimits {
    pub(super) app: String,
    pub(super) idle: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) session: Option<StreamSession>,
    /// The request for it, if it came over HTTP/2.
    pub(super) connect: Option<ExtendedConnect>,
    /// Counts the tunnel for its address, if there are several.
    pub(super) in_flight: Option<InFlight>,
}

/// A WebSocket upgrade of a request.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// The client's side, once it has its response.
    pub(super) client: OnUpgrade,
    /// Set if the client requested it over HTTP/2.
    pub(super) http2: Option<Http2Upgrade>,
}

/// An upgrade that the client requested over HTTP/2, where a handshake has no key.
#[derive(Debug)]
pub(super) struct Http2Upgrade {
    pub(super) connect: ExtendedConnect,
    /// The key for the backend.
    key: String,
}

impl Tunnels {
    /// No tunnels.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(ShutdownStage::Serving),
            open: metrics.upgraded_connections.clone(),
            ended: metrics.upgraded_connections_ended.clone(),
        })
    }

    /// The number of open tunnels.
    pub fn open(&self) -> usize {
        usize::try_from(self.open.get()).unwrap_or_default()
    }

    /// Closes all tunnels, also those that open later, each at the next frame boundary.
    pub fn close_all(&self) {
        self.advance_to(ShutdownStage::Closing);
    }

    /// Aborts all tunnels, also within a frame.
    pub fn abort_all(&self) {
        self.advance_to(ShutdownStage::Aborted);
    }

    fn advance_to(&self, stage: ShutdownStage) {
        self.stage
            .send_modify(|current| *current = stage.max(*current));
    }

    /// Waits until all tunnels have ended.
    pub async fn all_ended(&self) {
        self.stage.closed().await;
    }

    /// Spawns a tunnel between both sides, once both have switched protocols.
    pub(super) fn open_between<B>(
        self: &Arc<Self>,
        client: OnUpgrade,
        backend: B,
        limits: TunnelLimits,
    ) where
        B: AsyncRead + AsyncWrite + Send + 'static,
    {
        if let Some(session) = &limits.session {
            // To open it is activity, too, and the response sets no cookie.
            session.client_sent();
        }
        let stage = self.stage.subscribe();
        let mut abort_stage = self.stage.subscribe();
        let tunnels = Arc::clone(self);
        tunnels.open.inc();
        tokio::spawn(async move {
            let end = tokio::select! {
                biased;
                _ = abort_stage.wait_for(|stage| *stage == ShutdownStage::Aborted) => TunnelEnd::ShuttingDown,
                end = run(client, backend, &limits, stage) => end,
            };
            tunnels.open.dec();
            drop(limits.in_flight);
            tunnels
                .ended
                .with_label_values(&[limits.app.as_str(), end.code()])
                .inc();
        });
    }
}

impl Upgrade {
    /// The upgrade that a request asks for, if its connection can be upgraded.
    ///
    /// # Errors
    /// There is no randomness for a key.
    pub(super) fn of(client: &Parts) -> Result<Option<Self>, UpstreamError> {
        let Some(on_upgrade) = client.extensions.get::<OnUpgrade>().cloned() else {
            return Ok(None);
        };
        let connect = client.extensions.get::<ExtendedConnect>();
        Ok(Some(Self {
            client: on_upgrade,
            http2: connect.map(Http2Upgrade::new).transpose()?,
        }))
    }

    /// The header fields for the backend.
    pub(super) fn request_fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let key = self.http2.as_ref().map(|http2| http2.key.as_str());
        let key = key.and_then(|key| HeaderValue::from_str(key).ok());
        let key = key.map(|key| (SEC_WEBSOCKET_KEY, key));
        fields().into_iter().chain(key)
    }

    /// Whether the backend's 101 agrees to it. A client with a key of its own checks
    /// `Sec-WebSocket-Accept` itself.
    pub(super) fn is_accepted(&self, response: &HeaderMap) -> bool {
        let has_accept = match &self.http2 {
            None => true,
            Some(http2) => {
                let mut values = response.get_all(SEC_WEBSOCKET_ACCEPT).iter();
                values
                    .next()
                    .is_some_and(|value| *value == http2.accept_value())
                    && values.next().is_none()
            }
        };
        has_accept && is_websocket_upgrade(response)
    }

    /// Replaces the header fields of the backend's connection by those of the client's.
    pub(super) fn set_response_fields(&self, headers: &mut HeaderMap) {
        match self.http2 {
            None => headers.extend(fields()),
            Some(_) => {
                headers.remove(SEC_WEBSOCKET_ACCEPT);
            }
        }
    }
}

impl Http2Upgrade {
    fn new(connect: &ExtendedConnect) -> Result<Self, UpstreamError> {
        let mut key = [0; 16];
        aws_lc_rs::rand::fill(&mut key)
            .map_err(|_| UpstreamError::NotForwardable("no key can be made for it"))?;
        Ok(Self {
            connect: connect.clone(),
            key: STANDARD.encode(key),
        })
    }

    /// `Sec-WebSocket-Accept` for the key (RFC 6455 section 4.2.2).
    fn accept_value(&self) -> String {
        let joined = [self.key.as_str(), ACCEPT_GUID].concat();
        STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()))
    }
}

/// Whether this is a valid WebSocket upgrade request. Any other request is forwarded without an
/// upgrade. It must not have a body. In canonical form, one over HTTP/2 looks the same.
pub(super) fn is_upgrade_request(parts: &Parts) -> bool {
    parts.method == Method::GET
        && parts.version >= Version::HTTP_11
        && is_websocket_upgrade(&parts.headers)
}

/// Whether there is exactly one `Upgrade`, to `websocket`, and `Connection` lists it (RFC 6455
/// section 4.1).
pub(super) fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let websocket = protocols
        .next()
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let connection = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    websocket
        && protocols.next().is_none()
        && connection
            .map(<[u8]>::trim_ascii)
            .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// The header fields of an upgrade, for the backend's request and for the client's response.
fn fields() -> [(HeaderName, HeaderValue); 2] {
    [
        (CONNECTION, const { HeaderValue::from_static("upgrade") }),
        (UPGRADE, WEBSOCKET),
    ]
}

async fn run(
    client: OnUpgrade,
    backend: impl AsyncRead + AsyncWrite,
    limits: &TunnelLimits,
    mut stage: watch::Receiver<ShutdownStage>,
) -> TunnelEnd {
    let Ok(client) = client.await else {
        return TunnelEnd::Closed;
    };
    let activity = Activity::new(limits.session.clone());
    let end = async {
        tokio::select! {
            () = session_ended(limits.session.as_ref()) => TunnelEnd::SessionEnded,
            () = client_left(limits.connect.as_ref()) => TunnelEnd::Closed,
            () = max_age_reached(limits.max_age) => TunnelEnd::MaxAge,
            () = activity.idle_for(limits.idle) => TunnelEnd::Idle,
            _ = stage.wait_for(|stage| *stage >= ShutdownStage::Closing) => TunnelEnd::ShuttingDown,
        }
    };
    let frame_timeout = async |end| match end {
        TunnelEnd::SessionEnded | TunnelEnd::MaxAge | TunnelEnd::Idle | TunnelEnd::Closed => {
            sleep(FRAME_TIMEOUT).await
        }
        // In a shutdown, frames may complete until the drain timeout aborts all tunnels.
        TunnelEnd::ShuttingDown => session_ended(limits.session.as_ref()).await,
    };
    tunnel::join(TokioIo::new(client), backend, &activity, end, frame_timeout).await
}

async fn session_ended(session: Option<&StreamSession>) {
    let Some(session) = session else {
        return std::future::pending().await;
    };
    while session.is_valid() {
        sleep(CHECK_INTERVAL).await;
    }
}

/// Completes once a client over HTTP/2 cannot be sent anything any more. Over HTTP/1.1 its socket fails.
async fn client_left(connect: Option<&ExtendedConnect>) {
    let Some(connect) = connect else {
        return std::future::pending().await;
    };
    while !connect.is_closed() {
        sleep(CHECK_INTERVAL).await;
    }
}

async fn max_age_reached(max_age: Option<Duration>) {
    match max_age {
        Some(max_age) => sleep(max_age).await,
        None => std::future::pending().await,
    }
}
