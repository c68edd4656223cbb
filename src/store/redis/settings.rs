//! Settings of the Redis store: nodes, topology, TLS, login, limits.

use std::time::Duration;

use crate::types::secret::Secret;

/// A single Redis, a Cluster, or a Redis with Sentinels.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// The Redis, some nodes of the Cluster, or the Sentinels. At least one.
    pub nodes: Vec<RedisNode>,
    /// The role of the nodes.
    pub topology: Topology,
    /// TLS to every node.
    pub tls: Option<RedisTls>,
    /// The login at Redis.
    pub login: Option<RedisLogin>,
    /// The database number (`SELECT`). 0 in a Cluster.
    pub database: u32,
    /// The prefix of all keys, without braces, which would be hash tags in a Cluster.
    pub key_prefix: String,
    /// The timeout of a call, connection included.
    pub timeout: Duration,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisNode {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// The role of the nodes.
#[derive(Clone, Debug)]
pub enum Topology {
    /// A single Redis.
    Single,
    /// Nodes of a Redis Cluster.
    Cluster,
    /// Sentinels, which know the master.
    Sentinel {
        /// The name of the master at the Sentinels.
        master: String,
        /// The login at the Sentinels.
        login: Option<RedisLogin>,
    },
}

/// TLS to a Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// The trusted authorities, in PEM. `None` for those of the system.
    pub ca_certificates: Option<Vec<u8>>,
}

/// A login (`AUTH`).
#[derive(Clone, Debug)]
pub struct RedisLogin {
    /// The ACL user. `None` for the user `default`.
    pub username: Option<String>,
    /// The password.
    pub password: Secret<String>,
}

/// Limits of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// The longest lifetime of an entry. Older ones are trimmed.
    pub max_lifetime: Duration,
    /// The most entries.
    pub max_entries: usize,
}
