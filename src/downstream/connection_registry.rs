//! Open connections of one listener, by client: a limit per client, and the choice of an idle
//! connection to close when all slots are taken. Shared by all workers, updated once per
//! connection.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::ClientKey;
use crate::lock::lock;

/// How long a connection has to close after it was asked to. Then others are asked again.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// Those of trusted proxies come last. Returns whether there was any.
    pub(super) fn evict_idle(&self) -> bool {
        let mut registry = self.lock();
        let rank = |client: &Option<ClientKey>, connections: &HashMap<u64, Connection>| {
            (client.is_some(), connections.len())
        };
        let clients = registry.clients.iter();
        let Some(most) = clients.map(|(client, all)| rank(client, all)).max() else {
            return false;
        };
        let of_largest = registry
            .clients
            .iter_mut()
            .filter(|(client, all)| rank(client, all) == most)
            .flat_map(|(_, all)| all);
        if evict_longest_idle(of_largest) {
            return true;
        }
        // All connections of the largest client are in use.
        let mut others: Vec<_> = registry.clients.iter_mut().collect();
        others.sort_unstable_by_key(|(client, all)| rank(client, all));
        let mut others = others.into_iter().rev();
        others.any(|(_, all)| evict_longest_idle(all.iter_mut()))
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // No critical section can leave the registry inconsistent, so a poisoned lock is safe to
        // use.
        lock(&self.0)
    }
}

/// Idle times are rounded to ticks. Among equal ones the connection that was opened first is closed.
fn evict_longest_idle<'c>(
    connections: impl Iterator<Item = (&'c u64, &'c mut Connection)>,
) -> bool {
    let now = Instant::now();
    let is_asked = |asked: Instant| now.duration_since(asked) < EVICTION_TIMEOUT;
    let longest = connections
        .filter(|(_, connection)| !connection.asked.is_some_and(is_asked))
        .filter_map(|(id, connection)| {
            let order = (connection.state.idle_for()?, Reverse(*id));
            Some((order, connection))
        })
        .max_by_key(|(order, _)| *order);
    let Some((_, connection)) = longest else {
        return false;
    };
    connection.asked = Some(now);
    connection.state.evict();
    true
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
