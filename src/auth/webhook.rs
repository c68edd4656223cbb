//! FusionAuth says what has happened: who sent it is proven first, then the sessions that it concerns end, at every app
//! of that provider, whichever app's host was told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::app::AppAuth;
use super::{Auth, Event, Outage, PATIENCE};
use crate::oidc::fusionauth::event::{self, BadEvent, Concerned};
use crate::oidc::fusionauth::sender::{Checked, NotTheSender, Sender};
use crate::policy::route::Place;
use crate::store::Ended;
use crate::types::time::Timestamp;

/// How old an event may be. FusionAuth tries again for minutes; what comes later is a copy of something.
const EVENT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// How long the store may take over an event's name, twice: FusionAuth may be waiting with what it does.
const DUPLICATE_PATIENCE: Duration = Duration::from_secs(1);

/// Why a webhook ended nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefused {
    /// It is not from this provider, as far as that can be told.
    #[error(transparent)]
    Sender(NotTheSender),
    /// Its body did not arrive whole, in time, and within the limit.
    #[error("the webhook's body did not arrive whole, in time, and within the limit")]
    Unreadable,
    /// Its body is no event.
    #[error(transparent)]
    Bad(BadEvent),
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
    Outage(Outage),
}

impl WebhookRefused {
    /// The stable word for logs, metrics and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Sender(error) => error.code(),
            Self::Unreadable => "webhook_unreadable",
            Self::Bad(error) => error.code(),
            Self::TooOld => "webhook_too_old",
            Self::InFuture => "webhook_in_future",
            Self::Outage(outage) => outage.code,
        }
    }
}

impl From<NotTheSender> for WebhookRefused {
    fn from(error: NotTheSender) -> Self {
        if error.is_outage() {
            Self::Outage(Outage::new(error.code()))
        } else {
            Self::Sender(error)
        }
    }
}

/// What a webhook led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Sessions ended, for this reason.
    Ended(&'static str),
    /// It came before.
    Duplicate,
    /// It ends no session, or is about another tenant.
    OfNoInterest,
}

impl Received {
    /// The stable word for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ended(word) => word,
            Self::Duplicate => "webhook_duplicate",
            Self::OfNoInterest => "webhook_of_no_interest",
        }
    }
}

impl Auth {
    /// Finds out whether a webhook with these `headers` comes from the app's provider.
    ///
    /// # Errors
    /// See [`WebhookRefused`].
    pub async fn webhook_sender(
        &self,
        place: Place<'_>,
        headers: &HeaderMap,
    ) -> Result<Sender, WebhookRefused> {
        let app = self.app(place.index).ok_or(NotTheSender::NotExpected)?;
        let sender = match app.provider.check_webhook(headers)? {
            Checked::Sender(sender) => return Ok(sender),
            Checked::ToVerify(signature) => {
                let provider = Arc::clone(&app.provider);
                let task = async move { provider.verify_webhook_signature(&signature).await };
                self.strangers
                    .run(PATIENCE, task)
                    .await
                    .map_err(|error| WebhookRefused::Outage(error.into()))?
            }
        };
        Ok(sender?)
    }

    /// Ends the sessions that the event in `body` concerns. Quick: the effect waits for a store that is slow for a second
    /// at most, and the answer for two.
    ///
    /// # Errors
    /// See [`WebhookRefused`].
    pub async fn receive_webhook(
        self: &Arc<Self>,
        place: Place<'_>,
        sender: &Sender,
        body: &[u8],
    ) -> Result<Received, WebhookRefused> {
        let app = self.app(place.index).ok_or(NotTheSender::NotExpected)?;
        sender.vouches_for(body)?;
        let Some(event) = event::read(body).map_err(WebhookRefused::Bad)? else {
            return Ok(Received::OfNoInterest);
        };
        let (now, settings) = (self.now(), app.provider.settings());
        if event.created_at > now.plus(settings.leeway) {
            return Err(WebhookRefused::InFuture);
        }
        if now.since(event.created_at) > EVENT_MAX_AGE + settings.leeway {
            return Err(WebhookRefused::TooOld);
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
        self.control
            .run(PATIENCE, task)
            .await
            .map_err(|error| WebhookRefused::Outage(error.into()))
    }

    /// Counts and logs what a webhook at this app's host led to.
    pub fn webhook_received(&self, place: Place<'_>, received: &Result<Received, WebhookRefused>) {
        let Some(app) = self.app(place.index) else {
            return;
        };
        let outcome = match received {
            Ok(received) => received.code(),
            Err(refused) => {
                let code = refused.code();
                tracing::warn!(app = %app.app.name, code, error = %refused, "webhook_refused");
                code
            }
        };
        self.observer.happened(app, Event::Revocation, outcome);
    }

    async fn end_by(
        self: &Arc<Self>,
        app: &AppAuth,
        event: &event::Event,
        now: Timestamp,
    ) -> Received {
        let settings = app.provider.settings();
        let (store, seen) = (
            &self.stores.sessions,
            format!("webhook/{}/{}", settings.name, event.id),
        );
        match tokio::time::timeout(DUPLICATE_PATIENCE, store.get(&seen, now)).await {
            Ok(Ok(Some(_))) => return Received::Duplicate,
            Ok(Ok(None)) => {}
            // To end once more what has ended is better than to end it late.
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(provider = %settings.name, "webhook_duplicates_unknown")
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
                tracing::info!(app = %other.app.name, event = event.id, reason = event.word, "ended_by_webhook");
                self.end(other, ended, now.plus(other.app.limits.absolute));
            }
        }
        // Only now: a webhook that broke off on the way here counts as new when it comes again.
        let until = now.plus(EVENT_MAX_AGE * 2).plus(settings.leeway * 4);
        let remembered = tokio::time::timeout(
            DUPLICATE_PATIENCE,
            store.put(&seen, Bytes::new(), until, now),
        )
        .await;
        if !matches!(remembered, Ok(Ok(()))) {
            tracing::warn!(provider = %settings.name, "webhook_not_remembered");
        }
        Received::Ended(event.word)
    }
}

/// What ends at this app, if anything does.
fn ended_at(app: &AppAuth, concerns: &Concerned, began_until: Timestamp) -> Option<Ended> {
    match concerns {
        Concerned::RefreshToken(sid, application) => application
            .as_ref()
            .is_none_or(|id| *id == app.client.client_id)
            .then(|| Ended::ProviderSession(sid.clone())),
        Concerned::Person(subject, application) => application
            .as_ref()
            .is_none_or(|id| *id == app.client.client_id)
            .then(|| Ended::Person(subject.clone(), began_until)),
        Concerned::Application(id) => {
            (*id == app.client.client_id).then_some(Ended::Everyone(began_until))
        }
    }
}
