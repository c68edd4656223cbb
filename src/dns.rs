//! Name resolution: addresses are cached for their TTL, and each name has at most one lookup in
//! flight, however many requests wait for it. Lookups use no threads, except for names that the DNS
//! does not know.

mod hosts;
mod servers;
mod services;
mod sources;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::IntCounterVec;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::lock::lock;
use crate::telemetry::metrics::Metrics;
use crate::types::net::is_loopback_host;
use crate::types::time::{Clock, SystemClock, Timestamp};
use servers::Found;
pub use services::{Service, Services};
use sources::Sources;

/// Addresses are kept for at least this long, however short their TTL is.
const MIN_TTL: Duration = Duration::from_secs(1);
/// Addresses are kept for at most this long. Some servers give container names a TTL of minutes,
/// and a container that is replaced has another address at once.
const MAX_TTL: Duration = Duration::from_secs(30);
/// A failure is kept for this long.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);
/// Maximum duration of a lookup, with all servers, attempts and search domains.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of names that are remembered. All come from the configuration or a provider's
/// metadata, so it is never reached in practice.
const MAX_NAMES: usize = 1024;

/// The result of a lookup: one address or more.
type Answer = Result<Arc<[IpAddr]>, LookupError>;

/// Resolves host names.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    names: Mutex<HashMap<Box<str>, Entry>>,
    sources: Sources,
    /// The runtime of the lookups; without one, that of the caller.
    runtime: Option<Handle>,
    clock: Arc<dyn Clock>,
    lookups: Option<IntCounterVec>,
}

/// The cached state of a name.
enum Entry {
    InFlight(watch::Receiver<Option<Answer>>),
    Known {
        answer: Answer,
        since: Timestamp,
        until: Timestamp,
    },
}

/// The next step of a caller.
enum Step {
    Done(Answer),
    Wait(watch::Receiver<Option<Answer>>),
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No such name, or it has no addresses.
    #[error("no such host")]
    NotFound,
    /// No server gave an answer.
    #[error("the name cannot be resolved: {0}")]
    Failed(String),
}

impl LookupError {
    /// The metric label.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Failed(_) => "failed",
        }
    }
}

impl From<LookupError> for std::io::Error {
    fn from(error: LookupError) -> Self {
        let kind = match &error {
            LookupError::NotFound => std::io::ErrorKind::NotFound,
            LookupError::Failed(_) => std::io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Default for Resolver {
    /// Resolves on the runtime of each caller, with the system's configuration.
    fn default() -> Self {
        Self::with(Sources::system(), None, Arc::new(SystemClock), None)
    }
}

impl Resolver {
    /// Resolves on `runtime`, for callers on any runtime, with the system's configuration.
    pub fn on(runtime: Handle, clock: Arc<dyn Clock>, metrics: &Metrics) -> Self {
        let lookups = metrics.dns_lookups.clone();
        Self::with(Sources::system(), Some(runtime), clock, Some(lookups))
    }

    /// Uses the files `hosts` and `resolv.conf` in `folder`.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &std::path::Path, clock: Arc<dyn Clock>) -> Self {
        Self::with(Sources::in_folder(folder, 53), None, clock, None)
    }

    fn with(
        sources: Sources,
        runtime: Option<Handle>,
        clock: Arc<dyn Clock>,
        lookups: Option<IntCounterVec>,
    ) -> Self {
        Self(Arc::new(Shared {
            names: Mutex::default(),
            sources,
            runtime,
            clock,
            lookups,
        }))
    }

    /// The addresses of `host`, a name or an address without brackets. `.localhost` is loopback
    /// without a lookup (RFC 6761 section 6.3). Cancelling a caller does not cancel the lookup.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn resolve(&self, host: &str) -> Result<Arc<[IpAddr]>, LookupError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::new([address]));
        }
        if is_loopback_host(host) {
            return Ok(Arc::new([
                Ipv4Addr::LOCALHOST.into(),
                Ipv6Addr::LOCALHOST.into(),
            ]));
        }
        let mut lookup = match self.begin(host) {
            Step::Done(answer) => return answer,
            Step::Wait(lookup) => lookup,
        };
        let answer = match lookup.wait_for(Option::is_some).await {
            Ok(answer) => Option::clone(&answer),
            Err(_) => None,
        };
        answer.unwrap_or_else(|| Err(LookupError::Failed("the lookup was aborted".to_owned())))
    }

