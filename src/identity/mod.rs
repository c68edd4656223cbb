//! Pure: verified claims, identity headers, credentials, authentication requirements, login links,
//! return targets and post identifiers.

pub mod authentication;
pub mod claims;
pub mod credentials;
pub mod header_edits;
#[expect(
    clippy::module_inception,
    reason = "the folder holds what the identity consists of"
)]
pub mod identity;
pub mod kept_claims;
pub mod login_link;
pub mod post_id;
pub mod return_to;
