//! Where a Redis is, who we are there, and how long it may take.

use std::time::Duration;

use crate::types::secret::Secret;

/// A Redis, a Redis Cluster, or a Redis that Sentinels watch over.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// The Redis; in a Cluster some of its nodes; with Sentinels, these. Never none.
    pub nodes: Vec<RedisNode>,
    /// What the nodes are to each other.
    pub topology: Topology,
    /// TLS to every node, if any.
    pub tls: Option<RedisTls>,
    /// Who we are at the Redis; `None`: nobody in particular.
    pub login: Option<RedisLogin>,
    /// The number of the database (`SELECT`); 0 in a Cluster.
    pub database: u32,
    /// What all keys begin with. No braces: they decide where in a Cluster a key is.
    pub key_prefix: String,
    /// Longest that one call may take, connecting included.
    pub timeout: Duration,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisNode {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// What several nodes are to each other.
#[derive(Clone, Debug)]
pub enum Topology {
    /// There is one.
    Single,
    /// They share the keys between them (Redis Cluster).
    Cluster,
    /// They are Sentinels, and know which Redis is the master.
    Sentinel {
        /// What the Sentinels call it.
        master: String,
        /// Who we are at the Sentinels.
        login: Option<RedisLogin>,
    },
}

/// TLS to a Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// The authorities to trust, in PEM; `None`: the system's.
    pub ca_certificates: Option<Vec<u8>>,
}

/// A user of the Redis (`AUTH`).
#[derive(Clone, Debug)]
pub struct RedisLogin {
    /// The name in its ACL; `None`: the user `default`.
    pub username: Option<String>,
    /// The password.
    pub password: Secret<String>,
}

/// What the feed of a store may grow to.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    /// The longest that anything announced matters; what is older is forgotten.
    pub longest_life: Duration,
    /// Most items that are kept.
    pub max_items: usize,
}
