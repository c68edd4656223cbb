//! WebSocket upgrades (RFC 6455, RFC 9110 section 7.8). A tunnel opens only after the backend
//! responded with 101. Tunnels are counted, end when they are idle or too old or their session
//! ends, and can be closed all at once.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use prometheus::{IntCounterVec, IntGauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::sleep;

use super::tunnel::{self, Activity, TunnelEnd};
use crate::telemetry::metrics::Metrics;
use crate::types::body::StreamSession;

/// How often a tunnel checks whether its session is still valid.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long an incomplete frame may take to complete once a tunnel ends. Together with the check
/// interval and the replication of a revocation, a tunnel ends within a second.
const FRAME_TIMEOUT: Duration = Duration::from_millis(250);

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
#[derive(Clone, Debug)]
pub(super) struct TunnelLimits {
    pub(super) app: String,
    pub(super) idle: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) session: Option<StreamSession>,
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
            tunnels
                .ended
                .with_label_values(&[limits.app.as_str(), end.code()])
                .inc();
        });
    }
}

/// Whether this is a valid WebSocket upgrade request. Any other request is forwarded without an
/// upgrade. It must not have a body.
pub(super) fn is_upgrade_request(parts: &Parts) -> bool {
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
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
pub(super) fn fields() -> [(HeaderName, HeaderValue); 2] {
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

async fn max_age_reached(max_age: Option<Duration>) {
    match max_age {
        Some(max_age) => sleep(max_age).await,
        None => std::future::pending().await,
    }
}
