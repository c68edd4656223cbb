//! Connects to a single Redis, to the master that Sentinels report, or to a Cluster.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisResult, TlsMode, Value};

use super::cluster::Cluster;
use super::dns::Dns;
use super::node_info::{address, certificates, nodes};
use super::settings::{RedisLogin, RedisSettings, Topology};

/// A client, and how it resolves the names of nodes.
pub(super) struct Connector {
    client: TopologyClient,
    dns: Dns,
}

/// A client for each topology.
enum TopologyClient {
    Single(Box<Client>),
    Sentinel(Box<tokio::sync::Mutex<SentinelClient>>),
    Cluster(Arc<Cluster>),
}

/// An open connection, shared by its clones.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let dns = Dns::default();
        let client = match &settings.topology {
            Topology::Single => TopologyClient::Single(Box::new(single(settings)?)),
            Topology::Cluster => TopologyClient::Cluster(Arc::new(Cluster::new(settings, &dns)?)),
            Topology::Sentinel { master, login } => {
                let client = sentinel(settings, master, login.as_ref())?;
                TopologyClient::Sentinel(Box::new(tokio::sync::Mutex::new(client)))
            }
        };
        Ok(Self { client, dns })
    }

    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        // The caller applies the timeouts.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_dns_resolver(self.dns.clone());
        match &self.client {
            TopologyClient::Single(client) => client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map(Connection::One),
            TopologyClient::Sentinel(client) => client
                .lock()
                .await
                .get_async_connection_with_config(&config)
                .await
                .map(Connection::One),
            TopologyClient::Cluster(cluster) => cluster.connect().await.map(Connection::Cluster),
        }
    }

    /// A question to a Cluster for its nodes, if it is time for one.
    pub(super) fn discovery(
        &self,
        connection: &Connection,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let (TopologyClient::Cluster(cluster), Connection::Cluster(connection)) =
            (&self.client, connection)
        else {
            return None;
        };
        let (cluster, connection) = (Arc::clone(cluster), connection.clone());
        let is_due = cluster.is_discovery_due();
        is_due.then_some(async move { cluster.discover(connection).await })
    }
}

impl Connection {
    /// Whether it leads to several servers, so that a failed call does not mean that all are lost.
    pub(super) const fn has_several_servers(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Cluster(_) => true,
        }
    }

    pub(super) async fn send(self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(mut connection) => command.query_async(&mut connection).await,
            Self::Cluster(mut connection) => command.query_async(&mut connection).await,
        }
    }
}

fn single(settings: &RedisSettings) -> RedisResult<Client> {
    let no_address = (ErrorKind::InvalidClientConfig, "no address");
    let node = nodes(settings)?.into_iter().next().ok_or(no_address)?;
    match certificates(settings) {
        Some(certificates) => Client::build_with_tls(node, certificates),
        None => Client::open(node),
    }
}

fn sentinel(
    settings: &RedisSettings,
    master: &str,
    login: Option<&RedisLogin>,
) -> RedisResult<SentinelClient> {
    let sentinels = settings.nodes.iter().map(|node| address(node, settings));
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
        .set_client_to_redis_db(i64::from(settings.database));
    if let Some(certificates) = certificates(settings) {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates);
    }
    if let Some(RedisLogin { username, password }) = &settings.login {
        builder = builder.set_client_to_redis_password(password.expose());
        builder = username
            .iter()
            .fold(builder, SentinelClientBuilder::set_client_to_redis_username);
    }
    if let Some(RedisLogin { username, password }) = login {
        builder = builder.set_client_to_sentinel_password(password.expose());
        builder = username.iter().fold(
            builder,
            SentinelClientBuilder::set_client_to_sentinel_username,
        );
    }
    builder.build()
}
