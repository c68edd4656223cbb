//! Limit per client: a rate with a burst, and requests in flight, for each client on its own.
//!
//! The rate is limited by the generic cell rate algorithm (ITU-T I.371): the state of a client is the time
//! at which its burst is whole again. The table of clients is bounded. An evicted client begins again
//! with a whole burst, so that clients without debt are no loss, and those with requests in flight stay.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, UnitWeighter};

use super::client_key::ClientKey;

/// The wait after which a client with too many requests in flight may try again.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// Something for clients by their address, and by their session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClient<T> {
    /// By address.
    pub address: Option<T>,
    /// By session.
    pub session: Option<T>,
}

/// Settings of the limit of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimitSettings {
    /// The rate of its requests.
    pub rate: Option<RequestRate>,
    /// The maximum number of its requests in flight.
    pub max_in_flight: Option<u32>,
    /// The maximum number of clients that are remembered.
    pub max_entries: usize,
}

/// A rate of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// The time after which one more request is allowed. Never zero.
    pub interval: Duration,
    /// How many requests may come at once. Never 0.
    pub burst: u32,
}

impl RequestRate {
    /// The time after which the whole burst is allowed again.
    pub fn window(self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }
}

/// The limit of each client, with the clients that were seen.
#[derive(Debug)]
pub struct ClientLimit {
    settings: ClientLimitSettings,
    clients: Cache<ClientKey, Arc<Client>, UnitWeighter, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
}

/// The state of one client.
#[derive(Debug, Default)]
struct Client {
    /// When its burst is whole again, in nanoseconds since the creation of the table.
    whole_at: AtomicU64,
    in_flight: AtomicU32,
}

/// Counts the clients that were evicted although they had used up a part of their limit.
#[derive(Clone, Debug)]
struct Evictions {
    created: Instant,
    count: Arc<AtomicU64>,
}

/// Counts as a request of its client in flight until it is dropped.
#[derive(Debug)]
pub struct ClientSlot(Option<Arc<Client>>);

/// A client has reached its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimitExceeded {
    /// The quota that is used up.
    pub quota: Quota,
    /// The time until the next request is allowed, as far as it is known.
    pub retry_after: Duration,
}

/// What a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// A rate of requests.
    Rate(RequestRate),
    /// This many requests in flight.
    InFlight(u32),
}

impl ClientLimit {
    /// A limit of which no client has used anything.
    pub fn new(settings: ClientLimitSettings) -> Self {
        let evictions = Evictions {
            created: Instant::now(),
            count: Arc::default(),
        };
        let clients = Cache::with(
            settings.max_entries,
            u64::try_from(settings.max_entries).unwrap_or(u64::MAX),
            UnitWeighter,
            DefaultHashBuilder::default(),
            evictions.clone(),
        );
        Self {
            settings,
            clients,
            evictions,
        }
    }

    /// Its settings.
    pub const fn settings(&self) -> ClientLimitSettings {
        self.settings
    }

    /// Counts a request of `client`. One that is refused for its rate costs nothing.
    ///
    /// # Errors
    /// See [`ClientLimitExceeded`].
    pub fn admit(&self, key: ClientKey, now: Instant) -> Result<ClientSlot, ClientLimitExceeded> {
        let inserted = self.clients.get_or_insert_with(&key, || Ok(Arc::default()));
        let client = inserted.unwrap_or_else(|never: Infallible| match never {});
        if let Some(rate) = self.settings.rate {
            let now = self.evictions.since_created(now);
            client
                .spend(rate, now)
                .map_err(|wait| ClientLimitExceeded {
                    quota: Quota::Rate(rate),
                    retry_after: wait,
                })?;
        }
        let Some(max_in_flight) = self.settings.max_in_flight else {
            return Ok(ClientSlot(None));
        };
        let take = |in_flight: u32| (in_flight < max_in_flight).then(|| in_flight + 1);
        let taken = client
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        match taken {
            Ok(_) => Ok(ClientSlot(Some(client))),
            Err(_) => Err(ClientLimitExceeded {
                quota: Quota::InFlight(max_in_flight),
                retry_after: IN_FLIGHT_RETRY,
            }),
        }
    }

    /// The number of clients that are remembered.
    pub fn remembered(&self) -> usize {
        self.clients.len()
    }

    /// The number of clients that were evicted since the last call, although they had used up a part of
    /// their limit.
    pub fn newly_evicted(&self) -> u64 {
        self.evictions.count.swap(0, Ordering::Relaxed)
    }
}

