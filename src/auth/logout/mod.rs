//! Logout: RP-initiated, front-channel, back-channel, and FusionAuth webhooks.

pub mod back_channel;
pub mod front_channel;
pub mod rp_initiated;
pub mod webhook;
