//! FusionAuth webhooks: verifies the sender, then revokes the affected sessions at every app of the
//! provider.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use crate::auth::app::AppAuth;
use crate::auth::context::{AppHandle, Context};
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::events::{Event, EventSession};
use crate::auth::revocation::publication::Reach;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::oidc::fusionauth::event::{self, AffectedSessions, EventError};
use crate::oidc::fusionauth::sender::{Sender, SenderCheck, SenderError};
use crate::policy::route::AppRef;
use crate::store::Revocation;
use crate::types::oauth::{ClientId, Subject};
use crate::types::time::Timestamp;

/// The maximum age of an event. FusionAuth retries for minutes. Later ones are replays.
const EVENT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// Timeout of each call to the store. FusionAuth may block on the webhook.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a webhook was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The sender is not verified.
    #[error(transparent)]
    Sender(SenderError),
    /// The body was incomplete, too slow or too large.
    #[error("the webhook's body is incomplete, too slow or too large")]
    Unreadable,
    /// The body is not an event.
    #[error(transparent)]
    Event(EventError),
    /// The event is too old.
    #[error("the webhook event is more than an hour old")]
    TooOld,
    /// The event is in the future.
    #[error(
        "the webhook event is in the future; compare the clocks of the provider and of this host"
    )]
    InFuture,
    /// The sender cannot be verified now.
    #[error("the webhook's sender cannot be verified now: {}", .0.code)]
    Unavailable(Unavailable),
}

impl WebhookError {
    /// The stable code for logs, metrics and responses.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Sender(error) => error.code(),
            Self::Unreadable => "webhook_body_unreadable",
            Self::Event(error) => error.code(),
            Self::TooOld => "webhook_too_old",
            Self::InFuture => "webhook_in_future",
            Self::Unavailable(outage) => outage.code,
        }
    }
}

impl From<SenderError> for WebhookError {
    fn from(error: SenderError) -> Self {
        if error.is_outage() {
            Self::Unavailable(Unavailable::of_provider(error.code()))
        } else {
            Self::Sender(error)
        }
    }
}

/// The result of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// Sessions were revoked.
    Revoked {
        /// Why, as a stable code.
        reason: &'static str,
        /// The user, if the event names one.
        subject: Option<Subject>,
    },
    /// The event was handled before.
    Duplicate,
    /// The event revokes nothing, or belongs to another tenant.
    Ignored,
}

impl WebhookOutcome {
    /// The stable code for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Revoked { reason, .. } => reason,
            Self::Duplicate => "webhook_duplicate",
            Self::Ignored => "webhook_ignored",
        }
    }
}

/// Handles FusionAuth webhooks. Clones share their state.
#[derive(Clone)]
pub struct WebhookReceiver {
    context: Arc<Context>,
    replicator: RevocationReplicator,
}

