//! Formats of the event log: text lines of `tracing-subscriber`, and JSON objects with the same members as
//! in the access log and the audit log. Events of a task that works for a request name it.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::entry::EntryWriter;
use super::log_format::LogFormat;
use super::request_scope::current_request;
use crate::types::time::SystemClock;
use crate::types::trace_context::TraceId;

/// The field that `tracing` puts the code of an event into.
const MESSAGE: &str = "message";
/// The field with the target of an event of the crate `log`.
const LOG_TARGET: &str = "log.target";
/// The prefix of all fields that the crate `log` adds.
const LOG_PREFIX: &str = "log.";

/// One line of text per event. Adds the request to what the inner format writes.
pub(super) struct TextEvents<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for TextEvents<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(request) = current_request() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        // All values are plain words.
        write!(writer, "{line} request_id={}", request.id)?;
        if let Some(trace) = &request.trace {
            write!(writer, " trace_id={}", trace.as_str())?;
        }
        if let Some(client) = request.client {
            write!(writer, " client_ip={client}")?;
        }
        writeln!(writer)
    }
}

/// One JSON object per event.
pub(super) struct JsonEvents;

impl<S, N> FormatEvent<S, N> for JsonEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut name = EventName::default();
        event.record(&mut name);
        let metadata = event.metadata();
        let mut line = Vec::new();
        let mut entry = EntryWriter::begin_at(&mut line, LogFormat::Json, SystemClock::precise());
        entry.text("level", level(metadata.level()));
        entry.text("event", &name.event);
        if let Some(request) = current_request() {
            entry.text("request_id", request.id.as_str());
            entry.optional("trace_id", request.trace.as_ref().map(TraceId::as_str));
            entry.address("client_ip", request.client);
        }
        event.record(&mut Members(&mut entry));
        let target = name.log_target.as_deref();
        entry.text("target", target.unwrap_or(metadata.target()));
        entry.end();
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

const fn level(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The code of an event, or the message of a library.
#[derive(Default)]
struct EventName {
    event: String,
    log_target: Option<String>,
}

impl Visit for EventName {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == LOG_TARGET {
            self.log_target = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE {
            self.event = format!("{value:?}");
        }
    }
}

/// Writes the fields of an event as members.
struct Members<'e, 'o>(&'e mut EntryWriter<'o>);

impl Members<'_, '_> {
    fn text(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name != MESSAGE && !name.starts_with(LOG_PREFIX) {
            self.0.text(name.strip_prefix("r#").unwrap_or(name), value);
        }
    }
}

impl Visit for Members<'_, '_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.plain(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with(LOG_PREFIX) {
            self.0.plain(field.name(), value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.plain(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }
}
