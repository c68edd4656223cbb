//! Task limit: a concurrency limit without a queue, with a share per client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client_key::ClientKey;
use super::shares::{ClientCounts, within_share};

/// A limit of concurrent tasks. Clones share it.
#[derive(Clone, Debug)]
pub struct TaskLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: AtomicUsize,
    clients: ClientCounts,
}

/// Counts as one task until it is dropped.
#[derive(Debug)]
pub struct TaskGuard {
    limit: TaskLimit,
    client: Option<ClientKey>,
}

impl TaskLimit {
    /// A limit without tasks.
    pub fn new(max_tasks: usize) -> Self {
        Self(Arc::new(Shared {
            free: AtomicUsize::new(max_tasks),
            clients: ClientCounts::new(),
        }))
    }

    /// Counts another task of `client`. `None`: the limit or the client's share is reached. A task
    /// of no known client has no share.
    pub fn try_acquire(&self, client: Option<ClientKey>) -> Option<TaskGuard> {
        let Shared { free, clients } = &*self.0;
        let held = client.map_or(0, |client| clients.add(client, 1));
        let take = |free: usize| (free > 0 && within_share(held, free)).then(|| free - 1);
        match free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Some(TaskGuard {
                limit: self.clone(),
                client,
            }),
            Err(_) => {
                if let Some(client) = client {
                    clients.remove(client, 1);
                }
                None
            }
        }
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let Shared { free, clients } = &*self.limit.0;
        if let Some(client) = self.client {
            clients.remove(client, 1);
        }
        free.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_tasks_to_others() {
        let limit = TaskLimit::new(10);
        let (greedy, other) = (ClientKey::of_test("a"), ClientKey::of_test("b"));
        let mut held: Vec<_> = (0..20)
            .filter_map(|_| limit.try_acquire(Some(greedy)))
            .collect();
        assert_eq!(held.len(), 6);
        let others = limit.try_acquire(Some(other));
        assert!(others.is_some());
        held.extend((0..20).filter_map(|_| limit.try_acquire(None)));
        assert_eq!(held.len(), 9, "the limit itself still holds");
        drop((held, others));
        let all: Vec<_> = (0..20).filter_map(|_| limit.try_acquire(None)).collect();
        assert_eq!(all.len(), 10);
    }
}
