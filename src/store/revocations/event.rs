//! Revocations as they are published: what is revoked, and what orders it among the logins.

use serde::{Deserialize, Serialize};

use crate::store::{ProviderRevocation, Revocation, StoreTime};
use crate::types::oauth::{SessionId, Subject};
use crate::types::time::Timestamp;
use crate::types::trailing::absent_is_default;

/// A revocation with all that replicas need to apply it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Layout", into = "Layout")]
pub struct RevocationEvent {
    /// The revoked sessions.
    pub revocation: Revocation,
    /// When the last of them would expire.
    pub ends_at: Timestamp,
    /// The store's time of the revocation. Sessions that the store timed are compared with it, and
    /// not with the clock of a replica.
    pub order: Option<StoreTime>,
    /// For a user: until when no session may start.
    pub block: Option<Block>,
}

/// The encoding of an event. Fields are only appended: earlier versions ignore those that they do not
/// know.
#[derive(Serialize, Deserialize)]
struct Layout {
    /// The revoked sessions, as far as all versions can name them.
    basic: Revocation,
    ends_at: Timestamp,
    /// The revoked sessions, if `basic` does not name all of them.
    #[serde(deserialize_with = "absent_is_default")]
    complete: Option<Revocation>,
    #[serde(deserialize_with = "absent_is_default")]
    order: Option<StoreTime>,
    #[serde(deserialize_with = "absent_is_default")]
    block: Option<Block>,
}

impl From<RevocationEvent> for Layout {
    fn from(event: RevocationEvent) -> Self {
        let RevocationEvent {
            revocation,
            ends_at,
            order,
            block,
        } = event;
        let (basic, complete) = match basic_of(&revocation) {
            Some(basic) => (basic, Some(revocation)),
            None => (revocation, None),
        };
        Self {
            basic,
            ends_at,
            complete,
            order,
            block,
        }
    }
}

impl From<Layout> for RevocationEvent {
    fn from(layout: Layout) -> Self {
        Self {
            revocation: layout.complete.unwrap_or(layout.basic),
            ends_at: layout.ends_at,
            order: layout.order,
            block: layout.block,
        }
    }
}

/// The part of a revocation that all versions can name, if they cannot name it itself.
fn basic_of(revocation: &Revocation) -> Option<Revocation> {
    let Revocation::Provider(ended) = revocation else {
        return None;
    };
    Some(match ended {
        ProviderRevocation {
            issuer: None,
            sid: Some(sid),
            ..
        } => Revocation::ProviderSession(sid.clone()),
        ProviderRevocation {
            issuer: None,
            sid: None,
            user: Some(user),
        } => Revocation::User(user.subject.clone(), user.started_until),
        // Earlier versions know no other issuers. No session has this name.
        ProviderRevocation { .. } => Revocation::Session(SessionId::new(""), Subject::new("")),
    })
}

/// A user may not log in for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Sessions that started before this are revoked. A time in the past lifts the block.
    pub until: Timestamp,
    /// When the block was ordered. The last order counts.
    pub given: StoreTime,
}

impl Block {
    /// The one of two that was ordered last.
    #[must_use]
    pub fn last(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        let key = |block: &Self| (block.given, block.until);
        [first, second].into_iter().flatten().max_by_key(key)
    }
}

impl RevocationEvent {
    /// A revocation that the store has not timed.
    pub const fn new(revocation: Revocation, ends_at: Timestamp) -> Self {
        Self {
            revocation,
            ends_at,
            order: None,
            block: None,
        }
    }

    /// The same for an app whose own provider named what is revoked.
    #[must_use]
    pub fn at_own_provider(self) -> Self {
        Self {
            revocation: self.revocation.at_own_provider(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::UserSessions;
    use crate::types::oauth::{Issuer, ProviderSid};

    /// The format of earlier versions.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Earlier {
        revocation: Revocation,
        ends_at: Timestamp,
    }

    const ENDS_AT: Timestamp = Timestamp::from_secs(5);

    fn by_provider(issuer: Option<&str>) -> Revocation {
        Revocation::Provider(ProviderRevocation {
            issuer: issuer.map(Issuer::new),
            sid: Some(ProviderSid::new("p")),
            user: Some(UserSessions {
                subject: Subject::new("alice"),
                started_until: ENDS_AT,
            }),
        })
    }

    fn encoded(event: &RevocationEvent) -> Vec<u8> {
        postcard::to_allocvec(event).unwrap()
    }

    fn decoded(bytes: &[u8]) -> RevocationEvent {
        postcard::from_bytes(bytes).unwrap()
    }

    fn full(revocation: Revocation) -> RevocationEvent {
        RevocationEvent {
            order: Some(StoreTime::from_millis(7)),
            block: Some(Block {
                until: Timestamp::from_secs(9),
                given: StoreTime::from_millis(8),
            }),
            ..RevocationEvent::new(revocation, ENDS_AT)
        }
    }

    #[test]
    fn event_encoding_round_trips() {
        let session = Revocation::Session(SessionId::new("s"), Subject::new("alice"));
        for revocation in [session, by_provider(None), by_provider(Some("https://a"))] {
            let bare = RevocationEvent::new(revocation.clone(), ENDS_AT);
            for event in [bare, full(revocation)] {
                assert_eq!(decoded(&encoded(&event)), event);
            }
        }
    }

    #[test]
    fn events_of_earlier_versions_are_read_and_read_by_them() {
        let by_sid = || Revocation::ProviderSession(ProviderSid::new("p"));
        let no_session = Revocation::Session(SessionId::new(""), Subject::new(""));
        let earlier = |revocation| Earlier {
            revocation,
            ends_at: ENDS_AT,
        };
        let bytes = postcard::to_allocvec(&earlier(by_sid())).unwrap();
        assert_eq!(decoded(&bytes), RevocationEvent::new(by_sid(), ENDS_AT));
        for (revocation, known) in [
            (by_sid(), by_sid()),
            (by_provider(None), by_sid()),
            (by_provider(Some("https://a")), no_session),
        ] {
            let bytes = encoded(&full(revocation.clone()));
            assert_eq!(postcard::from_bytes::<Earlier>(&bytes), Ok(earlier(known)));
            // The version before the time of the store.
            let read = postcard::from_bytes::<(Revocation, Timestamp, Option<Revocation>)>(&bytes);
            let (basic, _, complete) = read.unwrap();
            assert_eq!(complete.unwrap_or(basic), revocation);
        }
    }

    #[test]
    fn last_order_of_a_block_counts() {
        let block = |until, given| Block {
            until: Timestamp::from_secs(until),
            given: StoreTime::from_millis(given),
        };
        let (long, lifted) = (block(1000, 1), block(5, 2));
        assert_eq!(Block::last(Some(long), Some(lifted)), Some(lifted));
        assert_eq!(Block::last(Some(lifted), Some(long)), Some(lifted));
        assert_eq!(Block::last(None, Some(long)), Some(long));
        assert_eq!(Block::last(None, None), None);
    }
}
