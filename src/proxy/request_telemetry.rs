//! Stage 6: one access line and the counters, closed at the last byte of the answer's body.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, Response};
use tokio::time::{Sleep, sleep};

use super::request_id::RequestId;
use super::responder::TaggedResponse;
use crate::auth::Unavailable;
use crate::policy::decide::Caller;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::Route;
use crate::session::validity::NoSessionReason;
use crate::telemetry::access::{AccessBuffer, AccessEntry};
use crate::telemetry::metrics::{AppMetrics, Metrics};
use crate::types::body::{Body, BodyEnd, BodyError, BodyObserver, ValidityCheck};
use crate::types::net::ConnectionInfo;
use crate::types::time::Clock;

/// How often a stream asks whether it may go on.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Where one worker's requests are recorded.
#[derive(Clone)]
pub struct RequestTelemetry(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    access: Option<AccessBuffer>,
    metrics: Arc<Metrics>,
    apps: Vec<(String, AppMetrics)>,
    anonymous_tasks: AppMetrics,
    references: AtomicU64,
}

impl RequestTelemetry {
    /// A recorder for one worker. `apps` are the handles in the order of the apps; `seed` sets its references
    /// apart from those of all other workers.
    pub fn new(
        clock: Arc<dyn Clock>,
        access: Option<AccessBuffer>,
        metrics: Arc<Metrics>,
        apps: Vec<(String, AppMetrics)>,
        seed: u64,
    ) -> Self {
        let anonymous_tasks = metrics.app("", &[]);
        Self(Arc::new(Shared {
            clock,
            access,
            metrics,
            apps,
            anonymous_tasks,
            references: AtomicU64::new(seed),
        }))
    }

    /// Begins the record of a request.
    pub fn begin(&self, parts: &Parts, arrival: ConnectionInfo) -> RequestRecord {
        // An odd step through all 64 bits: unique within a worker, and no count of requests for the outside.
        let request_id = self
            .0
            .references
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        RequestRecord {
            shared: Arc::clone(&self.0),
            request_id: RequestId::new(request_id),
            began: Instant::now(),
            method: parts.method.clone(),
            host: String::new(),
            path: String::new(),
            app: None,
            client: arrival.peer.map(|peer| peer.ip()),
            session: None,
            sent: None,
            upstream: None,
            bytes_in: Arc::default(),
            limits: StreamLimits::default(),
        }
    }
}

/// What is known of one request so far.
pub struct RequestRecord {
    shared: Arc<Shared>,
    request_id: RequestId,
    began: Instant,
    method: Method,
    host: String,
    path: String,
    app: Option<usize>,
    client: Option<IpAddr>,
    session: Option<String>,
    sent: Option<Instant>,
    upstream: Option<Duration>,
    bytes_in: Arc<AtomicU64>,
    limits: StreamLimits,
}

/// How long an answer's body may go on.
#[derive(Default)]
pub struct StreamLimits {
    /// The body ends when this check fails.
    pub validity: Option<ValidityCheck>,
    /// The body ends at this age.
    pub max_age: Option<Duration>,
}

