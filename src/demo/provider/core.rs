//! The provider's shared data, with the lookups that every endpoint needs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::Event;
use super::keys::SigningKey;
use super::pages::Pages;
use super::settings::{Client, Settings, User};
use super::state::State;
use super::webhooks::Webhooks;
use crate::types::oauth::Subject;
use crate::types::time::Timestamp;

/// The embedded provider.
pub struct Provider {
    pub(super) settings: Settings,
    pub(super) key: SigningKey,
    pub(super) pages: Pages,
    /// HMAC key that binds form tokens to a browser's cookie.
    pub(super) form_key: String,
    pub(super) state: Mutex<State>,
    pub(super) counters: Counters,
    pub(super) webhooks: Option<Webhooks>,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) code: AtomicU64,
    pub(super) refresh: AtomicU64,
    pub(super) password: AtomicU64,
    pub(super) revocations: AtomicU64,
    pub(super) forms: AtomicU64,
}

impl Provider {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every method of `State` leaves it consistent, so a poisoned lock is safe to use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    pub(super) fn emit(&self, event: Event) {
        (self.settings.events)(event);
    }

    pub(super) fn client(&self, id: &str) -> Option<&Client> {
        self.settings
            .clients
            .iter()
            .find(|client| client.id.as_str() == id)
    }

    pub(super) fn user(&self, subject: &Subject) -> Option<&User> {
        self.settings
            .users
            .iter()
            .find(|user| user.subject == *subject)
    }

    pub(super) fn username(&self, subject: &Subject) -> String {
        self.user(subject)
            .map_or_else(String::new, |user| user.username.clone())
    }
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}
