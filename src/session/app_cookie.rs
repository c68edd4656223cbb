//! App cookies that are expired when another user logs in: apps recognize their visitors by them,
//! regardless of the identity headers. Only the configured cookies are expired, because hosts may
//! share others.

use http::HeaderValue;

use crate::types::net::{Origin, is_loopback_host};

/// Maximum length of a name, path or domain, in bytes.
const MAX_LENGTH: usize = 256;

/// A cookie of an app. A browser deletes it only if name, path and domain match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppCookie {
    name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
}

/// Why a cookie is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppCookieError {
    /// The name is not a token (RFC 6265 section 4.1.1).
    #[error("a cookie name is at most {MAX_LENGTH} letters, digits and any of !#$%&'*+-.^_`|~")]
    Name,
    /// The path is invalid (RFC 6265 section 4.1.1).
    #[error("a cookie path starts with `/` and is visible ASCII without `;`")]
    Path,
    /// Browsers accept a cookie only for the host itself or a parent domain (RFC 6265 section 5.3).
    #[error("the domain is neither the app's host nor a parent domain of it")]
    Domain,
    /// The cookie does not meet the requirements of its name prefix (RFC 6265bis section 4.1.3).
    #[error("the name prefix requires https, and `__Host-` the path `/` and no domain")]
    Prefix,
}

impl AppCookie {
    /// A cookie of the app at `origin`.
    ///
    /// # Errors
    /// See [`AppCookieError`].
    pub fn new(
        name: &str,
        path: &str,
        domain: Option<&str>,
        origin: &Origin,
    ) -> Result<Self, AppCookieError> {
        let is_token_char =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > MAX_LENGTH || !name.bytes().all(is_token_char) {
            return Err(AppCookieError::Name);
        }
        let is_path_char = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b';';
        if !path.starts_with('/') || path.len() > MAX_LENGTH || !path.bytes().all(is_path_char) {
            return Err(AppCookieError::Path);
        }
        let domain = domain.map(|domain| {
            domain
                .strip_prefix('.')
                .unwrap_or(domain)
                .to_ascii_lowercase()
        });
        if domain
            .as_ref()
            .is_some_and(|domain| !is_parent_domain(domain, origin.host()))
        {
            return Err(AppCookieError::Domain);
        }
        let lower = name.to_ascii_lowercase();
        let is_host = lower.starts_with("__host-");
        let is_secure = lower.starts_with("__secure-");
        if (is_host && (path != "/" || domain.is_some()))
            || ((is_host || is_secure) && !origin.is_secure())
        {
            return Err(AppCookieError::Prefix);
        }
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            domain,
            secure: origin.is_secure(),
        })
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The `Set-Cookie` value that deletes it. `None` if it is not a valid header value, which the
    /// constructor rules out.
    pub fn expire(&self) -> Option<HeaderValue> {
        let Self { name, path, .. } = self;
        let domain = self
            .domain
            .as_ref()
            .map_or_else(String::new, |domain| format!("; Domain={domain}"));
        let secure = if self.secure { "; Secure" } else { "" };
        HeaderValue::try_from(format!("{name}=; Path={path}{domain}; Max-Age=0{secure}")).ok()
    }
}

/// Whether `host` may set cookies for this domain. Browsers themselves reject public suffixes.
fn is_parent_domain(domain: &str, host: &str) -> bool {
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    let is_domain_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let has_dot = domain.contains('.') || is_loopback_host(domain);
    let is_within = host == domain
        || host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'));
    has_dot
        && is_within
        && !is_address
        && domain.len() <= MAX_LENGTH
        && domain.bytes().all(is_domain_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(
        name: &str,
        path: &str,
        domain: Option<&str>,
        origin: &str,
    ) -> Result<String, AppCookieError> {
        let cookie = AppCookie::new(name, path, domain, &Origin::parse(origin).unwrap())?;
        Ok(cookie.expire().unwrap().to_str().unwrap().to_owned())
    }

    const STORE: &str = "https://store.example.com";

    #[test]
    fn expire_repeats_name_path_and_domain() {
        let cases = [
            (
                cookie("PHPSESSID", "/", None, STORE),
                "PHPSESSID=; Path=/; Max-Age=0; Secure",
            ),
            (
                cookie("cart", "/shop", Some(".Example.com"), STORE),
                "cart=; Path=/shop; Domain=example.com; Max-Age=0; Secure",
            ),
            (
                cookie("a", "/", None, "http://store.localhost:8080"),
                "a=; Path=/; Max-Age=0",
            ),
            (
                cookie("__Host-id", "/", None, STORE),
                "__Host-id=; Path=/; Max-Age=0; Secure",
            ),
            (
                cookie("a", "/", Some("localhost"), "http://store.localhost"),
                "a=; Path=/; Domain=localhost; Max-Age=0",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(value.as_deref(), Ok(expected));
        }
    }

    #[test]
    fn new_cookie_that_browsers_reject_fails() {
        use AppCookieError::{Domain, Name, Path, Prefix};
        for name in ["", "a b", "a;b", "a=b", "a\r\nSet-Cookie: b", "\u{e9}"] {
            assert_eq!(cookie(name, "/", None, STORE), Err(Name), "{name:?}");
        }
        for path in ["", "shop", "/a;b", "/a b", "/\n"] {
            assert_eq!(cookie("a", path, None, STORE), Err(Path), "{path:?}");
        }
        for domain in [
            "",
            ".",
            "com",
            "example.org",
            "ample.com",
            "x.store.example.com",
            "example.com;x",
            "store",
        ] {
            assert_eq!(
                cookie("a", "/", Some(domain), STORE),
                Err(Domain),
                "{domain:?}"
            );
        }
        assert_eq!(
            cookie("a", "/", Some("0.0.1"), "http://127.0.0.1"),
            Err(Domain)
        );
        assert_eq!(cookie("__Host-a", "/x", None, STORE), Err(Prefix));
        assert_eq!(
            cookie("__host-a", "/", Some("example.com"), STORE),
            Err(Prefix)
        );
        assert_eq!(
            cookie("__Secure-a", "/", None, "http://store.localhost"),
            Err(Prefix)
        );
    }
}
