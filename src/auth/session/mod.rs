//! Browser sessions: authentication by cookie, cookie writing, key rotation, outage grace.

pub mod authenticate;
pub mod authentication;
pub mod cache;
pub(in crate::auth) mod client_continuity;
pub mod cookies;
pub(in crate::auth) mod device_gate;
pub(in crate::auth) mod key_rotation;
pub mod open;
pub(in crate::auth) mod outage_grace;
pub(in crate::auth) mod recorded_changes;
pub(in crate::auth) mod seen_proofs;
pub(in crate::auth) mod stream;
pub mod writer;
