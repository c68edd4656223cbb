//! Assertions: what the signed assertion about a request's user has, and for whom it is.

use std::time::Duration;

/// The claims that Doorward sets itself.
pub const OWN_CLAIMS: [&str; 9] = [
    "iss",
    "aud",
    "sub",
    "client_id",
    "iat",
    "nbf",
    "exp",
    "htm",
    "target_hash",
];

/// The assertions of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionPolicy {
    /// The `aud`.
    pub audience: String,
    /// The names of the user's claims that are copied.
    pub claims: Vec<String>,
    /// How long an assertion is valid.
    pub lifetime: Duration,
    /// Whether an assertion names the method and a hash of the target, and so belongs to one request.
    pub binds_request: bool,
}
