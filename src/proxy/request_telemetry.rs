//! Request telemetry: one access log entry and the metrics of a request, recorded at the end of its
//! response body, or when the client disconnects before the response.

mod response_observer;
mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use response_observer::ResponseObserver;
use tokio::sync::watch;
use worker::WorkerTelemetry;

use super::concurrency::REQUEST_BYTES;
use super::event_stream::end_with_drain;
use super::log_names::LogNames;
use super::request_logs::{LoggedRequest, RequestLogs};
use super::request_spans::RequestSpans;
use super::responder::TaggedResponse;
use super::stream_limits::{LimitChecker, StreamLimits};
use super::upload_observer::{LimitedUploadObserver, UploadObserver};
use crate::auth::Unavailable;
use crate::identity::identity::Identity;
use crate::limits::{Reservation, UploadProgress};
use crate::policy::decide::Caller;
use crate::policy::explanation::Denial;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Route};
use crate::session::validity::NoSessionReason;
use crate::telemetry::access::RequestTimes;
use crate::telemetry::app_metrics::{AppMetrics, ObservedRequest};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_scope::{CallTimes, call_times};
use crate::telemetry::spans::ActiveSpan;
use crate::types::body::{Body, StreamSession};
use crate::types::net::ConnectionInfo;
use crate::types::oauth::ProviderName;
use crate::types::request_id::RequestId;
use crate::types::trace_context::{ForwardedTrace, TraceSettings};
use crate::upstream::UpstreamTelemetry;

/// The status in the log of a request whose client disconnected before the response head. No
/// response has it; nginx logs the same.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The telemetry of one worker's requests.
#[derive(Clone)]
pub struct RequestTelemetry(Arc<Shared>);

/// The telemetry of one configuration.
pub struct ConfiguredTelemetry {
    /// The metrics, by app index.
    pub apps: Vec<(String, AppMetrics)>,
    /// The names of users in the logs.
    pub names: LogNames,
    /// Whether the access log has the `User-Agent` of clients.
    pub user_agent: bool,
    /// How requests get their traces.
    pub traces: TraceSettings,
}

struct Shared {
    worker: Arc<WorkerTelemetry>,
    configured: ConfiguredTelemetry,
}

impl RequestTelemetry {
    /// Telemetry for one worker. `seed` makes its request IDs differ from those of other workers.
    pub fn new(
        logs: RequestLogs,
        metrics: Arc<Metrics>,
        configured: ConfiguredTelemetry,
        seed: u64,
    ) -> Self {
        let without_app = metrics.app("", &[]);
        let worker = Arc::new(WorkerTelemetry {
            logs,
            metrics,
            without_app,
            request_ids: AtomicU64::new(seed),
            draining: watch::Sender::new(false),
            cut_off: AtomicBool::new(false),
        });
        Self(Arc::new(Shared { worker, configured }))
    }

    /// Telemetry of the same worker in another configuration.
    #[must_use]
    pub fn reconfigured(&self, configured: ConfiguredTelemetry) -> Self {
        let worker = Arc::clone(&self.0.worker);
        Self(Arc::new(Shared { worker, configured }))
    }

    /// From now on, event streams end after their current event.
    pub fn drain_started(&self) {
        self.0.worker.draining.send_replace(true);
    }

    /// From now on, requests that end early were cut off by Doorward and not by their clients.
    pub fn cut_off(&self) {
        self.0.worker.cut_off.store(true, Ordering::Relaxed);
    }

    /// Records a request that was rejected before its head could be parsed.
    pub fn record_rejected(
        &self,
        connection: ConnectionInfo,
        code: &'static str,
        status: StatusCode,
    ) {
        self.begin(None, connection).record(&Outcome {
            code,
            status: status.as_u16(),
            bytes_out: 0,
        });
    }

    /// Counts a request for a decision.
    pub fn count_check(&self, dialect: &str, outcome: &str) {
        self.0
            .worker
            .metrics
            .checks
            .with_label_values(&[dialect, outcome])
            .inc();
    }