impl RequestRecord {
    /// The request's name.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The body, counted.
    pub fn watch_request(&self, body: Body) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        body.watched(Box::new(Counter(Arc::clone(&self.bytes_in))))
    }

    /// What was asked, as it came: it could not be read.
    pub fn set_unparsed_path(&mut self, parts: &Parts) {
        parts.uri.path().clone_into(&mut self.path);
    }

    /// Sets the parsed request and the app.
    pub fn set_route(&mut self, info: &RequestInfo, route: &Route<'_>) {
        self.host.clone_from(&info.authority);
        info.target.path().clone_into(&mut self.path);
        self.client = info.address.client;
        self.app = route.app_ref().map(|app_ref| app_ref.index);
    }

    /// Sets the session ID, or counts the rejected credential.
    pub fn set_caller(&mut self, caller: &Result<Caller, Unavailable>) {
        match caller {
            Ok(Caller::Authenticated(live) | Caller::NativeSession(live)) => {
                self.session = Some(live.session().sid.as_str().to_owned());
            }
            Ok(Caller::Bearer(live)) => self.session = Some(live.token().name.as_str().to_owned()),
            Ok(Caller::Anonymous(reason)) => self.count_rejected(*reason),
            Err(_) => {}
        }
    }

    fn count_rejected(&self, reason: NoSessionReason) {
        let Some((app, _)) = self.app.and_then(|index| self.shared.apps.get(index)) else {
            return;
        };
        let metrics = &self.shared.metrics;
        let rejected = if matches!(reason, NoSessionReason::TokenRefused(_)) {
            &metrics.tokens_rejected
        } else {
            &metrics.sessions_rejected
        };
        rejected
            .with_label_values(&[app.as_str(), reason.code()])
            .inc();
    }

    /// The request is sent upstream.
    pub fn upstream_started(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// The upstream responded or failed.
    pub fn upstream_finished(&mut self) {
        self.upstream = self.sent.map(|sent| sent.elapsed());
    }

    /// Sets the limits on the response body.
    pub fn limit_stream(&mut self, limits: StreamLimits) {
        self.limits = limits;
    }

    /// The answer, which is recorded when the last byte of its body has gone.
    pub fn close(self, answer: TaggedResponse) -> Response<Body> {
        let status = answer.response.status().as_u16();
        let is_stream = http_body::Body::size_hint(answer.response.body())
            .exact()
            .is_none();
        let (code, began, cut_as) = (answer.code, Instant::now(), "session_over");
        let closing = ResponseObserver {
            record: self,
            code,
            status,
            bytes_out: 0,
            is_stream,
            began,
            look: None,
            cut_as,
        };
        if http_body::Body::is_end_stream(answer.response.body()) {
            closing.write();
            return answer.response;
        }
        answer.response.map(|body| body.watched(Box::new(closing)))
    }
}

struct Counter(Arc<AtomicU64>);

impl BodyObserver for Counter {
    fn passed(&mut self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn ended(self: Box<Self>, _end: BodyEnd) {}
}

struct ResponseObserver {
    record: RequestRecord,
    code: &'static str,
    status: u16,
    bytes_out: u64,
    /// Whether the body's length is not known: it may rest before its first byte, and for ever.
    is_stream: bool,
    /// When the head was written.
    began: Instant,
    /// Wakes a stream that rests, to look whether it may go on.
    look: Option<Pin<Box<Sleep>>>,
    /// The code, should it be cut.
    cut_as: &'static str,
}

impl ResponseObserver {
    fn write(&self) {
        let record = &self.record;
        let app = record.app.and_then(|index| record.shared.apps.get(index));
        let took = record.began.elapsed();
        let metrics = app.map_or(&record.shared.anonymous_tasks, |(_, metrics)| metrics);
        metrics.observe_request(self.code, self.status, took, record.upstream);
        let Some(access) = &record.shared.access else {
            return;
        };
        access.write(&AccessEntry {
            time: record.shared.clock.now(),
            request_id: record.request_id.digits(),
            app: app.map(|(name, _)| name.as_str()),
            client: record.client,
            method: record.method.as_str(),
            host: &record.host,
            path: &record.path,
            status: self.status,
            decision: self.code,
            session: record.session.as_deref(),
            duration: took,
            upstream_duration: record.upstream,
            bytes_in: record.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out,
        });
    }
}

impl BodyObserver for ResponseObserver {
    /// What was permitted is delivered, however late it comes; only what goes on after its first bytes, or may go on
    /// without an end, asks again, and again.
    fn poll_admit(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let StreamLimits { validity, max_age } = &self.record.limits;
        let is_unlimited = validity.is_none() && max_age.is_none();
        if is_unlimited || (!self.is_stream && self.bytes_out == 0) {
            return Ok(());
        }
        let look = self
            .look
            .get_or_insert_with(|| Box::pin(sleep(CHECK_INTERVAL)));
        while look.as_mut().poll(cx).is_ready() {
            if validity.as_ref().is_some_and(|check| !check.is_valid()) {
                return Err(BodyError::SessionOver);
            }
            if max_age.is_some_and(|max_age| self.began.elapsed() >= max_age) {
                self.cut_as = "stream_max_age";
                return Err(BodyError::TooOld);
            }
            look.as_mut()
                .reset(tokio::time::Instant::now() + CHECK_INTERVAL);
        }
        Ok(())
    }

    fn passed(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    fn ended(mut self: Box<Self>, end: BodyEnd) {
        match end {
            BodyEnd::Complete => {}
            BodyEnd::Broken => self.code = "upstream_body_aborted",
            BodyEnd::Cut => self.code = self.cut_as,
            BodyEnd::Abandoned => self.code = "client_disconnected",
        }
        self.write();
    }
}
