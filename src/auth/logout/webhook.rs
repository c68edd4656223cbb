//! FusionAuth webhooks: verifies the sender, then revokes the affected sessions at every app of the
//! provider.

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

/// The maximum age of an event. FusionAuth retries for minutes. Later ones are replays.
const EVENT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// Store timeout of each replay check. FusionAuth may block on the webhook.
const DUPLICATE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a webhook was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The sender is not verified.
    #[error(transparent)]
    Sender(SenderError),
    /// The body was incomplete, too slow or too large.
    #[error("the webhook's body did not arrive whole, in time, and within the limit")]
    InvalidRequest,
    /// The body is not an event.
    #[error(transparent)]
    Bad(EventError),
    /// The event is too old.
    #[error("the webhook is about something that happened more than an hour ago")]
    TooOld,
    /// The event is in the future.
    #[error(
        "the webhook is about the future; compare the clocks of the provider and of this machine"
    )]
    InFuture,
    /// The sender cannot be verified now.
    #[error("whether the webhook is the provider's cannot be told now: {}", .0.code)]
    Unavailable(Unavailable),
}

impl WebhookError {
    /// The stable code for logs, metrics and responses.
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

/// The result of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Sessions were revoked, for this reason.
    Revocation(&'static str),
    /// The event was handled before.
    Duplicate,
    /// The event revokes nothing, or belongs to another tenant.
    OfNoInterest,
}

impl Received {
    /// The stable code for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Revocation(word) => word,
            Self::Duplicate => "webhook_duplicate",
            Self::OfNoInterest => "webhook_ignored",
        }
    }
}

impl Auth {
    /// Verifies that a webhook with these `headers` comes from the app's provider.
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

    /// Revokes the sessions that the event in `body` affects. A slow store delays the revocation by
    /// at most one second and the response by two.
    ///
    /// # Errors
    /// See [`WebhookError`].
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
        // The sender is verified, so the limit for anonymous tasks does not apply.
        let task = async move { auth.end_by(&app, &event, now).await };
        self.runtime
            .run(TIMEOUT, task)
            .await
            .map_err(|error| WebhookError::Unavailable(error.into()))
    }

    /// Records the result of a webhook at this app's host.
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
            // A repeated revocation is better than a late one.
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(provider = %settings.name, "webhook_replay_check_failed")
            }
        }
        // By the provider's clock, with leeway.
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
        // Recorded last: a webhook that failed before this point is handled again when it is
        // retried.
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

/// What the event revokes at this app.
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
            .then(|| Revocation::User(subject.clone(), began_until)),
        AffectedSessions::Application(id) => {
            (*id == app.client.client_id).then_some(Revocation::Everyone(began_until))
        }
    }
}
