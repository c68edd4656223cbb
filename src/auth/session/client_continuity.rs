//! Sessions that are bound to no device: which client they begin with, and whether their requests come
//! from it.

use std::borrow::Cow;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::context::{Context, MAX_CACHED_SESSIONS};
use crate::auth::events::{Event, EventSession};
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::session::open::{open_jwt, open_refresh};
use crate::session::client_continuity::{
    ClientAssessment, ClientChange, KnownClient, OnClientChange, PresentedClient,
};
use crate::session::cookie::RequestCookies;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::{NoSessionReason, PresentedSession, SessionStatus};
use crate::types::oauth::{SessionId, Subject};

/// The changes of clients that were recorded recently, so that each is recorded once.
pub(in crate::auth) struct RecordedChanges(Cache<RecordedChange, ()>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct RecordedChange {
    sid: SessionId,
    client: KnownClient,
}

impl Default for RecordedChanges {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

/// A session of the request's cookies, which a login replaces.
struct PreviousSession {
    subject: Subject,
    client: Option<Box<KnownClient>>,
}

/// Compares the clients of requests with those of their sessions.
#[derive(Clone)]
pub(in crate::auth) struct ClientContinuity {
    context: Arc<Context>,
    recorded: Arc<RecordedChanges>,
}

impl ClientContinuity {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        recorded: Arc<RecordedChanges>,
    ) -> Self {
        Self { context, recorded }
    }

    /// Compares the client of a request with that of its session, unless that is bound to a device.
    pub(super) fn assess(
        app: &AppAuth,
        presented: &PresentedSession,
        client: PresentedClient<'_>,
    ) -> ClientAssessment {
        let bound = presented.bound();
        if bound.is_some_and(|bound| app.app.is_device_bound(bound.device.is_bound())) {
            return ClientAssessment::Accepted;
        }
        let on_change = app.app.unbound_sessions.on_client_change;
        on_change.assess(presented.client(), client)
    }

    /// The status of a session after the assessment of the client.
    pub(super) fn apply(
        &self,
        app: &AppAuth,
        status: SessionStatus,
        assessment: ClientAssessment,
        client: PresentedClient<'_>,
    ) -> SessionStatus {
        if assessment == ClientAssessment::Accepted {
            return status;
        }
        let about = match &status {
            SessionStatus::None(_) => return status,
            SessionStatus::Live(live) => EventSession::from(&**live.session()),
            SessionStatus::NeedsRefresh(stale) => {
                EventSession::from(&SessionKey::from(&stale.refresh))
            }
        };
        self.record(app, assessment, &about, client);
        match assessment {
            ClientAssessment::Accepted | ClientAssessment::Observed(_) => status,
            ClientAssessment::Refused(change) => {
                SessionStatus::None(NoSessionReason::ClientChanged(change))
            }
        }
    }

    fn record(
        &self,
        app: &AppAuth,
        assessment: ClientAssessment,
        about: &EventSession,
        client: PresentedClient<'_>,
    ) {
        let Some(sid) = about.sid.clone() else {
            return;
        };
        let client = KnownClient::of(client);
        let change_of_session = RecordedChange { sid, client };
        if self.recorded.0.get(&change_of_session).is_some() {
            return;
        }
        self.recorded.0.insert(change_of_session, ());
        let outcome = match assessment {
            ClientAssessment::Accepted => return,
            ClientAssessment::Observed(ClientChange::Network) => "network_observed",
            ClientAssessment::Observed(ClientChange::Browser) => "browser_observed",
            ClientAssessment::Refused(ClientChange::Network) => "network_refused",
            ClientAssessment::Refused(ClientChange::Browser) => "browser_refused",
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::ClientChanged, outcome, about);
    }

    /// The grant of a new session with its client, if the app compares them. Networks of the session
    /// that it replaces stay known if it is of the same user: the login has just shown that the browser
    /// is.
    pub(super) fn begin<'g>(
        &self,
        app: &AppAuth,
        grant: Cow<'g, Grant>,
        request_cookies: &RequestCookies<'_>,
        client: PresentedClient<'_>,
    ) -> Cow<'g, Grant> {
        if app.app.unbound_sessions.on_client_change == OnClientChange::Off {
            return grant;
        }
        let previous = previous_session(app, request_cookies);
        let previous = previous.filter(|session| session.subject == grant.jwt.subject);
        let known = KnownClient::of(client);
        let known = match previous.and_then(|session| session.client) {
            Some(before) => {
                if before.change(client).is_some() {
                    let about = EventSession::from(&grant.jwt);
                    let observer = &self.context.observer;
                    observer.record_event(app, Event::ClientChanged, "confirmed", &about);
                }
                known.after(&before)
            }
            None => known,
        };
        Cow::Owned(with_client(grant.into_owned(), known))
    }
}

fn previous_session(app: &AppAuth, cookies: &RequestCookies<'_>) -> Option<PreviousSession> {
    let by_jwt = open_jwt(app, cookies).map(|jwt| PreviousSession {
        subject: jwt.subject,
        client: jwt.client,
    });
    by_jwt.or_else(|| {
        open_refresh(app, cookies).map(|refresh| PreviousSession {
            subject: refresh.subject,
            client: refresh.client,
        })
    })
}

fn with_client(grant: Grant, client: KnownClient) -> Grant {
    let client = Box::new(client);
    Grant {
        refresh: grant.refresh.map(|refresh| RefreshGrant {
            client: Some(client.clone()),
            ..refresh
        }),
        jwt: SessionJwt {
            client: Some(client),
            ..grant.jwt
        },
        hint: grant.hint,
    }
}
