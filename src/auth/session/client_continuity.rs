//! Sessions that are bound to no device: which client they begin with, and whether their requests come
//! from it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::events::{Event, EventSession};
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::session::cache::CachedSession;
use crate::auth::session::open::{open_jwt, open_refresh};
use crate::auth::session::recorded_changes::RecordedChanges;
use crate::session::client_continuity::{
    ClientAssessment, ClientChange, DetectedChange, KnownClient, OnClientChange, PresentedClient,
};
use crate::session::cookie::RequestCookies;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::{NoSessionReason, PresentedSession, SessionStatus};
use crate::types::oauth::Subject;

/// A session of the request's cookies, which a login replaces.
struct PreviousSession {
    subject: Subject,
    client: Option<Box<KnownClient>>,
}

/// Compares the clients of requests with those of their sessions.
#[derive(Clone)]
pub(in crate::auth) struct ClientContinuity {
    context: Arc<Context>,
    recorded: Arc<RecordedChanges<DetectedChange>>,
}

impl ClientContinuity {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        recorded: Arc<RecordedChanges<DetectedChange>>,
    ) -> Self {
        Self { context, recorded }
    }

    /// Compares the client of a request with that of its session, unless that is bound to a device.
    pub(super) fn assess(
        app: &AppAuth,
        presented: &PresentedSession,
        cached: Option<&CachedSession>,
        client: PresentedClient<'_>,
    ) -> ClientAssessment {
        let bound = presented.bound();
        if bound.is_some_and(|bound| app.app.is_device_bound(bound.device.is_bound())) {
            return ClientAssessment::Accepted;
        }
        let on_change = app.app.unbound_sessions.on_client_change;
        on_change.assess(|| match cached {
            Some(cached) => cached.client_change(client),
            None => presented.client()?.detect(client),
        })
    }

    /// The status of a session after the assessment of the client.
    pub(super) fn apply(
        &self,
        app: &AppAuth,
        status: SessionStatus,
        assessment: ClientAssessment,
    ) -> SessionStatus {
        let (ClientAssessment::Observed(change) | ClientAssessment::Refused(change)) = assessment
        else {
            return status;
        };
        let sid = match &status {
            SessionStatus::None(_) => return status,
            SessionStatus::Live(live) => &live.session().sid,
            SessionStatus::NeedsRefresh(stale) => &stale.refresh.sid,
        };
        if self.recorded.add(sid, &change) {
            self.record(app, assessment, &status);
        }
        match assessment {
            ClientAssessment::Accepted | ClientAssessment::Observed(_) => status,
            ClientAssessment::Refused(change) => {
                SessionStatus::None(NoSessionReason::ClientChanged(change.kind))
            }
        }
    }

    fn record(&self, app: &AppAuth, assessment: ClientAssessment, status: &SessionStatus) {
        let about = match status {
            SessionStatus::None(_) => return,
            SessionStatus::Live(live) => EventSession::from(&**live.session()),
            SessionStatus::NeedsRefresh(stale) => {
                EventSession::from(&SessionKey::from(&stale.refresh))
            }
        };
        let outcome = match assessment {
            ClientAssessment::Accepted => return,
            ClientAssessment::Observed(change) => match change.kind {
                ClientChange::Network => "network_observed",
                ClientChange::Browser => "browser_observed",
            },
            ClientAssessment::Refused(change) => match change.kind {
                ClientChange::Network => "network_refused",
                ClientChange::Browser => "browser_refused",
            },
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::ClientChanged, outcome, &about);
    }

    /// The grant of a new session with its client, if the app compares them. It has the networks of the
    /// session that it replaces too, if that is of the same user: the login has just shown that the
    /// browser is.
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
