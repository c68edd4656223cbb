//! Probes: requests that show whether the provider accepts a client, without a login. An
//! authorization request with `prompt=none` whose response is not followed, and the exchange of a
//! code that the provider never issued.

use url::Url;

use super::Provider;
use crate::identity::login_link::LoginParameters;
use crate::oidc::authorize::{AuthorizeRequest, authorize_url};
use crate::oidc::callback::{
    AuthorizationError, Callback, CallbackError, Outcome, signed_response,
};
use crate::oidc::client::ClientSettings;
use crate::oidc::error::{Endpoint, ProviderError, displayed_url};
use crate::oidc::http::ProviderResponse;
use crate::oidc::token::{TokenError, TokenResponse};
use crate::types::oauth::{AuthorizationCode, Nonce, PkceVerifier, State};

/// The code, `state` and `nonce` of probes. Nothing is protected by them, since no response is used.
const PROBE: &str = "doorward-check";

/// The response to an authorization request without a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationProbe {
    /// It leads back to the app, so the provider accepts client and redirect URI. With an `error`
    /// unless the provider knows the user without cookies.
    Returned {
        /// `error`.
        error: Option<String>,
        /// `error_description`.
        description: Option<String>,
    },
    /// It leads back to the app, but no login would accept it.
    Invalid(CallbackError),
    /// It leads to another page, such as a login form. See [`displayed_url`].
    Redirected(String),
    /// It is a page.
    Page {
        /// The HTTP status.
        status: u16,
        /// The rejected parameter, by the text of the page.
        rejected: Option<Rejected>,
    },
}

/// A parameter that an error page of a provider rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// `redirect_uri`.
    RedirectUri,
    /// `client_id`.
    Client,
}

impl Provider {
    /// Sends an authorization request without a user, as a browser without cookies does.
    ///
    /// # Errors
    /// There are no metadata, or no complete response.
    pub async fn probe_authorization(
        &self,
        client: &ClientSettings,
    ) -> Result<AuthorizationProbe, ProviderError> {
        let metadata = self.metadata().await?;
        let mut extra = self.settings.dialect.parameters();
        extra.push(("prompt", "none"));
        let request = AuthorizeRequest {
            state: &State::new(PROBE),
            nonce: &Nonce::new(PROBE),
            code_challenge: &verifier().challenge_s256(),
            parameters: &LoginParameters::default(),
            extra: &extra,
        };
        let url = authorize_url(&metadata.authorization_endpoint, client, request);
        let mut url = self.sign_authorization(client, &metadata, url)?;
        let is_required = metadata.require_pushed_authorization_requests;
        if client.pushed_authorization.applies(is_required) {
            url = self.push_authorization(client, &url).await?;
        }
        let url = self.settings.endpoints.for_servers(&url);
        let response = self.http.get_page(Endpoint::Authorization, &url).await?;
        let query = match returned_query(&response, &url, &client.redirect_uri) {
            Ok(query) => query,
            Err(other) => return Ok(other),
        };
        let callback = match signed_response(&query) {
            Ok(Some(token)) => self.verify_authorization_response(&token).await,
            Ok(None) => {
                let is_required = self.requires_iss(&metadata);
                Callback::parse(&query, &self.settings.issuer, is_required)
            }
            Err(error) => Err(error),
        };
        Ok(AuthorizationProbe::of(
            callback.and_then(|callback| callback.outcome(client)),
        ))
    }

    /// Tries to exchange a code that the provider never issued. It rejects the grant if it accepts
    /// the client.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn probe_code_exchange(
        &self,
        client: &ClientSettings,
    ) -> Result<TokenResponse, TokenError> {
        self.exchange_code(client, AuthorizationCode::new(PROBE), verifier())
            .await
    }

    /// The version of a FusionAuth, as far as its API key may read it.
    ///
    /// # Errors
    /// The request failed.
    pub async fn fusionauth_version(&self) -> Result<Option<String>, ProviderError> {
        let Some(fusionauth) = self.settings.dialect.fusionauth() else {
            return Ok(None);
        };
        let metadata = self.metadata().await?;
        let timeout = self.settings.request_timeout;
        fusionauth.version(&self.http, &metadata, timeout).await
    }
}

/// A fixed verifier, because the challenge protects no login.
fn verifier() -> PkceVerifier {
    PkceVerifier::from_entropy([7; 32])
}

impl AuthorizationProbe {
    fn of(outcome: Result<Outcome, CallbackError>) -> Self {
        match outcome {
            Err(error) => Self::Invalid(error),
            Ok(Outcome::Code(_)) => Self::Returned {
                error: None,
                description: None,
            },
            Ok(Outcome::Refused(AuthorizationError {
                error, description, ..
            })) => Self::Returned {
                error: Some(error),
                description,
            },
        }
    }
}

