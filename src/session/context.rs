//! Validity context: the session limits, and the external inputs of session and token validation.

use std::time::Duration;

use crate::types::oauth::{KeyFingerprint, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The timeouts of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The idle timeout. Activity is recorded every tenth of it, so that a session ends after
    /// between 0.9 and 1.0 of it.
    pub idle: Duration,
    /// The absolute timeout, counted from the login.
    pub absolute: Duration,
}

impl Limits {
    /// Whether activity at `now` is to be recorded, if the last recorded one was at `recorded`.
    pub fn activity_due(&self, recorded: Timestamp, now: Timestamp) -> bool {
        now.since(recorded) * 10 >= self.idle
    }
}

/// The external inputs of session and token validation: revocations and the provider's current
/// keys.
pub trait ValidityContext {
    /// Whether the session was revoked by its ID, by its subject, or by the provider's session ID.
    /// Without one, a session ends with any session of its user that the provider ended.
    fn is_revoked(
        &self,
        sid: &SessionId,
        subject: &Subject,
        provider_sid: Option<&ProviderSid>,
        started_at: Timestamp,
    ) -> bool;

    /// Whether the provider still publishes the key; true before the first fetch of the key set.
    fn is_known_key(&self, key: &KeyFingerprint) -> bool;
}
