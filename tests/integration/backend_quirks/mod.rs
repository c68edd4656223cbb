//! Backends with odd habits: what they rely on reaches the client, and never another client.

mod connection_auth;
mod responses;

use crate::support::assertions::{Dialogue, Reply};
use crate::support::doorward::{Doorward, Setup};
use crate::support::quirky_backend::QuirkyBackend;

const HOST: &str = "Host: store.localhost:8080\r\n";

/// A Doorward whose store is the quirky backend.
fn before(backend: &QuirkyBackend) -> Setup {
    Setup::plain().store_upstream(&backend.url())
}

/// A new client connection.
async fn connect(doorward: &Doorward) -> Dialogue {
    Dialogue::with(&doorward.browser(), &doorward.site().store).await
}

/// Requests `path` with these header lines.
async fn get(client: &mut Dialogue, path: &str, fields: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\n{HOST}{fields}\r\n");
    client.request("GET", request).await
}
