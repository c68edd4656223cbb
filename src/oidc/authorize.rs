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
    /// More parameters for this attempt (`prompt`, `login_hint`); they win over the app's `extra_authorization_params`.
    pub extra: &'r [(&'r str, &'r str)],
}

/// Whether a parameter of the authorize endpoint is Doorward's own, so that no setting can change it.
pub fn is_reserved(parameter: &str) -> bool {
    RESERVED.contains(&parameter)
}

/// The address for one login attempt. A query that the endpoint brings along is kept (RFC 6749 section 3.1).
pub fn authorize_url(
    endpoint: &Url,
    client: &ClientSettings,
    request: AuthorizeRequest<'_>,
) -> Url {
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
    let extra = || {
        request
            .extra
            .iter()
            .copied()
            .filter(|(name, _)| !is_reserved(name))
    };
    let configured = client
        .extra_authorization_params
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let configured = configured
        .filter(|(name, _)| !is_reserved(name) && extra().all(|(other, _)| other != *name));
    let ours: Vec<(&str, &str)> = own.into_iter().chain(configured).chain(extra()).collect();
    with_parameters(endpoint, &ours)
}

/// `endpoint` with `ours` in its query. What it has of the same names goes: each comes once only.
pub(super) fn with_parameters(endpoint: &Url, ours: &[(&str, &str)]) -> Url {
    let theirs = endpoint
        .query_pairs()
        .filter(|(name, _)| ours.iter().all(|(own, _)| own != name));
    let mut url = endpoint.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(theirs)
        .extend_pairs(ours);
    url
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::oidc::settings::ClientAuth;
    use crate::types::oauth::ClientId;

    fn client() -> ClientSettings {
        let redirect_uri = Url::parse("https://store.example.com/.doorward/callback").unwrap();
        let mut client =
            ClientSettings::new(ClientId::new("st&re"), ClientAuth::None, redirect_uri);
        client.scopes = vec![String::from("openid"), String::from("email")];
        client
    }

    fn query(
        endpoint: &str,
        client: &ClientSettings,
        extra: &[(&str, &str)],
    ) -> BTreeMap<String, String> {
        let (state, nonce) = (State::new("s s"), Nonce::new("n"));
        let request = AuthorizeRequest {
            state: &state,
            nonce: &nonce,
            code_challenge: "c",
            extra,
        };
        let url = authorize_url(&Url::parse(endpoint).unwrap(), client, request);
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let map: BTreeMap<String, String> = pairs.iter().cloned().collect();
        assert_eq!(pairs.len(), map.len(), "no parameter comes twice: {url}");
        map
    }

    #[test]
    fn all_that_a_login_needs_is_there_and_encoded() {
        let found = query("https://login.example.com/authorize", &client(), &[]);
        let expected = [
            ("client_id", "st&re"),
            ("code_challenge", "c"),
            ("code_challenge_method", "S256"),
            ("nonce", "n"),
            (
                "redirect_uri",
                "https://store.example.com/.doorward/callback",
            ),
            ("response_type", "code"),
            ("scope", "openid email"),
            ("state", "s s"),
        ];
        assert!(
            found
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .eq(expected)
        );
    }

    #[test]
    fn settings_add_parameters_and_override_none_of_ours() {
        let mut client = client();
        for (name, value) in [
            ("prompt", "consent"),
            ("access_type", "offline"),
            ("state", "mine"),
            ("code_challenge_method", "plain"),
        ] {
            client
                .extra_authorization_params
                .push((name.to_owned(), value.to_owned()));
        }
        let extra = [
            ("prompt", "login"),
            ("redirect_uri", "https://evil.example"),
        ];
        let found = query(
            "https://login.example.com/a?tenant=7&client_id=other&prompt=none",
            &client,
            &extra,
        );
        assert_eq!(
            (found["tenant"].as_str(), found["client_id"].as_str()),
            ("7", "st&re")
        );
        assert_eq!(
            (found["prompt"].as_str(), found["access_type"].as_str()),
            ("login", "offline")
        );
        assert_eq!(
            (
                found["state"].as_str(),
                found["code_challenge_method"].as_str()
            ),
            ("s s", "S256")
        );
        assert_eq!(
            found["redirect_uri"],
            "https://store.example.com/.doorward/callback"
        );
    }
}
