//! What the provider was asked, kept for assertions.

use super::behaviour::Endpoint;

/// Everything so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) visits: Vec<Visit>,
    pub(super) presented: Vec<PresentedSession>,
    pub(super) revoked: Vec<String>,
    pub(super) secrets: Vec<String>,
    pub(super) forms_shown: usize,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Visit {
    pub endpoint: Endpoint,
    pub method: String,
    /// Of the query, then of the form body.
    pub parameters: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
}

/// A refresh token as it was presented at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedSession {
    pub token: String,
    pub client_id: String,
    pub standing: SessionStatus,
}

/// What a refresh token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    Live,
    /// It was exchanged for a successor.
    Consumed,
    /// It, or all of its login, was revoked.
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
