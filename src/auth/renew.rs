//! One refresh from beginning to end (RFC 6749 section 6). What others have done is asked of the store before the token
//! is sent, and what came of it is stored before the lease is given back: a token that is known to be used up is never
//! sent, and a client that vanished gets its new tokens with its next request, at whichever replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::app::{AppAuth, OnReuse};
use super::lease::Lease;
use super::refresh::Refreshed;
use super::rotation::{Place, Rotation};
use super::{Auth, Event, Outage, grant};
use crate::oidc::settings::OnStoreOutage;
use crate::oidc::token::{TokenAnswer, TokenError};
use crate::session::assess::Why;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::store::{StoreError, Whose};
use crate::types::oauth::RefreshToken;

/// How often the store is asked what became of a refresh at another replica, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_FOR: Duration = Duration::from_secs(150);

/// How often, and for how long, storing a result is tried again.
const STORE_EVERY: Duration = Duration::from_millis(500);
const STORE_FOR: Duration = Duration::from_secs(90);

/// What is to be done with a refresh token.
enum Todo<'a> {
    /// Nothing: this is the answer.
    Answer(Refreshed),
    /// To treat it as stolen.
    EndStolen,
    /// To send it to the provider, under this lease.
    Send(Box<Turn<'a>>),
}

struct Turn<'a> {
    used: RefreshGrant,
    old: Option<SessionJwt>,
    rotation: Rotation,
    /// `None`: the store is away, and this provider is said to tolerate that a token comes twice.
    lease: Option<Lease<'a>>,
}

/// The result of a refresh that the store has not taken yet. While it is not, the lease is kept.
pub(super) struct Unstored<'a> {
    rotation: Rotation,
    grant: Grant,
    lease: Option<Lease<'a>>,
}

