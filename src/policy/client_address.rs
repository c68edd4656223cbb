//! Client address: the peer, or the rightmost address that no trusted proxy added. Never the
//! leftmost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, header};
use ipnet::IpNet;

/// Peers whose forwarding header is trusted. None by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
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
            header: ForwardedHeader::default(),
        }
    }

    /// Reads this header instead.
    #[must_use]
    pub fn reading(self, header: ForwardedHeader) -> Self {
        Self { header, ..self }
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
    /// `X-Forwarded-For` for the backend: the addresses from trusted proxies, then the peer.
    pub forwarded_for: String,
}

impl ClientAddress {
    /// The client address by the `peer` (IPv4-mapped IPv6 counts as IPv4) and, if it is trusted, by
    /// its forwarding header. An unreadable element ends the search, because everything to its left
    /// is unverified.
    pub fn read(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else {
            return Self {
                client: None,
                forwarded_for: "unknown".to_owned(),
            };
        };
        if !trusted.contain(peer) {
            return Self {
                client: Some(peer),
                forwarded_for: peer.to_string(),
            };
        }
        let mut chain = vec![peer];
        let mut client = peer;
        let addresses = match trusted.header {
            ForwardedHeader::XForwardedFor => addresses_from_the_right(headers),
            ForwardedHeader::Forwarded => forwarded_from_the_right(headers),
        };
        for address in addresses {
            let (Some(address), true) = (address, trusted.contain(client)) else {
                break;
            };
            client = address.to_canonical();
            chain.push(client);
        }
        let forwarded_for = chain
            .iter()
            .rev()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        Self {
            client: Some(client),
            forwarded_for,
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
        .map(|part| part.trim().parse().ok())
        .collect()
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
            Some(elements) => elements.into_iter().map(forwarded_for).collect(),
            None => vec![None],
        }
    });
    let mut addresses: Vec<_> = addresses.collect();
    addresses.reverse();
    addresses
}

fn forwarded_for(element: &str) -> Option<IpAddr> {
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
    if let Some(bracketed) = node.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        return is_port_or_none(port)
            .then(|| address.parse::<Ipv6Addr>().ok().map(IpAddr::from))
            .flatten();
    }
    let (address, port) = node.find(':').map_or((node, ""), |at| node.split_at(at));
    is_port_or_none(port)
        .then(|| address.parse::<Ipv4Addr>().ok().map(IpAddr::from))
        .flatten()
}

/// `:` and a port, obfuscated or not (RFC 7239 section 6), or nothing.
fn is_port_or_none(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| {
            !port.is_empty()
                && port
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
}

/// Splits at each `separator` outside quotes. `None` if a quote is unterminated.
fn outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
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
