//! Lookups against a DNS server on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::*;
use crate::types::time::ManualClock;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// A DNS server. `ttl-N.test` has addresses of both families with this TTL, `four.test` has no
/// answer to AAAA queries, names under `found.test` have an IPv4 address, `broken.test` is a
/// failure, `_web._tcp.shop.test` and `_off._tcp.shop.test` have SRV records, and others do not exist.
#[derive(Default)]
struct DnsServer {
    queries: Mutex<Vec<String>>,
    /// Whether answers are held back.
    holds: watch::Sender<bool>,
    /// The last byte of all addresses.
    host: AtomicUsize,
}

struct TestDns {
    server: Arc<DnsServer>,
    resolver: Resolver,
    clock: Arc<ManualClock>,
    metrics: Metrics,
    folder: TempDir,
}

impl DnsServer {
    async fn serve(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = [0; 512];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let query = buffer[..length].to_vec();
            let (name, family) = question(&query);
            self.queries
                .lock()
                .unwrap()
                .push(format!("{name} {family}"));
            let (server, socket) = (Arc::clone(&self), Arc::clone(&socket));
            tokio::spawn(async move { server.answer(&socket, client, &query).await });
        }
    }

    async fn answer(&self, socket: &UdpSocket, client: SocketAddr, query: &[u8]) {
        let _ = self.holds.subscribe().wait_for(|holds| !holds).await;
        let (name, family) = question(query);
        if family == SRV {
            socket
                .send_to(&services(&name, query), client)
                .await
                .unwrap();
            return;
        }
        let ttl = name
            .strip_prefix("ttl-")
            .and_then(|rest| rest.strip_suffix(".test"))
            .map(|ttl| ttl.parse::<u32>().unwrap());
        let (code, ttl) = match (name.as_str(), ttl) {
            ("four.test", _) if family == AAAA => return,
            ("four.test", _) => (0, Some(60)),
            ("broken.test", _) => (2, None),
            (_, Some(ttl)) => (0, Some(ttl)),
            (name, None) if name.ends_with(".found.test") => (0, (family == A).then_some(60)),
            (_, None) => (3, None),
        };
        let host = u8::try_from(self.host.load(Ordering::SeqCst)).unwrap();
        let address = match family {
            A => vec![192, 0, 2, host],
            _ => [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[host]].concat(),
        };
        let mut response = query.to_vec();
        // A response with recursion, and its code.
        response[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        response[4..12].copy_from_slice(&[0, 1, 0, u8::from(ttl.is_some()), 0, 0, 0, 0]);
        response.truncate(end_of_question(query));
        if let Some(ttl) = ttl {
            response.extend_from_slice(&[0xc0, 12]);
            response.extend_from_slice(&family.to_be_bytes());
            response.extend_from_slice(&[0, 1]);
            response.extend_from_slice(&ttl.to_be_bytes());
            response.extend_from_slice(&u16::try_from(address.len()).unwrap().to_be_bytes());
            response.extend_from_slice(&address);
        }
        socket.send_to(&response, client).await.unwrap();
    }
}

