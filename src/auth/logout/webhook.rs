//! FusionAuth says what has happened: who sent it is proven first, then the sessions that it concerns end, at every app
//! of that provider, whichever app's host was told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, TIMEOUT, Unavailable};
use crate::oidc::fusionauth::event::{self, AffectedSessions, EventError};
use crate::oidc::fusionauth::sender::{Checked, Sender, SenderError};
use crate::policy::route::AppRef;
use crate::store::Revocation;
use crate::types::time::Timestamp;

/// How old an event may be. FusionAuth tries again for minutes; what comes later is a copy of something.
const EVENT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// How long the store may take over an event's name, twice: FusionAuth may be waiting with what it does.
const DUPLICATE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a webhook ended nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// It is not from this provider, as far as that can be told.
    #[error(transparent)]
    Sender(SenderError),
    /// Its body did not arrive whole, in time, and within the limit.
    #[error("the webhook's body did not arrive whole, in time, and within the limit")]
    InvalidRequest,
    /// Its body is no event.
    #[error(transparent)]
    Bad(EventError),
    /// It happened too long ago.
    #[error("the webhook is about something that happened more than an hour ago")]
    TooOld,
    /// It has not happened yet.
    #[error(
        "the webhook is about the future; compare the clocks of the provider and of this machine"
    )]
    InFuture,
    /// It cannot be told now.
    #[error("whether the webhook is the provider's cannot be told now: {}", .0.code)]
    Unavailable(Unavailable),
}

impl WebhookError {
    /// The stable word for logs, metrics and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Sender(error) => error.code(),
            Self::InvalidRequest => "webhook_body_unreadable",
            Self::Bad(error) => error.code(),
            Self::TooOld => "webhook_too_old",
            Self::InFuture => "webhook_in_future",
            Self::Unavailable(outage) => outage.code,
        }
    }
}

impl From<SenderError> for WebhookError {
    fn from(error: SenderError) -> Self {
        if error.is_outage() {
            Self::Unavailable(Unavailable::new(error.code()))
        } else {
            Self::Sender(error)
        }
    }
}

/// What a webhook led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Sessions ended, for this reason.
    Revocation(&'static str),
    /// It came before.
    Duplicate,
    /// It ends no session, or is about another tenant.
    OfNoInterest,
}

impl Received {
    /// The stable word for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Revocation(word) => word,
            Self::Duplicate => "webhook_duplicate",
            Self::OfNoInterest => "webhook_ignored",
        }
    }
}

