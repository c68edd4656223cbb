//! Graceful shutdown: one trigger, any number of listeners. It may be announced first, so that
//! responses already tell clients to use another connection next. Then each listener stops
//! accepting, each connection finishes its current response, and connections still open at the
//! drain timeout are closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Starts draining every listener that holds the matching [`Drain`].
#[derive(Debug)]
pub struct DrainTrigger {
    started: watch::Sender<bool>,
    announced: Arc<AtomicBool>,
}

/// Tells a listener and its connections that draining was announced or has started.
#[derive(Clone, Debug)]
pub struct Drain {
    started: watch::Receiver<bool>,
    announced: Arc<AtomicBool>,
}

/// Creates a connected trigger and [`Drain`].
pub fn drain() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    let announced = Arc::new(AtomicBool::new(false));
    let trigger = DrainTrigger {
        started: sender,
        announced: Arc::clone(&announced),
    };
    let drain = Drain {
        started: receiver,
        announced,
    };
    (trigger, drain)
}

impl DrainTrigger {
    /// Announces that draining will start soon. Connections and requests are still accepted.
    pub fn announce(&self) {
        self.announced.store(true, Ordering::Relaxed);
    }

    /// Starts draining. Further calls have no effect.
    pub fn start(&self) {
        self.started.send_replace(true);
    }

    /// Waits until every listener and connection has dropped its [`Drain`].
    pub async fn finished(&self) {
        self.started.closed().await;
    }
}

impl Drain {
    /// Waits until draining starts. A dropped trigger counts as a start.
    pub async fn started(&mut self) {
        // An error means that the trigger was dropped.
        let _ = self.started.wait_for(|started| *started).await;
    }

    /// Whether draining has started. A dropped trigger counts as a start.
    pub fn has_started(&self) -> bool {
        *self.started.borrow() || self.started.has_changed().is_err()
    }

    /// Whether draining was announced. A plain atomic load, cheap enough for every response.
    pub fn was_announced(&self) -> bool {
        self.announced.load(Ordering::Relaxed)
    }
}
