//! Client address: the peer, or the rightmost address that no trusted proxy added. Never the
//! leftmost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, header};
use ipnet::IpNet;

use crate::types::digits::push_address;

/// Peers whose forwarding header is trusted. None by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix_peers: bool,
    header: ForwardedHeader,
    reads_host: bool,
    reads_scheme: bool,
}

/// The forwarding header that is read. Never both: a proxy that sets one of them passes on the
/// other as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl TrustedProxies {
    /// Trusts these networks and reads `X-Forwarded-For`.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            unix_peers: false,
            header: ForwardedHeader::default(),
            reads_host: false,
            reads_scheme: false,
        }
    }

    /// Trusts the peers of a Unix domain socket too, or not.
    #[must_use]
    pub fn with_unix_peers(self, unix_peers: bool) -> Self {
        Self { unix_peers, ..self }
    }

    /// Reads this header instead.
    #[must_use]
    pub fn reading(self, header: ForwardedHeader) -> Self {
        Self { header, ..self }
    }

    /// Also reads the requested host, or not.
    #[must_use]
    pub fn reading_host(self, reads_host: bool) -> Self {
        Self { reads_host, ..self }
    }

    /// Also reads the scheme of the client's connection, or not.
    #[must_use]
    pub fn reading_scheme(self, reads_scheme: bool) -> Self {
        Self {
            reads_scheme,
            ..self
        }
    }

    pub(super) const fn header(&self) -> ForwardedHeader {
        self.header
    }

    pub(super) const fn reads_host(&self) -> bool {
        self.reads_host
    }

    pub(super) const fn reads_scheme(&self) -> bool {
        self.reads_scheme
    }

    /// Whether the peer is trusted. `None` is the peer of a Unix domain socket.
    pub fn contain_peer(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix_peers, |peer| self.contain(peer))
    }

    /// Whether `address` is one of the trusted proxies.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// The source of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client. `None` on a Unix socket, unless a trusted proxy names it.
    pub client: Option<IpAddr>,
    /// The client, unless that is a trusted proxy: one that names no client speaks for many.
    pub end_client: Option<IpAddr>,
    /// The client that limits count: as `end_client`, or the trusted proxy if what it sends is
    /// unreadable. A client can bring that about, and must not escape its limits by it.
    pub limited_client: Option<IpAddr>,
    /// `X-Forwarded-For` for the backend: the addresses from trusted proxies, then the peer.
    pub forwarded_for: String,
}

impl ClientAddress {
    /// The client address by the `peer` (IPv4-mapped IPv6 counts as IPv4) and, if it is trusted, by
    /// its forwarding header. An unreadable element ends the search, because everything to its left
    /// is unverified.
    pub fn read(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        if !trusted.contain_peer(peer) {
            return Self {
                client: peer,
                end_client: peer,
                limited_client: peer,
                forwarded_for: forwarded_for(peer.as_slice()),
            };
        }
        let mut chain: Vec<IpAddr> = peer.into_iter().collect();
        let addresses = match trusted.header {
            ForwardedHeader::XForwardedFor => addresses_from_the_right(headers),
            ForwardedHeader::Forwarded => forwarded_from_the_right(headers),
        };
        let mut is_unreadable = false;
        for address in addresses {
            if chain.last().is_some_and(|known| !trusted.contain(*known)) {
                break;
            }
            let Some(address) = address else {
                is_unreadable = true;
                break;
            };
            chain.push(address.to_canonical());
        }
        let client = chain.last().copied();
        let end_client = client.filter(|client| !trusted.contain(*client));
        // A proxy on a Unix domain socket has no address.
        let proxy = || client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self {
            client,
            end_client,
            limited_client: end_client.or_else(|| is_unreadable.then(proxy)),
            forwarded_for: forwarded_for(&chain),
        }
    }
}

/// `X-Forwarded-For` with the addresses from the peer to the client.
fn forwarded_for(chain: &[IpAddr]) -> String {
    match chain {
        [] => "unknown".to_owned(),
        chain => {
            let mut text = Vec::with_capacity(15 * chain.len());
            for (at, address) in chain.iter().rev().enumerate() {
                if at > 0 {
                    text.extend_from_slice(b", ");
                }
                push_address(&mut text, *address);
            }
            String::from_utf8(text).unwrap_or_default()
        }
    }
}

fn addresses_from_the_right(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let fields: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    fields
        .into_iter()
        .rev()
        .flat_map(|field| field.rsplit(','))
        .map(|part| address_in_list(part.trim()))
        .collect()
}

/// An address in `X-Forwarded-For`. Some proxies add the port, and brackets to IPv6 addresses.
fn address_in_list(text: &str) -> Option<IpAddr> {
    let with_port = || {
        let node = Node::parse(text)?;
        let is_numeric = node.port.bytes().all(|byte| byte.is_ascii_digit());
        is_numeric.then_some(node.address)
    };
    text.parse().ok().or_else(with_port)
}

