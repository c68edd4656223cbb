//! The validated configuration.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use url::Url;

use super::keys::SealingKey;
use super::rule_list_file::RuleListFile;
use crate::auth::app::AuthSettings;
use crate::auth::assertion::AssertionKey;
use crate::auth::session_list::ClientDetail;
use crate::downstream::{Certificates, ListenerSettings, SocketAccess};
use crate::limits::{ByClient, ClientLimitSettings, LimiterSettings};
use crate::oidc::presented_token::AccessTokenClaim;
use crate::oidc::{ClientSettings, ProviderSettings};
use crate::policy::app::App;
use crate::policy::client_address::ForwardedHeader;
use crate::proxy::MaintenanceSettings;
use crate::proxy::log_names::LoggedUser;
use crate::proxy::pages::PageSet;
use crate::store::RedisSettings;
use crate::telemetry::audit::{AuditSettings, AuditTarget};
use crate::telemetry::log::LogFormat;
use crate::types::net::ListenAddr;
use crate::types::oauth::ProviderName;
use crate::types::trace_context::TraceSettings;
use crate::upstream::{UpstreamCredentials, UpstreamSettings};

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[tracing]`.
    pub tracing: TracingConfig,
    /// The keys of `[session]`, at least one. The first seals, all open.
    pub keys: Vec<SealingKey>,
    /// The size of each worker's cache of decrypted sessions.
    pub session_cache_size: usize,
    /// `[session.list]`.
    pub session_list: SessionListConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[providers.…]`, by name.
    pub providers: Vec<ProviderSettings>,
    /// The login hosts of providers.
    pub login_hosts: Vec<LoginHostConfig>,
    /// `[apps.…]`, by name.
    pub apps: Vec<AppConfig>,
    /// Doorward's own pages.
    pub pages: PageSet,
    /// The file of `[maintenance]`.
    pub maintenance_file: Option<PathBuf>,
    /// The keys of `[assertion]`. The first signs, all are published.
    pub assertion_keys: Vec<Arc<AssertionKey>>,
    /// The lists in files that access rules use, in the order of their IDs.
    pub rule_lists: Vec<RuleListFile>,
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The listeners for clients, at least one.
    pub listeners: Vec<ListenerConfig>,
    /// The address of the admin listener.
    pub admin_listen: ListenAddr,
    /// The address of the decision listener.
    pub decision_listen: Option<ListenAddr>,
    /// Names of the public DNS by which the admin listener is reached, in lower case.
    pub admin_hosts: Vec<String>,
    /// TLS settings, if Doorward terminates TLS.
    pub tls: Option<TlsConfig>,
    /// Proxies that are trusted to report client addresses.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the peers of a Unix domain socket are trusted to report them too.
    pub trusts_unix_peers: bool,
    /// The header in which they report them.
    pub forwarded_header: ForwardedHeader,
    /// Whether they report the host that the client requested.
    pub forwarded_host: bool,
    /// Whether they report the scheme that the client used.
    pub forwarded_proto: bool,
    /// The number of worker threads.
    pub workers: NonZeroUsize,
    /// The concurrency limit of the server.
    pub requests: LimiterSettings,
    /// Uploads below this rate, in bytes per second, are aborted if requests are queued.
    pub min_upload_rate: u32,
    /// Whether the configuration is reloaded when one of its files changes.
    pub watch_files: bool,
    /// How long after the start `/readyz` waits for providers that were never reached.
    pub startup_provider_timeout: Duration,
    /// How long Doorward serves after a termination signal, before it drains.
    pub shutdown_delay: Duration,
    /// Connection limits and timeouts.
    pub limits: ListenerSettings,
}

/// A listener for clients: `server.listen`, or one of `[[server.listeners]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its address.
    pub address: ListenAddr,
    /// Whether it terminates TLS, by `[server.tls]`.
    pub tls: bool,
    /// Whether its connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Whether it only redirects to `https`.
    pub redirects_to_https: bool,
    /// The permissions of a Unix domain socket.
    pub socket_access: SocketAccess,
}

/// `[server.tls]`.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The certificates, which are reloaded when their files change.
    pub certificates: Arc<Certificates>,
    /// The TLS configuration.
    pub config: Arc<rustls::ServerConfig>,
    /// The hosts of the apps that need a certificate.
    pub hosts: Vec<String>,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The format of the event log.
    pub format: LogFormat,
    /// The filter of the event log.
    pub filter: &'static str,
    /// Whether the access log is written.
    pub access: bool,
    /// The format of the access log.
    pub access_format: LogFormat,
    /// The audit log, if it is written.
    pub audit: Option<AuditSettings>,
    /// The names of users in the logs.
    pub user: LoggedUser,
    /// Whether the access log has the `User-Agent` of clients.
    pub user_agent: bool,
}

