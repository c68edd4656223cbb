//! Spans of recorded traces, and their export by OTLP (HTTP with protobuf). Requests append to a bounded
//! queue and never wait: a collector that is down or slow costs spans, which are counted.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::metrics::Metrics;
use crate::outage::OutageLog;
use crate::types::time::SystemClock;
use crate::types::trace_context::{SpanId, TraceId};

/// The most spans that wait for their export. Further ones are dropped.
const MAX_QUEUED: usize = 8192;

/// The most spans of one export.
const MAX_BATCH: usize = 512;

/// How long the first span of a batch waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The code of a failed export in the event log.
const FAILED: &str = "trace_export_failed";

/// Takes the spans of a process.
#[derive(Debug)]
pub struct SpanRecorder {
    queue: mpsc::Sender<Queued>,
    dropped: IntCounter,
    /// The number of the next span ID.
    next_id: AtomicU64,
    scope: InstrumentationScope,
}

#[derive(Debug)]
enum Queued {
    Span(Box<SpanData>),
    /// Told when all spans before it were exported, or could not be.
    Flush(oneshot::Sender<()>),
}

/// Errors while setting up the export.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SpanExportError(String);

/// A span that children can have, as long as it is recorded.
#[derive(Clone, Debug)]
pub struct ActiveSpan {
    recorder: Arc<SpanRecorder>,
    trace_id: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    /// Whether the parent is in another process.
    has_remote_parent: bool,
}

/// The attributes of a span at its end.
#[derive(Debug)]
pub struct EndedSpan {
    /// Its name, of which there are few.
    pub name: Cow<'static, str>,
    /// Its kind.
    pub kind: SpanKind,
    /// When it ended.
    pub end: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Its attributes.
    pub attributes: Vec<KeyValue>,
    /// Whether it failed.
    pub is_error: bool,
}

impl EndedSpan {
    /// A span that ends now, without attributes.
    pub fn now(name: impl Into<Cow<'static, str>>, kind: SpanKind, duration: Duration) -> Self {
        Self {
            name: name.into(),
            kind,
            end: SystemClock::precise(),
            duration,
            attributes: Vec::new(),
            is_error: false,
        }
    }
}

impl SpanRecorder {
    /// Exports to the collector at `endpoint`, a URL with the path, on `runtime`. `seed` makes the span IDs
    /// differ from those of other processes.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn start(
        endpoint: &str,
        runtime: &Handle,
        metrics: &Metrics,
        seed: u64,
    ) -> Result<Arc<Self>, SpanExportError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .with_retry_policy(opentelemetry_otlp::RetryPolicy::disabled())
            .build()
            .map_err(|error| SpanExportError(error.to_string()))?;
        let (queue, queued) = mpsc::channel(MAX_QUEUED);
        let export = Export {
            exporter,
            exported: metrics.spans_exported.clone(),
            dropped: metrics.spans_dropped.clone(),
            outages: OutageLog::new("trace_export", ""),
        };
        runtime.spawn(export.run(queued));
        Ok(Arc::new(Self {
            queue,
            dropped: metrics.spans_dropped.clone(),
            next_id: AtomicU64::new(seed),
            scope: InstrumentationScope::builder("doorward")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }))
    }

    /// Waits until the spans so far are exported, or could not be.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Queued::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }

    fn new_id(&self) -> SpanId {
        SpanId::of_number(self.next_id.fetch_add(1, Ordering::Relaxed))
    }
}

impl ActiveSpan {
    /// The span of a request, within the trace of `parent` if that is in another process.
    pub fn of_request(
        recorder: &Arc<SpanRecorder>,
        trace_id: TraceId,
        parent: Option<SpanId>,
    ) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            trace_id,
            id: recorder.new_id(),
            has_remote_parent: parent.is_some(),
            parent,
        }
    }

    /// A span within this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            recorder: Arc::clone(&self.recorder),
            trace_id: self.trace_id,
            id: self.recorder.new_id(),
            parent: Some(self.id),
            has_remote_parent: false,
        }
    }

    /// The ID.
    pub const fn id(&self) -> SpanId {
        self.id
    }

    /// Queues the span for its export.
    pub fn end(self, ended: EndedSpan) {
        let span_id = |id: SpanId| opentelemetry::trace::SpanId::from_bytes(id.to_bytes());
        let trace_id = opentelemetry::trace::TraceId::from_bytes(self.trace_id.to_bytes());
        let span = SpanData {
            span_context: SpanContext::new(
                trace_id,
                span_id(self.id),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: self
                .parent
                .map_or(opentelemetry::trace::SpanId::INVALID, span_id),
            parent_span_is_remote: self.has_remote_parent,
            span_kind: ended.kind,
            name: ended.name,
            start_time: ended.end.checked_sub(ended.duration).unwrap_or(ended.end),
            end_time: ended.end,
            attributes: ended.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if ended.is_error {
                Status::error("")
            } else {
                Status::Unset
            },
            instrumentation_scope: self.recorder.scope.clone(),
        };
        if self
            .recorder
            .queue
            .try_send(Queued::Span(Box::new(span)))
            .is_err()
        {
            self.recorder.dropped.inc();
        }
    }
}

/// The task that exports.
struct Export {
    exporter: SpanExporter,
    exported: IntCounter,
    dropped: IntCounter,
    outages: OutageLog,
}

impl Export {
    async fn run(mut self, mut queue: mpsc::Receiver<Queued>) {
        let resource = Resource::builder_empty()
            .with_service_name("doorward")
            .build();
        self.exporter.set_resource(&resource);
        let mut queued = Vec::with_capacity(MAX_BATCH);
        while queue.recv_many(&mut queued, MAX_BATCH).await > 0 {
            let is_flushed = |queued: &[Queued]| {
                queued
                    .iter()
                    .any(|queued| matches!(queued, Queued::Flush(_)))
            };
            if queued.len() < MAX_BATCH && !is_flushed(&queued) {
                sleep(BATCH_DELAY).await;
                while queued.len() < MAX_BATCH
                    && let Ok(next) = queue.try_recv()
                {
                    queued.push(next);
                }
            }
            let (mut spans, mut waiting) = (Vec::with_capacity(queued.len()), Vec::new());
            for queued in queued.drain(..) {
                match queued {
                    Queued::Span(span) => spans.push(*span),
                    Queued::Flush(done) => waiting.push(done),
                }
            }
            if !spans.is_empty() {
                self.export(spans).await;
            }
            for done in waiting {
                let _ = done.send(());
            }
        }
    }

    async fn export(&self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        let error = match timeout(EXPORT_TIMEOUT, self.exporter.export(spans)).await {
            Ok(Ok(())) => {
                self.exported.inc_by(count);
                self.outages.succeeded();
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the collector does not answer".to_owned(),
        };
        self.dropped.inc_by(count);
        self.outages.failed(FAILED, &error);
    }
}
