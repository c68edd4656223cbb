//! The address that a browser is sent to for a login (RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core
//! section 3.1.2.1). PURE.

use url::Url;

use super::settings::ClientSettings;
use crate::types::oauth::{Nonce, State};

/// Parameters that belong to one login attempt and to nobody's configuration.
const RESERVED: [&str; 12] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// What one login attempt adds to the app's settings.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizeRequest<'r> {
    /// `state`.
    pub state: &'r State,
    /// `nonce`.
    pub nonce: &'r Nonce,
    /// `code_challenge`, by the method S256.
    pub code_challenge: &'r str,
    /// More parameters for this attempt (`prompt`, `login_hint`); they win over the app's `authorize_params`.
    pub extra: &'r [(&'r str, &'r str)],
}

/// Whether a parameter of the authorize endpoint is Doorward's own, so that no setting can change it.
pub fn is_reserved(parameter: &str) -> bool {
    RESERVED.contains(&parameter)
}

/// The address for one login attempt. A query that the endpoint brings along is kept (RFC 6749 section 3.1).
pub fn authorize_url(endpoint: &Url, client: &ClientSettings, request: AuthorizeRequest<'_>) -> Url {
    let scope = client.scopes.join(" ");
    let own = [
        ("response_type", "code"),
        ("client_id", client.client_id.as_str()),
        ("redirect_uri", client.redirect_uri.as_str()),
        ("scope", scope.as_str()),
        ("state", request.state.expose()),
        ("nonce", request.nonce.as_str()),
        ("code_challenge", request.code_challenge),
        ("code_challenge_method", "S256"),
    ];
    let extra = || request.extra.iter().copied().filter(|(name, _)| !is_reserved(name));
    let configured = client.authorize_params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let configured = configured.filter(|(name, _)| !is_reserved(name) && extra().all(|(other, _)| other != *name));
    let ours: Vec<(&str, &str)> = own.into_iter().chain(configured).chain(extra()).collect();
    with_parameters(endpoint, &ours)
}

/// `endpoint` with `ours` in its query. What it has of the same names goes: each comes once only.
pub(super) fn with_parameters(endpoint: &Url, ours: &[(&str, &str)]) -> Url {
    let theirs = endpoint.query_pairs().filter(|(name, _)| ours.iter().all(|(own, _)| own != name));
    let mut url = endpoint.clone();
    url.query_pairs_mut().clear().extend_pairs(theirs).extend_pairs(ours);
    url
}
