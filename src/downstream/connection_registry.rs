//! Open connections of one listener, by client: a limit per client, and the choice of an idle
//! connection to close when all slots are taken. Shared by all workers, updated once per
//! connection.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::ClientKey;
use crate::lock::lock;

/// How long a connection has to close after it was asked to. Then others are asked again.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the result of a search is used. Idle times are known no more precisely.
const SEARCH_LIFETIME: Duration = Duration::from_millis(100);

/// A search finds one in so many connections, so that its cost is shared by as many evictions.
const SEARCH_FRACTION: usize = 64;

/// The least number of connections that a search finds.
const MIN_FOUND: usize = 16;

/// A connection that can be closed while it is idle.
pub(super) trait Evictable: Send + Sync {
    /// For how long no request has been in flight. `None` while one is.
    fn idle_for(&self) -> Option<Duration>;

    /// Asks the connection to close, if it is still idle.
    fn evict(&self);
}

/// The connections of one listener.
#[derive(Clone, Default)]
pub(super) struct ConnectionRegistry(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    next: u64,
    /// `None`: trusted proxies and Unix domain sockets.
    clients: HashMap<Option<ClientKey>, HashMap<u64, Connection>>,
    search: Option<Search>,
}

/// The connections to close next. All are searched rarely: a flood of connections would otherwise
/// cost a search each.
struct Search {
    at: Instant,
    found: VecDeque<Candidate>,
    /// Whether no connection was idle.
    found_none: bool,
}

struct Candidate {
    client: Option<ClientKey>,
    id: u64,
}

/// The idle connections of a client.
struct IdleConnections {
    client: Option<ClientKey>,
    /// How many connections the client has, idle or not.
    number: usize,
    /// The next one to close is the last. Idle times are rounded to ticks. Among equal ones the
    /// connection that was opened first is closed.
    idle: Vec<(Duration, Reverse<u64>)>,
}

struct Connection {
    state: Arc<dyn Evictable>,
    asked: Option<Instant>,
}

/// One registered connection, until it is dropped.
pub(super) struct RegisteredConnection {
    registry: ConnectionRegistry,
    client: Option<ClientKey>,
    id: u64,
    /// How many connections the client has, this one included.
    number: usize,
}

impl ConnectionRegistry {
    /// Registers a connection; `None` if its client already has `max`. Without a client there is no
    /// limit.
    pub(super) fn register(
        &self,
        client: Option<ClientKey>,
        max: usize,
        state: Arc<dyn Evictable>,
    ) -> Option<RegisteredConnection> {
        let mut registry = self.lock();
        let id = registry.next;
        let connections = registry.clients.entry(client).or_default();
        if client.is_some() && connections.len() >= max {
            return None;
        }
        let asked = None;
        connections.insert(id, Connection { state, asked });
        let number = connections.len();
        registry.next += 1;
        drop(registry);
        Some(RegisteredConnection {
            registry: self.clone(),
            client,
            id,
            number,
        })
    }

    /// Asks a connection to close: of the client that has most, the one that has been idle longest.
    /// Those of trusted proxies come last. Returns whether there was any. The order may be as old as
    /// [`SEARCH_LIFETIME`].
    pub(super) fn evict_idle(&self) -> bool {
        let mut registry = self.lock();
        let now = Instant::now();
        let is_current =
            |search: &Search| now.saturating_duration_since(search.at) < SEARCH_LIFETIME;
        if let Some(search) = registry.search.as_ref().filter(|search| is_current(search)) {
            if search.found_none {
                return false;
            }
            if registry.evict_found(now) {
                return true;
            }
        }
        registry.search(now);
        registry.evict_found(now)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // No critical section can leave the registry inconsistent, so a poisoned lock is safe to
        // use.
        lock(&self.0)
    }
}