impl WebhookReceiver {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        replicator: RevocationReplicator,
    ) -> Self {
        Self {
            context,
            replicator,
        }
    }

    /// Verifies that a webhook with these `headers` comes from the app's provider.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub async fn verify_sender(
        &self,
        app_ref: AppRef<'_>,
        headers: &HeaderMap,
    ) -> Result<Sender, WebhookError> {
        let app = &self.app(app_ref)?;
        let sender = match app.provider.check_webhook(headers)? {
            SenderCheck::Verified(sender) => return Ok(sender),
            SenderCheck::SignaturePending(signature) => {
                let provider = Arc::clone(&app.provider);
                let task = async move { provider.verify_webhook_signature(&signature).await };
                self.context
                    .anonymous_tasks
                    .run(CALL_TIMEOUT, task)
                    .await
                    .map_err(|error| WebhookError::Unavailable(error.into()))?
            }
        };
        Ok(sender?)
    }

    /// Revokes the sessions that the event in `body` affects. A slow store delays the revocation by
    /// at most one second and the response by three.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub async fn receive(
        &self,
        app_ref: AppRef<'_>,
        sender: &Sender,
        body: &[u8],
    ) -> Result<WebhookOutcome, WebhookError> {
        let app = &self.app(app_ref)?;
        sender.check_body(body)?;
        let Some(event) = event::read(body).map_err(WebhookError::Event)? else {
            return Ok(WebhookOutcome::Ignored);
        };
        let now = self.context.now();
        let settings = app.provider.settings();
        if event.created_at > now.plus(settings.leeway) {
            return Err(WebhookError::InFuture);
        }
        if now.since(event.created_at) > EVENT_MAX_AGE + settings.leeway {
            return Err(WebhookError::TooOld);
        }
        let tenant = event.tenant_id.as_deref();
        if tenant.is_some_and(|tenant| app.provider.is_other_tenant(tenant)) {
            return Ok(WebhookOutcome::Ignored);
        }
        let (receiver, app) = (self.clone(), Arc::clone(app));
        // The sender is verified, so the limit for anonymous tasks does not apply.
        let task = async move { receiver.apply(&app, &event, now).await };
        self.context
            .runtime
            .run(CALL_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| Err(WebhookError::Unavailable(error.into())))
    }

    /// Records the result of a webhook at this app's host.
    pub fn record(&self, app_ref: AppRef<'_>, received: &Result<WebhookOutcome, WebhookError>) {
        let Some(app) = &self.context.app(app_ref) else {
            return;
        };
        let outcome = match received {
            Ok(received) => received.code(),
            Err(error) => {
                let code = error.code();
                tracing::warn!(app = %app.app.name, code, %error, "webhook_rejected");
                code
            }
        };
        let subject = match received {
            Ok(WebhookOutcome::Revoked { subject, .. }) => subject.as_ref(),
            Ok(WebhookOutcome::Duplicate | WebhookOutcome::Ignored) | Err(_) => None,
        };
        let observer = &self.context.observer;
        let about = EventSession::of_user(subject);
        observer.record_event(app, Event::Revocation, outcome, &about);
    }

    fn app(&self, app_ref: AppRef<'_>) -> Result<AppHandle<'_>, WebhookError> {
        let app = self.context.app(app_ref);
        Ok(app.ok_or(SenderError::NotExpected)?)
    }

    async fn apply(
        &self,
        app: &AppAuth,
        event: &event::Event,
        now: Timestamp,
    ) -> Result<WebhookOutcome, WebhookError> {
        let settings = app.provider.settings();
        let store = &self.context.stores.sessions;
        let key = format!("webhook/{}/{}", settings.name, event.id);
        match tokio::time::timeout(STORE_TIMEOUT, store.get(&key, now)).await {
            Ok(Ok(Some(_))) => return Ok(WebhookOutcome::Duplicate),
            Ok(Ok(None)) => {}
            // A repeated revocation is better than a late one.
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(provider = %settings.name, "webhook_replay_check_failed")
            }
        }
        // By the provider's clock, with leeway.
        let started_until = event.created_at.plus(settings.leeway).min(now);
        let apps = self.context.apps.iter();
        let mut publications = Vec::new();
        for other in apps.filter(|other| Arc::ptr_eq(&other.provider, &app.provider)) {
            if let Some(revocation) = revocation_at(other, &event.affected, started_until) {
                tracing::info!(app = %other.app.name, webhook = event.id, reason = event.code, "sessions_revoked_by_webhook");
                let ends_at = now.plus(other.app.limits.absolute);
                publications.push(self.replicator.revoke(other, revocation, ends_at, now));
            }
        }
        let deadline = Instant::now() + STORE_TIMEOUT;
        for publication in publications {
            let left = deadline.saturating_duration_since(Instant::now());
            if publication.reach(left).await == Reach::LocalOnly {
                return Err(WebhookError::Unavailable(Unavailable::of_store(
                    "revocation_not_published",
                )));
            }
        }
        // Recorded last: a webhook that failed before this point is handled again when it is
        // retried.
        let ends_at = now.plus(EVENT_MAX_AGE * 2).plus(settings.leeway * 4);
        let recorded = store.put(&key, Bytes::new(), ends_at, now);
        let recorded = tokio::time::timeout(STORE_TIMEOUT, recorded).await;
        if !matches!(recorded, Ok(Ok(()))) {
            tracing::debug!(provider = %settings.name, "webhook_replay_store_failed");
        }
        let subject = match &event.affected {
            AffectedSessions::User { subject, .. } => Some(subject.clone()),
            AffectedSessions::RefreshToken { .. } | AffectedSessions::Application(_) => None,
        };
        Ok(WebhookOutcome::Revoked {
            reason: event.code,
            subject,
        })
    }
}

/// The sessions of this app that the event revokes.
fn revocation_at(
    app: &AppAuth,
    affected: &AffectedSessions,
    started_until: Timestamp,
) -> Option<Revocation> {
    let is_affected = |application: Option<&ClientId>| {
        application.is_none_or(|application| *application == app.client.client_id)
    };
    match affected {
        AffectedSessions::RefreshToken { sid, application } => {
            is_affected(application.as_ref()).then(|| Revocation::ProviderSession(sid.clone()))
        }
        AffectedSessions::User {
            subject,
            application,
        } => is_affected(application.as_ref())
            .then(|| Revocation::User(subject.clone(), started_until)),
        AffectedSessions::Application(application) => {
            is_affected(Some(application)).then_some(Revocation::Everyone(started_until))
        }
    }
}
