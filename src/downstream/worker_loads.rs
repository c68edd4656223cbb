//! Connections of each worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The open connections of each worker, over all its listeners.
#[derive(Clone, Debug)]
pub struct WorkerLoads(Arc<[AtomicUsize]>);

/// A connection that counts for a worker until it is dropped.
#[derive(Debug)]
pub(super) struct WorkerSlot {
    loads: WorkerLoads,
    worker: usize,
}

impl WorkerLoads {
    /// Workers without connections.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// The number of workers.
    pub(super) fn workers(&self) -> usize {
        self.0.len()
    }

    /// The worker with the fewest connections: `own`, unless another has fewer.
    pub(super) fn lightest(&self, own: usize) -> usize {
        let loads = self.0.iter().map(|load| load.load(Ordering::Relaxed));
        let lightest = loads
            .enumerate()
            .min_by_key(|(worker, load)| (*load, *worker != own));
        lightest.map_or(own, |(worker, _)| worker)
    }

    /// Counts a connection for `worker`.
    pub(super) fn count(&self, worker: usize) -> WorkerSlot {
        if let Some(load) = self.0.get(worker) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        WorkerSlot {
            loads: self.clone(),
            worker,
        }
    }
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        if let Some(load) = self.loads.0.get(self.worker) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