impl Registry {
    /// Finds the connections to close next.
    fn search(&mut self, now: Instant) {
        let mut clients: Vec<_> = self
            .clients
            .iter()
            .map(|(client, all)| {
                let not_asked = all
                    .iter()
                    .filter(|(_, connection)| !connection.is_asked(now));
                let idle =
                    not_asked.filter_map(|(id, one)| Some((one.state.idle_for()?, Reverse(*id))));
                let mut idle: Vec<_> = idle.collect();
                idle.sort_unstable();
                IdleConnections {
                    client: *client,
                    number: all.len(),
                    idle,
                }
            })
            .collect();
        let all_idle: usize = clients.iter().map(|client| client.idle.len()).sum();
        let wanted = (all_idle / SEARCH_FRACTION).max(MIN_FOUND).min(all_idle);
        let ranks = clients.iter().enumerate();
        let mut ranks: BinaryHeap<_> = ranks
            .filter_map(|(index, client)| Some((client.rank()?, index)))
            .collect();
        let mut found = VecDeque::with_capacity(wanted);
        while found.len() < wanted
            && let Some((_, index)) = ranks.pop()
            && let Some(of_client) = clients.get_mut(index)
            && let Some((_, Reverse(id))) = of_client.idle.pop()
        {
            let client = of_client.client;
            found.push_back(Candidate { client, id });
            of_client.number -= 1;
            ranks.extend(of_client.rank().map(|rank| (rank, index)));
        }
        self.search = Some(Search {
            at: now,
            found,
            found_none: all_idle == 0,
        });
    }

    /// Closes the next of the found connections that is still idle.
    fn evict_found(&mut self, now: Instant) -> bool {
        let Some(search) = &mut self.search else {
            return false;
        };
        while let Some(Candidate { client, id }) = search.found.pop_front() {
            let connections = self.clients.get_mut(&client);
            if let Some(connection) = connections.and_then(|all| all.get_mut(&id))
                && !connection.is_asked(now)
                && connection.state.idle_for().is_some()
            {
                connection.asked = Some(now);
                connection.state.evict();
                return true;
            }
        }
        false
    }
}

impl IdleConnections {
    /// The client of the highest rank comes first. `None`: it has no idle connection.
    fn rank(&self) -> Option<(bool, usize, (Duration, Reverse<u64>))> {
        let longest = self.idle.last()?;
        Some((self.client.is_some(), self.number, *longest))
    }
}

impl Connection {
    /// Whether the connection was asked to close, and may still do so.
    fn is_asked(&self, now: Instant) -> bool {
        self.asked
            .is_some_and(|asked| now.saturating_duration_since(asked) < EVICTION_TIMEOUT)
    }
}

impl RegisteredConnection {
    /// The client that the connection counts for. `None`: it is not limited.
    pub(super) const fn client(&self) -> Option<ClientKey> {
        self.client
    }

    /// Whether the client had more than `others` connections when this one was opened.
    pub(super) const fn is_beyond(&self, others: usize) -> bool {
        self.client.is_some() && self.number > others
    }

    /// Replaces the state that tells whether the connection is idle.
    pub(super) fn set_state(&self, state: Arc<dyn Evictable>) {
        let mut registry = self.registry.lock();
        let connections = registry.clients.get_mut(&self.client);
        if let Some(connection) = connections.and_then(|all| all.get_mut(&self.id)) {
            connection.state = state;
        }
    }
}

impl Drop for RegisteredConnection {
    fn drop(&mut self) {
        let mut registry = self.registry.lock();
        let Some(connections) = registry.clients.get_mut(&self.client) else {
            return;
        };
        connections.remove(&self.id);
        if connections.is_empty() {
            registry.clients.remove(&self.client);
        }
    }
}

impl std::fmt::Debug for RegisteredConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegisteredConnection")
    }
}

