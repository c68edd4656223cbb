//! The authorization code flow (RFC 6749), performed by a test instead of Doorward.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::types::time::SystemClock;
use serde_json::Value;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::support::browser::{Browser, Kind, Page, RequestSpec};

/// An OAuth client of a provider.
pub(super) struct Flow {
    pub(super) authorize: String,
    pub(super) token: String,
    pub(super) client_id: &'static str,
    pub(super) secret: String,
    pub(super) redirect_uri: String,
}

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-1234";

impl Flow {
    /// The authorization URL.
    pub(super) fn authorize_url(&self) -> String {
        let challenge =
            URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()));
        let mut url = Url::parse(&self.authorize).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid email profile groups"),
            ("state", "the-state"),
            ("nonce", "the-nonce"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        url.to_string()
    }

    /// Exchanges an authorization code.
    pub(super) async fn exchange(&self, code: &str) -> Page {
        let redirect_uri = self.redirect_uri.as_str();
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
        ];
        self.call(&[&parameters[..], &[("code_verifier", VERIFIER)]].concat())
            .await
    }

    /// Refreshes the tokens.
    pub(super) async fn refresh(&self, refresh_token: &str) -> Page {
        self.call(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ])
        .await
    }

    /// Calls the token endpoint as this client.
    pub(super) async fn call(&self, parameters: &[(&str, &str)]) -> Page {
        Browser::new(Arc::new(SystemClock))
            .send(self.request(&self.token, parameters))
            .await
    }

    /// Sends a form request to `url` as this client.
    pub(super) fn request(&self, url: &str, parameters: &[(&str, &str)]) -> RequestSpec {
        let body = Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let basic = base64::engine::general_purpose::STANDARD
            .encode(format!("{}:{}", self.client_id, self.secret));
        let request = RequestSpec::new(Kind::Program, url)
            .method("POST")
            .header("Authorization", &format!("Basic {basic}"));
        request.body("application/x-www-form-urlencoded", body)
    }
}

/// A parameter of the callback URL in a redirect.
pub(super) fn parameter(url: &str, name: &str) -> Option<String> {
    Url::parse(url)
        .unwrap()
        .query_pairs()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

/// The claims of a JWT, without verification.
pub(super) fn claims(jwt: &Value) -> Value {
    part(jwt, 1)
}

/// The header of a JWT.
pub(super) fn header(jwt: &Value) -> Value {
    part(jwt, 0)
}

fn part(jwt: &Value, index: usize) -> Value {
    let encoded = jwt.as_str().unwrap().split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}
