//! Token refresh: single-flight, the exchange with the provider, rotation state, leases, and the
//! revocation of a session with its refresh token.

pub(in crate::auth) mod exchange;
pub(in crate::auth) mod generations;
pub(in crate::auth) mod grant_error;
pub(in crate::auth) mod identity;
pub(in crate::auth) mod lease;
pub(in crate::auth) mod outcome;
pub mod restore;
pub(in crate::auth) mod result_writer;
pub(in crate::auth) mod revoke;
pub(in crate::auth) mod rotation;
mod rotation_record;
pub(in crate::auth) mod rotations;
pub(in crate::auth) mod single_flight;
pub(in crate::auth) mod successors;
pub(in crate::auth) mod tokens;

pub use outcome::Refreshed;
pub use single_flight::RefreshHandle;
