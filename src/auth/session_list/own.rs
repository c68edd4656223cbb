//! The sessions of one user, who sees and ends them.

use std::sync::Arc;

use super::listed::{Holder, ListedSession};
use super::{Apps, ClientOfRequest, SessionList, user_of};
use crate::auth::app::AppAuth;
use crate::auth::events::{Event, EventSession};
use crate::policy::route::AppRef;
use crate::session::validity::LiveSession;
use crate::store::Revocation;
use crate::types::host_label::HostLabel;
use crate::types::time::Timestamp;

/// The sessions of the user of a request, at all apps with the same issuer.
#[derive(Debug)]
pub struct OwnSessions {
    /// The session of the request.
    pub current: ListedSession,
    /// The others, the most recent first.
    pub others: Vec<ListedSession>,
    /// Whether all live sessions of the user are among them, as far as the limits of the list allow.
    pub is_complete: bool,
}

impl SessionList {
    /// The sessions of the user of `live`. `None`: the request has no app.
    pub fn own(
        &self,
        app_ref: AppRef<'_>,
        live: &LiveSession,
        client: ClientOfRequest<'_>,
    ) -> Option<OwnSessions> {
        let app = &self.context.app(app_ref)?;
        let session = live.session();
        let now = self.context.now();
        let (current, mut others): (Vec<_>, Vec<_>) = self
            .live_sessions(app, live, now)
            .into_iter()
            .partition(|listed| listed.sid == session.sid);
        let current = current.into_iter().next().unwrap_or_else(|| {
            self.describe(app, session, Holder::Browser, live.last_activity(), client)
        });
        others.sort_by_key(|listed| std::cmp::Reverse(listed.last_activity));
        // After that, every session was used here or is over.
        let has_seen_all = now.since(self.state.since) >= app.app.limits.idle;
        let is_shared = self.context.stores.session_list.is_some();
        Some(OwnSessions {
            current,
            others,
            is_complete: self.state.index.is_on()
                && self.is_complete()
                && (is_shared || has_seen_all),
        })
    }

    /// Ends another session of the user of `live`, by its name in the logs. Sessions of other users
    /// are not looked up. Returns whether there was one.
    pub async fn end_own(&self, app_ref: AppRef<'_>, live: &LiveSession, name: &str) -> bool {
        let Some(app) = &self.context.app(app_ref) else {
            return false;
        };
        let sessions = self.live_sessions(app, live, self.context.now());
        let mut named = sessions.into_iter();
        let Some(named) = named.find(|listed| listed.sid.log_name() == name) else {
            return false;
        };
        if let Some(app) = self.app_of(&named) {
            self.logout
                .end_sessions(&app, vec![named.revocable()])
                .await;
        }
        true
    }

    /// Ends all sessions of the user of `live` that began until now, listed or not, at all apps with
    /// the same issuer.
    pub fn end_everywhere(&self, app_ref: AppRef<'_>, live: &LiveSession) {
        let Some(app) = &self.context.app(app_ref) else {
            return;
        };
        let subject = &live.session().identity.subject;
        let now = self.context.now();
        let issuer = &app.provider.settings().issuer;
        let sessions = self.live_sessions(app, live, now);
        let apps = self.context.apps.iter();
        for app in apps.filter(|app| app.provider.settings().issuer == *issuer) {
            let revocation = Revocation::User(subject.clone(), now);
            let ends_at = now.plus(app.app.limits.absolute);
            // The caller does not wait for the other replicas.
            self.replicator
                .revoke(app, revocation, ends_at, now)
                .detach();
        }
        for session in sessions {
            let Some(app) = self.app_of(&session) else {
                continue;
            };
            let revoker = self.revoker.clone();
            let spawned = self.context.runtime.spawn(async move {
                revoker.revoke_with_tokens(&app, session.revocable()).await;
            });
            if spawned.is_err() {
                tracing::warn!("revocation_write_failed");
            }
        }
        let about = EventSession::from(&**live.session());
        let observer = &self.context.observer;
        observer.record_event(app, Event::Revocation, "by_user", &about);
    }

    /// The listed sessions of the user of `live` that are not over.
    fn live_sessions(
        &self,
        app: &AppAuth,
        live: &LiveSession,
        now: Timestamp,
    ) -> Vec<ListedSession> {
        let apps = Apps::of(&self.context);
        let user = user_of(app, &live.session().identity.subject);
        let listed = self.state.index.of_user(user).into_iter();
        listed
            .filter(|session| self.is_live(&apps, session, now))
            .collect()
    }

    /// The app of a listed session, at its host.
    fn app_of(&self, session: &ListedSession) -> Option<Arc<AppAuth>> {
        let label = session.label.as_deref().map(HostLabel::parse);
        let label = match label {
            Some(label) => Some(label?),
            None => None,
        };
        self.context
            .app_named(&session.app, &session.provider, label.as_ref())
    }
}
