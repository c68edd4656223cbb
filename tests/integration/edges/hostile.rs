//! Generated hostile requests through every edge and through Doorward itself, in front of one
//! backend: the decision fits the bytes that the app received, and no identity is forged.
//!
//! `DOORWARD_HOSTILE_REQUESTS` sets the number of requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use doorward::types::target::Target;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::net::TcpStream;

use super::edge::{Edge, Kind};
use crate::decisions::check::{cookies, decided_by};
use crate::path_confusion::adversarial_inputs;
use crate::support::assertions::{Dialogue, alice};
use crate::support::backend::Received;
use crate::support::doorward::{Doorward, Setup};
use crate::support::wire::Wire;

/// Requests of a usual run.
const USUAL: usize = 300;

/// A value of forged fields. It must not reach the app in a field that identifies somebody.
const FORGED: &str = "f0rged";

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/read/**"]
methods = ["GET"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin/**"]
allow = { roles = ["admin"] }
cors_origins = ["https://spa.example.test"]
"#;

const TARGETS: [&str; 14] = [
    "/public/x",
    "/public/x?a=/admin",
    "/read/x",
    "/%72ead/x",
    "/re%61d/x?y",
    "/page",
    "/page?next=/public/x",
    "/admin/x",
    "/public/../admin/x",
    "/public/%2e%2e/page",
    "/public%2f..%2fpage",
    "//public/x",
    "/public;/../page",
    "http://store.localhost:8080/public/x",
];

const METHODS: [&str; 9] = [
    "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get",
];

const HOSTS: [&str; 10] = [
    "store.localhost:8080",
    "store.localhost:8080",
    "store.localhost:8080",
    "store.localhost:8080",
    "STORE.localhost:8080",
    "store.localhost.:8080",
    "other.test",
    "store.localhost:8080@other.test",
    "store.localhost:8080\r\nHost: other.test",
    "other.test, store.localhost:8080",
];

/// Fields with which clients pretend to be a proxy or another user.
const FIELDS: [&str; 45] = [
    "X-Forwarded-User: f0rged",
    "x-forwarded-user: f0rged",
    "X_Forwarded_User: f0rged",
    "X-Forwarded_User: f0rged",
    "X.Forwarded.User: f0rged",
    "X-Forwarded-Email: f0rged",
    "X-Forwarded-Groups: f0rged",
    "Remote-User: f0rged",
    "Remote_User: f0rged",
    "X-Remote-User: f0rged",
    "X-Auth-Request-User: f0rged",
    "X-WebAuth-User: f0rged",
    "Connection: close, X-Forwarded-User",
    "Connection: close, Cookie",
    "Connection: close, X-Forwarded-Uri, X-Original-URL",
    "X-Forwarded-Host: other.test",
    "X-Forwarded-Host: store.localhost:8080",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Proto: ftp",
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Uri: /public/x",
    "X-Forwarded-Uri: /admin/x",
    "X-Forwarded-Method: GET",
    "X-Forwarded-Method: DELETE",
    "X-Forwarded-Prefix: /admin",
    "X-Original-URL: http://store.localhost:8080/public/x",
    "X-Original-URL: /public/x",
    "X-Original-URI: /public/x",
    "X-Original-URI: /admin/x",
    "X-Original-Method: GET",
    "X-Original-Content-Length: 36",
    "X-Original-Host: other.test",
    "X-Rewrite-URL: /admin/x",
    "X-Envoy-Original-Path: /public/x",
    "X-Envoy-Auth-Headers-To-Remove: cookie",
    "X-HTTP-Method-Override: DELETE",
    "Forwarded: for=6.6.6.6;host=other.test;proto=https",
    "Doorward-Remove-Headers: cookie",
    "Doorward-Set-Cookie-1: a=b",
    "Cookie: doorward_jwt=f0rged",
    "Cookie: a=b; DOORWARD_refresh=f0rged; c=d",
    "Cookie: a=b,doorward_jwt=f0rged",
    "Authorization: Basic Zm9yZ2Vk",
    "Origin: https://spa.example.test\r\nAccess-Control-Request-Method: GET",
    "Sec-WebSocket-Version: 13",
];

/// A request of the corpus.
#[derive(Clone, Debug)]
struct Hostile {
    method: &'static str,
    target: String,
    host: &'static str,
    fields: Vec<&'static str>,
    has_session: bool,
}

fn requests() -> impl Strategy<Value = Hostile> {
    let target = prop_oneof![
        2 => select(TARGETS.as_slice()).prop_map(str::to_owned),
        1 => adversarial_inputs::paths(),
    ];
    let fields = subsequence(FIELDS.as_slice(), 0..5);
    (
        select(METHODS.as_slice()),
        target,
        select(HOSTS.as_slice()),
        fields,
        any::<bool>(),
    )
        .prop_map(|(method, target, host, fields, has_session)| Hostile {
            method,
            target,
            host,
            fields,
            has_session,
        })
}

fn corpus(count: usize) -> Vec<Hostile> {
    let mut runner = TestRunner::deterministic();
    let strategy = requests();
    let mut made = Vec::new();
    while made.len() < count {
        let request = strategy.new_tree(&mut runner).expect("a request").current();
        // Otherwise it would be two lines, or no request line.
        let is_one_token =
            !request.target.is_empty() && !request.target.contains(['\r', '\n', ' ']);
        if is_one_token {
            made.push(request);
        }
    }
    made
}

/// The number of requests.
#[expect(
    clippy::disallowed_methods,
    reason = "a setting of this test, not of Doorward"
)]
fn count_of_requests() -> usize {
    let count = std::env::var("DOORWARD_HOSTILE_REQUESTS").ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(USUAL)
}

/// Where a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Placement {
    Proxy,
    Edge(Kind),
}

/// The outcome of a request.
#[derive(Debug)]
struct Fate {
    /// `None` if the connection was closed without a response.
    status: Option<u16>,
    received: Vec<Received>,
}

impl Hostile {
    async fn send(&self, port: u16, doorward: &Doorward, session: &str) -> Fate {
        let before = doorward.store.count();
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.target, self.host
        );
        for field in &self.fields {
            let _ = write!(text, "{field}\r\n");
        }
        if self.has_session {
            let _ = write!(text, "Cookie: {session}\r\n");
        }
        if !self
            .fields
            .iter()
            .any(|field| field.starts_with("Connection"))
        {
            text.push_str("Connection: close\r\n");
        }
        if matches!(self.method, "POST" | "PUT") {
            text.push_str("Content-Length: 0\r\n");
        }
        text.push_str("\r\n");
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("a connection");
        let mut dialogue = Dialogue(Wire::new(stream));
        let reply = match dialogue.0.write(text.as_bytes()).await {
            Ok(()) => dialogue.try_hear(self.method).await,
            Err(_) => None,
        };
        let count = doorward.store.count() - before;
        Fate {
            status: reply.map(|reply| reply.status()),
            received: match count {
                0 => Vec::new(),
                1 => vec![doorward.store.last()],
                _ => doorward.store.received().split_off(before),
            },
        }
    }

    /// Why the app must not have received this.
    fn complaints(&self, received: &Received) -> Vec<String> {
        let mut complaints = Vec::new();
        let target = received.head.raw.split(|byte| *byte == b' ').nth(1);
        let target = target.unwrap_or_default();
        let uri = http::Uri::try_from(target).ok();
        // Some edges forward the absolute form, which names the same path.
        let read = uri.as_ref().and_then(|uri| Target::read(uri).ok());
        let Some(read) = read else {
            return vec!["Doorward would refuse the path that the app received".to_owned()];
        };
        let is_below = |folder: &str| {
            let rest = read.path().strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_get = matches!(received.method.as_str(), "GET" | "HEAD");
        let is_public = is_below("/public") || (is_below("/read") && is_get);
        let cookies: Vec<_> = self
            .fields
            .iter()
            .filter(|field| field.starts_with("Cookie"))
            .collect();
        // A session cookie of another value beside the real one is no session.
        let may_be_alice = self.has_session;
        if !is_public && !may_be_alice {
            complaints.push(format!("no session, but {}", read.path()));
        }
        if is_below("/admin") {
            complaints.push("nobody has the role for /admin".to_owned());
        }
        if received.method != self.method {
            complaints.push(format!("another method: {}", received.method));
        }
        let users = received.head.all("x-forwarded-user");
        let good: &[&[&str]] = if may_be_alice {
            if is_public {
                &[&[], &["alice-id"]]
            } else {
                &[&["alice-id"]]
            }
        } else {
            &[&[]]
        };
        if !good.contains(&users.as_slice()) {
            complaints.push(format!("the user is {users:?}, cookies {cookies:?}"));
        }
        for (name, value) in &received.head.headers {
            let is_cookie = name.eq_ignore_ascii_case("cookie");
            if !is_cookie && value.contains(FORGED) {
                complaints.push(format!("{name}: {value}"));
            }
            // One behind a comma is a part of another cookie's value.
            let value_in_lower_case = value.to_lowercase();
            let mut pairs = value_in_lower_case.split(';');
            if is_cookie && pairs.any(|pair| pair.trim().starts_with("doorward_")) {
                complaints.push(format!("{name}: {value}"));
            }
            let is_other_request = [
                "x-original-",
                "x-rewrite-",
                "x-http-method",
                "x-forwarded-uri",
            ]
            .iter()
            .any(|prefix| name.to_lowercase().starts_with(prefix));
            if is_other_request {
                complaints.push(format!("{name}: {value}"));
            }
        }
        let host = received.head.all("host");
        if !matches!(host.as_slice(), [host] if host.to_lowercase().contains("store.localhost")
            || host.starts_with("127.0.0.1"))
        {
            complaints.push(format!("hosts {host:?}"));
        }
        complaints
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decision_fits_what_the_app_received_in_every_placement() {
    let count = count_of_requests();
    let doorward = decided_by(Setup::plain().store_rules(RULES)).start();
    let session = cookies(&doorward, &alice(&doorward).await);
    let mut edges = Vec::new();
    for kind in Kind::ALL {
        edges.push((kind, Edge::start(kind, &doorward).await));
    }
    let mut complaints = Vec::new();
    let mut forwarded: BTreeMap<Placement, usize> = BTreeMap::new();
    let mut differences: BTreeMap<String, usize> = BTreeMap::new();
    for request in corpus(count) {
        let proxied = request
            .send(doorward.address().port(), &doorward, &session)
            .await;
        let mut fates = vec![(Placement::Proxy, proxied)];
        for (kind, edge) in &edges {
            let fate = request.send(edge.port, &doorward, &session).await;
            fates.push((Placement::Edge(*kind), fate));
        }
        let by_proxy = !fates[0].1.received.is_empty();
        for (placement, fate) in &fates {
            for received in &fate.received {
                let found = request.complaints(received);
                if !found.is_empty() {
                    complaints.push(format!("{placement:?}: {found:?}\n  {request:?}"));
                }
            }
            let is_forwarded = !fate.received.is_empty();
            *forwarded.entry(*placement).or_default() += usize::from(is_forwarded);
            // Envoy takes the host of an absolute target, and tells Doorward and the app only that.
            let is_explained = request.target.starts_with("http://")
                && matches!(
                    placement,
                    Placement::Edge(Kind::EnvoyHttp | Kind::EnvoyGrpc)
                );
            if is_forwarded && !by_proxy && !is_explained {
                complaints.push(format!(
                    "{placement:?} forwards, Doorward does not\n  {request:?}"
                ));
            }
            if is_forwarded != by_proxy {
                let way = if is_forwarded {
                    "only there"
                } else {
                    "not there"
                };
                let kind = format!(
                    "{placement:?} {way} {:?} {:?}",
                    fates[0].1.status, fate.status
                );
                let seen = differences.entry(kind.clone()).or_default();
                *seen += 1;
                if *seen <= 3 {
                    println!("{kind}: {request:?}");
                }
            }
        }
    }
    println!("{forwarded:?}\n{differences:#?}");
    assert!(
        complaints.is_empty(),
        "{} of {count}:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    for (placement, forwarded) in &forwarded {
        assert!(
            forwarded * 10 > count,
            "{placement:?} forwarded {forwarded} of {count} only"
        );
    }
}
