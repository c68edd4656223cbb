//! What native apps may do at one app, and who may call the endpoints that are for them.

use http::{HeaderMap, HeaderValue, header};

use super::client_kind::{SEC_FETCH_SITE, text};
use super::throttle::{BackoffLimit, RateLimit};
use crate::identity::credentials::{Credentials, Scheme};
use crate::session::native::is_ours;
use crate::types::oauth::ClientId;

/// `[apps.NAME.native]` of an app that takes passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// What clients call themselves, where they do.
    pub client_id: ClientId,
    /// What they hold.
    pub tokens: Tokens,
    /// Whether a refresh token beside a request refreshes it.
    pub inline_refresh: bool,
    /// Web origins besides the app's own that may call.
    pub cors_origins: Vec<String>,
    /// How often passwords may be tried.
    pub throttle: Throttle,
}

/// What native apps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Tokens of ours, which are worth nothing anywhere else.
    Sealed,
    /// The provider's own.
    Plain,
}

/// The buckets of password logins at one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Failures for one account, or from one device that is known for it.
    pub account: BackoffLimit,
    /// Failures from one address.
    pub address: BackoffLimit,
    /// Logins in all, whoever succeeds.
    pub all: RateLimit,
}

/// The endpoints for native apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeCall {
    /// `token`: as RFC 6749 section 3.2 has it, in forms.
    Token,
    /// `native/login`: a login, in JSON.
    Login,
    /// `native/refresh`: a refresh, in JSON.
    Refresh,
    /// `native/logout`: a logout, in JSON.
    Logout,
}

impl NativeCall {
    /// The stable word for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Login => "native_login",
            Self::Refresh => "native_refresh",
            Self::Logout => "native_logout",
        }
    }
}

/// Asks for a refresh in the same request; never forwarded.
pub const REFRESH_TOKEN: &str = "doorward-refresh-token";

/// A token of ours beside a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeCredentials<'h> {
    /// How it is presented.
    pub scheme: Scheme,
    /// The access token.
    pub access_token: &'h str,
    /// The refresh token, if one came along.
    pub refresh_token: Option<&'h str>,
}

impl<'h> NativeCredentials<'h> {
    /// Reads `Authorization` (RFC 6750 section 2.1); `None` if there is no token of ours.
    pub fn read(headers: &'h HeaderMap) -> Option<Self> {
        let Credentials { scheme, token } = Credentials::read(headers)?;
        let access_token = token.filter(|token| is_ours(token))?;
        let mut refresh_tokens = headers.get_all(REFRESH_TOKEN).iter();
        let refresh_token = match (refresh_tokens.next(), refresh_tokens.next()) {
            (Some(one), None) => one.to_str().ok(),
            // Which of several is meant cannot be told.
            (None, _) | (Some(_), Some(_)) => None,
        };
        Some(Self {
            scheme,
            access_token,
            refresh_token,
        })
    }
}

/// Whether `field` carries a token of ours, whatever it is worth, or what a lenient reader could take for one.
pub fn holds_doorward_token(field: &HeaderValue) -> bool {
    let token = field
        .as_bytes()
        .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    Scheme::of(field).is_some()
        && token
            .into_iter()
            .any(|word| std::str::from_utf8(word).is_ok_and(is_ours))
}

/// From where a native endpoint is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOrigin {
    /// No web page: browsers name the origin of every `POST`.
    NonBrowser,
    /// A page of the app itself.
    SameOrigin,
    /// A page of a listed origin.
    Allowed(String),
    /// Any other page.
    CrossOrigin,
}

impl Native {
    /// From where `headers` come; `own` is the app's origin.
    pub fn request_origin(&self, headers: &HeaderMap, own: &str) -> RequestOrigin {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let site = text(headers, &SEC_FETCH_SITE);
        match (origins.next(), origins.next()) {
            (None, _) if site.is_none_or(|site| matches!(site, "none" | "same-origin")) => {
                RequestOrigin::NonBrowser
            }
            (None, _) | (_, Some(_)) => RequestOrigin::CrossOrigin,
            (Some(said), None) if said.as_bytes() == own.as_bytes() => {
                if site.is_none_or(|site| site == "same-origin") {
                    RequestOrigin::SameOrigin
                } else {
                    RequestOrigin::CrossOrigin
                }
            }
            (Some(said), None) => {
                let listed = self
                    .cors_origins
                    .iter()
                    .find(|listed| listed.as_bytes() == said.as_bytes());
                listed.map_or(RequestOrigin::CrossOrigin, |listed| {
                    RequestOrigin::Allowed(listed.clone())
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
    fn pages_call_only_from_the_app_itself_or_a_listed_origin() {
        let failures = BackoffLimit {
            free: 1,
            max_backoff: Duration::from_secs(60),
        };
        let native = Native {
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
        let listed = RequestOrigin::Allowed("capacitor://localhost".to_owned());
        let cases = [
            (vec![], RequestOrigin::NonBrowser),
            (vec![("origin", own)], RequestOrigin::SameOrigin),
            (vec![("origin", "capacitor://localhost")], listed.clone()),
            (
                vec![
                    ("origin", "capacitor://localhost"),
                    ("sec-fetch-site", "cross-site"),
                ],
                listed,
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
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in &lines {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(native.request_origin(&headers, own), expected, "{lines:?}");
        }
    }
}
