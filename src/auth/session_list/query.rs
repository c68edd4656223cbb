//! Queries of operators for the session list, and the response.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::index::EntryKey;
use super::{Apps, Holder, ListedClient, ListedSession, SessionList, user_of};
use crate::auth::operator_command::{CommandRejected, OperatorCommand, open};
use crate::session::last_user::SubjectHash;
use crate::session::seal::{KeyRing, Purpose};
use crate::types::oauth::{SessionId, Subject};
use crate::types::time::Timestamp;

/// The most sessions of one response.
const MAX_SESSIONS: usize = 500;

/// Which sessions an operator asks for. All conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionQuery {
    /// When the operator asked.
    pub given_at: Timestamp,
    /// The user, by `sub` or by the name in the list.
    pub user: Option<String>,
    /// The user, by the name in the list in any case: an e-mail address.
    pub email: Option<String>,
    /// The app.
    pub app: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The session, by its name in the log or its ID.
    pub session: Option<String>,
    /// At least so many seconds since the login.
    pub min_age: u64,
    /// At least so many seconds without activity.
    pub min_idle: u64,
    /// Where the response before this one ended.
    pub after: Option<Position>,
}

/// The purpose of a query.
#[derive(Debug)]
pub struct SealedSessionQuery;

impl Purpose for SealedSessionQuery {
    type Payload = SessionQuery;
    const NAME: &'static str = "session query";
}

/// A position in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    user: SubjectHash,
    sid: SessionId,
}

impl OperatorCommand for SessionQuery {
    fn given_at(&self) -> Timestamp {
        self.given_at
    }
}

/// The response to a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Whether sessions are listed at all.
    pub enabled: bool,
    /// Whether the list has the sessions of all replicas that share a store, too.
    pub is_shared: bool,
    /// False if the store does not answer, so that sessions of other replicas are missing.
    pub is_complete: bool,
    /// Since when sessions are recorded, in seconds since 1970.
    pub since: u64,
    /// The sessions.
    pub sessions: Vec<SessionEntry>,
    /// Where to go on, if there may be further sessions.
    pub next: Option<Position>,
    /// Whether the operator asked for fewer sessions than were found.
    #[serde(default)]
    pub is_cut: bool,
}

/// A session as an operator sees it. A member that a later version adds has a default, since the
/// server may be older than the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEntry {
    /// Its name in the logs.
    pub session: String,
    /// Its ID.
    pub sid: String,
    /// The user, as the settings allow.
    pub user: Option<String>,
    /// The app.
    pub app: String,
    /// The host of the app.
    pub host: String,
    /// The provider.
    pub provider: String,
    /// When the user logged in, in seconds since 1970.
    pub started_at: u64,
    /// The last recorded activity, in seconds since 1970.
    pub last_activity: u64,
    /// `browser` or `native`.
    pub holder: String,
    /// Whether the session is accepted from its device only.
    #[serde(default)]
    pub device_bound: bool,
    /// The program of the client.
    pub program: Option<String>,
    /// The network of the client.
    pub network: Option<String>,
}

impl From<&ListedSession> for SessionEntry {
    fn from(session: &ListedSession) -> Self {
        let ListedClient { program, network } = session.client.clone();
        let holder = match session.holder {
            Holder::Browser => "browser",
            Holder::NativeApp => "native",
        };
        Self {
            session: session.sid.log_name(),
            sid: session.sid.to_string(),
            user: session.user.clone(),
            app: session.app.to_string(),
            host: session.site.clone(),
            provider: session.provider.to_string(),
            started_at: session.started_at.secs(),
            last_activity: session.last_activity.secs(),
            holder: holder.to_owned(),
            device_bound: session.is_device_bound,
            program,
            network,
        }
    }
}

impl SessionList {
    /// The sessions that a sealed query asks for.
    ///
    /// # Errors
    /// See [`CommandRejected`].
    pub fn report(
        &self,
        ring: &Arc<KeyRing>,
        message: &str,
    ) -> Result<SessionReport, CommandRejected> {
        let now = self.context.now();
        let query = open::<SealedSessionQuery>(ring, message, now)?;
        Ok(self.matching(query, now))
    }

