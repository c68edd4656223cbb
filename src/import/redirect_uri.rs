//! Redirect URIs: the app's origin and name, and the path of the endpoints that keeps the URI.

use url::Url;

use crate::types::net::Origin;

/// A redirect URI that is registered at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RedirectUri {
    /// The origin of the app.
    pub(super) origin: String,
    /// Its host.
    pub(super) host: String,
    /// The path, without the slash if it is nothing else.
    pub(super) path: String,
}

impl RedirectUri {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let origin = Origin::parse(&url.origin().ascii_serialization()).ok()?;
        Some(Self {
            origin: origin.to_string(),
            host: url.host_str()?.to_owned(),
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The value of `endpoint_prefix` with which the URI stays as it is.
    pub(super) fn prefix(&self) -> Option<&str> {
        let prefix = self.path.strip_suffix("/callback")?;
        is_prefix(prefix).then_some(prefix)
    }

    /// A name for the app: the first label of the host.
    pub(super) fn app_name(&self) -> String {
        app_name(&self.host)
    }
}

/// Whether `endpoint_prefix` may have this value.
pub(super) fn is_prefix(text: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
    let rest = text.strip_prefix('/');
    text.len() <= 64 && rest.is_some_and(|rest| rest.split('/').all(is_segment))
}

/// A name for the app at this host.
pub(super) fn app_name(host: &str) -> String {
    let label = host.split('.').next().unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
    let name: String = label
        .to_ascii_lowercase()
        .chars()
        .filter(is_plain)
        .take(63)
        .collect();
    let name = name.trim_start_matches('-');
    if name.is_empty() { "app" } else { name }.to_owned()
}

/// Whether `cookie_name` may have this value.
pub(super) fn is_cookie_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_give_origin_prefix_and_name() {
        let uri = RedirectUri::parse("https://Shop.example.com:8443/oauth2/callback").unwrap();
        assert_eq!(uri.origin, "https://shop.example.com:8443");
        assert_eq!(uri.prefix(), Some("/oauth2"));
        assert_eq!(uri.app_name(), "shop");
        for other in [
            "https://a/callback",
            "https://a/x y/callback",
            "https://a/login",
            "https://a/",
        ] {
            assert_eq!(RedirectUri::parse(other).unwrap().prefix(), None, "{other}");
        }
        for bad in ["/oauth2/callback", "unix:/x", "mailto:a@b", ""] {
            assert_eq!(RedirectUri::parse(bad), None, "{bad}");
        }
        assert_eq!(app_name("-._!"), "app");
    }
}