    /// Starts the record of a request. Boxed, because it is large and passes through all stages.
    pub fn begin(&self, method: Option<&Method>, connection: ConnectionInfo) -> Box<RequestRecord> {
        let request_id = self.0.worker.next_number();
        Box::new(RequestRecord {
            shared: Arc::clone(&self.0),
            request_id: RequestId::new(request_id),
            started: Instant::now(),
            method: method.cloned(),
            host: String::new(),
            path: String::new(),
            app: None,
            provider: None,
            client: connection.peer.map(|peer| peer.ip()),
            caller: None,
            denial: None,
            sent_to: None,
            sent: None,
            upstream: None,
            calls: CallTimes::default(),
            user_agent: None,
            trace: None,
            spans: None,
            upload: None,
            upload_is_cut: None,
            memory: None,
            limits: StreamLimits::default(),
            is_recorded: false,
        })
    }
}

/// The facts about a request. Dropping them before its response records that there was none.
pub struct RequestRecord {
    shared: Arc<Shared>,
    request_id: RequestId,
    started: Instant,
    /// `None` if the head could not be parsed.
    method: Option<Method>,
    host: String,
    path: String,
    app: Option<usize>,
    /// The provider that the request belongs to, if its app has several.
    provider: Option<ProviderName>,
    client: Option<IpAddr>,
    /// The identity of the caller, with its names in the logs.
    caller: Option<Arc<Identity>>,
    /// Why it was refused.
    denial: Option<Denial>,
    /// The upstream that the request was sent to.
    sent_to: Option<Arc<UpstreamTelemetry>>,
    sent: Option<Instant>,
    upstream: Option<Duration>,
    calls: CallTimes,
    user_agent: Option<HeaderValue>,
    trace: Option<ForwardedTrace>,
    spans: Option<RequestSpans>,
    upload: Option<Arc<UploadProgress>>,
    /// Whether the request body was ended because its session or token is no longer valid.
    upload_is_cut: Option<Arc<AtomicBool>>,
    /// The request's share of the byte budget.
    memory: Option<Reservation>,
    limits: StreamLimits,
    is_recorded: bool,
}

/// How a request ended.
struct Outcome {
    code: &'static str,
    status: u16,
    bytes_out: u64,
}