/// The response to a query for SRV records.
fn services(name: &str, query: &[u8]) -> Vec<u8> {
    let records: &[(u16, u16, u16, &[&str])] = match name {
        "_web._tcp.shop.test" => &[
            (2, 0, 8081, &["Spare", "shop", "test"]),
            (1, 30, 8080, &["two", "shop", "test"]),
            (1, 10, 8080, &["one", "shop", "test"]),
        ],
        "_off._tcp.shop.test" => &[(0, 0, 0, &[])],
        _ => &[],
    };
    let code = if records.is_empty() { 3 } else { 0 };
    let mut response = query.to_vec();
    response[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    response[4..12].copy_from_slice(&[0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    response.truncate(end_of_question(query));
    for (priority, weight, port, labels) in records {
        let mut data = [priority, weight, port]
            .map(|number| number.to_be_bytes())
            .concat();
        for label in *labels {
            data.push(label.len() as u8);
            data.extend_from_slice(label.as_bytes());
        }
        data.push(0);
        response.extend_from_slice(&[0xc0, 12]);
        response.extend_from_slice(&SRV.to_be_bytes());
        response.extend_from_slice(&[0, 1, 0, 0, 0, 20, 0, data.len() as u8]);
        response.extend_from_slice(&data);
    }
    response
}

/// The name and the type of a query.
fn question(query: &[u8]) -> (String, u16) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let length = usize::from(query[at]);
        let label = String::from_utf8(query[at + 1..=at + length].to_vec()).unwrap();
        labels.push(label.to_ascii_lowercase());
        at += length + 1;
    }
    (
        labels.join("."),
        u16::from_be_bytes([query[at + 1], query[at + 2]]),
    )
}

fn end_of_question(query: &[u8]) -> usize {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    12 + name + 5
}

/// A resolver for a DNS server with this hosts file and further lines of `resolv.conf`.
async fn start(hosts: &str, conf: &str) -> TestDns {
    let server = Arc::new(DnsServer::default());
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(Arc::clone(&server).serve(socket));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hosts"), hosts).unwrap();
    let conf = format!("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n{conf}");
    std::fs::write(folder.path().join("resolv.conf"), conf).unwrap();
    let sources = Sources::in_folder(folder.path(), port);
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(1_000_000)));
    let metrics = Metrics::new().unwrap();
    let resolver = Resolver::with(
        sources,
        None,
        Arc::clone(&clock) as Arc<dyn Clock>,
        Some(metrics.dns_lookups.clone()),
    );
    TestDns {
        server,
        resolver,
        clock,
        metrics,
        folder,
    }
}

impl TestDns {
    async fn resolve(&self, host: &str) -> Result<Vec<String>, LookupError> {
        let found = self.resolver.resolve(host).await?;
        let mut texts: Vec<_> = found.iter().map(IpAddr::to_string).collect();
        texts.sort();
        Ok(texts)
    }

    /// The queries since the last call.
    fn queries(&self) -> Vec<String> {
        let mut queries = std::mem::take(&mut *self.server.queries.lock().unwrap());
        queries.sort();
        queries
    }
}

#[tokio::test]
async fn concurrent_lookups_of_a_name_are_one() {
    let dns = start("", "").await;
    dns.server.holds.send_replace(true);
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let resolver = dns.resolver.clone();
        waiting.spawn(async move { resolver.resolve("ttl-9.test").await });
    }
    // One that gives up does not end the lookup of the others.
    waiting.spawn(async { Err(LookupError::NotFound) });
    while dns.server.queries.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    dns.server.holds.send_replace(false);
    let mut found = 0;
    while let Some(answer) = waiting.join_next().await {
        found += usize::from(answer.unwrap().is_ok());
    }
    assert_eq!(found, 50);
    let lookups = dns.metrics.dns_lookups.with_label_values(&["found"]);
    assert_eq!(lookups.get(), 1);
    assert_eq!(dns.queries(), ["ttl-9.test 1", "ttl-9.test 28"]);
}

#[tokio::test]
async fn addresses_are_kept_for_their_ttl_within_bounds() {
    for (host, kept, expired) in [
        ("ttl-10.test", 9, 2),
        ("ttl-0.test", 0, 2),
        ("ttl-600.test", 29, 2),
    ] {
        let dns = start("", "").await;
        let both = ["192.0.2.0", "2001:db8::"];
        assert_eq!(dns.resolve(host).await.unwrap(), both);
        assert_eq!(dns.queries().len(), 2, "{host}");
        dns.clock.advance(Duration::from_secs(kept));
        assert_eq!(dns.resolve(host).await.unwrap(), both);
        assert_eq!(dns.queries(), Vec::<String>::new(), "{host}");
        dns.clock.advance(Duration::from_secs(expired));
        dns.server.host.store(7, Ordering::SeqCst);
        assert_eq!(
            dns.resolve(host).await.unwrap(),
            ["192.0.2.7", "2001:db8::7"],
            "{host}"
        );
    }
}

