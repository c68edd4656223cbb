//! Basic authentication (RFC 7617) at one app: settings, credentials, and which requests may use it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use super::client_kind::{ClientKind, SEC_FETCH_MODE, SEC_FETCH_SITE, text};
use super::forwarded_origin::Scheme;
use super::login_providers::ProviderIndex;
use super::native::Throttle;
use super::native_request::{MAX_NAME, MAX_PASSWORD};
use super::request_info::RequestInfo;
use super::throttle::is_visible;
use crate::identity::credentials::is_basic;
use crate::types::net::Origin;
use crate::types::oauth::Password;

/// `[apps.NAME.basic]`: settings of an app with rules that accept a user name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    /// The provider that checks the passwords.
    pub provider: ProviderIndex,
    /// The realm of challenges. `None`: the app's host.
    pub realm: Option<String>,
    /// How long a checked password is accepted without asking the provider.
    pub cache_lifetime: Duration,
    /// How many checked passwords are kept.
    pub cache_size: usize,
    /// Limits on password logins, which native clients share.
    pub throttle: Throttle,
}

/// A user name and a password.
#[derive(Debug)]
pub struct BasicCredentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// `Authorization` has the scheme `Basic` and no usable user name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedCredentials;

impl BasicCredentials {
    /// Reads `Authorization`, which the request parser has rejected if it is repeated. `None` if it
    /// has another scheme. The charset is UTF-8, as the challenge says.
    pub fn read(headers: &HeaderMap) -> Option<Result<Self, MalformedCredentials>> {
        let field = headers.get(header::AUTHORIZATION)?;
        let credentials = || {
            let (_, encoded) = field.to_str().ok()?.split_once(' ')?;
            Self::decode(encoded.trim_matches(' '))
        };
        is_basic(field).then(|| credentials().ok_or(MalformedCredentials))
    }

    fn decode(encoded: &str) -> Option<Self> {
        /// Four characters for three bytes, and the colon.
        const MAX_ENCODED: usize = (MAX_NAME + 1 + MAX_PASSWORD).div_ceil(3) * 4;
        let encoded = Some(encoded).filter(|encoded| encoded.len() <= MAX_ENCODED);
        let decoded = Zeroizing::new(STANDARD.decode(encoded?).ok()?);
        let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        let is_name = username.len() <= MAX_NAME && username.chars().any(is_visible);
        let is_password = !password.is_empty() && password.len() <= MAX_PASSWORD;
        (is_name && is_password && is_plain(username) && is_plain(password)).then(|| Self {
            username: username.to_owned(),
            password: Password::new(password.to_owned()),
        })
    }
}

/// Whether the request, with its password, came to Doorward by https or by a proxy that the operator
/// trusts. An app with an http `public_url` accepts passwords over http.
pub(super) fn is_confidential(info: &RequestInfo, origin: &Origin) -> bool {
    let by_https = match info.scheme {
        Some(scheme) => scheme == Scheme::Https,
        None => info.is_proxied,
    };
    by_https || !origin.is_secure()
}

/// Whether a page of another site may have caused the request. Browsers add a typed password to all
/// requests to the app, including cross-site ones.
pub(super) fn is_cross_site(info: &RequestInfo, headers: &HeaderMap, origin: &Origin) -> bool {
    let own = origin.to_string();
    let is_foreign = |value: &http::HeaderValue| value.as_bytes() != own.as_bytes();
    if headers.get_all(header::ORIGIN).iter().any(is_foreign) {
        return true;
    }
    match text(headers, &SEC_FETCH_SITE) {
        None | Some("none" | "same-origin") => false,
        // Links may lead to the app, as they do with a session.
        Some(_) => info.client_kind != ClientKind::Navigation,
    }
}

/// Whether the client is a browser, which would ask its user for a password in a dialog of its own.
pub(super) fn is_browser(info: &RequestInfo, headers: &HeaderMap) -> bool {
    info.client_kind.reads_pages() || headers.contains_key(&SEC_FETCH_MODE)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(field: &[u8]) -> Option<Option<(String, String)>> {
        let value = HeaderValue::from_bytes(field).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        BasicCredentials::read(&headers).map(|credentials| {
            let credentials = credentials.ok()?;
            Some((
                credentials.username,
                credentials.password.expose().to_owned(),
            ))
        })
    }

    fn encoded(text: impl AsRef<[u8]>) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(text)).into_bytes()
    }

    #[test]
    fn name_and_password_are_read_as_utf8() {
        let read = |text: &str| read(&encoded(text)).flatten();
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read("alice:secret"), pair("alice", "secret"));
        assert_eq!(read("alice:a:b "), pair("alice", "a:b "));
        assert_eq!(read("Zoë:пароль"), pair("Zoë", "пароль"));
        let (name, password) = ("n".repeat(MAX_NAME), "p".repeat(MAX_PASSWORD));
        assert_eq!(read(&format!("{name}:{password}")), pair(&name, &password));
    }

    #[test]
    fn scheme_is_read_in_any_case() {
        for field in ["basic YTpi", "BASIC   YTpi", "Basic YTpi "] {
            let expected = Some(Some(("a".to_owned(), "b".to_owned())));
            assert_eq!(read(field.as_bytes()), expected, "{field}");
        }
        for field in ["Bearer YTpi", "Basics YTpi", "YTpi", ""] {
            assert_eq!(read(field.as_bytes()), None, "{field}");
        }
    }

    #[test]
    fn malformed_credentials_are_rejected() {
        for text in [
            &b"alice"[..],
            b"alice:",
            b":secret",
            b" :secret",
            b"ali\0ce:secret",
            b"alice:sec\nret",
            b"alice:\xff",
        ] {
            assert_eq!(read(&encoded(text)), Some(None), "{}", text.escape_ascii());
        }
        let long = [
            format!("{}:p", "n".repeat(MAX_NAME + 1)),
            format!("n:{}", "p".repeat(MAX_PASSWORD + 1)),
        ];
        for text in long {
            assert_eq!(read(&encoded(text)), Some(None));
        }
        for field in [
            "Basic",
            "Basic ",
            "Basic YTpi YTpi",
            "Basic YTp",
            "Basic=YTpi",
            "Basic _w==",
        ] {
            assert_eq!(read(field.as_bytes()), Some(None), "{field}");
        }
    }
}
