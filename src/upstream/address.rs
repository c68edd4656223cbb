//! Addresses of backends.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::types::net::is_loopback_host;

/// A backend's address: `http://127.0.0.1:3000`, `https://app.internal` or `unix:/run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamUrl {
    /// Plain HTTP over TCP.
    Http(HostPort),
    /// HTTP over TLS.
    Https(HostPort),
    /// Plain HTTP over a Unix domain socket.
    Unix(PathBuf),
}

/// A host in URL form (an IPv6 address in brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The error of parsing an [`UpstreamUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUpstreamError {
    /// Neither an absolute URL nor `unix:` with an absolute path.
    #[error("neither a URL nor `unix:/path`")]
    Unparsable,
    /// Another scheme.
    #[error("the scheme must be http, https or unix")]
    Scheme,
    /// It has a path, query, fragment or user name. Requests keep their own path.
    #[error("a backend's address must not have a path, query, fragment or user name")]
    More,
}

impl FromStr for UpstreamUrl {
    type Err = ParseUpstreamError;

    fn from_str(text: &str) -> Result<Self, ParseUpstreamError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let absolute = path.starts_with('/') && !path.starts_with("//");
            return if absolute {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(ParseUpstreamError::Unparsable)
            };
        }
        let url = Url::parse(text).map_err(|_| ParseUpstreamError::Unparsable)?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(ParseUpstreamError::Scheme),
        };
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(ParseUpstreamError::More);
        }
        let host = url
            .host_str()
            .ok_or(ParseUpstreamError::Unparsable)?
            .to_owned();
        let port = url
            .port_or_known_default()
            .ok_or(ParseUpstreamError::Unparsable)?;
        let address = HostPort { host, port };
        Ok(if secure {
            Self::Https(address)
        } else {
            Self::Http(address)
        })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => write!(f, "http://{}", address.authority(80)),
            Self::Https(address) => write!(f, "https://{}", address.authority(443)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl UpstreamUrl {
    /// The host, if its addresses must be looked up.
    pub(super) fn name_to_resolve(&self) -> Option<&str> {
        let host = match self {
            Self::Http(address) | Self::Https(address) => address.bare_host(),
            Self::Unix(_) => return None,
        };
        let is_known = host.parse::<IpAddr>().is_ok() || is_loopback_host(host);
        (!is_known).then_some(host)
    }

    /// The URL with an address in place of the host.
    pub(super) fn at_ip(&self, ip: IpAddr) -> Self {
        let at_ip = |address: &HostPort| HostPort {
            host: match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            },
            port: address.port,
        };
        match self {
            Self::Http(address) => Self::Http(at_ip(address)),
            Self::Https(address) => Self::Https(at_ip(address)),
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl HostPort {
    pub(super) fn authority(&self, default_port: u16) -> String {
        if self.port == default_port {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn bare_host(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_url_parses_host_and_port_or_socket() {
        let http = |host: &str, port| {
            UpstreamUrl::Http(HostPort {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!("http://127.0.0.1:3000".parse(), Ok(http("127.0.0.1", 3000)));
        assert_eq!("http://[::1]".parse(), Ok(http("[::1]", 80)));
        for text in ["http://a:3000", "https://[::1]", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<UpstreamUrl>().unwrap().to_string(), text);
        }
        assert_eq!(
            "unix:/run/a.sock".parse(),
            Ok(UpstreamUrl::Unix("/run/a.sock".into()))
        );
        for (text, error) in [
            ("http://a/b", ParseUpstreamError::More),
            ("http://u@a", ParseUpstreamError::More),
            ("http://a/?q", ParseUpstreamError::More),
            ("ftp://a", ParseUpstreamError::Scheme),
            ("unix:a", ParseUpstreamError::Unparsable),
            ("unix://a", ParseUpstreamError::Unparsable),
            ("127.0.0.1", ParseUpstreamError::Unparsable),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>(), Err(error), "{text}");
        }
    }
}