#[tokio::test]
async fn addresses_that_do_not_work_are_looked_up_again() {
    let dns = start("", "").await;
    dns.resolve("ttl-20.test").await.unwrap();
    dns.resolver.refresh("ttl-20.test").await.unwrap();
    assert_eq!(dns.queries().len(), 2, "at most once a second");
    dns.clock.advance(Duration::from_secs(1));
    dns.server.host.store(3, Ordering::SeqCst);
    let found = dns.resolver.refresh("ttl-20.test").await.unwrap();
    assert!(found.contains(&"192.0.2.3".parse().unwrap()), "{found:?}");
}

#[tokio::test]
async fn hosts_file_search_domains_and_changes_are_used() {
    let dns = start(
        "10.0.0.1 store store.internal\n",
        "search shop.test found.test\noptions ndots:2\n",
    )
    .await;
    assert_eq!(dns.resolve("store").await.unwrap(), ["10.0.0.1"]);
    assert_eq!(dns.queries(), Vec::<String>::new());
    assert_eq!(dns.resolve("forum").await.unwrap(), ["192.0.2.0"]);
    let queries = dns.queries();
    assert!(
        queries.contains(&"forum.shop.test 1".to_owned()),
        "{queries:?}"
    );
    assert!(
        queries.contains(&"forum.found.test 1".to_owned()),
        "{queries:?}"
    );
    assert!(
        !queries.iter().any(|query| query.starts_with("forum ")),
        "{queries:?}"
    );
    let conf = dns.folder.path().join("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.1\nsearch other.test\n").unwrap();
    assert_eq!(dns.resolve("chat").await, Err(LookupError::NotFound));
    assert!(dns.queries().contains(&"chat.other.test 1".to_owned()));
}

#[tokio::test]
async fn family_without_answer_does_not_hide_the_other() {
    // The server's silence outlasts the lookup.
    let dns = start("", "options timeout:60\n").await;
    assert_eq!(dns.resolve("four.test").await.unwrap(), ["192.0.2.0"]);
}

#[tokio::test]
async fn failures_are_told_apart_and_kept_for_a_second() {
    let dns = start("", "search nowhere.test\noptions ndots:1\n").await;
    assert_eq!(dns.resolve("absent.test").await, Err(LookupError::NotFound));
    assert!(matches!(
        dns.resolve("broken.test").await,
        Err(LookupError::Failed(_))
    ));
    let queries = dns.queries();
    assert!(
        !queries
            .iter()
            .any(|query| query.contains("broken.test.nowhere")),
        "after a failure no other name is tried: {queries:?}"
    );
    assert!(dns.resolve("broken.test").await.is_err());
    assert_eq!(dns.queries(), Vec::<String>::new());
}

#[tokio::test]
async fn addresses_and_localhost_need_no_lookup() {
    let dns = start("", "").await;
    assert_eq!(dns.resolve("10.1.2.3").await.unwrap(), ["10.1.2.3"]);
    assert_eq!(dns.resolve("::7").await.unwrap(), ["::7"]);
    assert_eq!(
        dns.resolve("a.localhost").await.unwrap(),
        ["127.0.0.1", "::1"]
    );
    assert_eq!(dns.queries(), Vec::<String>::new());
}

#[tokio::test]
async fn srv_records_are_sorted_by_priority() {
    let dns = start("", "search test\n").await;
    for name in ["_web._tcp.shop.test", "_web._tcp.shop"] {
        let found = dns.resolver.services(name).await.unwrap();
        let targets = found.targets.iter().map(|service| {
            let Service {
                priority,
                weight,
                target,
                port,
            } = service;
            format!("{priority} {weight} {target}:{port}")
        });
        let expected = [
            "1 10 one.shop.test:8080",
            "1 30 two.shop.test:8080",
            "2 0 spare.shop.test:8081",
        ];
        assert_eq!(targets.collect::<Vec<_>>(), expected, "{name}");
        assert_eq!(found.ttl(), Duration::from_secs(20));
    }
}

#[tokio::test]
async fn srv_target_dot_means_no_service_and_no_record_is_an_error() {
    let dns = start("", "").await;
    let none = dns.resolver.services("_off._tcp.shop.test").await.unwrap();
    assert_eq!(none.targets, []);
    let missing = dns.resolver.services("_mail._tcp.shop.test").await;
    assert_eq!(missing, Err(LookupError::NotFound));
}
