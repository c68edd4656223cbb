//! Refreshing under rotation, as those see it who wait for it: one flight for a session at a time in this process,
//! however many requests wait, and never cancelled by who waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::app::AppAuth;
use super::{Auth, Event, Outage, PATIENCE};
use crate::oidc::ProviderError;
use crate::oidc::token::Revoked;
use crate::session::assess::Why;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::types::oauth::{Generation, RefreshToken, SessionId};

/// How a refresh ended.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// With these tokens.
    Renewed(Arc<Grant>),
    /// With the end of the session.
    Ended(Why),
    /// Not at all: it may be tried again later.
    Outage(Outage),
}

/// A refresh that may still be under way.
#[derive(Clone, Debug)]
pub struct Flight(watch::Receiver<Option<Refreshed>>);

impl Flight {
    /// How it ended, if it has.
    pub fn landed(&self) -> Option<Refreshed> {
        self.0.borrow().clone()
    }

    /// Waits until it ended, however long that takes: for what must not run beside it.
    async fn ended(mut self) {
        // An error says that it broke off, which is an end too.
        let _ = self.0.wait_for(Option::is_some).await;
    }

    /// Waits for it, but not for ever; it goes on all the same.
    pub async fn wait(mut self) -> Refreshed {
        let landed = tokio::time::timeout(PATIENCE, self.0.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(landed)) => landed
                .clone()
                .unwrap_or(Refreshed::Outage(Outage::new("internal_error"))),
            Ok(Err(_)) => Refreshed::Outage(Outage::new("internal_error")),
            Err(_) => Refreshed::Outage(Outage::of_provider("refresh_too_slow")),
        }
    }
}

/// What became of a refresh token that was to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtProvider {
    /// It is of no use any more.
    Revoked,
    /// There was none.
    NothingToRevoke,
    /// The provider revokes none.
    NotOffered,
    /// The provider did not do it.
    Failed,
    /// The provider is not there.
    Unreachable,
}

/// The refreshes under way in this process.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<SessionId, (Generation, Flight)>>);

impl Auth {
    /// Refreshes the session of `used`, or joins those who do so already. `old` is what its JWT cookie held.
    /// A refresh of another generation of the session goes first: both could end up with the same token.
    pub fn refresh(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        used: RefreshGrant,
        old: Option<SessionJwt>,
    ) -> Flight {
        let (sid, generation) = (used.sid.clone(), used.generation);
        let mut flights = self
            .flights
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = match flights.get(&sid) {
            Some((same, flight)) if *same == generation => return flight.clone(),
            Some((_, other)) => Some(other.clone()),
            None => None,
        };
        let (landing, flight) = watch::channel(None);
        let flight = Flight(flight);
        let (auth, task_app, task_sid) = (Arc::clone(self), Arc::clone(app), sid.clone());
        let begun = self.control.detach(async move {
            let landing_strip = LandingStrip {
                auth: &auth,
                sid: &task_sid,
                generation,
            };
            if let Some(before) = before {
                before.ended().await;
            }
            let (refreshed, unstored) = auth.renew(&task_app, used, old).await;
            auth.observe_refresh(&task_app, &refreshed);
            if matches!(refreshed, Refreshed::Outage(_)) {
                auth.cooling
                    .insert(task_sid.clone(), auth.now().plus(PATIENCE));
            }
            if let Some(unstored) = unstored {
                // Whoever comes with the same token meanwhile is answered by this flight, as the store cannot.
                landing.send_replace(Some(refreshed));
                auth.store_late(&task_app, unstored).await;
            } else {
                drop(landing_strip);
                landing.send_replace(Some(refreshed));
            }
        });
        match begun {
            Ok(()) => {
                flights.insert(sid, (generation, flight.clone()));
                flight
            }
            Err(busy) => Flight(watch::channel(Some(Refreshed::Outage(busy.into()))).1),
        }
    }

    /// Revokes a token as far as the provider lets it; a failure is logged.
    pub(super) async fn revoke_at_provider(
        &self,
        app: &AppAuth,
        token: &RefreshToken,
    ) -> AtProvider {
        match app.provider.revoke(&app.client, token).await {
            Ok(Revoked::Done) => AtProvider::Revoked,
            Ok(Revoked::NotOffered) => AtProvider::NotOffered,
            Err(error) => {
                tracing::warn!(app = %app.app.name, code = error.code(), %error, "revocation_failed");
                match error {
                    ProviderError::Unreachable { .. } => AtProvider::Unreachable,
                    ProviderError::Setup(_)
                    | ProviderError::Insecure { .. }
                    | ProviderError::Ambiguous { .. }
                    | ProviderError::Status { .. }
                    | ProviderError::TooLarge { .. }
                    | ProviderError::NotJson { .. }
                    | ProviderError::Metadata(_)
                    | ProviderError::Keys(_)
                    | ProviderError::NotOffered { .. }
                    | ProviderError::OtherSubject
                    | ProviderError::NoVerdict(_) => AtProvider::Failed,
                }
            }
        }
    }

    fn observe_refresh(&self, app: &AppAuth, refreshed: &Refreshed) {
        let outcome = match refreshed {
            Refreshed::Renewed(_) => "renewed",
            Refreshed::Ended(why) => why.code(),
            Refreshed::Outage(outage) => outage.code,
        };
        self.observer.happened(app, Event::Refresh, outcome);
    }
}

/// Takes a flight off the list however it ends, a panic included, so that the next request can try anew.
struct LandingStrip<'a> {
    auth: &'a Auth,
    sid: &'a SessionId,
    generation: Generation,
}

impl Drop for LandingStrip<'_> {
    fn drop(&mut self) {
        let mut flights = self
            .auth
            .flights
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(self.sid)
            .is_some_and(|(generation, _)| *generation == self.generation)
        {
            flights.remove(self.sid);
        }
    }
}
