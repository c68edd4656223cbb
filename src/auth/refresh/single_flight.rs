//! Single-flight refresh per session and process. Any number of requests wait for one refresh.
//! Cancelling a waiter never cancels the refresh.

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

/// The result of a refresh.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// New tokens.
    Renewed(Arc<Grant>),
    /// The session is over.
    Revocation(NoSessionReason),
    /// Failed. A retry may succeed.
    Unavailable(Unavailable),
}

/// A handle to a refresh that may be in flight.
#[derive(Clone, Debug)]
pub struct RefreshHandle(watch::Receiver<Option<Refreshed>>);

impl RefreshHandle {
    /// The result, if the refresh has ended.
    pub fn try_result(&self) -> Option<Refreshed> {
        self.0.borrow().clone()
    }

    /// Waits without a deadline until the refresh has ended.
    async fn ended(mut self) {
        // An error means that the task was dropped, which is an end too.
        let _ = self.0.wait_for(Option::is_some).await;
    }

    /// Waits for the result with a deadline. The refresh continues after it.
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

/// The result of revoking a refresh token at the provider (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum RevocationResult {
    /// The token is revoked.
    Revoked,
    /// The session had no refresh token.
    NothingToRevoke,
    /// The provider has no revocation endpoint.
    NotOffered,
    /// The provider returned an error.
    Failed,
    /// The provider is unreachable.
    Unreachable,
}

/// The in-flight refreshes of this process.
#[derive(Default)]
pub(in crate::auth) struct InFlightRefreshes(
    Mutex<HashMap<SessionId, (Generation, RefreshHandle)>>,
);

impl Auth {
    /// Refreshes the session of `used`, or joins its in-flight refresh. `old` is the content of its
    /// JWT cookie. A refresh of another generation of the session is awaited first: both could
    /// consume the same token.
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
                // Requests with the same token join this refresh until the store has the result.
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

    /// Revokes a token at the provider, if the provider supports it. Failures are logged.
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

/// Removes the in-flight entry however the refresh ends, a panic included.
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
