//! Observability: access log, event log, metrics, readiness.

pub mod access;
pub mod certificates;
pub mod health;
pub mod line_writer;
pub mod log;
pub mod metrics;
pub mod request_scope;
mod text_fields;
