//! Encoding of revocations in the log of the store: the app's name, which tells whose seal opens the
//! entry, and the sealed event.

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::session::seal::KeyAge;
use crate::store::{LogEntry, RevocationEvent};

/// The maximum length of a replicated subject or session ID, in bytes.
const MAX_NAME: usize = 1024;

/// The location that log entries are sealed for.
const SEAL_LOCATION: &str = "feed";

/// The log entry of a revocation. `None`: a name is too long, or there is no randomness.
pub(super) fn log_entry(app: &AppAuth, event: &RevocationEvent) -> Option<LogEntry> {
    if event.revocation.longest_name() > MAX_NAME {
        tracing::warn!(app = %app.app.name, "revocation_name_too_long");
        return None;
    }
    let nonce = random::bytes().ok()?;
    let seal = &app.seals.revocation_event;
    let sealed = seal.seal_at(SEAL_LOCATION, event, nonce)?;
    Some(LogEntry {
        value: Bytes::from(format!("{} {sealed}", app.app.name.as_str())),
        ends_at: event.ends_at,
    })
}

/// An opened entry of the log.
pub(super) struct OpenedEntry {
    /// The position of its app at its provider, whose seal opened it.
    pub(super) position: usize,
    pub(super) event: RevocationEvent,
    pub(super) key_age: KeyAge,
}

/// An entry that cannot be parsed, or that no seal of its app opens.
pub(super) struct InvalidEntry;

/// Opens an entry of one of `apps`. `None`: its app is unknown, so it belongs to another deployment.
pub(super) fn open(
    apps: &[Arc<AppAuth>],
    value: &[u8],
) -> Result<Option<OpenedEntry>, InvalidEntry> {
    let entry = RawEntry::parse(value).ok_or(InvalidEntry)?;
    let mut named = apps
        .iter()
        .enumerate()
        .filter(|(_, app)| app.app.name.as_str() == entry.app)
        .peekable();
    if named.peek().is_none() {
        return Ok(None);
    }
    let opened = named.find_map(|(position, app)| {
        let seal = &app.seals.revocation_event;
        let (event, key_age) = seal.open_at(SEAL_LOCATION, entry.sealed)?;
        Some(OpenedEntry {
            position,
            event,
            key_age,
        })
    });
    let opened = opened.ok_or(InvalidEntry)?;
    Ok(Some(opened.at_login_provider(apps)))
}

impl OpenedEntry {
    /// The same for the app at the provider that named what it ended. The app accepted only access
    /// tokens of it at the time, and now its users log in there.
    fn at_login_provider(self, apps: &[Arc<AppAuth>]) -> Self {
        let issuer = self.event.revocation.other_issuer();
        let moved = issuer
            .zip(apps.get(self.position))
            .and_then(|(issuer, app)| {
                apps.iter().position(|other| {
                    other.app.name == app.app.name && other.provider.settings().issuer == *issuer
                })
            });
        match moved {
            Some(position) => Self {
                position,
                event: self.event.at_own_provider(),
                key_age: self.key_age,
            },
            None => self,
        }
    }
}

/// A log entry before decryption.
#[derive(Debug, PartialEq, Eq)]
struct RawEntry<'v> {
    app: &'v str,
    sealed: &'v [u8],
}

impl<'v> RawEntry<'v> {
    fn parse(value: &'v [u8]) -> Option<Self> {
        let at = value.iter().position(|byte| *byte == b' ')?;
        let (app, sealed) = value.split_at_checked(at)?;
        Some(Self {
            app: std::str::from_utf8(app).ok()?,
            sealed: sealed.get(1..)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_entry_is_split_at_the_first_space() {
        let entry = RawEntry {
            app: "store",
            sealed: b"abc",
        };
        assert_eq!(RawEntry::parse(b"store abc"), Some(entry));
        assert_eq!(RawEntry::parse(b"store"), None);
    }
}
