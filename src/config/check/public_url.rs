//! The addresses of apps and login hosts: public URLs, other origins, and the prefix of endpoints.

use super::super::report::{Location, quoted};
use super::{check_host, wildcard};
use crate::types::net::Origin;
use crate::types::public_url::{ParsePublicUrlError, PublicUrl};

/// The default of `endpoint_prefix`.
pub(super) const PREFIX: &str = "/.doorward";

/// `public_url`: an origin, and a path if the app shares the origin with others.
pub(super) fn check(text: &str, at: &Location<'_>, allow_http: bool) -> Option<PublicUrl> {
    let url = match PublicUrl::parse(text) {
        Ok(url) => url,
        Err(error) => {
            let hint = match error {
                ParsePublicUrlError::Origin(_) => {
                    "scheme, host and non-default port, such as `https://store.example.com`"
                }
                ParsePublicUrlError::Query => {
                    "scheme, host and path, such as `https://example.com/shop`"
                }
                ParsePublicUrlError::TrailingSlash => {
                    "remove the slash: `https://example.com/shop` includes all paths below `/shop/`"
                }
                ParsePublicUrlError::Path => {
                    "segments of letters, digits and `-._~`, such as `https://example.com/shop`"
                }
            };
            at.error(
                format!("{} is not a public URL: {error}", quoted(text)),
                hint,
            );
            return None;
        }
    };
    if !wildcard::is_wildcard(url.origin.host()) {
        check_host(text, url.origin.host(), at)?;
    }
    check_scheme(&url.origin, text, at, allow_http)?;
    Some(url)
}

/// An origin without a path: an alias, or a login host.
pub(super) fn origin(text: &str, at: &Location<'_>, allow_http: bool) -> Option<Origin> {
    let origin = match Origin::parse(text) {
        Ok(origin) => origin,
        Err(error) => {
            let hint = "scheme, host and non-default port, such as `https://store.example.com`";
            at.error(format!("{} is not an origin: {error}", quoted(text)), hint);
            return None;
        }
    };
    check_host(text, origin.host(), at)?;
    check_scheme(&origin, text, at, allow_http)?;
    Some(origin)
}

fn check_scheme(origin: &Origin, text: &str, at: &Location<'_>, allow_http: bool) -> Option<()> {
    if !origin.is_secure() && !origin.is_loopback() && !allow_http {
        let hint = "use https: over http, an attacker on the network can steal the session";
        at.error(
            format!("{} is neither https nor a loopback address", quoted(text)),
            hint,
        );
        return None;
    }
    Some(())
}

/// `endpoint_prefix`: the beginning of the paths of Doorward's endpoints.
pub(super) fn prefix(raw: Option<String>, at: &Location<'_>) -> String {
    let Some(prefix) = raw else {
        return PREFIX.to_owned();
    };
    let is_plain = |segment: &str| {
        let is_plain_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain_byte)
    };
    let is_valid = prefix
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_plain))
        && prefix.len() <= 64;
    if !is_valid {
        let hint = "such as `/.doorward`: letters, digits and `-._~`, no trailing slash";
        at.error(format!("invalid path prefix {}", quoted(&prefix)), hint);
    }
    prefix
}
