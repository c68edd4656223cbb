//! Connects to a Redis Cluster, through the named nodes and those that the Cluster had last. So a
//! Cluster whose named nodes were all replaced is found again.
//!
//! The client follows moved slots and failovers by itself. What it does not notice is a node that
//! accepts commands and never replies; a new connection asks the other nodes.

use std::sync::Mutex;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{RedisResult, Value};
use tokio::time::Instant;

use super::dns::Dns;
use super::node_info::{certificates, nodes};
use super::settings::{RedisNode, RedisSettings};
use crate::lock::lock;

/// How often the client retries a redirected command.
const RETRIES: u32 = 4;
/// How often the nodes are asked for.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(2);
/// The most discovered nodes. One that answers is enough.
const MAX_DISCOVERED: usize = 32;

/// A Cluster, and its nodes.
pub(super) struct Cluster {
    settings: RedisSettings,
    dns: Dns,
    discovered: Mutex<Discovered>,
}

struct Discovered {
    nodes: Vec<RedisNode>,
    asked_at: Instant,
}

impl Cluster {
    pub(super) fn new(settings: &RedisSettings, dns: &Dns) -> RedisResult<Self> {
        client(settings, dns)?;
        Ok(Self {
            settings: settings.clone(),
            dns: dns.clone(),
            discovered: Mutex::new(Discovered {
                nodes: Vec::new(),
                asked_at: Instant::now(),
            }),
        })
    }

    pub(super) async fn connect(&self) -> RedisResult<ClusterConnection> {
        let mut settings = self.settings.clone();
        for node in lock(&self.discovered).nodes.iter() {
            if !settings.nodes.contains(node) {
                settings.nodes.push(node.clone());
            }
        }
        let connection = client(&settings, &self.dns)?.get_async_connection().await?;
        self.discover(connection.clone()).await;
        Ok(connection)
    }

    /// Whether it is time to ask for the nodes again. True once in each interval.
    pub(super) fn is_discovery_due(&self) -> bool {
        let mut discovered = lock(&self.discovered);
        let is_due = discovered.asked_at.elapsed() >= DISCOVERY_INTERVAL;
        if is_due {
            discovered.asked_at = Instant::now();
        }
        is_due
    }

    /// Asks for the nodes, and keeps those it has if nothing useful is returned.
    pub(super) async fn discover(&self, mut connection: ClusterConnection) {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let Ok(reply) = command.query_async::<Value>(&mut connection).await else {
            return;
        };
        let nodes = nodes_of(&reply);
        if !nodes.is_empty() {
            *lock(&self.discovered) = Discovered {
                nodes,
                asked_at: Instant::now(),
            };
        }
    }
}

fn client(settings: &RedisSettings, dns: &Dns) -> RedisResult<ClusterClient> {
    let builder = ClusterClientBuilder::new(nodes(settings)?)
        .connection_timeout(settings.timeout)
        .response_timeout(settings.timeout)
        .async_dns_resolver(dns.clone())
        .retries(RETRIES)
        .min_retry_wait(10)
        .max_retry_wait(millis(settings.timeout / RETRIES));
    match certificates(settings) {
        Some(certificates) => builder.certs(certificates),
        None => builder,
    }
    .build()
}

/// The nodes in a reply to `CLUSTER SLOTS`: for each range its ends, the master and the replicas.
/// A node without a known address is left out.
fn nodes_of(reply: &Value) -> Vec<RedisNode> {
    let Value::Array(ranges) = reply else {
        return Vec::new();
    };
    let mut nodes = Vec::new();
    for range in ranges {
        let Value::Array(parts) = range else { continue };
        for node in parts.iter().skip(2).filter_map(node_of) {
            if nodes.len() < MAX_DISCOVERED && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    }
    nodes
}

fn node_of(part: &Value) -> Option<RedisNode> {
    let Value::Array(fields) = part else {
        return None;
    };
    let [Value::BulkString(host), Value::Int(port), ..] = fields.as_slice() else {
        return None;
    };
    let host = std::str::from_utf8(host).ok()?;
    let is_known = !matches!(host, "" | "?" | "0.0.0.0" | "::");
    is_known.then_some(RedisNode {
        host: host.to_owned(),
        port: u16::try_from(*port).ok()?,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![
            host,
            Value::Int(port),
            text("id"),
            Value::Array(Vec::new()),
        ])
    }

    fn range(nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(0), Value::Int(99)], nodes].concat())
    }

    #[test]
    fn nodes_of_all_ranges_are_found_once() {
        let reply = Value::Array(vec![
            range(vec![node(text("10.0.0.1"), 6379), node(text("::1"), 6380)]),
            range(vec![node(text("10.0.0.1"), 6379), node(text("redis-3"), 1)]),
        ]);
        let found = nodes_of(&reply);
        let found: Vec<_> = found.iter().map(|node| (&*node.host, node.port)).collect();
        assert_eq!(found, [("10.0.0.1", 6379), ("::1", 6380), ("redis-3", 1)]);
    }

    #[test]
    fn nodes_without_address_and_other_replies_are_ignored() {
        for reply in [
            Value::Nil,
            Value::Array(vec![Value::Int(1), Value::Array(Vec::new())]),
            Value::Array(vec![range(vec![
                Value::Int(1),
                Value::Array(vec![text("a")]),
                node(Value::Nil, 1),
                node(text(""), 1),
                node(text("?"), 1),
                node(text("0.0.0.0"), 1),
                node(Value::BulkString(vec![0xff]), 1),
                node(text("a"), 70_000),
            ])]),
        ] {
            assert_eq!(nodes_of(&reply), [], "{reply:?}");
        }
    }

    #[test]
    fn number_of_nodes_is_bounded() {
        let many = (1..1000).map(|port| node(text("10.0.0.1"), port)).collect();
        let found = nodes_of(&Value::Array(vec![range(many)]));
        assert_eq!(found.len(), MAX_DISCOVERED);
    }
}
