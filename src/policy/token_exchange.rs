//! Token exchange: for which audience the token of a user is exchanged before the app gets it.

/// The token exchange of one app (RFC 8693).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenExchangePolicy {
    /// The `audience`.
    pub audience: String,
    /// The `scope`, if it is sent: values separated by spaces.
    pub scope: Option<String>,
    /// The maximum number of tokens that are remembered.
    pub max_entries: usize,
}
