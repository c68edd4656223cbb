//! PURE: verified claims, identity headers, credentials, return targets.

pub mod claims;
pub mod credentials;
pub mod identity;
pub mod return_to;