/// The query of a redirect to the app, or another response of the provider.
fn returned_query(
    response: &ProviderResponse,
    requested: &Url,
    redirect_uri: &Url,
) -> Result<String, AuthorizationProbe> {
    let location = response
        .location
        .as_ref()
        .filter(|_| (300..400).contains(&response.status));
    let Some(location) = location.and_then(|location| requested.join(location).ok()) else {
        let page = String::from_utf8_lossy(&response.body);
        return Err(AuthorizationProbe::Page {
            status: response.status,
            rejected: rejection(&page, response.status),
        });
    };
    if without_query(&location) != without_query(redirect_uri) {
        return Err(AuthorizationProbe::Redirected(displayed_url(&location)));
    }
    Ok(location.query().unwrap_or_default().to_owned())
}

fn without_query(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// The subjects of error pages, by the terms that pages of providers contain. Login pages have some
/// of them too, in their forms. Entra ID shows errors with any status, but with a code.
fn rejection(page: &str, status: u16) -> Option<Rejected> {
    const REDIRECT_URI: [&str; 3] = ["redirect_uri", "redirect uri", "redirect url"];
    const CLIENT: [&str; 5] = [
        "client_id",
        "invalid_client",
        "unknown client",
        "client not found",
        "client is invalid",
    ];
    let page = page.to_lowercase();
    if page.contains("aadsts50011") {
        return Some(Rejected::RedirectUri);
    }
    if page.contains("aadsts700016") {
        return Some(Rejected::Client);
    }
    let names = |terms: &[&str]| status >= 400 && terms.iter().any(|term| page.contains(term));
    match (names(&REDIRECT_URI), names(&CLIENT)) {
        (true, false) => Some(Rejected::RedirectUri),
        (false, true) => Some(Rejected::Client),
        (true, true) | (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::oidc::ClientAuth;
    use crate::types::oauth::{ClientId, Issuer};

    const REDIRECT_URI: &str = "https://store.example.com/.doorward/callback";

    fn probe(status: u16, location: &str, body: &str) -> AuthorizationProbe {
        let response = ProviderResponse {
            endpoint: Endpoint::Authorization,
            url: String::new(),
            status,
            retry_after: None,
            location: Some(location.to_owned()).filter(|location| !location.is_empty()),
            etag: None,
            dpop_nonce: None,
            challenge: None,
            body: Zeroizing::new(body.as_bytes().to_vec()),
        };
        let url = |text| Url::parse(text).unwrap();
        let requested = url("https://login.example.com/authorize?client_id=store");
        let client =
            ClientSettings::new(ClientId::new("store"), ClientAuth::None, url(REDIRECT_URI));
        match returned_query(&response, &requested, &client.redirect_uri) {
            Err(other) => other,
            Ok(query) => {
                let issuer = Issuer::new("https://login.example.com");
                let callback = Callback::parse(&query, &issuer, true);
                AuthorizationProbe::of(callback.and_then(|callback| callback.outcome(&client)))
            }
        }
    }

    fn returned(error: Option<&str>) -> AuthorizationProbe {
        AuthorizationProbe::Returned {
            error: error.map(str::to_owned),
            description: None,
        }
    }

    #[test]
    fn redirects_to_the_app_carry_the_result() {
        const ISS: &str = "iss=https%3A%2F%2Flogin.example.com";
        for (query, expected) in [
            (
                format!("error=login_required&state=s&{ISS}"),
                returned(Some("login_required")),
            ),
            (format!("code=c&state=s&{ISS}"), returned(None)),
            (
                "error=login_required&state=s".to_owned(),
                AuthorizationProbe::Invalid(CallbackError::NoIssuer),
            ),
            (
                "error=login_required&state=s&iss=x".to_owned(),
                AuthorizationProbe::Invalid(CallbackError::IssuerMismatch),
            ),
        ] {
            let location = format!("{REDIRECT_URI}?{query}");
            assert_eq!(probe(302, &location, ""), expected, "{query}");
        }
    }

    #[test]
    fn other_redirects_and_pages_are_told_apart() {
        let elsewhere = |url: &str| AuthorizationProbe::Redirected(url.to_owned());
        let page = |status, rejected| AuthorizationProbe::Page { status, rejected };
        for (status, location, body, expected) in [
            (
                303,
                "/login?secret=1",
                "",
                elsewhere("https://login.example.com/login"),
            ),
            (
                302,
                "https://store.example.com/.doorward/callback/?error=login_required",
                "",
                elsewhere("https://store.example.com/.doorward/callback/"),
            ),
            (
                302,
                "http://store.example.com/.doorward/callback?error=login_required",
                "",
                elsewhere("http://store.example.com/.doorward/callback"),
            ),
            (
                200,
                "https://ignored.example",
                "<input name=redirect_uri>",
                page(200, None),
            ),
            (
                200,
                "",
                "AADSTS50011: The redirect URI …",
                page(200, Some(Rejected::RedirectUri)),
            ),
            (
                400,
                "",
                "redirect_uri did not match",
                page(400, Some(Rejected::RedirectUri)),
            ),
            (400, "", "Unknown client or redirect_uri", page(400, None)),
            (
                400,
                "",
                "Client not found.",
                page(400, Some(Rejected::Client)),
            ),
            (302, "", "", page(302, None)),
        ] {
            assert_eq!(probe(status, location, body), expected, "{location} {body}");
        }
    }
}
