//! Switching to WebSockets (RFC 6455, RFC 9110 section 7.8): nothing is passed through before the backend agreed with
//! 101, and every tunnel is counted, ends when it is silent or too old, and can be ended from outside.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use prometheus::{IntCounterVec, IntGauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::sleep;

use super::tunnel::{self, Activity, TunnelEnd};
use crate::telemetry::metrics::Metrics;
use crate::types::body::{Body, ValidityCheck};

/// How often a tunnel asks whether the session behind it goes on ...
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// ... and how long the frame under way then has to become whole: with what a revocation takes to be known everywhere,
/// all within a second.
const FRAME_TIMEOUT: Duration = Duration::from_millis(250);

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// All upgraded connections of the process.
#[derive(Debug)]
pub struct Tunnels {
    /// Every tunnel holds receivers.
    stage: watch::Sender<Stage>,
    open: IntGauge,
    ended: IntCounterVec,
}

/// How far the end of service has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    GoingAway,
    Over,
}

/// When a tunnel ends by itself.
#[derive(Clone, Debug)]
pub(super) struct TunnelLimits {
    pub(super) app: String,
    pub(super) idle: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) holds: Option<ValidityCheck>,
}

impl Tunnels {
    /// None yet.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        let (open, ended) = (
            metrics.upgraded_connections.clone(),
            metrics.upgraded_connections_ended.clone(),
        );
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Serving),
            open,
            ended,
        })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        usize::try_from(self.open.get()).unwrap_or_default()
    }

    /// Closes all of them, also those that open later, each when the frames under way in it are whole.
    pub fn go_away(&self) {
        self.at_least(Stage::GoingAway);
    }

    /// Cuts all of them, wherever they are.
    pub fn cut(&self) {
        self.at_least(Stage::Over);
    }

    fn at_least(&self, stage: Stage) {
        self.stage.send_modify(|now| *now = stage.max(*now));
    }

    /// Waits until none is open.
    pub async fn all_ended(&self) {
        self.stage.closed().await;
    }

    /// Joins both sides once both have switched protocols.
    pub(super) fn open_between<B>(
        self: &Arc<Self>,
        client: OnUpgrade,
        backend: B,
        limits: TunnelLimits,
    ) where
        B: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (stage, mut over) = (self.stage.subscribe(), self.stage.subscribe());
        let tunnels = Arc::clone(self);
        tunnels.open.inc();
        tokio::spawn(async move {
            let ending = tokio::select! {
                biased;
                _ = over.wait_for(|stage| *stage == Stage::Over) => TunnelEnd::GoingAway,
                ending = splice(client, backend, &limits, stage) => ending,
            };
            tunnels.open.dec();
            tunnels
                .ended
                .with_label_values(&[limits.app.as_str(), ending.code()])
                .inc();
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

/// The two fields of the switch, for the backend's request and the client's answer alike.
pub(super) fn switch() -> [(HeaderName, HeaderValue); 2] {
    [
        (CONNECTION, const { HeaderValue::from_static("upgrade") }),
        (UPGRADE, WEBSOCKET),
    ]
}

async fn splice(
    client: OnUpgrade,
    backend: impl AsyncRead + AsyncWrite,
    limits: &TunnelLimits,
    mut stage: watch::Receiver<Stage>,
) -> TunnelEnd {
    let Ok(client) = client.await else {
        return TunnelEnd::BySide;
    };
    let activity = Activity::new();
    let ending = async {
        tokio::select! {
            () = over(limits.holds.as_ref()) => TunnelEnd::SessionOver,
            () = old(limits.max_age) => TunnelEnd::TooOld,
            () = activity.silent_for(limits.idle) => TunnelEnd::Silent,
            _ = stage.wait_for(|stage| *stage >= Stage::GoingAway) => TunnelEnd::GoingAway,
        }
    };
    let timer = async |ending| match ending {
        TunnelEnd::SessionOver | TunnelEnd::TooOld | TunnelEnd::Silent | TunnelEnd::BySide => {
            sleep(FRAME_TIMEOUT).await
        }
        // Until all are cut: what is under way may be finished within the drain deadline.
        TunnelEnd::GoingAway => over(limits.holds.as_ref()).await,
    };
    tunnel::join(TokioIo::new(client), backend, &activity, ending, timer).await
}

/// Ends when `holds` no longer does.
async fn over(holds: Option<&ValidityCheck>) {
    let Some(holds) = holds else {
        return std::future::pending().await;
    };
    while holds.is_valid() {
        sleep(CHECK_INTERVAL).await;
    }
}

async fn old(max_age: Option<Duration>) {
    match max_age {
        Some(max_age) => sleep(max_age).await,
        None => std::future::pending().await,
    }
}
