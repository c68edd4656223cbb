//! The configuration after every check: typed values that the rest of Doorward takes without asking again.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::keys::SealingKey;
use super::words::{LogFormat, LogLevel, Userinfo};
use crate::oidc::{ClientSettings, ProviderSettings};
use crate::policy::app::App;
use crate::types::net::Origin;
use crate::types::oauth::ProviderName;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// The keys of `[session]`: the first seals, all open; never none.
    pub keys: Vec<SealingKey>,
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
    pub listen: Listen,
    /// Where probes and metrics are answered.
    pub admin_listen: Listen,
    /// Certificate and key, where Doorward speaks TLS itself.
    pub tls: Option<TlsConfig>,
    /// Whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Most connections at a time, over all workers.
    pub max_connections: usize,
    /// Longest wait for the head of a request.
    pub header_read_timeout: Duration,
    /// Longest wait for requests in flight when the process ends.
    pub drain_timeout: Duration,
}

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// IP address and port; port 0 is any free one.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// `[server.tls]`.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The file of the certificate chain, in PEM.
    pub cert_file: PathBuf,
    /// The file of the private key, in PEM.
    pub key_file: PathBuf,
    /// What the files held when the configuration was read; key and certificate belong together.
    pub certified: Arc<CertifiedKey>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// The form of lines.
    pub format: LogFormat,
    /// The least important event that is logged.
    pub level: LogLevel,
    /// Whether every request is a line.
    pub access: bool,
}

/// `[store]`: where what replicas must agree on is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process only.
    Memory,
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
    /// Whether the UserInfo endpoint is asked.
    pub userinfo: Userinfo,
    /// Its backend.
    pub upstream: UpstreamConfig,
}

/// The backend of an app.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Where it is.
    pub target: Upstream,
    /// If any: the only certificate authorities to trust for it; else the system's.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// Whether it gets the `Host` that the browser sent; else its own.
    pub preserve_host: bool,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer.
    pub response_timeout: Duration,
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// At a host, by http or https.
    Origin(Origin),
    /// At a Unix domain socket, by http.
    Unix(PathBuf),
}

impl Config {
    /// The provider of this name; every app's provider is there.
    pub fn provider(&self, name: &ProviderName) -> Option<&ProviderSettings> {
        self.providers.iter().find(|provider| provider.name == *name)
    }
}
