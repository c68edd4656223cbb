//! Public URLs of apps: an origin, and the path at which the app begins. Apps at different paths share
//! an origin.

use std::fmt;

use super::net::{Origin, ParseOriginError};

/// Maximum length of a base path in bytes.
const MAX_LENGTH: usize = 128;

/// The path at which an app begins: whole segments such as `/shop`, or nothing for an app that has its
/// whole origin. It has one spelling only, which every server reads alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BasePath(String);

/// An app's public URL, such as `https://example.com/shop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Scheme, host and port.
    pub origin: Origin,
    /// The path.
    pub base: BasePath,
}

/// Why a text is not a [`PublicUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePublicUrlError {
    /// What precedes the path is no origin.
    #[error(transparent)]
    Origin(#[from] ParseOriginError),
    /// It has a query or a fragment.
    #[error("it has a query or a fragment")]
    Query,
    /// The path ends with a slash.
    #[error("the path ends with a slash")]
    TrailingSlash,
    /// The path is not a [`BasePath`].
    #[error("its path has other characters, or an empty segment, or one that ends with a dot")]
    Path,
}

impl BasePath {
    /// Accepts segments of letters, digits and `-._~`. Segments that end with a dot are refused, as
    /// some servers ignore it. Nothing is a base path, too.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let is_segment = |segment: &str| {
            !segment.is_empty() && !segment.ends_with('.') && segment.bytes().all(is_plain)
        };
        let is_valid = match text.strip_prefix('/') {
            Some(rest) => text.len() <= MAX_LENGTH && rest.split('/').all(is_segment),
            None => text.is_empty(),
        };
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The path. Empty for the whole origin.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the app has its whole origin.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a canonical path is this one or below it.
    pub fn contains(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path of the start page.
    pub fn home(&self) -> String {
        format!("{}/", self.0)
    }

    /// The `Path` of cookies for the whole app (RFC 6265 section 5.1.4).
    pub fn cookie_path(&self) -> &str {
        if self.is_root() { "/" } else { &self.0 }
    }
}

impl PublicUrl {
    /// Parses a URL. A `/` after the host is accepted.
    ///
    /// # Errors
    /// [`ParsePublicUrlError`].
    pub fn parse(text: &str) -> Result<Self, ParsePublicUrlError> {
        if text.contains(['?', '#']) {
            return Err(ParsePublicUrlError::Query);
        }
        let host_at = text.find("://").map_or(0, |at| at + "://".len());
        let after_scheme = text.get(host_at..).unwrap_or_default();
        let path_at = after_scheme.find('/').map_or(text.len(), |at| host_at + at);
        let (origin, path) = text.split_at_checked(path_at).unwrap_or((text, ""));
        let origin = Origin::parse(origin)?;
        let base = match path {
            "/" => Some(BasePath::default()),
            path if path.ends_with('/') => return Err(ParsePublicUrlError::TrailingSlash),
            path => BasePath::parse(path),
        };
        let base = base.ok_or(ParsePublicUrlError::Path)?;
        Ok(Self { origin, base })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.base.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_url_is_an_origin_with_a_plain_path() {
        for (text, expected) in [
            ("https://a.example", "https://a.example"),
            ("https://A.example:443/", "https://a.example"),
            ("https://a.example/shop", "https://a.example/shop"),
            (
                "http://a.localhost:1/Shop/v1.2",
                "http://a.localhost:1/Shop/v1.2",
            ),
            ("https://*.a.example/~b_-", "https://*.a.example/~b_-"),
        ] {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), expected);
        }
        use ParsePublicUrlError::{Origin, Path, Query, TrailingSlash};
        for (text, expected) in [
            ("https://a.example/shop/", TrailingSlash),
            ("https://a.example//", TrailingSlash),
            ("https://a.example/shop?a", Query),
            ("https://a.example/#a", Query),
            ("https://a.example//shop", Path),
            ("https://a.example/a/../b", Path),
            ("https://a.example/a/.", Path),
            ("https://a.example/a.", Path),
            ("https://a.example/%73hop", Path),
            ("https://a.example/caf\u{e9}", Path),
            ("https://a.example/a;b", Path),
            ("https://a.example/a b", Path),
            ("https://a.example/a\\b", Path),
            (
                "https://u@a.example/b",
                Origin(ParseOriginError::ExtraParts),
            ),
            ("ftp://a.example/b", Origin(ParseOriginError::Scheme)),
            ("/shop", Origin(ParseOriginError::Unparsable)),
            ("a.example/shop", Origin(ParseOriginError::Unparsable)),
        ] {
            assert_eq!(PublicUrl::parse(text), Err(expected), "{text}");
        }
        let long = format!("https://a.example/{}", "a".repeat(MAX_LENGTH));
        assert_eq!(PublicUrl::parse(&long), Err(Path));
    }

    #[test]
    fn base_path_contains_whole_segments() {
        let base = BasePath::parse("/shop").unwrap();
        for path in ["/shop", "/shop/", "/shop/a", "/shop//a"] {
            assert!(base.contains(path), "{path}");
        }
        for path in [
            "/",
            "/sho",
            "/shopping",
            "/Shop",
            "//shop",
            "/a/shop",
            "/shop;a",
        ] {
            assert!(!base.contains(path), "{path}");
        }
        assert!(BasePath::default().contains("/"));
        assert_eq!(
            (base.home().as_str(), base.cookie_path()),
            ("/shop/", "/shop")
        );
        let root = BasePath::default();
        assert_eq!((root.home().as_str(), root.cookie_path()), ("/", "/"));
    }
}
