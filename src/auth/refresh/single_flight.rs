//! Refreshing under rotation, as those see it who wait for it: one flight for a session at a time in this process,
//! however many requests wait, and never cancelled by who waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, TIMEOUT, Unavailable};
use crate::oidc::ProviderError;
use crate::oidc::token::Revoked;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::NoSessionReason;
use crate::types::oauth::{Generation, RefreshToken, SessionId};

/// How a refresh ended.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// With these tokens.
    Renewed(Arc<Grant>),
    /// With the end of the session.
    Revocation(NoSessionReason),
    /// Not at all: it may be tried again later.
    Unavailable(Unavailable),
}

/// A refresh that may still be under way.
#[derive(Clone, Debug)]
pub struct RefreshHandle(watch::Receiver<Option<Refreshed>>);

impl RefreshHandle {
    /// How it ended, if it has.
    pub fn try_result(&self) -> Option<Refreshed> {
        self.0.borrow().clone()
    }

    /// Waits until it ended, however long that takes: for what must not run beside it.
    async fn ended(mut self) {
        // An error says that it broke off, which is an end too.
        let _ = self.0.wait_for(Option::is_some).await;
    }

    /// Waits for it, but not for ever; it goes on all the same.
    pub async fn wait(mut self) -> Refreshed {
        let try_result = tokio::time::timeout(TIMEOUT, self.0.wait_for(Option::is_some)).await;
        match try_result {
            Ok(Ok(try_result)) => try_result
                .clone()
                .unwrap_or(Refreshed::Unavailable(Unavailable::new("internal_error"))),
            Ok(Err(_)) => Refreshed::Unavailable(Unavailable::new("internal_error")),
            Err(_) => Refreshed::Unavailable(Unavailable::of_provider("refresh_too_slow")),
        }
    }
}

/// What became of a refresh token that was to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum RevocationResult {
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
pub(in crate::auth) struct InFlightRefreshes(
    Mutex<HashMap<SessionId, (Generation, RefreshHandle)>>,
);

impl Auth {
    /// Refreshes the session of `used`, or joins those who do so already. `old` is what its JWT cookie held.
    /// A refresh of another generation of the session goes first: both could end up with the same token.
    pub fn refresh(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        used: RefreshGrant,
        old: Option<SessionJwt>,
    ) -> RefreshHandle {
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
        let flight = RefreshHandle(flight);
        let (auth, task_app, task_sid) = (Arc::clone(self), Arc::clone(app), sid.clone());
        let begun = self.runtime.spawn(async move {
            let guard = RefreshGuard {
                auth: &auth,
                sid: &task_sid,
                generation,
            };
            if let Some(before) = before {
                before.ended().await;
            }
            let (refreshed, unstored) = auth.renew(&task_app, used, old).await;
            auth.observe_refresh(&task_app, &refreshed);
            if matches!(refreshed, Refreshed::Unavailable(_)) {
                auth.refresh_backoff
                    .insert(task_sid.clone(), auth.now().plus(TIMEOUT));
            }
            if let Some(unstored) = unstored {
                // Whoever comes with the same token meanwhile is answered by this flight, as the store cannot.
                landing.send_replace(Some(refreshed));
                auth.store_late(&task_app, unstored).await;
            } else {
                drop(guard);
                landing.send_replace(Some(refreshed));
            }
        });
        match begun {
            Ok(()) => {
                flights.insert(sid, (generation, flight.clone()));
                flight
            }
            Err(busy) => RefreshHandle(watch::channel(Some(Refreshed::Unavailable(busy.into()))).1),
        }
    }

    /// Revokes a token as far as the provider lets it; a failure is logged.
    pub(in crate::auth) async fn revoke_at_provider(
        &self,
        app: &AppAuth,
        token: &RefreshToken,
    ) -> RevocationResult {
        match app.provider.revoke(&app.client, token).await {
            Ok(Revoked::Done) => RevocationResult::Revoked,
            Ok(Revoked::NotOffered) => RevocationResult::NotOffered,
            Err(error) => {
                tracing::warn!(app = %app.app.name, code = error.code(), %error, "revocation_failed");
                match error {
                    ProviderError::Unreachable { .. } => RevocationResult::Unreachable,
                    ProviderError::Setup(_)
                    | ProviderError::Insecure { .. }
                    | ProviderError::TargetError { .. }
                    | ProviderError::Status { .. }
                    | ProviderError::TooLarge { .. }
                    | ProviderError::NotJson { .. }
                    | ProviderError::Metadata(_)
                    | ProviderError::Keys(_)
                    | ProviderError::NotOffered { .. }
                    | ProviderError::OtherSubject
                    | ProviderError::NoVerdict(_) => RevocationResult::Failed,
                }
            }
        }
    }

    fn observe_refresh(&self, app: &AppAuth, refreshed: &Refreshed) {
        let outcome = match refreshed {
            Refreshed::Renewed(_) => "renewed",
            Refreshed::Revocation(why) => why.code(),
            Refreshed::Unavailable(outage) => outage.code,
        };
        self.observer.record_event(app, Event::Refresh, outcome);
    }
}

/// Takes a flight off the list however it ends, a panic included, so that the next request can try anew.
struct RefreshGuard<'a> {
    auth: &'a Auth,
    sid: &'a SessionId,
    generation: Generation,
}

impl Drop for RefreshGuard<'_> {
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
