//! What has to be remembered between requests: who redeems a login attempt, what a refresh yielded, which
//! sessions were ended. Coordination only: everything secret in here is sealed by the floor above.

pub mod memory;
pub mod revocations;

pub use memory::{Memory, StoreFull};
pub use revocations::{Ended, Revocations, RevokedSet, Whose};
