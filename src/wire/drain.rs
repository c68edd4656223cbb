//! The end of service: one trigger, any number of listeners that watch it. Each stops accepting, lets every
//! connection finish its current answer, and cuts what is left at its deadline.

use tokio::sync::watch;

/// Starts the draining of every listener that holds the matching [`Drain`].
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<bool>);

/// Tells a listener and its connections that service ends.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// A trigger and what it triggers.
pub fn drain() -> (DrainTrigger, Drain) {
    let (trigger, drain) = watch::channel(false);
    (DrainTrigger(trigger), Drain(drain))
}

impl DrainTrigger {
    /// Begins to drain; further calls change nothing.
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    /// Waits until every listener and connection is gone, and with them every copy of the [`Drain`].
    pub async fn finished(&self) {
        self.0.closed().await;
    }
}

impl Drain {
    /// Waits for the beginning of the end; a dropped trigger counts as one.
    pub async fn started(&mut self) {
        // An error means that the trigger is gone.
        let _ = self.0.wait_for(|started| *started).await;
    }

    /// Whether draining began.
    pub fn has_started(&self) -> bool {
        *self.0.borrow()
    }
}
