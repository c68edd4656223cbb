//! Connects to a single Redis, to the master that Sentinels report, or to a Cluster.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode, Value,
};

use super::dns::Dns;
use super::settings::{RedisLogin, RedisNode, RedisSettings, Topology};

/// How often the Cluster client retries a redirected command.
const CLUSTER_RETRIES: u32 = 4;

/// A client, and how it resolves the names of nodes.
pub(super) struct Connector {
    client: TopologyClient,
    dns: Dns,
}

/// A client for each topology.
enum TopologyClient {
    Single(Box<Client>),
    Sentinel(Box<tokio::sync::Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
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
            Topology::Cluster => TopologyClient::Cluster(Box::new(cluster(settings, &dns)?)),
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
            TopologyClient::Cluster(client) => {
                client.get_async_connection().await.map(Connection::Cluster)
            }
        }
    }
}

impl Connection {
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

fn cluster(settings: &RedisSettings, dns: &Dns) -> RedisResult<ClusterClient> {
    let builder = ClusterClientBuilder::new(nodes(settings)?)
        .connection_timeout(settings.timeout)
        .response_timeout(settings.timeout)
        .async_dns_resolver(dns.clone())
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(10)
        .max_retry_wait(millis(settings.timeout / CLUSTER_RETRIES));
    match certificates(settings) {
        Some(certificates) => builder.certs(certificates),
        None => builder,
    }
    .build()
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

fn nodes(settings: &RedisSettings) -> RedisResult<Vec<ConnectionInfo>> {
    let mut info = RedisConnectionInfo::default().set_db(i64::from(settings.database));
    if let Some(RedisLogin { username, password }) = &settings.login {
        info = info.set_password(password.expose());
        info = username
            .iter()
            .fold(info, RedisConnectionInfo::set_username);
    }
    let node = |node| {
        Ok(address(node, settings)
            .into_connection_info()?
            .set_redis_settings(info.clone()))
    };
    settings.nodes.iter().map(node).collect()
}

fn address(node: &RedisNode, settings: &RedisSettings) -> ConnectionAddr {
    let (host, port) = (node.host.clone(), node.port);
    match &settings.tls {
        Some(_) => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        None => ConnectionAddr::Tcp(host, port),
    }
}

fn certificates(settings: &RedisSettings) -> Option<TlsCertificates> {
    let tls = settings.tls.as_ref()?;
    Some(TlsCertificates {
        client_tls: None,
        root_cert: tls.ca_certificates.clone(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
