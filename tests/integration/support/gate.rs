//! A gate that delays responses until a test opens it, instead of sleeping.

use std::sync::Arc;

use tokio::sync::watch;

/// Closed initially; clones share one gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Inner {
            open: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
        }))
    }
}

impl Gate {
    /// Releases all waiters and lets later ones pass.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Holds later callers.
    pub fn close(&self) {
        self.0.open.send_replace(false);
    }

    /// Waits until at least `count` callers have arrived at the closed gate since its creation.
    pub async fn reached(&self, count: usize) {
        let mut waiting = self.0.waiting.subscribe();
        waiting
            .wait_for(|arrived| *arrived >= count)
            .await
            .expect("the gate is alive");
    }

    /// Waits for the gate to open.
    pub async fn pass(&self) {
        let mut open = self.0.open.subscribe();
        if *open.borrow_and_update() {
            return;
        }
        self.0.waiting.send_modify(|arrived| *arrived += 1);
        open.wait_for(|open| *open)
            .await
            .expect("the gate is alive");
    }
}
