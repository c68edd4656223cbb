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

use super::reference::Reference;
use super::respond::Answer;
use crate::auth::resume::Resumed;
use crate::policy::decide::Caller;
use crate::policy::facts::Facts;
use crate::policy::route::Route;
use crate::session::assess::Why;
use crate::telemetry::access::{AccessBuffer, AccessLine};
use crate::telemetry::metrics::{AppMetrics, Metrics};
use crate::types::body::{Body, BodyError, End, Holds, Watcher};
use crate::types::net::Arrival;
use crate::types::time::Clock;

/// How often a stream asks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where one worker's requests are recorded.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    access: Option<AccessBuffer>,
    metrics: Arc<Metrics>,
    apps: Vec<(String, AppMetrics)>,
    strangers: AppMetrics,
    references: AtomicU64,
}

impl Recorder {
    /// A recorder for one worker. `apps` are the handles in the order of the apps; `seed` sets its references
    /// apart from those of all other workers.
    pub fn new(
        clock: Arc<dyn Clock>,
        access: Option<AccessBuffer>,
        metrics: Arc<Metrics>,
        apps: Vec<(String, AppMetrics)>,
        seed: u64,
    ) -> Self {
        let strangers = metrics.app("", &[]);
        Self(Arc::new(Shared {
            clock,
            access,
            metrics,
            apps,
            strangers,
            references: AtomicU64::new(seed),
        }))
    }

    /// Begins the record of a request.
    pub fn begin(&self, parts: &Parts, arrival: Arrival) -> Record {
        // An odd step through all 64 bits: unique within a worker, and no count of requests for the outside.
        let reference = self
            .0
            .references
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        Record {
            shared: Arc::clone(&self.0),
            reference: Reference::new(reference),
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
            lasting: Lasting::default(),
        }
    }
}

/// What is known of one request so far.
pub struct Record {
    shared: Arc<Shared>,
    reference: Reference,
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
    lasting: Lasting,
}

/// How long an answer's body may go on.
#[derive(Default)]
pub struct Lasting {
    /// As long as this does.
    pub holds: Option<Holds>,
    /// No longer than this.
    pub max_age: Option<Duration>,
}

impl Record {
    /// The request's name.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// The body, counted.
    pub fn watch_request(&self, body: Body) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        body.watched(Box::new(Counter(Arc::clone(&self.bytes_in))))
    }

    /// What was asked, as it came: it could not be read.
    pub fn unreadable(&mut self, parts: &Parts) {
        parts.uri.path().clone_into(&mut self.path);
    }

    /// What was asked, and of which app.
    pub fn about(&mut self, facts: &Facts, route: &Route<'_>) {
        self.host.clone_from(&facts.authority);
        facts.target.path().clone_into(&mut self.path);
        self.client = facts.address.client;
        self.app = match route {
            Route::Own(place, _)
            | Route::Page(place, _)
            | Route::Alias(place)
            | Route::Odd(place) => Some(place.index),
            Route::Misdirected => None,
        };
    }

    /// Whose session it is.
    pub fn session(&mut self, resumed: &Resumed) {
        match &resumed.caller {
            Ok(Caller::Authenticated(live) | Caller::WithNativeToken(live)) => {
                self.session = Some(live.session().sid.as_str().to_owned());
            }
            Ok(Caller::WithToken(live)) => {
                self.session = Some(live.token().name.as_str().to_owned())
            }
            Ok(Caller::Anonymous(why)) => {
                if let Some((app, _)) = self.app.and_then(|index| self.shared.apps.get(index)) {
                    let metrics = &self.shared.metrics;
                    let is_token = matches!(why, Why::TokenRefused(_));
                    let refused = if is_token {
                        &metrics.tokens_refused
                    } else {
                        &metrics.sessions_refused
                    };
                    refused.with_label_values(&[app.as_str(), why.code()]).inc();
                }
            }
            Err(_) => {}
        }
    }

    /// The request goes to the backend now.
    pub fn sent_upstream(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// The backend answered, or will not.
    pub fn answered_by_upstream(&mut self) {
        self.upstream = self.sent.map(|sent| sent.elapsed());
    }

    /// The answer's body is cut beyond this.
    pub fn lasts(&mut self, lasting: Lasting) {
        self.lasting = lasting;
    }

    /// The answer, which is recorded when the last byte of its body has gone.
    pub fn close(self, answer: Answer) -> Response<Body> {
        let status = answer.response.status().as_u16();
        let is_stream = http_body::Body::size_hint(answer.response.body())
            .exact()
            .is_none();
        let (code, began, cut_as) = (answer.code, Instant::now(), "session_over");
        let closing = Closing {
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

impl Watcher for Counter {
    fn passed(&mut self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn ended(self: Box<Self>, _end: End) {}
}

struct Closing {
    record: Record,
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

impl Closing {
    fn write(&self) {
        let record = &self.record;
        let app = record.app.and_then(|index| record.shared.apps.get(index));
        let took = record.began.elapsed();
        let metrics = app.map_or(&record.shared.strangers, |(_, metrics)| metrics);
        metrics.answered(self.code, self.status, took, record.upstream);
        let Some(access) = &record.shared.access else {
            return;
        };
        access.write(&AccessLine {
            time: record.shared.clock.now(),
            reference: record.reference.digits(),
            app: app.map(|(name, _)| name.as_str()),
            client: record.client,
            method: record.method.as_str(),
            host: &record.host,
            path: &record.path,
            status: self.status,
            code: self.code,
            session: record.session.as_deref(),
            took,
            upstream: record.upstream,
            bytes_in: record.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out,
        });
    }
}

impl Watcher for Closing {
    /// What was permitted is delivered, however late it comes; only what goes on after its first bytes, or may go on
    /// without an end, asks again, and again.
    fn poll_admit(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Lasting { holds, max_age } = &self.record.lasting;
        let is_unlimited = holds.is_none() && max_age.is_none();
        if is_unlimited || (!self.is_stream && self.bytes_out == 0) {
            return Ok(());
        }
        let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK_EVERY)));
        while look.as_mut().poll(cx).is_ready() {
            if holds.as_ref().is_some_and(|holds| !holds.still()) {
                return Err(BodyError::SessionOver);
            }
            if max_age.is_some_and(|max_age| self.began.elapsed() >= max_age) {
                self.cut_as = "stream_max_age";
                return Err(BodyError::TooOld);
            }
            look.as_mut()
                .reset(tokio::time::Instant::now() + LOOK_EVERY);
        }
        Ok(())
    }

    fn passed(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    fn ended(mut self: Box<Self>, end: End) {
        match end {
            End::Complete => {}
            End::Broken => self.code = "answer_broke_off",
            End::Cut => self.code = self.cut_as,
            End::Abandoned => self.code = "client_left",
        }
        self.write();
    }
}
