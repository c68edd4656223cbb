//! Resolution of the names of an upstream, again and again, so that its members are the addresses that
//! its names have now. A name that cannot be resolved keeps its last addresses.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::{MAX_MEMBERS, MemberId, Members, Rank, Target};
use crate::dns::{LookupError, Resolver, Service};
use crate::lock::lock;
use crate::upstream::address::{ServiceName, UpstreamUrl};

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
    /// The targets of SRV records, in a fixed order. Empty if they are not known or there are no targets.
    services: Vec<Service>,
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

    /// Takes over the state of the names that stay.
    pub(super) fn continue_from(&self, previous: &Self) {
        for name in &self.urls {
            if let Some(before) = previous.urls.iter().find(|before| before.url == name.url) {
                *lock(&name.state) = lock(&before.state).clone();
            }
        }
    }

    /// Whether there is one URL, with one address or with one of each family.
    pub(super) fn are_resolved_to_one(&self) -> bool {
        matches!(self.urls.as_slice(), [name] if name.lookup().is_none())
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        let targets = self.urls.iter().flat_map(Name::targets);
        targets.take(MAX_MEMBERS).collect()
    }
}

/// The lookup for a URL.
#[derive(Clone, Debug)]
enum Lookup {
    Addresses(String),
    Services(String),
}

/// The result of a lookup.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) services: Vec<Service>,
    /// How long it may be used.
    ttl: Duration,
}

#[cfg(test)]
impl Found {
    pub(super) fn addresses(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            services: Vec::new(),
            ttl: DEFAULT_INTERVAL,
        }
    }

    pub(super) fn services(services: Vec<Service>) -> Self {
        Self {
            services,
            ..Self::addresses(Vec::new())
        }
    }
}

impl Lookup {
    async fn run(&self, resolver: &Resolver) -> Result<Found, LookupError> {
        match self {
            Self::Addresses(host) => {
                let addresses = resolver.resolve(host).await?;
                Ok(Found {
                    addresses: addresses.to_vec(),
                    services: Vec::new(),
                    ttl: resolver.valid_for(host).unwrap_or(DEFAULT_INTERVAL),
                })
            }
            Self::Services(name) => {
                let found = resolver.services(name).await?;
                Ok(Found {
                    addresses: Vec::new(),
                    ttl: found.ttl(),
                    services: found.targets,
                })
            }
        }
    }
}

impl Name {
    fn lookup(&self) -> Option<Lookup> {
        if let UpstreamUrl::Srv(service) = &self.url {
            return Some(Lookup::Services(service.name.clone()));
        }
        let host = self.url.name_to_resolve()?;
        Some(Lookup::Addresses(host.to_owned()))
    }

    fn targets(&self) -> Vec<Target> {
        if let UpstreamUrl::Srv(service) = &self.url {
            let targets = service_targets(service, &lock(&self.state).services);
            if !targets.is_empty() {
                return targets;
            }
        }
        let url = &self.url;
        let member = |ip| Target {
            id: MemberId {
                url: url.clone(),
                ip,
            },
            rank: Rank::default(),
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

/// Each target of a service by its name, with all addresses of that name. One that is listed twice counts
/// once, with the smaller priority.
fn service_targets(name: &ServiceName, services: &[Service]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for service in services {
        let Some(url) = name.at_target(&service.target, service.port) else {
            continue;
        };
        let id = MemberId { url, ip: None };
        if !targets.iter().any(|target| target.id == id) {
            let (priority, weight) = (service.priority, service.weight);
            let rank = Rank { priority, weight };
            targets.push(Target { id, rank });
        }
    }
    targets
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
            if let Some(lookup) = name.lookup() {
                let members = Arc::downgrade(self);
                runtime.spawn(Self::resolve_always(
                    members,
                    index,
                    lookup,
                    resolver.clone(),
                ));
            }
        }
    }

    async fn resolve_always(members: Weak<Self>, index: usize, lookup: Lookup, resolver: Resolver) {
        loop {
            let found = lookup.run(&resolver).await;
            let pause = match &found {
                Ok(found) => found.ttl,
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
            if let Some(lookup) = name.lookup() {
                self.resolved(index, lookup.run(resolver).await);
            }
        }
    }

    pub(super) fn resolved(&self, index: usize, found: Result<Found, LookupError>) {
        let Some(name) = self.names.urls.get(index) else {
            return;
        };
        let mut state = lock(&name.state);
        let had_failed = std::mem::replace(&mut state.has_failed, found.is_err());
        match found {
            Ok(found) => {
                state.services = found.services;
                state.addresses = found.addresses;
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
