//! Sealed payloads of logins through a login host: the request of an app, `state`, the hand-over
//! code, and the list of apps that a browser is signed in at.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::attempt::{AttemptState, BrowserHash, SealedVerifier};
use super::login_loop::TransportHints;
use super::seal::Purpose;
use crate::types::oauth::{AppName, Nonce, SessionId, Subject};
use crate::types::time::Timestamp;

/// How long a hand-over code is valid: one redirect takes less.
pub const HANDOVER_LIFETIME: Duration = Duration::from_secs(30);

/// The purpose of the request with which an app sends a browser to its login host.
#[derive(Debug)]
pub struct LoginRequestParameter;

impl Purpose for LoginRequestParameter {
    type Payload = LoginRequest;
    const NAME: &'static str = "login request";
}

/// A login attempt of an app, which its login host completes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRequest {
    /// The app.
    pub app: AppName,
    /// The attempt, which only the browser at the app's host can finish.
    pub attempt: AttemptState,
}

/// The purpose of `state` at a login host.
#[derive(Debug)]
pub struct HostStateParameter;

impl Purpose for HostStateParameter {
    type Payload = HostState;
    const NAME: &'static str = "login host state";
}

/// The content of `state` at a login host. It contains the verifier, so that a browser may have any
/// number of logins in flight with one cookie: nobody else can open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The ID of this authorization request.
    pub id: String,
    /// The expected `nonce` of the ID token.
    pub nonce: Nonce,
    /// The PKCE verifier, which is sent once.
    pub verifier: SealedVerifier,
    /// The browser, by its cookie of the login host (protection against login CSRF).
    pub browser: BrowserHash,
    /// When the authorization request was made.
    pub began_at: Timestamp,
    /// How often the authorization request was repeated automatically.
    pub restarts: u8,
    /// The transport hints of the request that started it.
    pub hints: TransportHints,
    /// The request of the app.
    pub request: LoginRequest,
}

/// The purpose of a hand-over code.
#[derive(Debug)]
pub struct HandoverParameter;

impl Purpose for HandoverParameter {
    type Payload = HandoverCode;
    const NAME: &'static str = "handover code";
}

/// The content of a hand-over code: it names a grant in the store, for one attempt of one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverCode {
    /// The name of the grant.
    pub id: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The attempt.
    pub attempt: AttemptState,
}

impl HandoverCode {
    /// Whether it is too old.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now.since(self.issued_at) > HANDOVER_LIFETIME
    }
}

/// The purpose of `__Secure-doorward_signed_in`, and of the same list in the store.
#[derive(Debug)]
pub struct SignedInCookie;

impl Purpose for SignedInCookie {
    type Payload = SignedInApps;
    const NAME: &'static str = "signed-in apps";
}

/// The apps that a browser signed in at through a login host, with the latest session at each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedInApps {
    /// By user, since most browsers have one.
    users: Vec<UserApps>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UserApps {
    subject: Subject,
    /// Oldest first.
    sessions: Vec<ListedSession>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ListedSession {
    app: AppName,
    sid: SessionId,
    started_at: Timestamp,
}

/// A session at an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSession {
    /// The app.
    pub app: AppName,
    /// The session.
    pub sid: SessionId,
    /// Its user.
    pub subject: Subject,
    /// When it began.
    pub started_at: Timestamp,
}

impl SignedInApps {
    /// Adds a session. It replaces an earlier one at the same app.
    pub fn add(&mut self, session: AppSession) {
        let AppSession {
            app,
            sid,
            subject,
            started_at,
        } = session;
        let known = self.sessions().find(|known| known.app == app);
        if known.is_some_and(|known| known.started_at > started_at) {
            return;
        }
        self.retain(|known| known.app != app);
        let listed = ListedSession {
            app,
            sid,
            started_at,
        };
        match self.users.iter_mut().find(|user| user.subject == subject) {
            Some(user) => user.sessions.push(listed),
            None => self.users.push(UserApps {
                subject,
                sessions: vec![listed],
            }),
        }
    }

