//! Request telemetry: one access log entry and the metrics of a request, recorded at the end of its
//! response body.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, Response};
use tokio::time::{Sleep, sleep};

use super::concurrency::REQUEST_BYTES;
use super::request_id::RequestId;
use super::responder::TaggedResponse;
use crate::auth::Unavailable;
use crate::limits::{Reservation, UploadProgress};
use crate::policy::decide::Caller;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::Route;
use crate::session::validity::NoSessionReason;
use crate::telemetry::access::{AccessBuffer, AccessEntry};
use crate::telemetry::metrics::{AppMetrics, Metrics};
use crate::types::body::{Body, BodyEnd, BodyError, BodyObserver, ValidityCheck};
use crate::types::net::ConnectionInfo;
use crate::types::time::Clock;

/// Interval at which the validity of a stream is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The telemetry of one worker's requests.
#[derive(Clone)]
pub struct RequestTelemetry(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    access: Option<AccessBuffer>,
    metrics: Arc<Metrics>,
    apps: Vec<(String, AppMetrics)>,
    without_app: AppMetrics,
    request_ids: AtomicU64,
}

impl RequestTelemetry {
    /// Telemetry for one worker. `apps` has the metrics by app index. `seed` makes its request IDs
    /// differ from those of other workers.
    pub fn new(
        clock: Arc<dyn Clock>,
        access: Option<AccessBuffer>,
        metrics: Arc<Metrics>,
        apps: Vec<(String, AppMetrics)>,
        seed: u64,
    ) -> Self {
        let without_app = metrics.app("", &[]);
        Self(Arc::new(Shared {
            clock,
            access,
            metrics,
            apps,
            without_app,
            request_ids: AtomicU64::new(seed),
        }))
    }

    /// Starts the record of a request.
    pub fn begin(&self, parts: &Parts, connection: ConnectionInfo) -> RequestRecord {
        // An odd step through all 64 bits: unique within a worker, and does not reveal the number
        // of requests.
        let request_id = self
            .0
            .request_ids
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        RequestRecord {
            shared: Arc::clone(&self.0),
            request_id: RequestId::new(request_id),
            started: Instant::now(),
            method: parts.method.clone(),
            host: String::new(),
            path: String::new(),
            app: None,
            client: connection.peer.map(|peer| peer.ip()),
            session: None,
            sent: None,
            upstream: None,
            upload: None,
            memory: None,
            limits: StreamLimits::default(),
        }
    }
}

/// What is known about a request.
pub struct RequestRecord {
    shared: Arc<Shared>,
    request_id: RequestId,
    started: Instant,
    method: Method,
    host: String,
    path: String,
    app: Option<usize>,
    client: Option<IpAddr>,
    session: Option<String>,
    sent: Option<Instant>,
    upstream: Option<Duration>,
    upload: Option<Arc<UploadProgress>>,
    /// What the request takes of the byte budget.
    memory: Option<Reservation>,
    limits: StreamLimits,
}

/// Limits on a response body.
#[derive(Default)]
pub struct StreamLimits {
    /// The body ends when this check fails.
    pub validity: Option<ValidityCheck>,
    /// The body ends at this age.
    pub max_age: Option<Duration>,
}

impl RequestRecord {
    /// The request ID.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Follows the progress of the request body.
    pub fn watch_request(&mut self, body: Body, min_rate: u32) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        let upload = Arc::new(UploadProgress::new(min_rate));
        self.upload = Some(Arc::clone(&upload));
        body.watched(Box::new(UploadObserver(upload)))
    }

    /// The progress of the request body, if it has one.
    pub fn upload(&self) -> Option<Arc<UploadProgress>> {
        self.upload.clone()
    }

    /// Holds what the request takes of the byte budget.
    pub fn hold(&mut self, memory: Reservation) {
        self.memory = Some(memory);
    }

    /// Sets the path of a request that could not be parsed.
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

    /// Records the response at the end of its body.
    pub fn close(mut self, response: TaggedResponse) -> Response<Body> {
        if let Some(memory) = &mut self.memory {
            // The head of the request is no longer held.
            memory.shrink_to(REQUEST_BYTES);
        }
        let TaggedResponse { code, response } = response;
        let observer = ResponseObserver {
            record: self,
            code,
            status: response.status().as_u16(),
            bytes_out: 0,
            is_stream: http_body::Body::size_hint(response.body())
                .exact()
                .is_none(),
            started: Instant::now(),
            next_check: None,
            cut_code: "session_over",
        };
        if http_body::Body::is_end_stream(response.body()) {
            observer.record_end();
            return response;
        }
        response.map(|body| body.watched(Box::new(observer)))
    }
}

/// Reports the progress of a request body.
struct UploadObserver(Arc<UploadProgress>);

impl BodyObserver for UploadObserver {
    fn poll_admit(&mut self, _cx: &mut Context<'_>) -> Result<(), BodyError> {
        self.0.on_poll();
        Ok(())
    }

    fn passed(&mut self, bytes: usize) {
        self.0.on_data(bytes);
    }

    fn ended(self: Box<Self>, _end: BodyEnd) {
        self.0.on_end();
    }
}

/// Observes a response body, cuts it when its limits are reached, and records the request at its
/// end.
struct ResponseObserver {
    record: RequestRecord,
    code: &'static str,
    status: u16,
    bytes_out: u64,
    /// Whether the length of the body is unknown, as for streams.
    is_stream: bool,
    /// When the response head was ready.
    started: Instant,
    /// Wakes an idle stream for its validity check.
    next_check: Option<Pin<Box<Sleep>>>,
    /// The code to record if the body is cut.
    cut_code: &'static str,
}

impl ResponseObserver {
    fn record_end(&self) {
        let record = &self.record;
        let app = record.app.and_then(|index| record.shared.apps.get(index));
        let took = record.started.elapsed();
        let metrics = app.map_or(&record.shared.without_app, |(_, metrics)| metrics);
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
            bytes_in: record.upload.as_ref().map_or(0, |upload| upload.bytes()),
            bytes_out: self.bytes_out,
        });
    }
}

impl BodyObserver for ResponseObserver {
    /// A sized response is not checked before its first byte. After that, and for streams always,
    /// session and maximum age are checked at each interval.
    fn poll_admit(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let StreamLimits { validity, max_age } = &self.record.limits;
        let is_unlimited = validity.is_none() && max_age.is_none();
        if is_unlimited || (!self.is_stream && self.bytes_out == 0) {
            return Ok(());
        }
        let next_check = self
            .next_check
            .get_or_insert_with(|| Box::pin(sleep(CHECK_INTERVAL)));
        while next_check.as_mut().poll(cx).is_ready() {
            if validity.as_ref().is_some_and(|check| !check.is_valid()) {
                return Err(BodyError::SessionOver);
            }
            if max_age.is_some_and(|max_age| self.started.elapsed() >= max_age) {
                self.cut_code = "stream_max_age";
                return Err(BodyError::TooOld);
            }
            next_check
                .as_mut()
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
            BodyEnd::Cut => self.code = self.cut_code,
            BodyEnd::Abandoned => self.code = "client_disconnected",
        }
        self.record_end();
    }
}
