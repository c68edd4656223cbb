//! Pure: verified claims, identity headers, credentials, return targets and post identifiers.

pub mod claims;
pub mod credentials;
pub mod identity;
pub mod post_id;
pub mod return_to;
