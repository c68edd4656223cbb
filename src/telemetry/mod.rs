//! What an operator sees from outside: access lines, events, numbers, readiness.

pub mod access;
pub mod health;
pub mod log;
pub mod metrics;
