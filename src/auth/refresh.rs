//! Refreshing (RFC 6749 section 6) under rotation: one call for a session at a time, however many requests
//! wait; never with a token that is known to be used up; never cancelled by who waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::app::AppAuth;
use super::grant;
use super::rotation::{Place, Rotation};
use super::{Auth, Event, Outage, PATIENCE};
use crate::oidc::ProviderError;
use crate::oidc::token::{Revoked, TokenAnswer, TokenError};
use crate::session::assess::Why;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::store::Whose;
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
            Ok(Ok(landed)) => landed.clone().unwrap_or(Refreshed::Outage(Outage::new("internal_error"))),
            Ok(Err(_)) => Refreshed::Outage(Outage::new("internal_error")),
            Err(_) => Refreshed::Outage(Outage::new("refresh_too_slow")),
        }
    }
}

/// What became of a refresh token that was to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtProvider {
    /// It is of no use any more.
    Revoked,
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
    pub fn refresh(self: &Arc<Self>, app: &Arc<AppAuth>, used: RefreshGrant, old: Option<SessionJwt>) -> Flight {
        let (sid, generation) = (used.sid.clone(), used.generation);
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match flights.get(&sid) {
            Some((same, flight)) if *same == generation => return flight.clone(),
            Some((_, other)) => Some(other.clone()),
            None => None,
        };
        let (landing, flight) = watch::channel(None);
        let flight = Flight(flight);
        let (auth, task_app, task_sid) = (Arc::clone(self), Arc::clone(app), sid.clone());
        let begun = self.control.detach(async move {
            let landing_strip = LandingStrip { auth: &auth, sid: &task_sid, generation };
            if let Some(before) = before {
                before.ended().await;
            }
            let refreshed = auth.refresh_now(&task_app, used, old).await;
            auth.observe_refresh(&task_app, &refreshed);
            if matches!(refreshed, Refreshed::Outage(_)) {
                auth.cooling.insert(task_sid.clone(), auth.now().plus(PATIENCE));
            }
            drop(landing_strip);
            landing.send_replace(Some(refreshed));
        });
        match begun {
            Ok(()) => {
                flights.insert(sid, (generation, flight.clone()));
                flight
            }
            Err(busy) => Flight(watch::channel(Some(Refreshed::Outage(busy.into()))).1),
        }
    }

    async fn refresh_now(&self, app: &AppAuth, mut used: RefreshGrant, mut old: Option<SessionJwt>) -> Refreshed {
        let now = self.now();
        let rotations = self.rotations(app);
        let (rotation, successor) = match rotations.get(&used.sid, now).await {
            Ok(known) => known,
            Err(error) => return Refreshed::Outage(Outage::new(error.code())),
        };
        let mut rotation = rotation.unwrap_or_default();
        match rotation.place(used.generation, now) {
            Place::Newest => {
                rotation.newest = used.generation;
                rotation.confirm(used.generation, now);
            }
            Place::Reused => return self.end_stolen(app, &used).await,
            Place::Replaced => match successor {
                Some(grant) if now < grant.jwt.valid_until => return Refreshed::Renewed(Arc::new(grant)),
                Some(Grant { jwt, refresh: Some(refresh), .. }) => (used, old) = (refresh, Some(jwt)),
                // The successor ended with its grace: the newest token is in the browser that sent it.
                Some(_) | None if rotation.is_confirmed_after(used.generation) => {
                    return Refreshed::Outage(Outage::new("successor_gone"));
                }
                // No browser ever had it, and none will: coming back later would be of no use.
                Some(_) | None => return Refreshed::Ended(Why::Expired),
            },
        }
        let answer = match self.call(app, &used.token).await {
            Ok(answer) => answer,
            Err(TokenError::Refused { error, description }) => {
                tracing::info!(app = %app.app.name, sid = %used.sid, error, description, "refresh_refused");
                if is_ended(app, &used, old.as_ref()) {
                    return Refreshed::Ended(Why::Revoked);
                }
                self.end_session(app, &used.sid, &used.subject, used.started_at);
                return Refreshed::Ended(Why::RefreshRefused);
            }
            Err(error) => {
                tracing::warn!(app = %app.app.name, sid = %used.sid, code = error.code(), %error, "refresh_failed");
                return Refreshed::Outage(Outage::new(error.code()));
            }
        };
        self.take_in(app, answer, &used, old.as_ref(), rotation).await
    }

    /// A call whose outcome is not known is made once more, by itself: providers with a grace period answer it.
    async fn call(&self, app: &AppAuth, token: &RefreshToken) -> Result<TokenAnswer, TokenError> {
        match app.provider.refresh(&app.client, token).await {
            Err(TokenError::Ambiguous(error)) => {
                tracing::warn!(app = %app.app.name, code = error.code(), %error, "refresh_tried_again");
                app.provider.refresh(&app.client, token).await
            }
            outcome => outcome,
        }
    }

    async fn take_in(
        &self,
        app: &AppAuth,
        answer: TokenAnswer,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
        mut rotation: Rotation,
    ) -> Refreshed {
        let now = self.now();
        let new_token = answer.refresh_token.clone();
        let made = grant::of_refresh(app, answer, used, old, now).await;
        // A logout may have come while the provider was asked, and only now the provider's name of its session is known.
        if is_ended(app, used, made.as_ref().ok().map(|grant| &grant.jwt).or(old)) {
            self.revoke_at_provider(app, new_token.as_ref().unwrap_or(&used.token)).await;
            return Refreshed::Ended(Why::Revoked);
        }
        let (grant, fault) = match made {
            Ok(grant) => (grant, None),
            Err(error) => {
                tracing::warn!(app = %app.app.name, sid = %used.sid, code = error.code(), %error, "refresh_unusable");
                let fault = Refreshed::Outage(Outage::new(error.code()));
                match (new_token, old) {
                    // The old token may be used up: what replaced it must not be lost with the JWT that is no good.
                    (Some(token), Some(old)) if !error.is_final() => (carried_on(used, old, token), Some(fault)),
                    // The same token may bring more the next time.
                    (None, _) if !error.is_final() => return fault,
                    (token, _) => {
                        self.end_session(app, &used.sid, &used.subject, used.started_at);
                        self.revoke_at_provider(app, token.as_ref().unwrap_or(&used.token)).await;
                        return Refreshed::Ended(Why::RefreshRefused);
                    }
                }
            }
        };
        rotation.newest = grant.jwt.generation;
        self.newest.insert(used.sid.clone(), rotation.newest);
        if let Err(error) = self.rotations(app).put(&rotation, &grant, now).await {
            tracing::warn!(app = %app.app.name, sid = %used.sid, %error, "successor_not_stored");
        }
        if is_ended(app, used, Some(&grant.jwt)) {
            // ... or since: a logout before this line may not have found the new token, one after it does.
            self.revoke_at_provider(app, grant.refresh.as_ref().map_or(&used.token, |refresh| &refresh.token)).await;
            return Refreshed::Ended(Why::Revoked);
        }
        fault.unwrap_or_else(|| Refreshed::Renewed(Arc::new(grant)))
    }

    /// A token that was replaced long ago: whoever sends it took it from somewhere. Both sides lose the session.
    async fn end_stolen(&self, app: &AppAuth, used: &RefreshGrant) -> Refreshed {
        tracing::warn!(app = %app.app.name, sid = %used.sid, generation = used.generation.number(), "refresh_token_reused");
        self.observer.happened(app, Event::Theft, "session_ended");
        self.end_session(app, &used.sid, &used.subject, used.started_at);
        let successor = self.rotations(app).successor(&used.sid, self.now()).await;
        let newest = successor.ok().flatten().and_then(|grant| grant.refresh);
        self.revoke_at_provider(app, newest.as_ref().map_or(&used.token, |refresh| &refresh.token)).await;
        Refreshed::Ended(Why::Reused)
    }

    /// Revokes a token as far as the provider lets it; a failure is logged.
    pub(super) async fn revoke_at_provider(&self, app: &AppAuth, token: &RefreshToken) -> AtProvider {
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
                    | ProviderError::OtherSubject => AtProvider::Failed,
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

fn is_ended(app: &AppAuth, used: &RefreshGrant, jwt: Option<&SessionJwt>) -> bool {
    app.revocations.snapshot().contains(Whose {
        sid: &used.sid,
        provider_sid: jwt.and_then(|jwt| jwt.provider_sid.as_ref()),
        subject: &used.subject,
        started_at: used.started_at,
    })
}

/// The old JWT with the new refresh token, in the generation after: stale from its first moment.
fn carried_on(used: &RefreshGrant, old: &SessionJwt, token: RefreshToken) -> Grant {
    let generation = used.generation.next();
    let jwt = SessionJwt { generation, ..old.clone() };
    Grant { jwt, refresh: Some(RefreshGrant { token, generation, ..used.clone() }), hint: None }
}

/// Takes a flight off the list however it ends, a panic included, so that the next request can try anew.
struct LandingStrip<'a> {
    auth: &'a Auth,
    sid: &'a SessionId,
    generation: Generation,
}

impl Drop for LandingStrip<'_> {
    fn drop(&mut self) {
        let mut flights = self.auth.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(self.sid).is_some_and(|(generation, _)| *generation == self.generation) {
            flights.remove(self.sid);
        }
    }
}