impl std::fmt::Debug for ConnectionRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionRegistry")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    /// Idle for so many seconds; in use at 0.
    #[derive(Default)]
    struct Idle(AtomicU64, AtomicBool);

    impl Evictable for Idle {
        fn idle_for(&self) -> Option<Duration> {
            let seconds = self.0.load(Ordering::Relaxed);
            (seconds > 0).then(|| Duration::from_secs(seconds))
        }

        fn evict(&self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    fn idle(seconds: u64) -> Arc<Idle> {
        Arc::new(Idle(AtomicU64::new(seconds), AtomicBool::new(false)))
    }

    impl ConnectionRegistry {
        fn evict_found_now(&self) -> bool {
            self.lock().evict_found(Instant::now())
        }
    }

    fn client(name: &str) -> Option<ClientKey> {
        Some(ClientKey::of_test(name))
    }

    #[test]
    fn register_limits_each_client_and_forgets_closed_connections() {
        let registry = ConnectionRegistry::default();
        let open = |name| registry.register(client(name), 2, idle(1));
        let (first, second) = (open("a"), open("a"));
        assert!(first.is_some() && second.is_some());
        assert!(open("a").is_none() && open("b").is_some());
        let proxies: Vec<_> = (0..5)
            .map(|_| registry.register(None, 2, idle(1)))
            .collect();
        assert!(proxies.iter().all(Option::is_some));
        drop(first);
        let third = open("a").unwrap();
        assert!(third.is_beyond(1) && !third.is_beyond(2));
        drop((second, third, proxies));
        assert!(registry.lock().clients.is_empty());
    }

    #[test]
    fn evict_chooses_longest_idle_of_the_client_with_most_connections() {
        let registry = ConnectionRegistry::default();
        let open = |client, seconds| {
            let state = idle(seconds);
            (registry.register(client, 10, state.clone()).unwrap(), state)
        };
        let proxy = [
            open(None, 90),
            open(None, 91),
            open(None, 92),
            open(None, 93),
        ];
        let small = [open(client("a"), 50)];
        let large = [
            open(client("b"), 5),
            open(client("b"), 7),
            open(client("b"), 0),
        ];
        let evicted = |of: &[(RegisteredConnection, Arc<Idle>)]| {
            of.iter()
                .map(|(_, state)| state.1.load(Ordering::Relaxed))
                .collect::<Vec<_>>()
        };
        assert!(registry.evict_idle());
        assert_eq!(evicted(&large), [false, true, false]);
        assert!(registry.evict_idle());
        assert_eq!(evicted(&large), [true, true, false]);
        assert_eq!(evicted(&small), [false]);
        assert!(registry.evict_idle());
        assert_eq!(evicted(&small), [true], "the others are in use or asked");
        assert!(registry.evict_idle());
        assert_eq!(evicted(&proxy), [false, false, false, true]);
        drop(proxy);
        assert!(!registry.evict_idle());
    }

    #[test]
    fn evict_among_equal_clients_chooses_the_longest_idle() {
        let registry = ConnectionRegistry::default();
        let states: Vec<_> = (1..=20)
            .map(|number| {
                let state = idle(number * 7 % 20 + 1);
                let client = client(&number.to_string());
                (registry.register(client, 1, state.clone()), state)
            })
            .collect();
        assert!(registry.evict_idle());
        let evicted = states
            .iter()
            .find(|(_, state)| state.1.load(Ordering::Relaxed));
        let idle_for = evicted.map(|(_, state)| state.0.load(Ordering::Relaxed));
        assert_eq!(idle_for, Some(20));
    }

    #[test]
    fn evict_searches_once_for_many_and_passes_over_connections_in_use() {
        let registry = ConnectionRegistry::default();
        let mut states: Vec<_> = (0..2000)
            .map(|number: u64| {
                let state = idle(number + 1);
                let client = client(&number.to_string());
                (registry.register(client, 1, state.clone()), state)
            })
            .collect();
        assert!(registry.evict_idle());
        let found = registry.lock().search.as_ref().unwrap().found.len();
        assert_eq!(found, 2000 / SEARCH_FRACTION - 1);
        let evicted = |state: &Idle| state.1.load(Ordering::Relaxed);
        assert!(evicted(&states[1999].1));
        states[1998].1.0.store(0, Ordering::Relaxed);
        states.remove(1997);
        assert!(registry.evict_found_now());
        let of_search: Vec<_> = states.iter().filter(|(_, state)| evicted(state)).collect();
        assert_eq!(of_search.len(), 2);
        assert!(evicted(&states[1996].1), "the next that is idle and open");
    }

    #[test]
    fn evict_among_equally_idle_chooses_the_first_opened() {
        let registry = ConnectionRegistry::default();
        let states = [(); 20].map(|()| {
            let state = idle(1);
            (registry.register(client("a"), 20, state.clone()), state)
        });
        for number in 1..=20 {
            assert!(registry.evict_idle());
            let is_evicted = states
                .each_ref()
                .map(|(_, state)| state.1.load(Ordering::Relaxed));
            let expected: [bool; 20] = std::array::from_fn(|at| at < number);
            assert_eq!(is_evicted, expected);
        }
    }
}
