//! The client of a session, as the list keeps it.

use std::net::IpAddr;

use http::{HeaderMap, header};
use ipnet::IpNet;

use super::listed::ListedClient;
use crate::types::user_agent::program_name;

/// The client of a request.
#[derive(Clone, Copy)]
pub struct ClientOfRequest<'r> {
    /// Its address.
    pub address: Option<IpAddr>,
    /// The headers of the request.
    pub headers: &'r HeaderMap,
}

/// The details of a session's client to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientDetail {
    /// Nothing.
    None,
    /// The name of the program.
    Program,
    /// The name of the program and the network of the address.
    ProgramAndNetwork,
}

impl ClientOfRequest<'_> {
    pub(super) fn described(self, detail: ClientDetail) -> ListedClient {
        let program = || {
            let field = self.headers.get(header::USER_AGENT);
            field.and_then(|field| program_name(field.as_bytes()))
        };
        match detail {
            ClientDetail::None => ListedClient::default(),
            ClientDetail::Program => ListedClient {
                program: program(),
                network: None,
            },
            ClientDetail::ProgramAndNetwork => ListedClient {
                program: program(),
                network: self.address.map(network_of),
            },
        }
    }
}

/// The network of a client: `/24` for IPv4, `/48` for IPv6.
fn network_of(address: IpAddr) -> String {
    let address = address.to_canonical();
    let length = match address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 48,
    };
    IpNet::new(address, length)
        .map_or_else(|_| String::new(), |network| network.trunc().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_say_what_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, "curl/8.5.0".parse().unwrap());
        for (address, detail, program, network) in [
            (
                "192.0.2.77",
                ClientDetail::ProgramAndNetwork,
                Some("curl"),
                Some("192.0.2.0/24"),
            ),
            (
                "::ffff:192.0.2.77",
                ClientDetail::ProgramAndNetwork,
                Some("curl"),
                Some("192.0.2.0/24"),
            ),
            (
                "2001:db8:1:2::3",
                ClientDetail::ProgramAndNetwork,
                Some("curl"),
                Some("2001:db8:1::/48"),
            ),
            ("192.0.2.77", ClientDetail::Program, Some("curl"), None),
            ("192.0.2.77", ClientDetail::None, None, None),
        ] {
            let client = ClientOfRequest {
                address: Some(address.parse().unwrap()),
                headers: &headers,
            };
            let ListedClient {
                program: found,
                network: kept,
            } = client.described(detail);
            assert_eq!(
                (found.as_deref(), kept.as_deref()),
                (program, network),
                "{address}"
            );
        }
    }
}
