//! Revocations: their replication among replicas, and the revocation command of an operator.

pub mod command;
pub mod replication;
