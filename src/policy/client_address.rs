//! Who the client is: the peer, or the rightmost address that no trusted proxy vouches for. Never the leftmost.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// Proxies whose `X-Forwarded-For` is believed. Empty by default: nobody is.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client; `None` on a Unix socket whose other side vouches for nobody.
    pub client: Option<IpAddr>,
    /// The `X-Forwarded-For` that the backend gets: what trusted proxies vouched for, then the peer.
    pub forwarded_for: String,
}

impl ClientAddress {
    /// The address by the peer's own (IPv4 within IPv6 counts as IPv4) and, if it is trusted, by what it says.
    /// A part that cannot be read ends the walk: what stands left of it is nobody's word.
    pub fn read(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else {
            return Self { client: None, forwarded_for: "unknown".to_owned() };
        };
        if !trusted.contain(peer) {
            return Self { client: Some(peer), forwarded_for: peer.to_string() };
        }
        let mut chain = vec![peer];
        let mut client = peer;
        for part in said_from_the_right(headers) {
            if !trusted.contain(client) {
                break;
            }
            let Ok(address) = part.parse::<IpAddr>() else { break };
            client = address.to_canonical();
            chain.push(client);
        }
        let forwarded_for = chain.iter().rev().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Self { client: Some(client), forwarded_for }
    }
}

fn said_from_the_right(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or_default()).collect();
    fields.into_iter().rev().flat_map(|field| field.rsplit(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(peer: &str, said: &[&str], trusted: &[&str]) -> (String, String) {
        let mut headers = HeaderMap::new();
        for field in said {
            headers.append("x-forwarded-for", field.parse().unwrap());
        }
        let trusted = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let address = ClientAddress::read(Some(peer.parse().unwrap()), &headers, &trusted);
        (address.client.unwrap().to_string(), address.forwarded_for)
    }

    #[test]
    fn nobody_is_believed_by_default() {
        assert_eq!(read("192.0.2.1", &["198.51.100.7"], &[]), ("192.0.2.1".into(), "192.0.2.1".into()));
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client() {
        let (client, chain) = read("10.0.0.2", &["6.6.6.6, 198.51.100.7", "10.0.0.9"], &["10.0.0.0/8"]);
        assert_eq!(client, "198.51.100.7");
        assert_eq!(chain, "198.51.100.7, 10.0.0.9, 10.0.0.2");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk() {
        let (client, chain) = read("10.0.0.2", &["198.51.100.7, junk"], &["10.0.0.0/8"]);
        assert_eq!((client.as_str(), chain.as_str()), ("10.0.0.2", "10.0.0.2"));
    }

    #[test]
    fn ipv4_within_ipv6_is_ipv4() {
        let (client, _) = read("::ffff:10.0.0.2", &["::ffff:198.51.100.7"], &["10.0.0.0/8"]);
        assert_eq!(client, "198.51.100.7");
    }
}
