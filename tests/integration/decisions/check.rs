//! Checks: requests to the decision listener.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use url::Url;

use crate::support::assertions::{Dialogue, Reply};
use crate::support::browser::Browser;
use crate::support::cookies::CookieContext;
use crate::support::doorward::{Doorward, Setup};
use crate::support::wire::Wire;

pub(crate) const HTML: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

/// An HTTP dialect of the decision listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    AuthRequest,
    ForwardAuth,
    ExtAuthz,
}

/// A request of a client, as a proxy describes it.
pub(crate) struct Check {
    dialect: Dialect,
    method: String,
    host: String,
    target: String,
    fields: Vec<(String, String)>,
}

/// Adds a decision listener that loopback may use.
pub(crate) fn decided_by(setup: Setup) -> Setup {
    setup.server("decision_listen = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]")
}

/// The browser's `Cookie` field for the store.
pub(crate) fn cookies(doorward: &Doorward, browser: &Browser) -> String {
    let url = Url::parse(&doorward.store_url("/page")).expect("a URL");
    let context = CookieContext {
        same_site: true,
        top_level: true,
        safe_method: true,
    };
    let header = browser.jar.header(&url, doorward.now(), context);
    header.expect("cookies of a session")
}

impl Check {
    pub(crate) fn new(dialect: Dialect, target: &str) -> Self {
        Self {
            dialect,
            method: "GET".to_owned(),
            host: "store.localhost:8080".to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
        }
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) async fn request(self, doorward: &Doorward) -> Reply {
        let Self {
            dialect,
            method,
            host,
            target,
            fields,
        } = self;
        let (sent, path, description) = match dialect {
            Dialect::AuthRequest => (
                "GET",
                "/auth-request".to_owned(),
                vec![
                    ("Host", host),
                    ("X-Original-Method", method.clone()),
                    ("X-Original-URI", target),
                ],
            ),
            Dialect::ForwardAuth => (
                "GET",
                "/forward-auth".to_owned(),
                vec![
                    ("Host", "doorward".to_owned()),
                    ("X-Forwarded-Method", method.clone()),
                    ("X-Forwarded-Proto", "http".to_owned()),
                    ("X-Forwarded-Host", host),
                    ("X-Forwarded-Uri", target),
                ],
            ),
            Dialect::ExtAuthz => (
                method.as_str(),
                format!("/ext-authz{target}"),
                vec![("Host", host), ("Content-Length", "0".to_owned())],
            ),
        };
        let own = description
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let client = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<_> = own.chain(client).collect();
        raw(doorward, sent, &path, &fields).await
    }
}

/// The address of the decision listener.
pub(crate) fn decision_address(doorward: &Doorward) -> SocketAddr {
    doorward.servers[0]
        .decision_address()
        .expect("a TCP listener")
}

/// A request to the decision listener.
pub(crate) async fn raw(
    doorward: &Doorward,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Reply {
    let stream = TcpStream::connect(decision_address(doorward)).await;
    let mut dialogue = Dialogue(Wire::new(stream.expect("a connection")));
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in fields {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    dialogue.request(method, bytes).await
}
