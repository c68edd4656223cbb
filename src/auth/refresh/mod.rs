//! Token refresh: single-flight, the exchange with the provider, rotation state, leases.

pub(in crate::auth) mod exchange;
pub(in crate::auth) mod lease;
pub(in crate::auth) mod rotation;
pub mod single_flight;
pub(in crate::auth) mod tokens;
