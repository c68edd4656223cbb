//! Event log on standard error, through `tracing`. Requests are logged in the access log.
//!
//! A separate thread writes the events, so that a standard error that is closed, full or not read
//! neither blocks nor fails a caller.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::event_format::{JsonEvents, TextEvents};
use super::line_writer::{BufferSize, LineBuffer, LineWriter};
use super::log_file::FileId;
pub use super::log_format::LogFormat;
use super::text_fields::write_field;

/// Libraries that log each failure of a dependency. Their errors are in Doorward's own events. A
/// filter that names them lets them log.
const SILENT: &str = "redis=off,hickory_net=off,hickory_proto=off,hickory_resolver=off";

/// The buffer of the process's event log.
static EVENTS: OnceLock<LineBuffer> = OnceLock::new();

/// Changes the filter of the process's event log.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// A subscriber whose filter can change.
struct Filtered {
    subscriber: Box<dyn Subscriber + Send + Sync>,
    set_filter: SetFilter,
}

/// Errors while setting up the event log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not valid.
    #[error("invalid log filter `{filter}`: {reason}")]
    Filter {
        /// The filter.
        filter: String,
        /// Why it is not valid.
        reason: String,
    },
    /// The process has a log already.
    #[error("the process already has a log")]
    AlreadyStarted,
    /// The writer thread cannot be created.
    #[error("cannot start the log's writer: {0}")]
    Writer(#[from] io::Error),
}

/// The event log of the process. Dropping it writes the pending events.
#[derive(Debug)]
pub struct EventLog {
    writer: Arc<LineWriter>,
}

impl EventLog {
    /// A writer of standard output. It is the one of this log if both outputs are the same pipe, file,
    /// socket or terminal.
    ///
    /// # Errors
    /// An output is closed, or the thread cannot be created.
    pub fn writer_of_stdout(&self) -> io::Result<Arc<LineWriter>> {
        let (out, err) = (io::stdout(), io::stderr());
        if let (Ok(of_stdout), Ok(of_stderr)) = (file_id(&out), file_id(&err))
            && of_stdout == of_stderr
        {
            return Ok(Arc::clone(&self.writer));
        }
        LineWriter::start("stdout", out).map(Arc::new)
    }
}

fn file_id(output: &impl AsFd) -> io::Result<FileId> {
    let file = File::from(output.as_fd().try_clone_to_owned()?);
    Ok(FileId::of(&file.metadata()?))
}

/// Logs events that pass `filter`, such as `info` or `info,doorward::oidc=debug`, to standard error.
///
/// # Errors
/// The filter is not valid, the process has a log already, or the writer thread cannot be created.
pub fn start(format: LogFormat, filter: &str) -> Result<EventLog, LogError> {
    // Its failures cannot be logged.
    let writer = Arc::new(LineWriter::start("event-log", io::stderr())?);
    let buffer = writer.buffer(BufferSize {
        // Events are rare, and are wanted at once.
        wake_at: 1,
        max: BufferSize::MAX,
    });
    let for_events = buffer.clone();
    let Filtered {
        subscriber,
        set_filter,
    } = subscriber(format, filter, move || for_events.clone())?;
    subscriber
        .try_init()
        .map_err(|_| LogError::AlreadyStarted)?;
    EVENTS.set(buffer).map_err(|_| LogError::AlreadyStarted)?;
    let set_filter = SET_FILTER.set(set_filter);
    set_filter.map_err(|_| LogError::AlreadyStarted)?;
    Ok(EventLog { writer })
}

/// From now on, logs the events of this process that pass `filter`. Does nothing without a log.
///
/// # Errors
/// The filter is not valid.
pub fn set_filter(filter: &str) -> Result<(), LogError> {
    let filter = parsed(filter)?;
    if let Some(set_filter) = SET_FILTER.get() {
        set_filter(filter);
    }
    Ok(())
}

/// How many events of this process were dropped since the last call, because standard error did not
/// take them. Each is reported once, however many callers there are.
pub fn newly_dropped_events() -> u64 {
    EVENTS.get().map_or(0, LineBuffer::newly_dropped)
}

