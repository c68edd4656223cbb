//! Session list: the sessions that were used within the idle timeout, for operators and for their
//! users. Sessions are in cookies, so the list knows what this process has seen since its start, and with
//! a shared store what other replicas have seen.
//!
//! A request pays for it only when a worker opens a session that is not in its cache, and when the
//! activity cookie is due: at most once per tenth of the idle timeout.

mod client;
mod index;
mod listed;
pub mod own;
pub mod query;
mod replication;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::logout::rp_initiated::Logout;
use crate::auth::refresh::revoke::SessionRevoker;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session::authentication::{Authentication, SessionUpdate};
use crate::auth::session::stream::StreamActivity;
use crate::identity::claims::Claims;
use crate::policy::decide::Caller;
use crate::policy::route::AppRef;
use crate::session::last_user::SubjectHash;
use crate::session::validity::Session;
use crate::types::oauth::Subject;
use crate::types::time::Timestamp;
pub use client::{ClientDetail, ClientOfRequest};
pub(in crate::auth) use index::SessionIndex;
use index::{EntryKey, Recorded};
use listed::idle_slack;
pub use listed::{Holder, ListedClient, ListedSession};
use replication::Replication;

/// The longest name of a user, in characters.
const MAX_USER: usize = 200;

/// Names users in the list.
pub trait UserNames: fmt::Debug + Send + Sync {
    /// The name of a user. `None`: the list has no names.
    fn name(&self, subject: &Subject, claims: &Claims) -> Option<String>;
}

/// The settings of the list.
#[derive(Clone, Debug)]
pub struct SessionListSettings {
    /// The most sessions of a process. 0: none are listed.
    pub max_sessions: usize,
    /// The details of clients to keep.
    pub client: ClientDetail,
    /// The names of users. `None`: nothing is configured yet.
    pub names: Option<Arc<dyn UserNames>>,
}

/// The list of this process, whatever its configuration.
pub(in crate::auth) struct SessionListState {
    pub(in crate::auth) index: SessionIndex,
    settings: ArcSwap<SessionListSettings>,
    replication: Replication,
    /// Since when sessions are recorded.
    since: Timestamp,
}

impl SessionListState {
    pub(in crate::auth) fn new(now: Timestamp) -> Self {
        Self {
            index: SessionIndex::default(),
            settings: ArcSwap::from_pointee(SessionListSettings {
                max_sessions: 0,
                client: ClientDetail::None,
                names: None,
            }),
            replication: Replication::default(),
            since: now,
        }
    }
}

/// Lists sessions.
pub struct SessionList {
    context: Arc<Context>,
    state: Arc<SessionListState>,
    streams: Arc<StreamActivity>,
    replicator: RevocationReplicator,
    revoker: SessionRevoker,
    logout: Logout,
}

/// The apps of the configuration, by name and provider.
struct Apps<'c>(HashMap<(&'c str, &'c str), &'c Arc<AppAuth>>);

impl<'c> Apps<'c> {
    fn of(context: &'c Context) -> Self {
        let apps = context.apps.iter().map(|app| {
            let provider = app.login_provider().name.as_str();
            ((app.app.name.as_str(), provider), app)
        });
        Self(apps.collect())
    }

    fn of_session(&self, session: &ListedSession) -> Option<&'c Arc<AppAuth>> {
        let key = (session.app.as_str(), session.provider.as_str());
        self.0.get(&key).copied()
    }
}

