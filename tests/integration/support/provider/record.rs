//! The calls that the provider received, for assertions.

use super::behaviour::Endpoint;

/// All calls so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) visits: Vec<Visit>,
    pub(super) presented: Vec<PresentedToken>,
    pub(super) revoked: Vec<String>,
    pub(super) secrets: Vec<String>,
    pub(super) forms_shown: usize,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Visit {
    pub endpoint: Endpoint,
    pub method: String,
    /// Parameters of the query, then of the form body.
    pub parameters: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
}

/// A refresh token presented at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedToken {
    pub token: String,
    pub client_id: String,
    pub status: TokenStatus,
}

/// The status of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    Live,
    /// It was exchanged for a successor.
    Consumed,
    /// The token or its grant was revoked.
    Revoked,
    Unknown,
}

impl Visit {
    /// The first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}