fn parsed(filter: &str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(format!("{SILENT},{filter}"));
    parsed.map_err(|error| LogError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

fn subscriber<W>(format: LogFormat, filter: &str, writer: W) -> Result<Filtered, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Without colors, any escape sequence in the log would come from a client and gets escaped.
    let base = tracing_subscriber::fmt()
        .with_env_filter(parsed(filter)?)
        .with_writer(writer)
        // Reporting a failed write would write to standard error again, and panic if it is closed.
        .log_internal_errors(false)
        .with_ansi(false);
    // The filter outlives every call that sets it, so none fails.
    Ok(match format {
        LogFormat::Text => {
            let builder = base.fmt_fields(debug_fn(write_field));
            let builder = builder.map_event_format(TextEvents);
            let builder = builder.with_filter_reloading();
            let filter = builder.reload_handle();
            Filtered {
                subscriber: Box::new(builder.finish()),
                set_filter: Box::new(move |new| drop(filter.reload(new))),
            }
        }
        LogFormat::Json => {
            let builder = base.event_format(JsonEvents);
            let builder = builder.with_filter_reloading();
            let filter = builder.reload_handle();
            Filtered {
                subscriber: Box::new(builder.finish()),
                set_filter: Box::new(move |new| drop(filter.reload(new))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::telemetry::request_scope::{RequestTag, in_request};
    use crate::types::request_id::RequestId;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, value: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let log = subscriber(format, "info", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(log.subscriber, || tracing::info!(value, "seen"));
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_are_silent_unless_the_filter_names_them() {
        for (filter, expected) in [("info", false), ("trace", false), ("info,redis=warn", true)] {
            let sink = Sink::default();
            let writer = sink.clone();
            let log = subscriber(LogFormat::Json, filter, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(log.subscriber, || {
                tracing::warn!(target: "redis::cluster", "node lost");
            });
            let is_logged = !sink.0.lock().unwrap().is_empty();
            assert_eq!(is_logged, expected, "{filter}");
        }
    }

    #[test]
    fn values_cannot_inject_lines_or_escapes() {
        let forged = "a\n{\"message\":\"forged\"}\x1b[31m";
        let json = written(LogFormat::Json, forged);
        assert_eq!(json.lines().count(), 1, "{json}");
        let mut event: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(event["time"].take().as_str().unwrap().ends_with('Z'));
        let expected = serde_json::json!({
            "time": null, "level": "info", "event": "seen", "value": forged, "target": module_path!(),
        });
        assert_eq!(event, expected);
        let text = written(LogFormat::Text, forged);
        assert!(
            text.lines().count() == 1 && !text.contains('\x1b'),
            "{text:?}"
        );
    }

    /// A `sub` from a provider is logged by `Display`, which does not escape.
    #[test]
    fn displayed_values_cannot_inject_lines_or_fields() {
        for (value, expected) in [
            ("alice-id", " subject=alice-id"),
            ("a b", " subject=\"a b\""),
            (
                "a\n2026-11-30T00:00:00Z INFO session_started subject=root",
                " subject=\"a\\n2026-11-30T00:00:00Z INFO session_started subject=root\"",
            ),
            ("a\" app=\"admin", " subject=\"a\\\" app=\\\"admin\""),
            (
                "\"a\" app=\"admin\"",
                " subject=\"\\\"a\\\" app=\\\"admin\\\"\"",
            ),
            ("a\u{2028}b\u{85}", " subject=\"a\\u{2028}b\\u{85}\""),
            ("", " subject=\"\""),
        ] {
            let sink = Sink::default();
            let writer = sink.clone();
            let log = subscriber(LogFormat::Text, "info", move || writer.clone()).unwrap();
            tracing::subscriber::with_default(log.subscriber, || {
                tracing::info!(subject = %value, "seen");
            });
            let bytes = sink.0.lock().unwrap().clone();
            let text = String::from_utf8(bytes).unwrap();
            assert!(
                text.ends_with(&format!("seen{expected}\n")) && text.lines().count() == 1,
                "{text:?}"
            );
        }
    }

    #[test]
    fn values_keep_their_types() {
        let sink = Sink::default();
        let writer = sink.clone();
        let log = subscriber(LogFormat::Json, "info", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(log.subscriber, || {
            let (count, ahead, durable) = (7_u64, -3_i64, true);
            let (absent, present) = (None::<&str>, Some("x"));
            tracing::warn!(count, ahead, durable, absent, present, "seen");
        });
        let bytes = sink.0.lock().unwrap().clone();
        let event: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let expected =
            serde_json::json!({"count": 7, "ahead": -3, "durable": true, "present": "x"});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&event[name], value, "{name}");
        }
        assert_eq!(
            (&event["level"], event.get("absent")),
            (&"warn".into(), None)
        );
    }

    #[test]
    fn output_is_told_from_another() {
        let output = tempfile::tempfile().unwrap();
        let another = tempfile::tempfile().unwrap();
        assert_eq!(
            file_id(&output).unwrap(),
            file_id(&output.try_clone().unwrap()).unwrap()
        );
        assert_ne!(file_id(&output).unwrap(), file_id(&another).unwrap());
    }

    #[tokio::test]
    async fn events_of_a_request_name_it() {
        let tag = RequestTag {
            id: RequestId::new(7),
            client: Some("203.0.113.7".parse().unwrap()),
            trace: None,
        };
        let json = in_request(Some(tag), None, async { written(LogFormat::Json, "x") }).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["request_id"], "0000000000000007");
        assert_eq!(
            (&json["client_ip"], &json["value"]),
            (&"203.0.113.7".into(), &"x".into())
        );
        let text = in_request(Some(tag), None, async { written(LogFormat::Text, "x") }).await;
        let end = " value=\"x\" request_id=0000000000000007 client_ip=203.0.113.7\n";
        assert!(text.ends_with(end), "{text}");
        assert!(!written(LogFormat::Text, "x").contains("request_id"));
    }

    #[test]
    fn invalid_filter_is_named_in_the_error() {
        let error = subscriber(LogFormat::Text, "a=b=c", io::sink)
            .err()
            .unwrap();
        assert!(error.to_string().contains("`a=b=c`"), "{error}");
    }
}
