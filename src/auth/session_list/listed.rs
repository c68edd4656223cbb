//! A session in the list.

use std::time::Duration;

use crate::auth::app::AppAuth;
use crate::auth::refresh::revoke::{RevocableSession, SessionKey};
use crate::auth::session_id::start_of;
use crate::store::SessionKeyRef;
use crate::types::oauth::{AppName, ProviderName, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// How long a replica may hold back activity from the others.
pub(super) fn idle_slack(idle: Duration) -> Duration {
    idle / 4
}

/// A session that was used recently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSession {
    /// Doorward's session ID.
    pub sid: SessionId,
    /// The user. It is not shown: see [`Self::user`].
    pub(in crate::auth) subject: Subject,
    /// The provider's session ID, by which revocations may name the session.
    pub(in crate::auth) provider_sid: Option<ProviderSid>,
    /// The app.
    pub app: AppName,
    /// The label of its host, if it has a wildcard.
    pub(in crate::auth) label: Option<String>,
    /// The host of the app.
    pub site: String,
    /// The provider.
    pub provider: ProviderName,
    /// The name of the user, by the settings.
    pub user: Option<String>,
    /// When the user logged in.
    pub started_at: Timestamp,
    /// The last activity, as far as it was recorded: every tenth of the idle timeout.
    pub last_activity: Timestamp,
    /// From when the idle timeout counts: the last activity, or the end of a native app's token.
    pub(in crate::auth) idle_from: Timestamp,
    /// The holder of the session.
    pub holder: Holder,
    /// Whether it is accepted from its device only.
    pub is_device_bound: bool,
    /// The client that used it first.
    pub client: ListedClient,
    /// When this replica published it last.
    pub(super) published: Timestamp,
    /// Whether the last activity is one that another replica has published.
    pub(super) is_of_replica: bool,
}

/// The holder of the tokens of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A browser, in cookies.
    Browser,
    /// A native app.
    NativeApp,
}

/// The details of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedClient {
    /// The name of its program.
    pub program: Option<String>,
    /// The network of its address.
    pub network: Option<String>,
}

impl ListedSession {
    /// Adds what a later use has shown.
    pub(super) fn update(&mut self, later: Self) {
        if later.last_activity >= self.last_activity {
            self.last_activity = later.last_activity;
            self.is_of_replica = later.is_of_replica;
        }
        self.idle_from = self.idle_from.max(later.idle_from);
        self.provider_sid = later.provider_sid.or(self.provider_sid.take());
        self.user = later.user;
        self.is_device_bound |= later.is_device_bound;
        let known = &mut self.client;
        known.program = known.program.take().or(later.client.program);
        known.network = known.network.take().or(later.client.network);
    }

    pub(super) fn forget_names(&mut self) {
        self.user = None;
        self.client = ListedClient::default();
    }

    /// Whether it has ended, as far as this process knows. `streamed` is its last activity on
    /// streams.
    pub(super) fn is_over(
        &self,
        app: &AppAuth,
        streamed: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let limits = match self.holder {
            Holder::Browser if !self.is_device_bound => &app.app.unbound_sessions.limits,
            Holder::Browser | Holder::NativeApp => &app.app.limits,
        };
        let idle_from = streamed.map_or(self.idle_from, |at| at.max(self.idle_from));
        // Replicas publish activity less often than they see it.
        let slack = if self.is_of_replica {
            idle_slack(limits.idle)
        } else {
            Duration::ZERO
        };
        now.since(idle_from) >= limits.idle.saturating_add(slack)
            || now.since(self.started_at) >= limits.absolute
            || app.revocations.snapshot().contains(SessionKeyRef {
                issuer: None,
                sid: &self.sid,
                provider_sid: self.provider_sid.as_ref(),
                subject: &self.subject,
                started_at: self.started_at,
                is_access_token: false,
                order: start_of(&self.sid),
            })
    }

    /// The session for its revocation.
    pub(super) fn revocable(&self) -> RevocableSession {
        RevocableSession {
            key: SessionKey {
                sid: self.sid.clone(),
                subject: self.subject.clone(),
                started_at: self.started_at,
            },
            provider_sid: self.provider_sid.clone(),
            token: None,
        }
    }

    #[cfg(test)]
    pub(super) fn of_test(subject: &str) -> Self {
        Self {
            sid: SessionId::new("sid"),
            subject: Subject::new(subject),
            provider_sid: None,
            app: AppName::new("store"),
            label: None,
            site: "store.example.com".to_owned(),
            provider: ProviderName::new("login"),
            user: None,
            started_at: Timestamp::from_secs(1),
            last_activity: Timestamp::from_secs(1),
            idle_from: Timestamp::from_secs(1),
            holder: Holder::Browser,
            is_device_bound: false,
            client: ListedClient::default(),
            published: Timestamp::default(),
            is_of_replica: false,
        }
    }
}
