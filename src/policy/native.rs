//! Native clients of one app: settings, endpoints, credentials, and the origins that may call.

use http::{HeaderMap, HeaderValue, header};

use super::client_kind::{SEC_FETCH_SITE, text};
use super::login_providers::ProviderIndex;
use super::throttle::{BackoffLimit, RateLimit};
use crate::identity::credentials::{Credentials, Scheme};
use crate::session::native::has_access_prefix;
use crate::types::oauth::ClientId;

/// `[apps.NAME.native]`: settings of an app with native clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// The provider that checks their passwords.
    pub provider: ProviderIndex,
    /// The `client_id` that native clients send.
    pub client_id: ClientId,
    /// The tokens that native clients get.
    pub tokens: Tokens,
    /// Whether a refresh token in a request header refreshes the session.
    pub inline_refresh: bool,
    /// Web origins other than the app's own that may call.
    pub cors_origins: Vec<String>,
    /// Limits on password logins.
    pub throttle: Throttle,
}

/// The kind of tokens that native clients get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Tokens that Doorward encrypts. Only Doorward accepts them.
    Sealed,
    /// The provider's tokens.
    Plain,
}

/// Limits on the password logins of one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Failures for one account, or for one account from a known device.
    pub account: BackoffLimit,
    /// Failures from one address.
    pub address: BackoffLimit,
    /// All logins, successful or not.
    pub all: RateLimit,
}

/// Endpoints for native clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeCall {
    /// `token`: the token endpoint (RFC 6749 section 3.2), form-encoded.
    Token,
    /// `native/login`: JSON.
    Login,
    /// `native/refresh`: JSON.
    Refresh,
    /// `native/logout`: JSON.
    Logout,
}

impl NativeCall {
    /// The stable code for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Login => "native_login",
            Self::Refresh => "native_refresh",
            Self::Logout => "native_logout",
        }
    }
}

/// Header with a refresh token, for a refresh in the same request. It is never forwarded.
pub const REFRESH_TOKEN: &str = "doorward-refresh-token";

/// An access token that Doorward issued, as a request presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeCredentials<'h> {
    /// The authentication scheme.
    pub scheme: Scheme,
    /// The access token.
    pub access_token: &'h str,
    /// The refresh token from [`REFRESH_TOKEN`].
    pub refresh_token: Option<&'h str>,
}

impl<'h> NativeCredentials<'h> {
    /// Reads `Authorization` (RFC 6750 section 2.1). `None` if it has no token that Doorward
    /// issued.
    pub fn read(headers: &'h HeaderMap) -> Option<Self> {
        let Credentials { scheme, token } = Credentials::read(headers)?;
        let access_token = token.filter(|token| has_access_prefix(token))?;
        let mut refresh_tokens = headers.get_all(REFRESH_TOKEN).iter();
        let refresh_token = match (refresh_tokens.next(), refresh_tokens.next()) {
            (Some(one), None) => one.to_str().ok(),
            // With several, the intended one is unknown.
            (None, _) | (Some(_), Some(_)) => None,
        };
        Some(Self {
            scheme,
            access_token,
            refresh_token,
        })
    }
}

/// Whether `field` contains a token that Doorward issued, valid or not, even if only a lenient
/// parser would find it.
pub fn holds_doorward_token(field: &HeaderValue) -> bool {
    let token = field
        .as_bytes()
        .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    Scheme::of(field).is_some()
        && token
            .into_iter()
            .any(|word| std::str::from_utf8(word).is_ok_and(has_access_prefix))
}

/// The origin of a request to a native endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOrigin {
    /// Not a web page: browsers send `Origin` with every `POST`.
    NonBrowser,
    /// A page of the app.
    SameOrigin,
    /// A page of an allowed origin.
    Allowed(String),
    /// A page of another origin.
    CrossOrigin,
}

impl Native {
    /// The origin of the request with these `headers`. `own` is the app's origin.
    pub fn request_origin(&self, headers: &HeaderMap, own: &str) -> RequestOrigin {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let site = text(headers, &SEC_FETCH_SITE);
        match (origins.next(), origins.next()) {
            (None, _) if site.is_none_or(|site| matches!(site, "none" | "same-origin")) => {
                RequestOrigin::NonBrowser
            }
            (None, _) | (_, Some(_)) => RequestOrigin::CrossOrigin,
            (Some(origin), None) if origin.as_bytes() == own.as_bytes() => {
                if site.is_none_or(|site| site == "same-origin") {
                    RequestOrigin::SameOrigin
                } else {
                    RequestOrigin::CrossOrigin
                }
            }
            (Some(origin), None) => {
                let allowed = self
                    .cors_origins
                    .iter()
                    .find(|allowed| allowed.as_bytes() == origin.as_bytes());
                allowed.map_or(RequestOrigin::CrossOrigin, |allowed| {
                    RequestOrigin::Allowed(allowed.clone())
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn request_origin_allows_own_and_listed_pages_only() {
        let failures = BackoffLimit {
            free: 1,
            max_backoff: Duration::from_secs(60),
        };
        let native = Native {
            provider: ProviderIndex::default(),
            client_id: ClientId::new("store"),
            tokens: Tokens::Sealed,
            inline_refresh: false,
            cors_origins: vec!["capacitor://localhost".to_owned()],
            throttle: Throttle {
                account: failures,
                address: failures,
                all: RateLimit { per_minute: 1 },
            },
        };
        let own = "https://store.example.com";
        let allowed = RequestOrigin::Allowed("capacitor://localhost".to_owned());
        let cases = [
            (vec![], RequestOrigin::NonBrowser),
            (vec![("origin", own)], RequestOrigin::SameOrigin),
            (vec![("origin", "capacitor://localhost")], allowed.clone()),
            (
                vec![
                    ("origin", "capacitor://localhost"),
                    ("sec-fetch-site", "cross-site"),
                ],
                allowed,
            ),
            (
                vec![("origin", "Capacitor://localhost")],
                RequestOrigin::CrossOrigin,
            ),
            (vec![("origin", "null")], RequestOrigin::CrossOrigin),
            (vec![("origin", "")], RequestOrigin::CrossOrigin),
            (
                vec![("origin", "https://store.example.com.evil")],
                RequestOrigin::CrossOrigin,
            ),
            (
                vec![("origin", own), ("origin", own)],
                RequestOrigin::CrossOrigin,
            ),
            (
                vec![("origin", own), ("sec-fetch-site", "cross-site")],
                RequestOrigin::CrossOrigin,
            ),
            (
                vec![("sec-fetch-site", "cross-site")],
                RequestOrigin::CrossOrigin,
            ),
            (
                vec![("sec-fetch-site", "same-site")],
                RequestOrigin::CrossOrigin,
            ),
        ];
        for (fields, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(native.request_origin(&headers, own), expected, "{fields:?}");
        }
    }
}
