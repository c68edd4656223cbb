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
        LogoutHint::Client {
            client_id,
            logout_hint,
        } => {
            let hint = logout_hint.map(|hint| ("logout_hint", hint));
            [("client_id", client_id.as_str())]
                .into_iter()
                .chain(hint)
                .collect()
        }
    };
    ours.extend(
        request
            .return_to
            .map(|url| ("post_logout_redirect_uri", url.as_str())),
    );
    ours.extend(request.state.map(|state| ("state", state)));
    with_parameters(endpoint, &ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_named_by_token_or_by_client() {
        let endpoint = Url::parse("https://login.example.com/end?tenant=1").unwrap();
        let back = Url::parse("https://store.example.com/.doorward/signed-out").unwrap();
        let (token, client_id) = (IdToken::new("a.b.c"), ClientId::new("store"));
        let hint = LogoutHint::IdToken(&token);
        let url = end_session_url(
            &endpoint,
            LogoutRequest {
                hint,
                return_to: Some(&back),
                state: Some("s"),
            },
        );
        assert_eq!(
            url.as_str(),
            "https://login.example.com/end?tenant=1&id_token_hint=a.b.c\
             &post_logout_redirect_uri=https%3A%2F%2Fstore.example.com%2F.doorward%2Fsigned-out&state=s"
        );
        let hint = LogoutHint::Client {
            client_id: &client_id,
            logout_hint: Some("sid 1"),
        };
        let url = end_session_url(
            &endpoint,
            LogoutRequest {
                hint,
                return_to: None,
                state: None,
            },
        );
        assert_eq!(
            url.query(),
            Some("tenant=1&client_id=store&logout_hint=sid+1")
        );
    }
}
