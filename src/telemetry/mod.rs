//! Observability: access log, audit log, event log, metrics, readiness.

pub mod access;
pub mod app_metrics;
pub mod audit;
pub mod caller_names;
pub mod certificates;
mod entry;
pub mod entry_log;
mod event_format;
mod exemplars;
pub mod health;
mod initial_series;
pub mod line_writer;
pub mod log;
mod log_file;
mod log_format;
pub mod metrics;
pub mod open_metrics;
pub mod request_scope;
pub mod spans;
pub mod syslog;
#[cfg(test)]
mod testing;
mod text_fields;