    fn matching(&self, query: SessionQuery, now: Timestamp) -> SessionReport {
        let apps = Apps::of(&self.context);
        // A subject is one at each issuer.
        let users: Vec<SubjectHash> = query
            .user
            .iter()
            .flat_map(|user| {
                let subject = Subject::new(user.as_str());
                let apps = self.context.apps.iter();
                apps.map(move |app| user_of(app, &subject))
            })
            .collect();
        let after = query
            .after
            .clone()
            .map(|Position { user, sid }| EntryKey { user, sid });
        let mut sessions = Vec::new();
        let next = self.state.index.visit(after, |key, session| {
            let is_users = users.contains(&key.user);
            if query.selects(session, is_users, now) && self.is_live(&apps, session, now) {
                let mut session = session.clone();
                let streamed = self.streams.last(&session.sid).unwrap_or_default();
                session.last_activity = session.last_activity.max(streamed);
                sessions.push(SessionEntry::from(&session));
            }
            sessions.len() < MAX_SESSIONS
        });
        SessionReport {
            enabled: self.state.index.is_on(),
            is_shared: self.context.stores.session_list.is_some(),
            is_complete: self.is_complete(),
            since: self.state.since.secs(),
            sessions,
            next: next.map(|EntryKey { user, sid }| Position { user, sid }),
            is_cut: false,
        }
    }
}

impl SessionQuery {
    /// Whether a session fulfils all conditions. `is_users`: its `sub` is `user`.
    fn selects(&self, session: &ListedSession, is_users: bool, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let name = session.user.as_deref();
        let is_user = is_users || self.user.is_none() || name == self.user.as_deref();
        let has_email = self.email.as_ref().is_none_or(|email| {
            name.is_some_and(|name| name.to_lowercase() == email.to_lowercase())
        });
        let is_session = self
            .session
            .as_ref()
            .is_none_or(|named| session.sid.as_str() == named || session.sid.log_name() == *named);
        is_user
            && has_email
            && is(&self.app, session.app.as_str())
            && is(&self.provider, session.provider.as_str())
            && now.since(session.started_at) >= Duration::from_secs(self.min_age)
            && now.since(session.last_activity) >= Duration::from_secs(self.min_idle)
            && is_session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_of_a_query_must_hold() {
        let session = ListedSession {
            user: Some("Alice@example.com".to_owned()),
            started_at: Timestamp::from_secs(1000),
            last_activity: Timestamp::from_secs(1900),
            ..ListedSession::of_test("alice-id")
        };
        let text = |text: &str| Some(text.to_owned());
        let none = SessionQuery::default;
        let log_name = session.sid.log_name();
        for (query, expected) in [
            (none(), true),
            (
                SessionQuery {
                    user: text("Alice@example.com"),
                    ..none()
                },
                true,
            ),
            (
                SessionQuery {
                    user: text("alice@example.com"),
                    ..none()
                },
                false,
            ),
            (
                SessionQuery {
                    email: text("alice@EXAMPLE.com"),
                    ..none()
                },
                true,
            ),
            (
                SessionQuery {
                    email: text("bob@example.com"),
                    ..none()
                },
                false,
            ),
            (
                SessionQuery {
                    app: text("store"),
                    ..none()
                },
                true,
            ),
            (
                SessionQuery {
                    app: text("forum"),
                    ..none()
                },
                false,
            ),
            (
                SessionQuery {
                    provider: text("other"),
                    ..none()
                },
                false,
            ),
            (
                SessionQuery {
                    session: text("sid"),
                    ..none()
                },
                true,
            ),
            (
                SessionQuery {
                    session: text(&log_name),
                    ..none()
                },
                true,
            ),
            (
                SessionQuery {
                    session: text("si"),
                    ..none()
                },
                false,
            ),
            (
                SessionQuery {
                    min_age: 1000,
                    min_idle: 100,
                    ..none()
                },
                true,
            ),
            (
                SessionQuery {
                    min_age: 1001,
                    ..none()
                },
                false,
            ),
            (
                SessionQuery {
                    min_idle: 101,
                    ..none()
                },
                false,
            ),
        ] {
            let selects = query.selects(&session, false, Timestamp::from_secs(2000));
            assert_eq!(selects, expected, "{query:?}");
        }
        let by_sub = SessionQuery {
            user: text("alice-id"),
            ..none()
        };
        let now = Timestamp::from_secs(2000);
        assert!(by_sub.selects(&session, true, now) && !by_sub.selects(&session, false, now));
    }
}
