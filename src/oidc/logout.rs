//! The address that a browser is sent to for ending the provider's own session (OpenID Connect RP-Initiated
//! Logout 1.0 section 2). PURE.

use url::Url;

use super::authorize::with_parameters;
use crate::types::oauth::{ClientId, IdToken};

/// How the provider learns whose session is to end.
#[derive(Clone, Copy, Debug)]
pub enum LogoutHint<'h> {
    /// `id_token_hint`; may have expired.
    IdToken(&'h IdToken),
    /// Without an ID token at hand: `client_id`, and `logout_hint` if something is known.
    Client {
        /// The app's registration.
        client_id: &'h ClientId,
        /// `logout_hint`, such as `sid` or a login name, as the provider wants it.
        logout_hint: Option<&'h str>,
    },
}

/// What to ask of `end_session_endpoint`.
#[derive(Clone, Copy, Debug)]
pub struct LogoutRequest<'r> {
    /// Whose session.
    pub hint: LogoutHint<'r>,
    /// `post_logout_redirect_uri`, as registered; without it the browser stays with the provider.
    pub return_to: Option<&'r Url>,
    /// `state`, which comes back with the browser.
    pub state: Option<&'r str>,
}

/// The address for one logout.
pub fn end_session_url(endpoint: &Url, request: LogoutRequest<'_>) -> Url {
    let mut ours = match request.hint {
        LogoutHint::IdToken(token) => vec![("id_token_hint", token.expose())],
        LogoutHint::Client { client_id, logout_hint } => {
            let hint = logout_hint.map(|hint| ("logout_hint", hint));
            [("client_id", client_id.as_str())].into_iter().chain(hint).collect()
        }
    };
    ours.extend(request.return_to.map(|url| ("post_logout_redirect_uri", url.as_str())));
    ours.extend(request.state.map(|state| ("state", state)));
    with_parameters(endpoint, &ours)
}
