//! Logout and revocation: RP-initiated, back-channel, front-channel, webhooks, the revocation command,
//! and the replication of revocations to other replicas.

pub mod back_channel;
pub mod command;
pub mod front_channel;
pub mod replication;
pub mod rp_initiated;
pub mod webhook;
