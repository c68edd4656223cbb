//! Fairness: one client that uses everything it can leaves enough of each limit to others, and
//! memory stays bounded.

mod bodies;
mod everything;
mod memory;
mod stores;

use std::net::Ipv4Addr;

use bytes::Bytes;
use h2::client::SendRequest;

use crate::support::assertions::{Dialogue, Reply};
use crate::support::browser::{Browser, connect_from};
use crate::support::doorward::Doorward;
use crate::support::wire::Wire;

/// The greedy client.
const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Another client.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);

const HOST: &str = "Host: store.localhost:8080\r\n";

/// A connection from this address.
async fn connection(from: Ipv4Addr, port: u16) -> Dialogue {
    let stream = connect_from(from, port).await.expect("a connection");
    Dialogue(Wire::new(stream))
}

/// An HTTP/2 connection from this address, with prior knowledge.
async fn http2(from: Ipv4Addr, port: u16) -> SendRequest<Bytes> {
    let stream = connect_from(from, port).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    client.ready().await.expect("HTTP/2")
}

/// A POST whose body does not arrive beyond its first byte.
fn stalled(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\n{HOST}Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 36\r\n\r\nx"
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{HOST}\r\n")
}

/// The response to a GET of the other client.
async fn other_gets(doorward: &Doorward, path: &str) -> Reply {
    let mut dialogue = connection(OTHER, doorward.address().port()).await;
    dialogue.request("GET", get(path)).await
}

/// A browser of the other client.
fn other_browser(doorward: &Doorward) -> Browser {
    doorward.browser().from_address(OTHER)
}