/// The `for` parameter of every element of `Forwarded`. An obfuscated, unknown or unreadable one is
/// `None`, and so is a whole field with an unterminated quote, whose elements cannot be delimited.
fn forwarded_from_the_right(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let fields = headers.get_all(header::FORWARDED).iter();
    let addresses = fields.flat_map(|value| {
        match value
            .to_str()
            .ok()
            .and_then(|field| outside_quotes(field, ','))
        {
            Some(elements) => elements.into_iter().map(for_parameter).collect(),
            None => vec![None],
        }
    });
    let mut addresses: Vec<_> = addresses.collect();
    addresses.reverse();
    addresses
}

fn for_parameter(element: &str) -> Option<IpAddr> {
    let pairs = outside_quotes(element, ';')?;
    let mut nodes = pairs.iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then_some(value.trim())
    });
    let (node, None) = (nodes.next()?, nodes.next()) else {
        return None;
    };
    let node = match node.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => node,
    };
    // An escaped character is part of no address.
    Node::parse(node).map(|node| node.address)
}

/// An address with an optional port, as RFC 7239 section 6 defines it: IPv6 in brackets.
struct Node<'t> {
    address: IpAddr,
    /// Empty without one. It may be obfuscated.
    port: &'t str,
}

impl<'t> Node<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let (address, rest) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']')?;
                (address.parse::<Ipv6Addr>().ok()?.into(), rest)
            }
            None => {
                let (address, rest) = text
                    .find(':')
                    .map_or((text, ""), |colon| text.split_at(colon));
                (address.parse::<Ipv4Addr>().ok()?.into(), rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some("") => return None,
            Some(port) => port,
            None if rest.is_empty() => rest,
            None => return None,
        };
        port.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            .then_some(Self { address, port })
    }
}

