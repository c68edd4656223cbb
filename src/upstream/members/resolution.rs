//! Resolution of the names of an upstream, again and again, so that its members are the addresses that
//! its names have now. A name that cannot be resolved keeps its last addresses.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::{MAX_MEMBERS, MemberId, Members};
use crate::dns::{LookupError, Resolver};
use crate::lock::lock;
use crate::upstream::address::UpstreamUrl;

/// How long after a failure a name is looked up again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How long addresses are used whose lifetime is not known.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// The URLs of an upstream, with the addresses of their names.
#[derive(Debug)]
pub(super) struct Names {
    urls: Vec<Name>,
    /// Whether the names are kept resolved.
    started: AtomicBool,
}

#[derive(Debug)]
struct Name {
    url: UpstreamUrl,
    state: Mutex<NameState>,
}

#[derive(Clone, Debug, Default)]
struct NameState {
    /// In a fixed order. Empty if they are not known.
    addresses: Vec<IpAddr>,
    has_failed: bool,
}

impl Names {
    pub(super) fn of<'u>(urls: impl Iterator<Item = &'u UpstreamUrl>) -> Self {
        let names = urls.map(|url| Name {
            url: url.clone(),
            state: Mutex::default(),
        });
        Self {
            urls: names.collect(),
            started: AtomicBool::new(false),
        }
    }

    /// Takes over what is known of the names that stay.
    pub(super) fn continue_from(&self, previous: &Self) {
        for name in &self.urls {
            if let Some(before) = previous.urls.iter().find(|before| before.url == name.url) {
                *lock(&name.state) = lock(&before.state).clone();
            }
        }
    }

    /// Whether there is one URL, with one address or with one of each family.
    pub(super) fn are_resolved_to_one(&self) -> bool {
        matches!(self.urls.as_slice(), [name] if name.url.name_to_resolve().is_none())
    }

    pub(super) fn member_ids(&self) -> Vec<MemberId> {
        let ids = self.urls.iter().flat_map(Name::member_ids);
        ids.take(MAX_MEMBERS).collect()
    }
}

impl Name {
    fn member_ids(&self) -> Vec<MemberId> {
        let url = &self.url;
        let member = |ip| MemberId {
            url: url.clone(),
            ip,
        };
        let addresses = &lock(&self.state).addresses;
        let of_family_4 = addresses.iter().filter(|ip| ip.is_ipv4()).count();
        let is_one_machine = of_family_4 <= 1 && addresses.len() - of_family_4 <= 1;
        if is_one_machine {
            vec![member(None)]
        } else {
            addresses.iter().map(|ip| member(Some(*ip))).collect()
        }
    }
}

impl Members {
    /// Keeps the names resolved until the members are dropped, if that was not begun before.
    pub(in crate::upstream) fn keep_resolved(
        self: &Arc<Self>,
        runtime: &Handle,
        resolver: &Resolver,
    ) {
        if self.names.started.swap(true, Ordering::Relaxed) {
            return;
        }
        for (index, name) in self.names.urls.iter().enumerate() {
            if let Some(host) = name.url.name_to_resolve() {
                let host = host.to_owned();
                let members = Arc::downgrade(self);
                runtime.spawn(Self::resolve_always(members, index, host, resolver.clone()));
            }
        }
    }

    async fn resolve_always(members: Weak<Self>, index: usize, host: String, resolver: Resolver) {
        loop {
            let found = resolver.resolve(&host).await;
            let pause = match &found {
                Ok(_) => resolver.valid_for(&host).unwrap_or(DEFAULT_INTERVAL),
                Err(_) => RETRY_INTERVAL,
            };
            let Some(members) = members.upgrade() else {
                return;
            };
            members.resolved(index, found);
            drop(members);
            sleep(pause).await;
        }
    }

    /// Resolves all names once.
    pub(in crate::upstream) async fn resolve(&self, resolver: &Resolver) {
        for (index, name) in self.names.urls.iter().enumerate() {
            if let Some(host) = name.url.name_to_resolve() {
                self.resolved(index, resolver.resolve(host).await);
            }
        }
    }

    pub(super) fn resolved(&self, index: usize, found: Result<Arc<[IpAddr]>, LookupError>) {
        let Some(name) = self.names.urls.get(index) else {
            return;
        };
        let mut state = lock(&name.state);
        let had_failed = std::mem::replace(&mut state.has_failed, found.is_err());
        match found {
            Ok(addresses) => {
                state.addresses = addresses.to_vec();
                state.addresses.sort_unstable();
                state.addresses.dedup();
                if had_failed {
                    tracing::info!(app = self.app, address = %name.url, "upstream_resolved");
                }
            }
            Err(error) if !had_failed => {
                tracing::warn!(app = self.app, address = %name.url, %error, "upstream_unresolved");
            }
            Err(_) => {}
        }
        drop(state);
        self.update();
    }
}