impl Client {
    /// Spends one request at `now`, in nanoseconds. The error is the wait for it.
    fn spend(&self, rate: RequestRate, now: u64) -> Result<(), Duration> {
        let (interval, window) = (nanos(rate.interval), nanos(rate.window()));
        let mut wait = 0;
        let spend = |whole_at: u64| {
            let next = whole_at.max(now).saturating_add(interval);
            wait = next.saturating_sub(now).saturating_sub(window);
            (wait == 0).then_some(next)
        };
        let spent = self
            .whole_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        spent.map(|_| ()).map_err(|_| Duration::from_nanos(wait))
    }
}

impl Evictions {
    fn since_created(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.created))
    }
}

impl Lifecycle<ClientKey, Arc<Client>> for Evictions {
    type RequestState = ();

    fn is_pinned(&self, _: &ClientKey, client: &Arc<Client>) -> bool {
        client.in_flight.load(Ordering::Relaxed) > 0
    }

    fn on_evict(&self, (): &mut (), _: ClientKey, client: Arc<Client>) {
        if client.whole_at.load(Ordering::Relaxed) > self.since_created(Instant::now()) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A duration in nanoseconds. 584 years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(rate: Option<RequestRate>, max_in_flight: Option<u32>) -> ClientLimit {
        ClientLimit::new(ClientLimitSettings {
            rate,
            max_in_flight,
            max_entries: 1000,
        })
    }

    fn rate(interval: Duration, burst: u32) -> RequestRate {
        RequestRate { interval, burst }
    }

    /// How many requests of a client pass at this time.
    fn admitted(limit: &ClientLimit, client: &str, now: Instant) -> usize {
        let client = ClientKey::of_test(client);
        (0..10_000)
            .take_while(|_| limit.admit(client, now).is_ok())
            .count()
    }

    #[test]
    fn burst_is_admitted_and_regained_at_the_rate() {
        let limit = limit(Some(rate(SECOND / 10, 5)), None);
        let start = Instant::now();
        assert_eq!(admitted(&limit, "a", start), 5);
        assert_eq!(admitted(&limit, "b", start), 5, "each on its own");
        assert_eq!(admitted(&limit, "a", start + SECOND / 11), 0);
        assert_eq!(admitted(&limit, "a", start + SECOND / 4), 2);
        assert_eq!(admitted(&limit, "a", start + SECOND * 3 / 10), 1);
        let later = start + Duration::from_secs(3600);
        assert_eq!(admitted(&limit, "a", later), 5, "never more than the burst");
    }

    #[test]
    fn refused_request_names_the_wait_and_costs_nothing() {
        let rate = rate(10 * SECOND, 2);
        let limit = limit(Some(rate), None);
        let (client, start) = (ClientKey::of_test("a"), Instant::now());
        assert_eq!(admitted(&limit, "a", start), 2);
        for _ in 0..100 {
            let refused = limit.admit(client, start + 4 * SECOND).unwrap_err();
            assert_eq!(refused.quota, Quota::Rate(rate));
            assert_eq!(refused.retry_after, 6 * SECOND);
        }
        assert!(limit.admit(client, start + 10 * SECOND).is_ok());
    }

    #[test]
    fn requests_in_flight_are_limited_until_they_end() {
        let limit = limit(None, Some(2));
        let (client, now) = (ClientKey::of_test("a"), Instant::now());
        let mut slots: Vec<_> = (0..2).map(|_| limit.admit(client, now).unwrap()).collect();
        let refused = limit.admit(client, now).unwrap_err();
        assert_eq!(refused.quota, Quota::InFlight(2));
        assert!(limit.admit(ClientKey::of_test("b"), now).is_ok());
        slots.pop();
        slots.push(limit.admit(client, now).unwrap());
        assert!(limit.admit(client, now).is_err());
    }

    #[test]
    fn clients_are_bounded_and_those_in_flight_stay() {
        let limit = limit(Some(rate(3600 * SECOND, 2)), Some(1));
        let (client, now) = (ClientKey::of_test("held"), Instant::now());
        let slot = limit.admit(client, now).unwrap();
        for number in 0..20_000 {
            let other = ClientKey::of_test(&number.to_string());
            drop(limit.admit(other, now).unwrap());
        }
        assert!(limit.remembered() <= 1100, "{}", limit.remembered());
        assert!(limit.newly_evicted() > 18_000);
        assert_eq!(limit.newly_evicted(), 0);
        let refused = limit.admit(client, now).unwrap_err();
        assert_eq!(refused.quota, Quota::InFlight(1));
        drop(slot);
    }

    #[test]
    fn evicting_clients_without_debt_is_no_loss() {
        let limit = limit(Some(rate(Duration::from_nanos(1), 1)), None);
        for number in 0..5_000 {
            let client = ClientKey::of_test(&number.to_string());
            let _ = limit.admit(client, Instant::now());
        }
        assert!(limit.remembered() <= 1100);
        assert_eq!(limit.newly_evicted(), 0);
    }
}