/// Splits at each `separator` outside quotes. `None` if a quote is unterminated.
pub(super) fn outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|letter| {
        if escaped {
            escaped = false;
        } else if quoted && letter == '\\' {
            escaped = true;
        } else if letter == '"' {
            quoted = !quoted;
        }
        letter == separator && !quoted
    });
    let parts = parts.collect();
    (!quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(peer: &str, values: &[&str], trusted: &[&str]) -> (String, String) {
        let mut headers = HeaderMap::new();
        for field in values {
            headers.append("x-forwarded-for", field.parse().unwrap());
        }
        let trusted = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let address = ClientAddress::read(Some(peer.parse().unwrap()), &headers, &trusted);
        (address.client.unwrap().to_string(), address.forwarded_for)
    }

    #[test]
    fn header_is_ignored_by_default() {
        assert_eq!(
            read("192.0.2.1", &["198.51.100.7"], &[]),
            ("192.0.2.1".into(), "192.0.2.1".into())
        );
    }

    #[test]
    fn client_is_the_rightmost_untrusted_hop() {
        let (client, chain) = read(
            "10.0.0.2",
            &["6.6.6.6, 198.51.100.7", "10.0.0.9"],
            &["10.0.0.0/8"],
        );
        assert_eq!(client, "198.51.100.7");
        assert_eq!(chain, "198.51.100.7, 10.0.0.9, 10.0.0.2");
    }

    #[test]
    fn unreadable_element_ends_the_search() {
        let (client, chain) = read("10.0.0.2", &["198.51.100.7, junk"], &["10.0.0.0/8"]);
        assert_eq!((client.as_str(), chain.as_str()), ("10.0.0.2", "10.0.0.2"));
    }

    #[test]
    fn unreadable_header_counts_for_the_proxy_and_a_missing_one_for_nobody() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()])
            .with_unix_peers(true)
            .reading(ForwardedHeader::Forwarded);
        let limited = |peer: Option<&str>, fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::FORWARDED, HeaderValue::from_static(field));
            }
            let peer = peer.map(|peer| peer.parse().unwrap());
            let address = ClientAddress::read(peer, &headers, &trusted);
            address.limited_client.map(|client| client.to_string())
        };
        let proxy = Some("10.0.0.2");
        for field in ["for=\", for=198.51.100.7", "for=unknown", "junk"] {
            assert_eq!(limited(proxy, &[field]).as_deref(), proxy, "{field}");
            assert!(limited(None, &[field]).is_some(), "{field}");
        }
        let readable = ["for=junk, for=198.51.100.7"];
        assert_eq!(limited(proxy, &readable).as_deref(), Some("198.51.100.7"));
        for none in [&[][..], &["for=10.0.0.9"]] {
            assert_eq!(limited(proxy, none), None);
        }
    }

    #[test]
    fn port_of_an_address_is_dropped() {
        let cases = [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            // Without brackets a colon is no port.
            ("2001:db8::1:4711", "2001:db8::1:4711"),
        ];
        for (text, client) in cases {
            assert_eq!(
                read("10.0.0.2", &[text], &["10.0.0.0/8"]).0,
                client,
                "{text}"
            );
        }
        let (client, chain) = read(
            "10.0.0.2",
            &["6.6.6.6:1, 198.51.100.7:4711, 10.0.0.9:80"],
            &["10.0.0.0/8"],
        );
        assert_eq!(client, "198.51.100.7");
        assert_eq!(chain, "198.51.100.7, 10.0.0.9, 10.0.0.2");
        for text in [
            "198.51.100.7:",
            "198.51.100.7:x",
            "198.51.100.7:80:80",
            "[198.51.100.7]:80",
            "[2001:db8::1]80",
            "[2001:db8::1",
            "2001:db8::1]:80",
            "\"198.51.100.7\"",
            "unknown",
            "_hidden",
        ] {
            assert_eq!(
                read("10.0.0.2", &[text], &["10.0.0.0/8"]).0,
                "10.0.0.2",
                "{text}"
            );
        }
    }

    #[test]
    fn unix_peer_names_the_client_if_it_is_trusted() {
        let mut headers = HeaderMap::new();
        let field = "6.6.6.6, 198.51.100.7, 10.0.0.9";
        headers.append("x-forwarded-for", field.parse().unwrap());
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let read = |headers: &HeaderMap, unix_peers| {
            let trusted = TrustedProxies::new(networks.clone()).with_unix_peers(unix_peers);
            let address = ClientAddress::read(None, headers, &trusted);
            let client = address.client.map(|client| client.to_string());
            (client, address.forwarded_for)
        };
        let unknown = (None, "unknown".to_owned());
        assert_eq!(read(&headers, false), unknown);
        let client = Some("198.51.100.7".to_owned());
        assert_eq!(
            read(&headers, true),
            (client, "198.51.100.7, 10.0.0.9".to_owned())
        );
        assert_eq!(read(&HeaderMap::new(), true), unknown);
    }

    #[test]
    fn ipv4_within_ipv6_is_ipv4() {
        let (client, _) = read("::ffff:10.0.0.2", &["::ffff:198.51.100.7"], &["10.0.0.0/8"]);
        assert_eq!(client, "198.51.100.7");
    }

    fn forwarded(values: &[&str]) -> (String, String) {
        let mut headers = HeaderMap::new();
        // The other header is ignored.
        headers.append("x-forwarded-for", "6.6.6.6".parse().unwrap());
        for field in values {
            headers.append("forwarded", field.parse().unwrap());
        }
        let trusted = TrustedProxies::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ]);
        let trusted = trusted.reading(ForwardedHeader::Forwarded);
        let address = ClientAddress::read(Some("10.0.0.2".parse().unwrap()), &headers, &trusted);
        (address.client.unwrap().to_string(), address.forwarded_for)
    }

    #[test]
    fn forwarded_header_is_read_from_the_right() {
        let (client, chain) = forwarded(&[
            "for=6.6.6.6, For=\"198.51.100.7:4711\";proto=https",
            "by=x;for=10.0.0.9",
        ]);
        assert_eq!(
            (client.as_str(), chain.as_str()),
            ("198.51.100.7", "198.51.100.7, 10.0.0.9, 10.0.0.2")
        );
        assert_eq!(
            forwarded(&["for=6.6.6.6, for=\"[2001:db8::1]:80\", for=\"[fd00::1]\""]).0,
            "2001:db8::1"
        );
        assert_eq!(
            forwarded(&["for=198.51.100.7;host=\"a, for=6.6.6.6\""]).0,
            "198.51.100.7"
        );
    }

    #[test]
    fn obfuscated_or_malformed_element_ends_the_search() {
        for value in [
            "",
            "for=unknown",
            "for=_hidden",
            "proto=https",
            "for=198.51.100.7;for=6.6.6.6",
            "for=\"198.51.100.7",
            "for=198.51.100.7, x=\"",
            "for=2001:db8::1",
            "for=[2001:db8::1",
            "for=198.51.100.7:",
            "for=198.51.100.7:a b",
            "for=\"198.51.100.7\\\"\"",
            "for=198.51.100.7, junk",
        ] {
            assert_eq!(
                forwarded(&[value]),
                ("10.0.0.2".into(), "10.0.0.2".into()),
                "{value}"
            );
        }
        assert_eq!(
            forwarded(&["for=\"6.6.6.6", "for=198.51.100.7\""]).0,
            "10.0.0.2"
        );
        assert_eq!(forwarded(&[]).0, "10.0.0.2");
    }
}
