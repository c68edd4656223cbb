//! Where addresses come from: the hosts file, then the DNS, then the system's resolver, which may
//! know further sources (such as multicast DNS or LDAP) for names that the DNS does not know.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::servers::{Found, Servers};
use super::services::Services;
use super::{LookupError, hosts};
use crate::lock::lock;
use crate::types::files::FileFingerprint;

/// Maximum number of threads in the system's resolver, which blocks.
const MAX_SYSTEM_LOOKUPS: usize = 4;
/// How long addresses are kept that have no TTL.
const DEFAULT_TTL: Duration = Duration::from_secs(5);

/// The sources of addresses, in order.
pub(super) struct Sources {
    hosts_file: PathBuf,
    resolv_conf: PathBuf,
    /// Replaces the standard port of DNS servers in tests.
    port: Option<u16>,
    servers: Mutex<Configured>,
    system: System,
}

/// The servers of `resolv.conf`, as it was when it was read.
struct Configured {
    fingerprint: Option<FileFingerprint>,
    /// `None` if the file cannot be used.
    servers: Option<Arc<Servers>>,
}

/// Whether the system's resolver is used at last.
enum System {
    Used(Arc<Semaphore>),
    #[cfg(test)]
    Unused,
}

impl Sources {
    /// The system's files and its resolver.
    pub(super) fn system() -> Self {
        Self {
            hosts_file: PathBuf::from("/etc/hosts"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            port: None,
            servers: Mutex::new(Configured {
                fingerprint: None,
                servers: None,
            }),
            system: System::Used(Arc::new(Semaphore::new(MAX_SYSTEM_LOOKUPS))),
        }
    }

    /// The files `hosts` and `resolv.conf` in `folder`, and DNS servers on `port`.
    #[cfg(test)]
    pub(super) fn in_folder(folder: &Path, port: u16) -> Self {
        Self {
            hosts_file: folder.join("hosts"),
            resolv_conf: folder.join("resolv.conf"),
            port: Some(port),
            system: System::Unused,
            ..Self::system()
        }
    }

    pub(super) async fn look_up(&self, host: &str) -> Result<Found, LookupError> {
        let text = std::fs::read_to_string(&self.hosts_file).unwrap_or_default();
        let addresses = hosts::addresses(&text, host);
        if !addresses.is_empty() {
            return Ok(Found {
                addresses,
                ttl: DEFAULT_TTL,
            });
        }
        let Some(servers) = self.servers() else {
            let found = self.system.look_up(host).await;
            return found.map_err(LookupError::Failed);
        };
        match servers.look_up(host).await {
            Err(LookupError::NotFound) => {
                let found = self.system.look_up(host).await;
                found.map_err(|_| LookupError::NotFound)
            }
            found => found,
        }
    }

    /// Only servers have SRV records.
    pub(super) async fn services(&self, name: &str) -> Result<Services, LookupError> {
        match self.servers() {
            Some(servers) => servers.services(name).await,
            None => Err(LookupError::Failed("there is no DNS server".to_owned())),
        }
    }

    /// The servers, read again if the file has changed.
    fn servers(&self) -> Option<Arc<Servers>> {
        let fingerprint = Some(FileFingerprint::of(&self.resolv_conf));
        let mut configured = lock(&self.servers);
        if configured.fingerprint != fingerprint {
            configured.servers = read(&self.resolv_conf, self.port).map(Arc::new);
            configured.fingerprint = fingerprint;
        }
        configured.servers.clone()
    }
}

/// `None` if the file cannot be used: then only the system's resolver is.
fn read(resolv_conf: &Path, port: Option<u16>) -> Option<Servers> {
    let text = std::fs::read_to_string(resolv_conf).ok()?;
    match Servers::parse(&text, port) {
        Ok(servers) => Some(servers),
        Err(error) => {
            tracing::warn!(file = %resolv_conf.display(), %error, "dns_configuration_unusable");
            None
        }
    }
}

impl System {
    /// The error is a text for the log.
    async fn look_up(&self, host: &str) -> Result<Found, String> {
        let threads = match self {
            Self::Used(threads) => Arc::clone(threads),
            #[cfg(test)]
            Self::Unused => return Err("unused".to_owned()),
        };
        let permit = threads
            .acquire_owned()
            .await
            .map_err(|error| error.to_string())?;
        let host = host.to_owned();
        let found = spawn_blocking(move || {
            // Held until the thread is free again, also if the caller has given up.
            let _permit = permit;
            (host, 0).to_socket_addrs()
        });
        let found = found
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.dedup();
        if addresses.is_empty() {
            return Err("no addresses".to_owned());
        }
        Ok(Found {
            addresses,
            ttl: DEFAULT_TTL,
        })
    }
}