impl Auth {
    /// Finds out whether a webhook with these `headers` comes from the app's provider.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub async fn webhook_sender(
        &self,
        app_ref: AppRef<'_>,
        headers: &HeaderMap,
    ) -> Result<Sender, WebhookError> {
        let app = self.app(app_ref.index).ok_or(SenderError::NotExpected)?;
        let sender = match app.provider.check_webhook(headers)? {
            Checked::Sender(sender) => return Ok(sender),
            Checked::ToVerify(signature) => {
                let provider = Arc::clone(&app.provider);
                let task = async move { provider.verify_webhook_signature(&signature).await };
                self.anonymous_tasks
                    .run(TIMEOUT, task)
                    .await
                    .map_err(|error| WebhookError::Unavailable(error.into()))?
            }
        };
        Ok(sender?)
    }

    /// Ends the sessions that the event in `body` concerns. Quick: the effect waits for a store that is slow for a second
    /// at most, and the answer for two.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub async fn receive_webhook(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        sender: &Sender,
        body: &[u8],
    ) -> Result<Received, WebhookError> {
        let app = self.app(app_ref.index).ok_or(SenderError::NotExpected)?;
        sender.vouches_for(body)?;
        let Some(event) = event::read(body).map_err(WebhookError::Bad)? else {
            return Ok(Received::OfNoInterest);
        };
        let (now, settings) = (self.now(), app.provider.settings());
        if event.created_at > now.plus(settings.leeway) {
            return Err(WebhookError::InFuture);
        }
        if now.since(event.created_at) > EVENT_MAX_AGE + settings.leeway {
            return Err(WebhookError::TooOld);
        }
        let tenant = settings
            .dialect
            .fusionauth()
            .and_then(|own| own.tenant_id.as_deref());
        if tenant
            .zip(event.tenant_id.as_deref())
            .is_some_and(|(ours, theirs)| !ours.eq_ignore_ascii_case(theirs))
        {
            return Ok(Received::OfNoInterest);
        }
        let (auth, app) = (Arc::clone(self), Arc::clone(app));
        // Who sent it is proven: this takes none of the strangers' room.
        let task = async move { auth.end_by(&app, &event, now).await };
        self.runtime
            .run(TIMEOUT, task)
            .await
            .map_err(|error| WebhookError::Unavailable(error.into()))
    }

    /// Counts and logs what a webhook at this app's host led to.
    pub fn webhook_received(&self, app_ref: AppRef<'_>, received: &Result<Received, WebhookError>) {
        let Some(app) = self.app(app_ref.index) else {
            return;
        };
        let outcome = match received {
            Ok(received) => received.code(),
            Err(refused) => {
                let code = refused.code();
                tracing::warn!(app = %app.app.name, code, error = %refused, "webhook_rejected");
                code
            }
        };
        self.observer.record_event(app, Event::Revocation, outcome);
    }

    async fn end_by(
        self: &Arc<Self>,
        app: &AppAuth,
        event: &event::Event,
        now: Timestamp,
    ) -> Received {
        let settings = app.provider.settings();
        let (store, activity) = (
            &self.stores.sessions,
            format!("webhook/{}/{}", settings.name, event.id),
        );
        match tokio::time::timeout(DUPLICATE_TIMEOUT, store.get(&activity, now)).await {
            Ok(Ok(Some(_))) => return Received::Duplicate,
            Ok(Ok(None)) => {}
            // To end once more what has ended is better than to end it late.
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(provider = %settings.name, "webhook_replay_check_failed")
            }
        }
        // By the provider's clock, give or take what clocks may differ.
        let began_until = event.created_at.plus(settings.leeway).min(now);
        for other in self
            .apps
            .iter()
            .filter(|other| Arc::ptr_eq(&other.provider, &app.provider))
        {
            if let Some(ended) = ended_at(other, &event.concerns, began_until) {
                tracing::info!(app = %other.app.name, event = event.id, reason = event.word, "sessions_revoked_by_webhook");
                self.end(other, ended, now.plus(other.app.limits.absolute));
            }
        }
        // Only now: a webhook that broke off on the way here counts as new when it comes again.
        let until = now.plus(EVENT_MAX_AGE * 2).plus(settings.leeway * 4);
        let remembered = tokio::time::timeout(
            DUPLICATE_TIMEOUT,
            store.put(&activity, Bytes::new(), until, now),
        )
        .await;
        if !matches!(remembered, Ok(Ok(()))) {
            tracing::warn!(provider = %settings.name, "webhook_replay_store_failed");
        }
        Received::Revocation(event.word)
    }
}

/// What ends at this app, if anything does.
fn ended_at(
    app: &AppAuth,
    concerns: &AffectedSessions,
    began_until: Timestamp,
) -> Option<Revocation> {
    match concerns {
        AffectedSessions::RefreshToken(sid, application) => application
            .as_ref()
            .is_none_or(|id| *id == app.client.client_id)
            .then(|| Revocation::ProviderSession(sid.clone())),
        AffectedSessions::Person(subject, application) => application
            .as_ref()
            .is_none_or(|id| *id == app.client.client_id)
            .then(|| Revocation::Person(subject.clone(), began_until)),
        AffectedSessions::Application(id) => {
            (*id == app.client.client_id).then_some(Revocation::Everyone(began_until))
        }
    }
}
