//! PURE: verified claims, identity headers, credentials, return targets.

pub mod claims;
pub mod credentials;
pub mod identity;
pub mod post_id;
pub mod return_to;
