//! The configuration after every check: typed values that the rest of Doorward takes without asking again.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::keys::SealingKey;
use crate::auth::app::AuthSettings;
use crate::downstream::{Certificates, ListenerSettings};
use crate::oidc::{ClientSettings, ProviderSettings};
use crate::policy::app::App;
use crate::policy::client_address::ForwardedHeader;
use crate::proxy::LimiterSettings;
use crate::store::RedisSettings;
use crate::telemetry::log::LogFormat;
use crate::types::net::ListenAddr;
use crate::types::oauth::ProviderName;
use crate::upstream::UpstreamSettings;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// The keys of `[session]`: the first seals, all open; never none.
    pub keys: Vec<SealingKey>,
    /// Most sessions that each worker keeps opened.
    pub max_cached_sessions: usize,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[providers.…]`, by name.
    pub providers: Vec<ProviderSettings>,
    /// `[apps.…]`, by name.
    pub apps: Vec<AppConfig>,
}

/// `[server]`: where requests come in.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where browsers and programs connect.
    pub listen: ListenAddr,
    /// Where probes and metrics are answered.
    pub admin_listen: ListenAddr,
    /// Certificates and keys, where Doorward speaks TLS itself.
    pub tls: Option<TlsConfig>,
    /// Who is believed about clients' addresses.
    pub trusted_proxies: Vec<IpNet>,
    /// In which field they say it.
    pub forwarded_header: ForwardedHeader,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// How many requests may be under way, and wait for that.
    pub requests: LimiterSettings,
    /// How long serving goes on when the process was told to end.
    pub shutdown_delay: Duration,
    /// Limits of connections.
    pub limits: ListenerSettings,
}

/// `[server.tls]`.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The certificates, as they were when the configuration was read and as their files change.
    pub certificates: Arc<Certificates>,
    /// What was made of them.
    pub config: Arc<rustls::ServerConfig>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// The form of lines.
    pub format: LogFormat,
    /// Which events are logged: the filter that the log takes.
    pub filter: &'static str,
    /// Whether every request is a line.
    pub access: bool,
}

/// `[store]`: what is remembered between requests.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where.
    pub place: StorePlace,
    /// Most entries in this process: unfinished logins, and the newest tokens of refreshed sessions.
    pub max_entries: usize,
    /// Most sessions that were ended before their time and are known by name.
    pub max_revoked: usize,
}

/// Where a store is.
#[derive(Clone, Debug)]
pub enum StorePlace {
    /// In this process.
    Memory {
        /// Where ended sessions are written down, so that a restart does not forget them.
        journal_file: Option<PathBuf>,
    },
    /// In a Redis, for several replicas.
    Redis(Box<RedisSettings>),
}

/// `[apps.NAME]`.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// What deciding about its requests takes.
    pub policy: App,
    /// The provider that its people log in at.
    pub provider: ProviderName,
    /// Its registration there.
    pub client: ClientSettings,
    /// How its sessions are treated.
    pub auth: AuthSettings,
    /// How many of its requests may be under way, if fewer than in all.
    pub max_in_flight_requests: Option<usize>,
    /// Its backend.
    pub upstream: UpstreamSettings,
    /// How access tokens are verified, if it takes any.
    pub bearer: Option<BearerConfig>,
}

/// `[apps.NAME.bearer]`, as far as verifying goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerConfig {
    /// Whose JWTs are taken.
    pub providers: Vec<ProviderName>,
    /// The `aud` values of which a token must carry one.
    pub audiences: Vec<String>,
    /// For how long the provider's word on an opaque token counts, if it is asked.
    pub introspection: Option<Duration>,
    /// Whether proofs of possession have to carry a nonce of ours.
    pub dpop_nonce: bool,
}

impl Config {
    /// The provider of this name; every app's provider is there.
    pub fn provider(&self, name: &ProviderName) -> Option<&ProviderSettings> {
        self.providers
            .iter()
            .find(|provider| provider.name == *name)
    }
}