impl SessionList {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        state: Arc<SessionListState>,
        streams: Arc<StreamActivity>,
        replicator: RevocationReplicator,
        revoker: SessionRevoker,
        logout: Logout,
    ) -> Self {
        Self {
            context,
            state,
            streams,
            replicator,
            revoker,
            logout,
        }
    }

    /// Sets what is listed. `renames` says whether names of users or clients were kept that the new
    /// settings may not allow.
    pub fn configure(&self, settings: SessionListSettings, renames: bool) {
        self.state.index.set_max(settings.max_sessions);
        self.state.settings.store(Arc::new(settings));
        if renames {
            self.state.index.forget_names();
        }
    }

    /// Records the session of a request, if this worker has not seen it before or its activity is
    /// due to be recorded.
    pub fn observe(
        &self,
        app_ref: Option<AppRef<'_>>,
        authentication: &Authentication,
        counts_as_activity: bool,
        client: ClientOfRequest<'_>,
    ) {
        let (live, holder) = match &authentication.caller {
            Ok(Caller::Authenticated(live)) => (live, Holder::Browser),
            Ok(Caller::NativeSession(live)) => (live, Holder::NativeApp),
            Ok(Caller::Anonymous(_) | Caller::Bearer(_) | Caller::Basic(_)) | Err(_) => return,
        };
        let Some(app_ref) = app_ref else {
            return;
        };
        let now = authentication.at;
        let is_due = match &authentication.update {
            SessionUpdate::TouchActivity(live)
            | SessionUpdate::SetIfRefreshed(_, live)
            | SessionUpdate::Reencrypt(live) => counts_as_activity && live.activity_due(now),
            SessionUpdate::Nothing
            | SessionUpdate::SetSession(_)
            | SessionUpdate::ReturnTokens(..)
            | SessionUpdate::Clear(..) => false,
        };
        if !(is_due || authentication.is_first_use) || !self.state.index.is_on() {
            return;
        }
        if let Some(app) = &self.context.app(app_ref) {
            let last_activity = if counts_as_activity {
                now
            } else {
                live.last_activity()
            };
            let listed = self.describe(app, live.session(), holder, last_activity, client);
            self.record(app, listed);
        }
    }

    fn record(&self, app: &AppAuth, listed: ListedSession) {
        let key = EntryKey {
            user: user_of(app, &listed.subject),
            sid: listed.sid.clone(),
        };
        let interval = idle_slack(app.app.limits.idle);
        match self.state.index.record(key.clone(), listed, interval) {
            Recorded::Listed => {}
            Recorded::ToPublish if self.context.stores.session_list.is_none() => {}
            Recorded::ToPublish => self.state.replication.enqueue(key),
            Recorded::Dropped => self.context.observer.session_not_listed(),
        }
    }

    /// A session as the settings list it.
    fn describe(
        &self,
        app: &AppAuth,
        session: &Session,
        holder: Holder,
        last_activity: Timestamp,
        client: ClientOfRequest<'_>,
    ) -> ListedSession {
        let settings = self.state.settings.load();
        let identity = &session.identity;
        let name = settings.names.as_ref();
        let name = name.and_then(|names| names.name(&identity.subject, &identity.claims));
        ListedSession {
            sid: session.sid.clone(),
            subject: identity.subject.clone(),
            provider_sid: session.provider_sid.clone(),
            app: app.app.name.clone(),
            label: app.app.hosts.label().map(ToString::to_string),
            site: app.app.origin.host().to_owned(),
            provider: app.login_provider().name.clone(),
            user: name.map(|name| name.chars().take(MAX_USER).collect()),
            started_at: session.started_at,
            last_activity,
            idle_from: match holder {
                Holder::Browser => last_activity,
                Holder::NativeApp => last_activity.max(session.valid_until),
            },
            holder,
            is_device_bound: app.app.is_device_bound(session.device.is_bound()),
            client: client.described(settings.client),
            published: Timestamp::default(),
            is_of_replica: false,
        }
    }

    /// Removes sessions that have ended. Called periodically.
    pub(in crate::auth) fn sweep(&self, now: Timestamp) {
        let apps = Apps::of(&self.context);
        let is_over = |session: &ListedSession| !self.is_live(&apps, session, now);
        self.state.index.sweep(is_over);
    }

    fn is_live(&self, apps: &Apps<'_>, session: &ListedSession, now: Timestamp) -> bool {
        let app = apps.of_session(session);
        app.is_some_and(|app| !session.is_over(app, self.streams.last(&session.sid), now))
    }
}

/// A user in the index: the sessions at all apps with the same issuer.
fn user_of(app: &AppAuth, subject: &Subject) -> SubjectHash {
    SubjectHash::of_user(&app.provider.settings().issuer, subject)
}