impl RequestRecord {
    /// The request ID.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Continues with the request ID that a trusted proxy chose.
    pub fn set_request_id(&mut self, request_id: RequestId) {
        self.request_id = request_id;
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

    /// Ends the request body, which is passed on, with its session, which is told of its parts.
    pub fn limit_upload(&mut self, body: Body, session: Option<StreamSession>) -> Body {
        let (Some(progress), Some(session)) = (&self.upload, session) else {
            return body;
        };
        let is_cut = Arc::<AtomicBool>::default();
        self.upload_is_cut = Some(Arc::clone(&is_cut));
        let limits = LimitChecker::new(StreamLimits {
            session: Some(session),
            max_age: None,
        });
        body.watched_instead(Box::new(LimitedUploadObserver {
            progress: UploadObserver(Arc::clone(progress)),
            limits,
            is_cut,
        }))
    }

    /// Whether the request body was ended by [`Self::limit_upload`].
    pub fn upload_was_cut(&self) -> bool {
        let is_cut = self.upload_is_cut.as_ref();
        is_cut.is_some_and(|is_cut| is_cut.load(Ordering::Relaxed))
    }

    /// Holds what the request takes of the byte budget.
    pub fn hold(&mut self, memory: Reservation) {
        self.memory = Some(memory);
    }

    /// Sets the path of a request that could not be parsed.
    pub fn set_unparsed_path(&mut self, parts: &Parts) {
        parts.uri.path().clone_into(&mut self.path);
    }

    /// Sets the trace of the request, and the `User-Agent` if the access log has it. `is_trusted`: the
    /// fields come from a trusted proxy.
    pub fn set_fields(&mut self, headers: &HeaderMap, is_trusted: bool) {
        let Shared { worker, configured } = &*self.shared;
        if configured.user_agent {
            self.user_agent = headers.get(USER_AGENT).cloned();
        }
        let trace = configured
            .traces
            .trace(headers, is_trusted, || worker.next_number());
        self.trace = trace;
        if let Some(recorder) = &worker.logs.spans
            && let Some(trace) = &mut self.trace
            && trace.context.is_sampled
        {
            self.spans = Some(RequestSpans::begin(recorder, trace));
        }
    }

    /// The span of the request, if its trace is recorded.
    pub fn span(&self) -> Option<ActiveSpan> {
        self.spans.as_ref().map(|spans| spans.request.clone())
    }

    /// The trace of the request.
    pub const fn trace(&self) -> Option<ForwardedTrace> {
        self.trace
    }

    /// Sets the parsed request and the app.
    pub fn set_route(&mut self, info: &RequestInfo, route: &Route<'_>) {
        // That of an extended CONNECT is known by now.
        self.method = Some(info.method.clone());
        self.host.clone_from(&info.authority);
        info.target.path().clone_into(&mut self.path);
        self.client = info.address.client;
        self.app = route.app_ref().map(|app_ref| app_ref.index);
    }

    /// Sets the provider that the request belongs to, if its app has several.
    pub fn set_provider(&mut self, app_ref: AppRef<'_>) {
        let provider = app_ref.login_provider();
        let provider = provider.filter(|_| app_ref.app.providers.are_several());
        self.provider = provider.map(|provider| provider.name.clone());
    }

    /// Sets the session and its user, or counts the rejected credential.
    pub fn set_caller(&mut self, caller: &Result<Caller, Unavailable>) {
        let Ok(caller) = caller else {
            return;
        };
        let Shared { worker, configured } = &*self.shared;
        if worker.logs.name_callers() {
            self.caller = configured.names.name_caller(caller);
        }
        // Refused passwords are counted where passwords are checked.
        if let Caller::Anonymous(reason) = caller
            && !matches!(reason, NoSessionReason::PasswordRefused(_))
        {
            self.count_rejected(*reason);
        }
    }

    fn count_rejected(&self, reason: NoSessionReason) {
        let Some((app, _)) = self
            .app
            .and_then(|index| self.shared.configured.apps.get(index))
        else {
            return;
        };
        let metrics = &self.shared.worker.metrics;
        let rejected = if matches!(reason, NoSessionReason::TokenRefused(_)) {
            &metrics.tokens_rejected
        } else {
            &metrics.sessions_rejected
        };
        rejected
            .with_label_values(&[app.as_str(), reason.code()])
            .inc();
    }

    /// Sets why the request is refused.
    pub fn set_denial(&mut self, denial: Option<Denial>) {
        self.denial = denial;
    }

    /// The request is sent upstream.
    pub fn upstream_started(&mut self, upstream: &Arc<UpstreamTelemetry>) {
        self.sent_to = Some(Arc::clone(upstream));
        self.sent = Some(Instant::now());
    }

    /// The upstream responded or failed, at this address if there are several.
    pub fn upstream_finished(&mut self, upstream: &Arc<UpstreamTelemetry>) {
        let is_known = self.sent_to.as_ref();
        if !is_known.is_some_and(|known| Arc::ptr_eq(known, upstream)) {
            self.sent_to = Some(Arc::clone(upstream));
        }
        self.upstream = self.sent.map(|sent| sent.elapsed());
    }

    /// Sets the calls that were made for the request, within its scope.
    pub fn calls_finished(&mut self) {
        self.calls = call_times();
    }

    /// Sets the limits on the response body.
    pub fn limit_stream(&mut self, limits: StreamLimits) {
        self.limits = limits;
    }

    /// Records the response at the end of its body.
    pub fn close(mut self: Box<Self>, response: TaggedResponse) -> Response<Body> {
        if let Some(memory) = &mut self.memory {
            // The head of the request is no longer held.
            memory.shrink_to(REQUEST_BYTES);
        }
        let TaggedResponse { code, response } = response;
        let (response, ended_by_drain) =
            end_with_drain(response, || self.shared.worker.draining.subscribe());
        let limits = LimitChecker::new(std::mem::take(&mut self.limits));
        let mut observer = ResponseObserver {
            record: self,
            code,
            status: response.status().as_u16(),
            bytes_out: 0,
            is_stream: http_body::Body::size_hint(response.body())
                .exact()
                .is_none(),
            ended_by_drain,
            limits,
        };
        // A response to HEAD has no body (RFC 9110 section 9.3.2): the server does not read it.
        let is_head = observer.record.method == Some(Method::HEAD);
        if is_head || http_body::Body::is_end_stream(response.body()) {
            observer.record_end();
            return response;
        }
        response.map(|body| body.watched(Box::new(observer)))
    }

    /// Writes the log entries and updates the metrics, once.
    fn record(&mut self, outcome: &Outcome) {
        if std::mem::replace(&mut self.is_recorded, true) {
            return;
        }
        let apps = &self.shared.configured.apps;
        let app = self.app.and_then(|index| apps.get(index));
        let took = self.started.elapsed();
        let times = self.times(took);
        let metrics = app.map_or(&self.shared.worker.without_app, |(_, metrics)| metrics);
        let to_upstream = self.upstream.unwrap_or_default();
        metrics.observe_request(ObservedRequest {
            decision: outcome.code,
            status: outcome.status,
            is_read: self.method.as_ref().is_some_and(Method::is_safe),
            duration: took,
            response_head: times.own + times.calls.total() + to_upstream,
            own: times.own,
            recorded_trace: self
                .trace
                .filter(|_| self.spans.is_some())
                .map(|trace| trace.context.trace_id),
        });
        if let Some((to, duration)) = self.sent_to.as_ref().zip(self.upstream) {
            to.duration.observe(duration.as_secs_f64());
        }
        let request = LoggedRequest {
            request_id: self.request_id.as_str(),
            trace_id: self
                .trace
                .as_ref()
                .map(|trace| trace.context.trace_id.as_str()),
            app: app.map(|(name, _)| name.as_str()),
            provider: self.provider.as_ref().map(ProviderName::as_str),
            caller: self
                .caller
                .as_ref()
                .and_then(|caller| caller.log_names.get()),
            client: self.client,
            method: self.method.as_ref().map_or("", Method::as_str),
            host: &self.host,
            path: &self.path,
            status: outcome.status,
            decision: outcome.code,
            denial: self.denial.as_ref(),
            upstream: self.sent_to.as_ref().map(|to| to.address.as_str()),
            times,
            user_agent: self
                .user_agent
                .as_ref()
                .and_then(|value| value.to_str().ok()),
            bytes_in: self.upload.as_ref().map_or(0, |upload| upload.bytes()),
            bytes_out: outcome.bytes_out,
        };
        if let Some(spans) = self.spans.take() {
            let sent_after = self.sent.map(|sent| sent.duration_since(self.started));
            spans.end(&request, sent_after);
        }
        self.shared.worker.logs.write(request);
    }

    /// The parts of the time until the response head. Without an upstream the whole response is Doorward's,
    /// and its body is short.
    fn times(&self, took: Duration) -> RequestTimes {
        let before = self.sent.map(|sent| sent.duration_since(self.started));
        RequestTimes {
            total: took,
            own: before.unwrap_or(took).saturating_sub(self.calls.total()),
            calls: self.calls,
            upstream: self.upstream,
        }
    }
}

impl Drop for RequestRecord {
    /// A record is dropped without a response if the client disconnected before the response head.
    /// The app may have processed the request nevertheless.
    fn drop(&mut self) {
        if self.is_recorded {
            return;
        }
        self.upstream = self.upstream.or(self.sent.map(|sent| sent.elapsed()));
        self.calls_finished();
        let (code, status) = if std::thread::panicking() {
            ("internal_error", 500)
        } else {
            (self.shared.worker.early_end(), CLIENT_CLOSED_REQUEST)
        };
        self.record(&Outcome {
            code,
            status,
            bytes_out: 0,
        });
    }
}
