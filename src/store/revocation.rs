//! A revocation: which sessions of one app are over.

use serde::{Deserialize, Serialize};

use crate::types::oauth::{Issuer, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The revoked sessions of an app. Sealed in events and commands: variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revocation {
    /// One session, with its user.
    Session(SessionId, Subject),
    /// The sessions of one session at the app's own provider.
    ProviderSession(ProviderSid),
    /// The sessions of a user of the app's own provider that started at or before a time.
    User(Subject, Timestamp),
    /// All sessions that started at or before a time.
    Everyone(Timestamp),
    /// The sessions that a provider ended, by the names that it uses.
    Provider(ProviderRevocation),
}

/// The sessions that a provider ended. Names are unique within one issuer only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRevocation {
    /// Another provider whose access tokens the app accepts. `None`: the app's own.
    pub issuer: Option<Issuer>,
    /// The sessions of this provider session, whenever they started.
    pub sid: Option<ProviderSid>,
    /// The user. With a `sid`, only those of the user's sessions whose provider session is not
    /// known.
    pub user: Option<UserSessions>,
}

/// The sessions of a user that started at or before a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSessions {
    /// The user.
    pub subject: Subject,
    /// The latest start.
    pub started_until: Timestamp,
}

impl Revocation {
    /// The length of its longest name, in bytes.
    pub fn longest_name(&self) -> usize {
        match self {
            Self::Session(sid, _) => sid.as_str().len(),
            Self::ProviderSession(sid) => sid.as_str().len(),
            Self::User(subject, _) => subject.as_str().len(),
            Self::Everyone(_) => 0,
            Self::Provider(ended) => {
                let issuer = ended.issuer.as_ref().map(|issuer| issuer.as_str().len());
                let sid = ended.sid.as_ref().map(|sid| sid.as_str().len());
                let user = ended.user.as_ref().map(|user| user.subject.as_str().len());
                issuer.max(sid).max(user).unwrap_or_default()
            }
        }
    }

    /// The provider that named what it ended, if that is not the app's own.
    pub const fn other_issuer(&self) -> Option<&Issuer> {
        match self {
            Self::Provider(ended) => ended.issuer.as_ref(),
            Self::Session(..) | Self::ProviderSession(_) | Self::User(..) | Self::Everyone(_) => {
                None
            }
        }
    }

    /// The same for an app whose own provider named it, in the form that earlier versions read.
    #[must_use]
    pub fn at_own_provider(self) -> Self {
        let Self::Provider(ended) = self else {
            return self;
        };
        match (ended.sid, ended.user) {
            (Some(sid), None) => Self::ProviderSession(sid),
            (None, Some(user)) => Self::User(user.subject, user.started_until),
            (sid, user) => Self::Provider(ProviderRevocation {
                issuer: None,
                sid,
                user,
            }),
        }
    }

    /// Limits the start of revoked sessions to `latest`, so that users can log in after it.
    #[must_use]
    pub fn until(self, latest: Timestamp) -> Self {
        match self {
            Self::User(subject, started_until) => Self::User(subject, started_until.min(latest)),
            Self::Everyone(started_until) => Self::Everyone(started_until.min(latest)),
            Self::Session(..) | Self::ProviderSession(_) => self,
            Self::Provider(ended) => Self::Provider(ProviderRevocation {
                user: ended.user.map(|user| UserSessions {
                    started_until: user.started_until.min(latest),
                    ..user
                }),
                ..ended
            }),
        }
    }
}
