//! An emulation of FusionAuth for the demo and the tests, written from its documentation and never
//! compared with a running server. Where the documentation is silent, this behaviour was chosen; do
//! not rely on it:
//!
//! - an invalid refresh token, also a reused one, gets 400 `invalid_grant` with
//!   `refresh_token_not_found`;
//! - `sid` of the ID token is the provider session, `sid` of the access token is the refresh token;
//! - a logout needs no confirmation and ends the provider session only; other applications are not
//!   notified.

mod api;
mod claims;
mod logout;
mod metadata;
mod notify;
mod token;

use http::StatusCode;

use super::core::Provider;
use super::error::InternalError;
use super::keys::random_bytes;
use super::settings::{FusionAuth, User};
use crate::demo::serve::{HttpRequest, HttpResponse, empty, method_not_allowed, redirect};

impl Provider {
    pub(super) fn route_fusionauth(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> Result<HttpResponse, InternalError> {
        let (get, post, delete) = (
            request.is_get_or_head(),
            request.method == http::Method::POST,
            request.method == http::Method::DELETE,
        );
        let path = request.path.as_str();
        let by_tenant = path
            .strip_suffix(metadata::DISCOVERY)
            .and_then(|tenant| tenant.strip_prefix('/'));
        match path {
            metadata::DISCOVERY if get => Ok(self.fusionauth_configuration(fusionauth, request)),
            _ if get && by_tenant == Some(fusionauth.tenant_id.as_str()) => {
                Ok(self.fusionauth_configuration(fusionauth, request))
            }
            "/.well-known/jwks.json" if get => Ok(self.jwks()),
            "/oauth2/authorize" if get || post => self.authorize(request),
            "/oauth2/token" if post => self.fusionauth_token(fusionauth, request),
            "/oauth2/userinfo" if get || post => Ok(self.fusionauth_userinfo(fusionauth, request)),
            "/oauth2/logout" if get || post => Ok(self.fusionauth_logout(request)),
            "/api/jwt/refresh" if post => self.jwt_refresh(fusionauth, request),
            "/api/logout" if post => Ok(self.api_logout(fusionauth, request)),
            _ if delete && path.starts_with("/api/jwt/refresh") => {
                Ok(self.delete_refresh_tokens(fusionauth, request))
            }
            "/" if get => self.welcome(request),
            "/account/sign-out-everywhere" if post => self.sign_out_everywhere(fusionauth, request),
            "/provider.css" if get => Ok(super::pages::style()),
            "/login" if post => self.sign_in(request),
            "/login" if get => Ok(redirect(
                StatusCode::FOUND,
                &format!("/oauth2/authorize?{}", request.query),
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
            _ => Ok(empty(StatusCode::NOT_FOUND)),
        }
    }

    /// Further parameters of an authorization response: `iss`, or FusionAuth's `locale` and
    /// `userState`.
    pub(super) fn redirect_extras(&self, user: Option<&User>) -> Vec<(&'static str, String)> {
        match (&self.settings.fusionauth, user) {
            (None, _) => vec![("iss", self.settings.issuer.to_string())],
            (Some(fusionauth), Some(user)) => {
                let state = if fusionauth.is_registered(user) {
                    "Authenticated"
                } else {
                    "AuthenticatedNotRegistered"
                };
                vec![("locale", "en".to_owned()), ("userState", state.to_owned())]
            }
            (Some(_), None) => vec![("error_reason", "authentication_required".to_owned())],
        }
    }

    /// A new id: a UUID for FusionAuth, a random token otherwise.
    pub(super) fn new_id(&self) -> Result<String, InternalError> {
        match &self.settings.fusionauth {
            Some(_) => uuid(),
            None => super::keys::random_token(),
        }
    }
}

/// A random UUID (RFC 9562 section 5.4).
fn uuid() -> Result<String, InternalError> {
    let mut bytes: [u8; 16] = random_bytes()?;
    let [.., seventh, _, ninth, _, _, _, _, _, _, _] = &mut bytes;
    *seventh = (*seventh & 0x0f) | 0x40;
    *ninth = (*ninth & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    Ok(parts.join("-"))
}
