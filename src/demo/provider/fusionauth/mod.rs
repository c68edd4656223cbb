//! An EMULATION of FusionAuth's dialect, written from its documentation and never compared with a running server: so
//! that the demonstration shows it, and tests walk the workflow in it. Where the documentation leaves something open,
//! one answer was chosen here, which nobody should rely on:
//!
//! - a refresh token that is not good is 400 `invalid_grant` with `refresh_token_not_found`, reused ones among them;
//! - the ID token's `sid` is the session at the provider, the access token's that of the refresh token;
//! - a logout asks nobody and ends the session at the provider only; of other applications none is told.

mod api;
mod claims;
mod logout;
mod metadata;
mod token;
mod webhook;

use http::StatusCode;

use super::keys::random_bytes;
use super::settings::User;
use super::{Failure, Provider};
use crate::demo::serve::{Answer, Asked, bare, method_not_allowed, redirect};
use crate::types::secret::Secret;

pub(super) use self::webhook::Webhooks;

/// What makes the provider speak as FusionAuth does.
#[derive(Clone, Debug)]
pub struct FusionAuth {
    /// `iss` of its tokens: what the tenant is configured with, no URL.
    pub issuer: String,
    /// `tid`, and `tenantId` of requests and events.
    pub tenant_id: String,
    /// Whether each refresh token is good for one use (`OneTimeUse`); else for any number (`Reusable`).
    pub one_time_use: bool,
    /// Opens `DELETE /api/jwt/refresh`.
    pub api_key: Secret<String>,
    /// Names of people who are registered for no application.
    pub unregistered: Vec<String>,
    /// Where events are sent: loopback only.
    pub webhooks: Vec<String>,
}

impl FusionAuth {
    /// Whether this person is registered for the applications.
    fn is_registered(&self, user: &User) -> bool {
        !self.unregistered.contains(&user.username)
    }
}

impl Provider {
    pub(super) fn route_fusionauth(
        &self,
        own: &FusionAuth,
        asked: &Asked,
    ) -> Result<Answer, Failure> {
        let (get, post, delete) = (
            asked.reads(),
            asked.method == http::Method::POST,
            asked.method == http::Method::DELETE,
        );
        let path = asked.path.as_str();
        let by_tenant = path
            .strip_suffix(metadata::DISCOVERY)
            .and_then(|tenant| tenant.strip_prefix('/'));
        match path {
            metadata::DISCOVERY if get => Ok(self.fusionauth_configuration(own, asked)),
            _ if get && by_tenant == Some(own.tenant_id.as_str()) => {
                Ok(self.fusionauth_configuration(own, asked))
            }
            "/.well-known/jwks.json" if get => Ok(self.jwks()),
            "/oauth2/authorize" if get || post => self.authorize(asked),
            "/oauth2/token" if post => self.fusionauth_token(own, asked),
            "/oauth2/userinfo" if get || post => Ok(self.fusionauth_userinfo(own, asked)),
            "/oauth2/logout" if get || post => Ok(self.fusionauth_logout(asked)),
            "/api/jwt/refresh" if post => self.jwt_refresh(own, asked),
            "/api/logout" if post => Ok(self.api_logout(own, asked)),
            _ if delete && path.starts_with("/api/jwt/refresh") => {
                Ok(self.delete_refresh_tokens(own, asked))
            }
            "/" if get => self.welcome(asked),
            "/account/sign-out-everywhere" if post => self.sign_out_everywhere(own, asked),
            "/provider.css" if get => Ok(super::pages::style()),
            "/login" if post => self.sign_in(asked),
            "/login" if get => Ok(redirect(
                StatusCode::FOUND,
                &format!("/oauth2/authorize?{}", asked.query),
            )),
            metadata::DISCOVERY | "/.well-known/jwks.json" | "/" | "/provider.css" => {
                Ok(method_not_allowed("GET, HEAD"))
            }
            "/oauth2/authorize" | "/oauth2/userinfo" | "/oauth2/logout" | "/login" => {
                Ok(method_not_allowed("GET, HEAD, POST"))
            }
            "/oauth2/token" | "/api/logout" | "/account/sign-out-everywhere" => {
                Ok(method_not_allowed("POST"))
            }
            "/api/jwt/refresh" => Ok(method_not_allowed("POST, DELETE")),
            _ => Ok(bare(StatusCode::NOT_FOUND)),
        }
    }

    /// What the redirect with a code carries besides (`locale`, `userState`), in place of `iss`.
    pub(super) fn answer_extras(&self, user: Option<&User>) -> Vec<(&'static str, String)> {
        match (&self.settings.fusionauth, user) {
            (None, _) => vec![("iss", self.settings.issuer.to_string())],
            (Some(own), Some(user)) => {
                let state = if own.is_registered(user) {
                    "Authenticated"
                } else {
                    "AuthenticatedNotRegistered"
                };
                vec![("locale", "en".to_owned()), ("userState", state.to_owned())]
            }
            (Some(_), None) => vec![("error_reason", "authentication_required".to_owned())],
        }
    }

    /// An id in the form that the provider's dialect has.
    pub(super) fn new_id(&self) -> Result<String, Failure> {
        match &self.settings.fusionauth {
            Some(_) => uuid(),
            None => super::keys::random_word(),
        }
    }
}

/// A random UUID (RFC 9562 section 5.4).
fn uuid() -> Result<String, Failure> {
    let mut bytes: [u8; 16] = random_bytes()?;
    let [.., seventh, _, ninth, _, _, _, _, _, _, _] = &mut bytes;
    *seventh = (*seventh & 0x0f) | 0x40;
    *ninth = (*ninth & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    Ok(parts.join("-"))
}