impl Auth {
    /// Refreshes with `used`, as soon as it is this replica's turn.
    pub(super) async fn renew<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        used: RefreshGrant,
        old: Option<SessionJwt>,
    ) -> (Refreshed, Option<Unstored<'a>>) {
        match self.turn(app, &used, old.as_ref()).await {
            Ok(Todo::Answer(refreshed)) => (refreshed, None),
            Ok(Todo::EndStolen) => (self.end_stolen(app, &used).await, None),
            Ok(Todo::Send(turn)) => self.send(app, *turn).await,
            Err(error) => (store_outage(app, &used, &error), None),
        }
    }

    /// Waits until the token may be sent, or needs not to be.
    async fn turn<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<Todo<'a>, StoreError> {
        let give_up = Instant::now() + LOOK_FOR;
        loop {
            let tried = self.try_turn(app, used, old).await;
            match tried {
                Ok(Some(todo)) => return Ok(todo),
                Ok(None) if Instant::now() < give_up => sleep(LOOK_EVERY).await,
                Ok(None) => {
                    return Ok(Todo::Answer(Refreshed::Outage(Outage::new(
                        "refresh_too_slow",
                    ))));
                }
                Err(error)
                    if app.provider.settings().on_store_outage == OnStoreOutage::LocalLease =>
                {
                    tracing::warn!(app = %app.app.name, sid = %used.sid, %error, "refresh_under_local_lease");
                    let rotation = Rotation {
                        newest: used.generation,
                        ..Rotation::default()
                    };
                    let turn = Turn {
                        used: used.clone(),
                        old: old.cloned(),
                        rotation,
                        lease: None,
                    };
                    return Ok(Todo::Send(Box::new(turn)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `None`: another replica refreshes.
    async fn try_turn<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<Option<Todo<'a>>, StoreError> {
        let rotations = self.rotations(app);
        if let known @ (Todo::Answer(_) | Todo::EndStolen) = self.known(app, used, old).await? {
            return Ok(Some(known));
        }
        let key = rotations.key("refresh", &used.sid);
        let Some(lease) = Lease::take(rotations.store, &*self.clock, key).await? else {
            return Ok(None);
        };
        // Once more, under the lease: who had it before may just have stored a result.
        match self.known(app, used, old).await? {
            Todo::Send(turn) => Ok(Some(Todo::Send(Box::new(Turn {
                lease: Some(lease),
                ..*turn
            })))),
            known @ (Todo::Answer(_) | Todo::EndStolen) => {
                lease.release().await;
                Ok(Some(known))
            }
        }
    }

    /// What the store tells about the token: [`Todo::Send`], without a lease, says that nobody has used it.
    async fn known(
        &self,
        app: &AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<Todo<'static>, StoreError> {
        let now = self.now();
        let (rotation, successor) = self.rotations(app).get(&used.sid, now).await?;
        let mut rotation = rotation.unwrap_or_default();
        if rotation.ended {
            return Ok(Todo::Answer(Refreshed::Ended(Why::Revoked)));
        }
        let send = |used: RefreshGrant, old: Option<SessionJwt>, rotation| {
            Ok(Todo::Send(Box::new(Turn {
                used,
                old,
                rotation,
                lease: None,
            })))
        };
        let answer = match rotation.place(used.generation, now) {
            Place::Newest => {
                rotation.newest = used.generation;
                rotation.confirm(used.generation, now);
                return send(used.clone(), old.cloned(), rotation);
            }
            Place::Reused => return Ok(Todo::EndStolen),
            Place::Replaced => match successor {
                Some(grant) if now < grant.jwt.valid_until => Refreshed::Renewed(grant.into()),
                Some(Grant {
                    jwt,
                    refresh: Some(refresh),
                    ..
                }) => return send(refresh, Some(jwt), rotation),
                // The successor ended with its grace: the newest token is in the browser that sent it.
                Some(_) | None if rotation.is_confirmed_after(used.generation) => {
                    Refreshed::Outage(Outage::new("successor_gone"))
                }
                // No browser ever had it, and none will: coming back later would be of no use.
                Some(_) | None => Refreshed::Ended(Why::Expired),
            },
        };
        Ok(Todo::Answer(answer))
    }

    async fn send<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        turn: Turn<'a>,
    ) -> (Refreshed, Option<Unstored<'a>>) {
        let called = self.call(app, &turn.used.token, turn.lease.as_ref()).await;
        let (refreshed, lease) = match called {
            Ok(Ok(answer)) => return self.take_in(app, answer, turn).await,
            Ok(Err(TokenError::Refused {
                error,
                description,
                reason,
            })) => {
                let used = &turn.used;
                tracing::info!(app = %app.app.name, sid = %used.sid, error, description, reason, "refresh_refused");
                let why = if is_ended(app, used, turn.old.as_ref()) {
                    Why::Revoked
                } else {
                    Why::RefreshRefused
                };
                self.end_everywhere(app, &used.sid, &used.subject, used.started_at)
                    .await;
                (Refreshed::Ended(why), turn.lease)
            }
            Ok(Err(error)) => {
                let (code, sid) = (error.code(), &turn.used.sid);
                tracing::warn!(app = %app.app.name, %sid, code, %error, "refresh_failed");
                (Refreshed::Outage(outage_of(&error)), turn.lease)
            }
            Err(error) => (store_outage(app, &turn.used, &error), turn.lease),
        };
        if let Some(lease) = lease {
            lease.release().await;
        }
        (refreshed, None)
    }

    /// A call whose outcome is not known is made once more, by itself: providers with a grace period answer it. No call
    /// is made without a lease that outlives it.
    async fn call(
        &self,
        app: &AppAuth,
        token: &RefreshToken,
        lease: Option<&Lease<'_>>,
    ) -> Result<Result<TokenAnswer, TokenError>, StoreError> {
        let deadline = app.provider.settings().refresh_timeout;
        let outlive = async || match lease {
            Some(lease) => lease.outlive(deadline).await,
            None => Ok(true),
        };
        if !outlive().await? {
            return Err(StoreError::Unavailable(
                "the lease was lost before anything was sent".to_owned(),
            ));
        }
        let first = app.provider.refresh(&app.client, token).await;
        let Err(TokenError::Ambiguous(error)) = &first else {
            return Ok(first);
        };
        tracing::warn!(app = %app.app.name, code = error.code(), %error, "refresh_tried_again");
        match outlive().await {
            Ok(true) => Ok(app.provider.refresh(&app.client, token).await),
            Ok(false) | Err(_) => Ok(first),
        }
    }

    async fn take_in<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        answer: TokenAnswer,
        turn: Turn<'a>,
    ) -> (Refreshed, Option<Unstored<'a>>) {
        let Turn {
            used,
            old,
            mut rotation,
            lease,
        } = turn;
        let new_token = answer.refresh_token.clone();
        let made = grant::of_refresh(app, answer, &used, old.as_ref(), self.now()).await;
        let (grant, fault) = match made {
            Ok(grant) => (grant, None),
            Err(error) => {
                tracing::warn!(app = %app.app.name, sid = %used.sid, code = error.code(), %error, "refresh_unusable");
                let outage = if error.is_outage() {
                    Outage::of_provider
                } else {
                    Outage::new
                };
                let fault = Refreshed::Outage(outage(error.code()));
                match (new_token, &old) {
                    // The old token may be used up: what replaced it must not be lost with the JWT that is no good.
                    (Some(token), Some(old)) if !error.is_final() => {
                        (carried_on(&used, old, token), Some(fault))
                    }
                    (new_token, _) => {
                        let over = error.is_final() || new_token.is_some();
                        if over {
                            self.end_everywhere(app, &used.sid, &used.subject, used.started_at)
                                .await;
                            self.revoke_at_provider(app, new_token.as_ref().unwrap_or(&used.token))
                                .await;
                        }
                        release(lease).await;
                        // The same token may bring more the next time.
                        return (
                            if over {
                                Refreshed::Ended(Why::RefreshRefused)
                            } else {
                                fault
                            },
                            None,
                        );
                    }
                }
            }
        };
        rotation.newest = grant.jwt.generation;
        self.newest.insert(used.sid.clone(), rotation.newest);
        let stored = self.rotations(app).put(&rotation, &grant, self.now()).await;
        // A logout may have come while the provider was asked; one that comes after this finds the new token.
        let ended = stored.as_ref().is_ok_and(|rotation| rotation.ended)
            || is_ended(app, &used, Some(&grant.jwt));
        let refreshed = if ended {
            self.revoke_newest(app, &grant, &used.token).await;
            Refreshed::Ended(Why::Revoked)
        } else {
            fault.unwrap_or_else(|| Refreshed::Renewed(grant.clone().into()))
        };
        match stored {
            Err(error) if !ended => {
                tracing::warn!(app = %app.app.name, sid = %used.sid, %error, "successor_not_stored_yet");
                (
                    refreshed,
                    Some(Unstored {
                        rotation,
                        grant,
                        lease,
                    }),
                )
            }
            Ok(_) | Err(_) => {
                release(lease).await;
                (refreshed, None)
            }
        }
    }

    /// Stores a result that the store did not take at first.
    pub(super) async fn store_late(&self, app: &AppAuth, unstored: Unstored<'_>) {
        let Unstored {
            rotation,
            grant,
            lease,
        } = unstored;
        let sid = &grant.jwt.sid;
        let give_up = Instant::now() + STORE_FOR;
        while Instant::now() < give_up {
            sleep(STORE_EVERY).await;
            match self.rotations(app).put(&rotation, &grant, self.now()).await {
                Ok(rotation) => {
                    if let (true, Some(refresh)) = (rotation.ended, &grant.refresh) {
                        self.revoke_at_provider(app, &refresh.token).await;
                    }
                    tracing::info!(app = %app.app.name, %sid, "successor_stored_late");
                    release(lease).await;
                    return;
                }
                Err(error) => {
                    tracing::debug!(app = %app.app.name, %sid, %error, "successor_not_stored_yet")
                }
            }
        }
        // Who has the new cookies goes on; who does not have them yet will have to log in again.
        tracing::error!(app = %app.app.name, %sid, "successor_lost");
    }

    /// A token that was replaced long ago: whoever sends it took it from somewhere. Both sides lose the session.
    async fn end_stolen(self: &Arc<Self>, app: &AppAuth, used: &RefreshGrant) -> Refreshed {
        tracing::warn!(app = %app.app.name, sid = %used.sid, generation = used.generation.number(), "refresh_token_reused");
        match app.settings.on_reuse {
            OnReuse::Refuse => self.observer.happened(app, Event::Theft, "refused"),
            OnReuse::EndSession => {
                self.observer.happened(app, Event::Theft, "session_ended");
                let newest = self
                    .end_everywhere(app, &used.sid, &used.subject, used.started_at)
                    .await;
                match newest {
                    Some(newest) => self.revoke_newest(app, &newest, &used.token).await,
                    None => _ = self.revoke_at_provider(app, &used.token).await,
                }
            }
        }
        Refreshed::Ended(Why::Reused)
    }

    async fn revoke_newest(&self, app: &AppAuth, grant: &Grant, else_this: &RefreshToken) {
        self.revoke_at_provider(
            app,
            grant
                .refresh
                .as_ref()
                .map_or(else_this, |refresh| &refresh.token),
        )
        .await;
    }
}

async fn release(lease: Option<Lease<'_>>) {
    if let Some(lease) = lease {
        lease.release().await;
    }
}

fn store_outage(app: &AppAuth, used: &RefreshGrant, error: &StoreError) -> Refreshed {
    tracing::warn!(app = %app.app.name, sid = %used.sid, code = error.code(), %error, "refresh_not_begun");
    Refreshed::Outage(Outage::new(error.code()))
}

/// What came of a call that brought neither tokens nor a refusal. That our registration is not accepted is the operator's
/// trouble, and no outage of the provider's.
const fn outage_of(error: &TokenError) -> Outage {
    match error {
        TokenError::Unavailable { .. }
        | TokenError::Unreachable(_)
        | TokenError::Ambiguous(_)
        | TokenError::BadAnswer(_) => Outage::of_provider(error.code()),
        TokenError::ClientRejected { .. } | TokenError::Refused { .. } => Outage::new(error.code()),
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
    let jwt = SessionJwt {
        generation,
        ..old.clone()
    };
    Grant {
        jwt,
        refresh: Some(RefreshGrant {
            token,
            generation,
            ..used.clone()
        }),
        hint: None,
    }
}
