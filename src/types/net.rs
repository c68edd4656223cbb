//! Network addresses: web origins, listen addresses, loopback hosts and client networks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use url::{Host, Url};

use super::host_label::HostLabel;

/// A web origin: scheme, host and port (RFC 6454 section 4). The host is lower-case ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    secure: bool,
    host: String,
    port: u16,
    authority: String,
}

/// Why a string is not an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseOriginError {
    /// Not an absolute URL.
    #[error("not an absolute URL")]
    Unparsable,
    /// Neither `https` nor `http`.
    #[error("the scheme must be https or http")]
    Scheme,
    /// It has a path, query, fragment or user name.
    #[error("an origin has no path, query, fragment or user name")]
    ExtraParts,
}

impl Origin {
    /// Parses an origin such as `https://store.example.com`. A trailing `/` is accepted.
    ///
    /// # Errors
    /// Anything other than a scheme, a host and an optional port.
    pub fn parse(text: &str) -> Result<Self, ParseOriginError> {
        let url = Url::parse(text).map_err(|_| ParseOriginError::Unparsable)?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(ParseOriginError::Scheme),
        };
        let has_no_path = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !has_no_path || !url.username().is_empty() || url.password().is_some() {
            return Err(ParseOriginError::ExtraParts);
        }
        let host = url
            .host_str()
            .ok_or(ParseOriginError::Unparsable)?
            .to_owned();
        let port = url
            .port_or_known_default()
            .ok_or(ParseOriginError::Unparsable)?;
        let authority = if port == default_port(secure) {
            host.clone()
        } else {
            format!("{host}:{port}")
        };
        Ok(Self {
            secure,
            host,
            port,
            authority,
        })
    }

    /// The origin with `label` in place of the `*` at the beginning of the host. `None` if the host
    /// does not begin with `*.`.
    #[must_use]
    pub fn at_label(&self, label: &HostLabel) -> Option<Self> {
        self.host.strip_prefix("*.")?;
        let replaced = |text: &str| text.replacen('*', label.as_str(), 1);
        Some(Self {
            secure: self.secure,
            host: replaced(&self.host),
            port: self.port,
            authority: replaced(&self.authority),
        })
    }

    /// Whether the scheme is `https`.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The scheme's name.
    pub const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also if it is the scheme's default.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as in a `Host` header: the port is included only if it is not the scheme's
    /// default.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the value of a `Host` header names this origin. Ignores case and a default port.
    pub fn is_named_by(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
                Ok(port) => (host, port),
                Err(_) => return false,
            },
            _ => (authority, default_port(self.secure)),
        };
        port == self.port && host.eq_ignore_ascii_case(&self.host)
    }

    /// Whether the host is `localhost`, a name under it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Identifies a client connection within its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The identifier with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The kind of the listener that accepted a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerKind {
    /// Plain HTTP. A proxy in front may terminate TLS.
    #[default]
    Plain,
    /// HTTPS.
    Tls,
    /// Plain HTTP from browsers, whose requests are redirected to `https`.
    RedirectToHttps,
}

/// The connection that a request arrived on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The connection.
    pub id: ConnectionId,
    /// The peer's address; `None` for a Unix domain socket.
    pub peer: Option<SocketAddr>,
    /// The kind of its listener.
    pub listener: ListenerKind,
}

/// The network that counts as one client: the address itself for IPv4, its /64 for IPv6, because
/// one subscriber controls a whole /64.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

/// Whether no public client has this address: it is loopback, private, shared, link-local or unique
/// local.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let is_shared = address.octets().starts_with(&[100])
                && address
                    .octets()
                    .get(1)
                    .is_some_and(|octet| octet & 0xc0 == 64);
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// Whether `host` is a loopback host: `localhost`, a name under it (RFC 6761 section 6.3),
/// `127.0.0.0/8` or `[::1]`.
pub fn is_loopback_host(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(&name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.is_loopback(),
        Err(_) => false,
    }
}

/// A listen address: `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/doorward.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// An IP address and a port; with port 0 the system chooses a free one.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

/// The string is not a [`ListenAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither `address:port` nor `unix:/path`")]
pub struct ParseListenAddrError;

impl FromStr for ListenAddr {
    type Err = ParseListenAddrError;

    fn from_str(text: &str) -> Result<Self, ParseListenAddrError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(ParseListenAddrError),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| ParseListenAddrError),
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_parse_accepts_only_scheme_host_and_port() {
        assert_eq!(
            Origin::parse("https://Store.Example.com/")
                .unwrap()
                .to_string(),
            "https://store.example.com"
        );
        assert_eq!(
            Origin::parse("http://a.localhost:8080")
                .unwrap()
                .authority(),
            "a.localhost:8080"
        );
        for text in [
            "https://a/b",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https://u:p@a",
        ] {
            assert_eq!(
                Origin::parse(text),
                Err(ParseOriginError::ExtraParts),
                "{text}"
            );
        }
        assert_eq!(Origin::parse("ftp://a"), Err(ParseOriginError::Scheme));
        assert_eq!(Origin::parse("store"), Err(ParseOriginError::Unparsable));
    }

    #[test]
    fn is_named_by_ignores_case_and_default_port() {
        let origin = Origin::parse("https://store.example.com").unwrap();
        assert!(origin.is_named_by("STORE.example.com"));
        assert!(origin.is_named_by("store.example.com:443"));
        for other in [
            "store.example.com:80",
            "store.example.com:",
            "store.example.com.evil",
            "",
            "store.example.com:x",
        ] {
            assert!(!origin.is_named_by(other), "{other}");
        }
    }

    #[test]
    fn is_private_accepts_no_public_address() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.255.1",
            "169.254.1.1",
            "::ffff:10.0.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in ["172.32.0.1", "100.128.0.1", "198.51.100.1", "2001:db8::1"] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn is_loopback_host_accepts_only_loopback() {
        for host in [
            "localhost",
            "store.localhost",
            "store.localhost.",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "localhost.example.com",
            "notlocalhost",
            "128.0.0.1",
            "[::2]",
            "",
            "a b",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn listen_addr_parses_address_or_absolute_path() {
        for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/doorward.sock"] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        for text in [
            "localhost:8080",
            "127.0.0.1",
            "unix:run",
            "unix:",
            ":80",
            "",
        ] {
            assert_eq!(
                text.parse::<ListenAddr>(),
                Err(ParseListenAddrError),
                "{text}"
            );
        }
    }
}