    /// Like [`Self::resolve`], with a new lookup if the known addresses are older than a second:
    /// none of them works.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn refresh(&self, host: &str) -> Result<Arc<[IpAddr]>, LookupError> {
        {
            let mut names = lock(&self.0.names);
            if let Some(Entry::Known { since, .. }) = names.get(host)
                && self.0.clock.now().since(*since) >= MIN_TTL
            {
                names.remove(host);
            }
        }
        self.resolve(host).await
    }

    /// The SRV records of `name` (RFC 2782). They are not cached: the caller looks them up again when their
    /// TTL is over.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn services(&self, name: &str) -> Result<Services, LookupError> {
        let shared = Arc::clone(&self.0);
        let name = name.to_owned();
        let lookup = async move { shared.look_up_services(&name).await };
        let lookup = match &self.0.runtime {
            Some(runtime) => runtime.spawn(lookup),
            None => tokio::spawn(lookup),
        };
        let aborted = |_| Err(LookupError::Failed("the lookup was aborted".to_owned()));
        lookup.await.unwrap_or_else(aborted)
    }

    /// How long the known addresses of `host` are used. `None` if no addresses are known.
    pub(crate) fn valid_for(&self, host: &str) -> Option<Duration> {
        match lock(&self.0.names).get(host)? {
            Entry::Known { until, .. } => Some(until.since(self.0.clock.now()).max(MIN_TTL)),
            Entry::InFlight(_) => None,
        }
    }

    /// Returns a known answer, joins the lookup in flight, or starts one.
    fn begin(&self, host: &str) -> Step {
        let now = self.0.clock.now();
        let mut names = lock(&self.0.names);
        match names.get(host) {
            Some(Entry::Known {
                answer,
                since,
                until,
            }) if *since <= now && now < *until => return Step::Done(answer.clone()),
            // The sender is gone if the runtime of the lookup has ended.
            Some(Entry::InFlight(lookup)) if lookup.has_changed().is_ok() => {
                return Step::Wait(lookup.clone());
            }
            Some(_) | None => {}
        }
        if names.len() >= MAX_NAMES {
            names.retain(|_, entry| match entry {
                Entry::Known { until, .. } => now < *until,
                Entry::InFlight(_) => true,
            });
        }
        let (sender, lookup) = watch::channel(None);
        names.insert(host.into(), Entry::InFlight(lookup.clone()));
        drop(names);
        let shared = Arc::clone(&self.0);
        let host: Box<str> = host.into();
        let task = async move {
            let answer = shared.look_up(&host).await;
            sender.send_replace(Some(answer));
        };
        match &self.0.runtime {
            Some(runtime) => drop(runtime.spawn(task)),
            None => drop(tokio::spawn(task)),
        }
        Step::Wait(lookup)
    }
}

impl Shared {
    async fn look_up_services(&self, name: &str) -> Result<Services, LookupError> {
        let found = timeout(LOOKUP_TIMEOUT, self.sources.services(name))
            .await
            .unwrap_or_else(|_| Err(LookupError::Failed("timed out".to_owned())));
        let outcome = match &found {
            Ok(_) => "found",
            Err(error) => error.outcome(),
        };
        self.count(outcome);
        let mut services = found.inspect_err(|error| {
            tracing::debug!(host = name, %error, "dns_lookup_failed");
        })?;
        services.ttl = services.ttl.clamp(MIN_TTL, MAX_TTL);
        Ok(services)
    }

    fn count(&self, outcome: &str) {
        if let Some(lookups) = &self.lookups {
            lookups.with_label_values(&[outcome]).inc();
        }
    }

    /// Looks `host` up and remembers the answer.
    async fn look_up(&self, host: &str) -> Answer {
        let found = timeout(LOOKUP_TIMEOUT, self.sources.look_up(host))
            .await
            .unwrap_or_else(|_| Err(LookupError::Failed("timed out".to_owned())));
        let (answer, ttl, outcome): (Answer, _, _) = match found {
            Ok(Found { addresses, ttl }) => {
                (Ok(addresses.into()), ttl.clamp(MIN_TTL, MAX_TTL), "found")
            }
            Err(error) => {
                tracing::debug!(host, %error, "dns_lookup_failed");
                let outcome = error.outcome();
                (Err(error), NEGATIVE_TTL, outcome)
            }
        };
        self.count(outcome);
        let since = self.clock.now();
        let entry = Entry::Known {
            answer: answer.clone(),
            since,
            until: since.plus(ttl),
        };
        lock(&self.names).insert(host.into(), entry);
        answer
    }
}
