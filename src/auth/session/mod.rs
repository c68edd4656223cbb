//! Browser sessions: authentication by cookie, cookie writing, key rotation, outage grace.

pub mod authenticate;
pub mod cookies;
pub(in crate::auth) mod key_rotation;
pub(in crate::auth) mod outage_grace;
