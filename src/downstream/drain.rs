//! The end of service: one trigger, any number of listeners that watch it. It may be announced first, so that answers
//! already tell clients to come back on another connection. Then each listener stops accepting, lets every connection
//! finish its current answer, and cuts what is left at its deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Starts the draining of every listener that holds the matching [`Drain`].
#[derive(Debug)]
pub struct DrainTrigger {
    begin: watch::Sender<bool>,
    announced: Arc<AtomicBool>,
}

/// Tells a listener and its connections that service ends.
#[derive(Clone, Debug)]
pub struct Drain {
    begun: watch::Receiver<bool>,
    announced: Arc<AtomicBool>,
}

/// A trigger and what it triggers.
pub fn drain() -> (DrainTrigger, Drain) {
    let (begin, begun) = watch::channel(false);
    let announced = Arc::new(AtomicBool::new(false));
    (
        DrainTrigger {
            begin,
            announced: Arc::clone(&announced),
        },
        Drain { begun, announced },
    )
}

impl DrainTrigger {
    /// Says that draining is near. Everything is still accepted and answered.
    pub fn announce(&self) {
        self.announced.store(true, Ordering::Relaxed);
    }

    /// Begins to drain; further calls change nothing.
    pub fn start(&self) {
        self.begin.send_replace(true);
    }

    /// Waits until every listener and connection is gone, and with them every copy of the [`Drain`].
    pub async fn finished(&self) {
        self.begin.closed().await;
    }
}

impl Drain {
    /// Waits for the beginning of the end; a dropped trigger counts as one.
    pub async fn started(&mut self) {
        // An error means that the trigger is gone.
        let _ = self.begun.wait_for(|started| *started).await;
    }

    /// Whether draining began.
    pub fn has_started(&self) -> bool {
        *self.begun.borrow()
    }

    /// Whether draining was announced before it began: a plain load, for every answer.
    pub fn was_announced(&self) -> bool {
        self.announced.load(Ordering::Relaxed)
    }
}
