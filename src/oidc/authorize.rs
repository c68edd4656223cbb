//! Authorization request URL (RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core section
//! 3.1.2.1). PURE.

use url::Url;

use super::client::ClientSettings;
use crate::identity::login_link::LoginParameters;
use crate::types::oauth::{Nonce, State};

/// Parameters that the configuration must not set.
const RESERVED: [&str; 13] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// The parameters of one login attempt.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizeRequest<'r> {
    /// `state`.
    pub state: &'r State,
    /// `nonce`.
    pub nonce: &'r Nonce,
    /// `code_challenge`, with method S256.
    pub code_challenge: &'r str,
    /// The parameters of this login. They override the app's `extra_authorization_params`.
    pub parameters: &'r LoginParameters,
    /// Extra parameters of the provider. They override all others.
    pub extra: &'r [(&'r str, &'r str)],
}

/// Whether Doorward sets this parameter, so that no setting can change it.
pub fn is_reserved(parameter: &str) -> bool {
    RESERVED.contains(&parameter)
}

/// The URL for one login attempt. The endpoint's own query is kept (RFC 6749 section 3.1).
pub fn authorize_url(
    endpoint: &Url,
    client: &ClientSettings,
    request: AuthorizeRequest<'_>,
) -> Url {
    let scope = client.scopes.join(" ");
    let required = [
        ("response_type", "code"),
        ("client_id", client.client_id.as_str()),
        ("redirect_uri", client.redirect_uri.as_str()),
        ("scope", scope.as_str()),
        ("state", request.state.expose()),
        ("nonce", request.nonce.as_str()),
        ("code_challenge", request.code_challenge),
        ("code_challenge_method", "S256"),
    ];
    let response_mode = client.response_mode.parameter();
    let response_mode = response_mode.map(|mode| ("response_mode", mode));
    let dpop_jkt = client.dpop_keys.as_ref();
    let dpop_jkt = dpop_jkt.map(|keys| ("dpop_jkt", keys.current().thumbprint().as_str()));
    let of_login = client.login_parameters(request.parameters).pairs();
    let of_login = of_login.iter().map(|(name, value)| (*name, value.as_str()));
    let of_provider = request.extra.iter().copied();
    let mut extra: Vec<(&str, &str)> = of_login.chain(of_provider).collect();
    extra.retain(|(name, _)| !is_reserved(name));
    let configured = client
        .extra_authorization_params
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let configured = configured
        .filter(|(name, _)| !is_reserved(name) && extra.iter().all(|(other, _)| other != name));
    let parameters: Vec<(&str, &str)> = required
        .into_iter()
        .chain(response_mode)
        .chain(dpop_jkt)
        .chain(client.resource_parameters())
        .chain(configured)
        .chain(extra.iter().copied())
        .collect();
    with_parameters(endpoint, &parameters)
}

/// Adds `parameters` to the endpoint's query, replacing those of the same names.
pub(super) fn with_parameters(endpoint: &Url, parameters: &[(&str, &str)]) -> Url {
    let kept = endpoint
        .query_pairs()
        .filter(|(name, _)| parameters.iter().all(|(other, _)| other != name));
    let mut url = endpoint.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .extend_pairs(parameters);
    url
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::oidc::ClientAuth;
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
        let state = State::new("s s");
        let nonce = Nonce::new("n");
        let request = AuthorizeRequest {
            state: &state,
            nonce: &nonce,
            code_challenge: "c",
            parameters: &LoginParameters::default(),
            extra,
        };
        let url = authorize_url(&Url::parse(endpoint).unwrap(), client, request);
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let map: BTreeMap<String, String> = pairs.iter().cloned().collect();
        assert_eq!(pairs.len(), map.len(), "no parameter comes twice: {url}");
        map
    }

    #[test]
    fn authorize_url_has_all_parameters_encoded() {
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
    fn authorize_url_ignores_reserved_extra_parameters() {
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
