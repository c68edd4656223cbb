//! Spans of a request whose trace is recorded: the request itself and its exchange with the app.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::request_logs::LoggedRequest;
use crate::telemetry::spans::{ActiveSpan, EndedSpan, SpanRecorder};
use crate::types::time::SystemClock;
use crate::types::trace_context::ForwardedTrace;

/// The spans of one request.
pub(super) struct RequestSpans {
    pub(super) request: ActiveSpan,
    upstream: ActiveSpan,
}

impl RequestSpans {
    /// Begins the span of the request in its trace. To the app, the caller is the span of the exchange.
    pub(super) fn begin(recorder: &Arc<SpanRecorder>, trace: &mut ForwardedTrace) -> Self {
        let context = &mut trace.context;
        let parent = (!trace.is_new).then_some(context.span_id);
        let request = ActiveSpan::of_request(recorder, context.trace_id, parent);
        let upstream = request.child();
        context.span_id = upstream.id();
        Self { request, upstream }
    }

    /// Ends the spans. `sent_after`: from the start of the request until it was sent to the app.
    pub(super) fn end(self, request: &LoggedRequest<'_>, sent_after: Option<Duration>) {
        let end = SystemClock::precise();
        let is_error = request.status >= 500;
        if let Some((sent_after, duration)) = sent_after.zip(request.times.upstream) {
            let after = request.times.total.saturating_sub(sent_after + duration);
            let address = request.upstream.unwrap_or_default().to_owned();
            self.upstream.end(EndedSpan {
                name: "upstream".into(),
                kind: SpanKind::Client,
                end: end.checked_sub(after).unwrap_or(end),
                duration,
                attributes: vec![KeyValue::new("doorward.upstream", address)],
                is_error,
            });
        }
        let mut attributes = vec![
            KeyValue::new("http.request.method", request.method.to_owned()),
            KeyValue::new("server.address", request.host.to_owned()),
            KeyValue::new("url.path", request.path.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(request.status)),
            KeyValue::new("doorward.decision", request.decision.to_owned()),
            KeyValue::new("doorward.request_id", request.request_id.to_owned()),
        ];
        if let Some(client) = request.client {
            attributes.push(KeyValue::new("client.address", client.to_string()));
        }
        if let Some(app) = request.app {
            attributes.push(KeyValue::new("doorward.app", app.to_owned()));
        }
        self.request.end(EndedSpan {
            name: request.method.to_owned().into(),
            kind: SpanKind::Server,
            end,
            duration: request.times.total,
            attributes,
            is_error,
        });
    }
}