impl LogConfig {
    /// Whether a log is written to standard output.
    pub fn uses_stdout(&self) -> bool {
        let audit = self.audit.as_ref();
        self.access || audit.is_some_and(|audit| audit.target == AuditTarget::Stdout)
    }
}

/// `[session.list]`.
#[derive(Clone, Debug)]
pub struct SessionListConfig {
    /// The most sessions. 0: none are listed.
    pub max_sessions: usize,
    /// The names of users. `None`: as in the logs.
    pub user: Option<LoggedUser>,
    /// The details of clients to keep.
    pub client: ClientDetail,
    /// Whether users can see and end their sessions.
    pub has_page: bool,
}

/// `[tracing]`.
#[derive(Clone, Debug)]
pub struct TracingConfig {
    /// How requests get their traces.
    pub requests: TraceSettings,
    /// Where recorded traces are sent.
    pub otlp_endpoint: Option<Url>,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The implementation.
    pub backend: StoreBackend,
    /// The journal, which survives a restart: of all revocations, or beside Redis of those that are
    /// not published yet.
    pub journal_file: Option<PathBuf>,
    /// The most entries in this process, per kind: login attempts, DPoP proofs, refreshed tokens.
    pub max_entries: usize,
    /// The most revocations that are known individually.
    pub max_revoked: usize,
}

/// A store implementation.
#[derive(Clone, Debug)]
pub enum StoreBackend {
    /// In this process.
    Memory,
    /// In Redis, for several replicas.
    Redis(Box<RedisSettings>),
}

/// The login host of a provider: `login_url`.
#[derive(Clone, Debug)]
pub struct LoginHostConfig {
    /// Its endpoints. It has no backend.
    pub policy: App,
    /// The provider.
    pub provider: ProviderName,
    /// The redirect URI of all apps.
    pub callback: Url,
}

/// `[apps.NAME]`.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// The access policy.
    pub policy: App,
    /// The registrations at the providers of `policy`, in the same order.
    pub registrations: Vec<Registration>,
    /// The session settings.
    pub auth: AuthSettings,
    /// The limit of requests in flight, if the app has its own.
    pub max_in_flight_requests: Option<usize>,
    /// The upstream.
    pub upstream: UpstreamSettings,
    /// The routes, as in the policy.
    pub routes: Vec<RouteConfig>,
    /// The headers of clients that the app gets.
    pub client_headers: ClientHeaders,
    /// Its credentials, but for routes with an upstream of their own.
    pub credentials: UpstreamCredentials,
    /// The limits of each client.
    pub client_limits: ByClient<ClientLimitSettings>,
    /// `[apps.NAME.maintenance]`, with the defaults of `[maintenance]`.
    pub maintenance: MaintenanceSettings,
}

/// The registration of an app at one provider.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The provider.
    pub provider: ProviderName,
    /// The OAuth client.
    pub client: ClientSettings,
    /// The verification of access tokens of the provider, if the app accepts any.
    pub bearer: Option<BearerConfig>,
}

impl AppConfig {
    /// The upstreams of the app and its routes.
    pub fn upstreams(&self) -> impl Iterator<Item = &UpstreamSettings> {
        let of_routes = self.routes.iter();
        let of_routes = of_routes.filter_map(|route| route.upstream.as_ref());
        std::iter::once(&self.upstream).chain(of_routes)
    }
}

/// `[[apps.NAME.routes]]`, beside its policy.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// The upstream. `None` if Doorward answers.
    pub upstream: Option<UpstreamSettings>,
    /// The limit of requests in flight, if the route has its own.
    pub max_in_flight_requests: Option<usize>,
    /// The credentials for its upstream.
    pub credentials: UpstreamCredentials,
}

impl Registration {
    /// A registration without access tokens.
    pub const fn new(provider: ProviderName, client: ClientSettings) -> Self {
        Self {
            provider,
            client,
            bearer: None,
        }
    }
}

/// The headers of clients that an app gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHeaders {
    /// Whether `Authorization` is removed even if it is meant for the app.
    pub removes_authorization: bool,
    /// Identity headers of other products that are forwarded as clients send them.
    pub forwarded_identity: Vec<HeaderName>,
}

/// The verification settings in `[apps.NAME.bearer]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerConfig {
    /// The accepted issuers.
    pub providers: Vec<ProviderName>,
    /// The accepted audiences. A token's `aud` must have one of them.
    pub audiences: Vec<String>,
    /// A claim that tells access tokens from ID tokens.
    pub access_token_claim: Option<AccessTokenClaim>,
    /// How long introspection results are cached, if opaque tokens are introspected.
    pub introspection: Option<Duration>,
    /// Whether DPoP proofs must have a nonce from Doorward.
    pub dpop_nonce: bool,
}

impl StoreBackend {
    /// Its name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis(_) => "redis",
        }
    }
}

impl Config {
    /// The provider of this name.
    pub fn provider(&self, name: &ProviderName) -> Option<&ProviderSettings> {
        self.providers
            .iter()
            .find(|provider| provider.name == *name)
    }
}
