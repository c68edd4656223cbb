//! Client address: never an address to the left of an untrusted hop.

use std::net::IpAddr;

use doorward::policy::client_address::{ClientAddress, TrustedProxies};
use http::{HeaderMap, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const HOPS: [&str; 15] = [
    "10.0.0.1",
    "10.0.0.2",
    "::ffff:10.0.0.3",
    "fd00::1",
    "6.6.6.6",
    "::ffff:6.6.6.6",
    "2001:db8::6",
    "",
    "unknown",
    "10.0.0.1:80",
    "[fd00::1]",
    "[fd00::1]:80",
    "10.0.0.1:",
    "[10.0.0.1]",
    "010.0.0.1",
];
const TRUSTED: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

fn is_trusted(address: IpAddr) -> bool {
    TRUSTED
        .iter()
        .any(|network| network.parse::<ipnet::IpNet>().unwrap().contains(&address))
}

fn address(hop: &str) -> Option<IpAddr> {
    let hop = match hop {
        "10.0.0.1:80" => "10.0.0.1",
        "[fd00::1]" | "[fd00::1]:80" => "fd00::1",
        other => other,
    };
    hop.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

proptest! {
    #[test]
    fn client_is_the_rightmost_untrusted_hop(
        fields in vec(vec(select(HOPS.as_slice()), 0..4), 0..4),
        peer in select(&["10.9.9.9", "::ffff:10.9.9.9", "7.7.7.7", "fd00::9"][..]),
        trusting in any::<bool>(),
        spaced in any::<bool>(),
    ) {
        let mut headers = HeaderMap::new();
        for field in &fields {
            let line = field.join(if spaced { " , " } else { "," });
            headers.append("X-Forwarded-For", HeaderValue::from_str(&line).unwrap());
        }
        let networks = if trusting { TRUSTED.map(|network| network.parse().unwrap()).to_vec() } else { Vec::new() };
        let read = ClientAddress::read(Some(peer.parse().unwrap()), &headers, &TrustedProxies::new(networks));

        let peer = address(peer).unwrap();
        let mut vouched = vec![peer];
        let said = fields.iter().flat_map(|field| if field.is_empty() { vec![""] } else { field.clone() });
        for hop in said.collect::<Vec<_>>().into_iter().rev() {
            let vouches = trusting && vouched.iter().all(|address| is_trusted(*address));
            let (true, Some(address)) = (vouches, address(hop)) else { break };
            vouched.push(address);
        }
        prop_assert_eq!(read.client, vouched.last().copied());
        let chain: Vec<String> = vouched.iter().rev().map(ToString::to_string).collect();
        prop_assert_eq!(read.forwarded_for, chain.join(", "));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(lines in vec(vec(any::<u8>(), 0..40), 0..4), peer in any::<Option<IpAddr>>()) {
        let mut headers = HeaderMap::new();
        for line in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
            headers.append("x-forwarded-for", line);
        }
        let everybody = TrustedProxies::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        let read = ClientAddress::read(peer, &headers, &everybody);
        prop_assert_eq!(read.client.is_some(), peer.is_some());
        prop_assert!(HeaderValue::from_str(&read.forwarded_for).is_ok());
    }
}
