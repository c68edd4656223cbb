//! The authorization code flow (RFC 6749 section 4.1): start, callback, login loop detection, user switch.

pub mod callback;
pub(in crate::auth) mod loop_guard;
pub mod start;
pub(in crate::auth) mod user_switch;
