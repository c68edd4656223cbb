//! Logout request URL (OpenID Connect RP-Initiated Logout 1.0 section 2). PURE.

use url::Url;

use super::authorize::with_parameters;
use crate::types::oauth::{ClientId, IdToken};

/// How the provider identifies the session to end.
#[derive(Clone, Copy, Debug)]
pub enum LogoutHint<'h> {
    /// `id_token_hint`; the token may have expired.
    IdToken(&'h IdToken),
    /// Without an ID token: `client_id` and an optional `logout_hint`.
    Client {
        /// The app's registration.
        client_id: &'h ClientId,
        /// `logout_hint`, such as `sid` or a login name.
        logout_hint: Option<&'h str>,
    },
}

/// A request to `end_session_endpoint`.
#[derive(Clone, Copy, Debug)]
pub struct LogoutRequest<'r> {
    /// The session to end.
    pub hint: LogoutHint<'r>,
    /// `post_logout_redirect_uri`, as registered. Without it the browser stays at the provider.
    pub return_to: Option<&'r Url>,
    /// `state`, which the provider returns.
    pub state: Option<&'r str>,
}

/// The URL for one logout.
pub fn end_session_url(endpoint: &Url, request: LogoutRequest<'_>) -> Url {
    let mut parameters = match request.hint {
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
    parameters.extend(
        request
            .return_to
            .map(|url| ("post_logout_redirect_uri", url.as_str())),
    );
    parameters.extend(request.state.map(|state| ("state", state)));
    with_parameters(endpoint, &parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_session_url_identifies_session_by_token_or_client() {
        let endpoint = Url::parse("https://login.example.com/end?tenant=1").unwrap();
        let back = Url::parse("https://store.example.com/.doorward/signed-out").unwrap();
        let token = IdToken::new("a.b.c");
        let client_id = ClientId::new("store");
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
