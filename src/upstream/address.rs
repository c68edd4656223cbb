//! Addresses of backends.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::types::net::is_loopback_host;

/// A backend's address: `http://127.0.0.1:3000`, `https://app.internal`, `unix:/run/app.sock` or
/// `srv+http://_web._tcp.app.internal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamUrl {
    /// Plain HTTP over TCP.
    Http(HostPort),
    /// HTTP over TLS.
    Https(HostPort),
    /// Plain HTTP over a Unix domain socket.
    Unix(PathBuf),
    /// The targets of SRV records (RFC 2782).
    Srv(ServiceName),
}

/// The name of SRV records: `_service._proto.domain`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceName {
    /// Whether the targets use TLS.
    pub is_tls: bool,
    /// The whole name.
    pub name: String,
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
    #[error("the scheme must be http, https, unix, srv+http or srv+https")]
    Scheme,
    /// The name of SRV records is not `_service._proto.domain`, or has a port.
    #[error("the name of SRV records is `_service._proto.domain`, without a port")]
    Service,
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
        if let Some(rest) = text.strip_prefix("srv+http://") {
            return ServiceName::parse(false, rest).map(Self::Srv);
        }
        if let Some(rest) = text.strip_prefix("srv+https://") {
            return ServiceName::parse(true, rest).map(Self::Srv);
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
            Self::Srv(service) => {
                let scheme = if service.is_tls { "https" } else { "http" };
                write!(f, "srv+{scheme}://{}", service.name)
            }
        }
    }
}

impl UpstreamUrl {
    /// The host, if its addresses must be looked up.
    pub(super) fn name_to_resolve(&self) -> Option<&str> {
        let host = match self {
            Self::Http(address) | Self::Https(address) => address.bare_host(),
            Self::Unix(_) | Self::Srv(_) => return None,
        };
        let is_known = host.parse::<IpAddr>().is_ok() || is_loopback_host(host);
        (!is_known).then_some(host)
    }

    /// Whether it is one address, and no name to look up.
    pub fn is_fixed(&self) -> bool {
        match self {
            Self::Http(_) | Self::Https(_) | Self::Unix(_) => self.name_to_resolve().is_none(),
            Self::Srv(_) => false,
        }
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
            Self::Unix(_) | Self::Srv(_) => self.clone(),
        }
    }

    /// Whether requests to it are sent over TLS.
    pub const fn uses_tls(&self) -> bool {
        match self {
            Self::Https(_) => true,
            Self::Http(_) | Self::Unix(_) => false,
            Self::Srv(service) => service.is_tls,
        }
    }
}

impl ServiceName {
    fn parse(is_tls: bool, text: &str) -> Result<Self, ParseUpstreamError> {
        let name = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let mut labels = name.split('.');
        let is_prefix = |label: Option<&str>| {
            label.is_some_and(|label| label.len() > 1 && label.starts_with('_'))
        };
        let has_prefixes = is_prefix(labels.next()) && is_prefix(labels.next());
        let is_label = |label: &str| {
            let mut bytes = label.bytes();
            !label.is_empty()
                && label.len() <= 63
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let service = Self { is_tls, name };
        let is_valid = has_prefixes
            && service.name.len() <= 253
            && !service.domain().is_empty()
            && service.name.trim_end_matches('.').split('.').all(is_label);
        if is_valid {
            Ok(service)
        } else {
            Err(ParseUpstreamError::Service)
        }
    }

    /// The name without `_service._proto`, for which certificates are verified (RFC 6125 section 6.2.1).
    pub fn domain(&self) -> &str {
        let rest = self.name.splitn(3, '.').nth(2).unwrap_or_default();
        rest.trim_end_matches('.')
    }

    /// The address of a target. `None` if its name is no host.
    pub(super) fn at_target(&self, target: &str, port: u16) -> Option<UpstreamUrl> {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{target}:{port}").parse().ok()
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
        for text in [
            "http://a:3000",
            "https://[::1]",
            "unix:/run/a.sock",
            "srv+http://_web._tcp.shop.svc",
            "srv+https://_web._tcp.a.test.",
        ] {
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
            ("srv+ftp://_web._tcp.a", ParseUpstreamError::Scheme),
            ("srv+http://web.a", ParseUpstreamError::Service),
            ("srv+http://_web._tcp", ParseUpstreamError::Service),
            ("srv+http://_web._tcp.", ParseUpstreamError::Service),
            ("srv+http://_._tcp.a", ParseUpstreamError::Service),
            ("srv+http://_web._tcp.a:80", ParseUpstreamError::Service),
            ("srv+http://_web._tcp.a/b", ParseUpstreamError::Service),
            ("srv+http://_web._tcp..a", ParseUpstreamError::Service),
            ("srv+http://u@_web._tcp.a", ParseUpstreamError::Service),
            ("unix:a", ParseUpstreamError::Unparsable),
            ("unix://a", ParseUpstreamError::Unparsable),
            ("127.0.0.1", ParseUpstreamError::Unparsable),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>(), Err(error), "{text}");
        }
    }
}
