//! PURE: verified claims, identity headers, credentials, return targets.

pub mod claims;
pub mod credentials;
#[expect(clippy::module_inception, reason = "it defines `Identity`")]
pub mod identity;
pub mod post_id;
pub mod return_to;
