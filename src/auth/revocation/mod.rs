//! Revocations: their replication among replicas, and the revocation command of an operator.

pub mod command;
mod event_log;
mod limit;
pub mod publication;
mod recovery;
pub mod replication;
mod sync;