    /// Adds the sessions of another list.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        for session in other.sessions() {
            self.add(session);
        }
        self
    }

    /// Keeps only these sessions.
    pub fn retain(&mut self, keep: impl Fn(&AppSession) -> bool) {
        for UserApps { subject, sessions } in &mut self.users {
            sessions.retain(|session| keep(&session.of(subject)));
        }
        self.users.retain(|user| !user.sessions.is_empty());
    }

    /// Removes the session that began first.
    pub fn remove_oldest(&mut self) -> Option<AppSession> {
        let oldest = self.sessions().min_by_key(|session| session.started_at)?;
        self.retain(|session| *session != oldest);
        Some(oldest)
    }

    /// The sessions.
    pub fn sessions(&self) -> impl Iterator<Item = AppSession> {
        self.users
            .iter()
            .flat_map(|UserApps { subject, sessions }| {
                sessions.iter().map(|session| session.of(subject))
            })
    }
}

impl ListedSession {
    fn of(&self, subject: &Subject) -> AppSession {
        AppSession {
            app: self.app.clone(),
            sid: self.sid.clone(),
            subject: subject.clone(),
            started_at: self.started_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::login_link::LoginParameters;

    fn session(app: &str, sid: &str, started_at: u64) -> AppSession {
        AppSession {
            app: AppName::new(app),
            sid: SessionId::new(sid),
            subject: Subject::new("alice"),
            started_at: Timestamp::from_secs(started_at),
        }
    }

    fn sids(list: &SignedInApps) -> Vec<String> {
        let sids = list.sessions().map(|session| session.sid.to_string());
        let mut sids: Vec<String> = sids.collect();
        sids.sort();
        sids
    }

    #[test]
    fn list_keeps_latest_session_of_each_app() {
        let mut list = SignedInApps::default();
        list.add(session("store", "1", 10));
        list.add(session("forum", "2", 20));
        list.add(session("store", "3", 30));
        // A callback that finished late.
        list.add(session("store", "0", 5));
        let bob = AppSession {
            subject: Subject::new("bob"),
            ..session("forum", "4", 40)
        };
        list.add(bob.clone());
        assert_eq!(sids(&list), ["3", "4"]);
        assert!(list.sessions().any(|session| session == bob));
    }

    #[test]
    fn merged_lists_lose_no_session() {
        let (mut one, mut other) = (SignedInApps::default(), SignedInApps::default());
        one.add(session("store", "1", 10));
        one.add(session("forum", "2", 20));
        other.add(session("forum", "3", 30));
        other.add(session("wiki", "4", 40));
        assert_eq!(sids(&one.clone().merged(&other)), ["1", "3", "4"]);
        assert_eq!(sids(&other.merged(&one)), ["1", "3", "4"]);
    }

    #[test]
    fn oldest_session_is_removed_first() {
        let mut list = SignedInApps::default();
        list.add(session("store", "1", 20));
        list.add(session("forum", "2", 10));
        let removed = |list: &mut SignedInApps| list.remove_oldest().map(|one| one.sid);
        assert_eq!(removed(&mut list), Some(SessionId::new("2")));
        assert_eq!(removed(&mut list), Some(SessionId::new("1")));
        assert_eq!(removed(&mut list), None);
        assert_eq!(list, SignedInApps::default());
    }

    #[test]
    fn handover_code_is_valid_for_30_seconds() {
        let code = HandoverCode {
            id: String::new(),
            issued_at: Timestamp::from_secs(100),
            attempt: AttemptState {
                id: String::new(),
                restarts: 0,
                return_to: String::new(),
                began_at: Timestamp::from_secs(0),
                logins: 0,
                signs: TransportHints::default(),
                parameters: LoginParameters::default(),
            },
        };
        assert!(!code.is_expired(Timestamp::from_secs(130)));
        assert!(code.is_expired(Timestamp::from_secs(131)));
    }
}
