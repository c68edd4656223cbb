//! One refresh from beginning to end (RFC 6749 section 6). What others have done is asked of the store before the token
//! is sent, and what came of it is stored before the lease is given back: a token that is known to be used up is never
//! sent, and a client that vanished gets its new tokens with its next request, at whichever replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::auth::app::{AppAuth, OnReuse};
use crate::auth::refresh::lease::Lease;
use crate::auth::refresh::rotation::{Rotation, TokenStatus};
use crate::auth::refresh::single_flight::Refreshed;
use crate::auth::{Auth, Event, Unavailable, refresh::tokens};
use crate::oidc::settings::OnStoreOutage;
use crate::oidc::token::{TokenError, TokenResponse};
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::NoSessionReason;
use crate::store::{SessionKeyRef, StoreError};
use crate::types::oauth::RefreshToken;

/// How often the store is asked what became of a refresh at another replica, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_FOR: Duration = Duration::from_secs(150);

/// How often, and for how long, storing a result is tried again.
const STORE_EVERY: Duration = Duration::from_millis(500);
const STORE_FOR: Duration = Duration::from_secs(90);

/// What is to be done with a refresh token.
enum RefreshStep<'a> {
    /// Nothing: this is the answer.
    Answer(Refreshed),
    /// To treat it as stolen.
    EndStolen,
    /// To send it to the provider, under this lease.
    Send(Box<RefreshAttempt<'a>>),
}

struct RefreshAttempt<'a> {
    used: RefreshGrant,
    old: Option<SessionJwt>,
    rotation: Rotation,
    /// `None`: the store is away, and this provider is said to tolerate that a token comes twice.
    lease: Option<Lease<'a>>,
}

/// The result of a refresh that the store has not taken yet. While it is not, the lease is kept.
pub(in crate::auth) struct PendingWrite<'a> {
    rotation: Rotation,
    grant: Grant,
    lease: Option<Lease<'a>>,
}

impl Auth {
    /// Refreshes with `used`, as soon as it is this replica's turn.
    pub(in crate::auth) async fn renew<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        used: RefreshGrant,
        old: Option<SessionJwt>,
    ) -> (Refreshed, Option<PendingWrite<'a>>) {
        match self.turn(app, &used, old.as_ref()).await {
            Ok(RefreshStep::Answer(refreshed)) => (refreshed, None),
            Ok(RefreshStep::EndStolen) => (self.end_stolen(app, &used).await, None),
            Ok(RefreshStep::Send(turn)) => self.send(app, *turn).await,
            Err(error) => (store_outage(app, &used, &error), None),
        }
    }

    /// Waits until the token may be sent, or needs not to be.
    async fn turn<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<RefreshStep<'a>, StoreError> {
        let give_up = Instant::now() + LOOK_FOR;
        loop {
            let tried = self.try_turn(app, used, old).await;
            match tried {
                Ok(Some(todo)) => return Ok(todo),
                Ok(None) if Instant::now() < give_up => sleep(LOOK_EVERY).await,
                Ok(None) => {
                    return Ok(RefreshStep::Answer(Refreshed::Unavailable(
                        Unavailable::new("refresh_too_slow"),
                    )));
                }
                Err(error)
                    if app.provider.settings().on_store_outage == OnStoreOutage::LocalLease =>
                {
                    tracing::warn!(app = %app.app.name, sid = %used.sid, %error, "refresh_under_local_lease");
                    let rotation = Rotation {
                        newest: used.generation,
                        ..Rotation::default()
                    };
                    let turn = RefreshAttempt {
                        used: used.clone(),
                        old: old.cloned(),
                        rotation,
                        lease: None,
                    };
                    return Ok(RefreshStep::Send(Box::new(turn)));
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
    ) -> Result<Option<RefreshStep<'a>>, StoreError> {
        let rotations = self.rotations(app);
        if let known @ (RefreshStep::Answer(_) | RefreshStep::EndStolen) =
            self.known(app, used, old).await?
        {
            return Ok(Some(known));
        }
        let key = rotations.key("refresh", &used.sid);
        let Some(lease) = Lease::take(rotations.store, &*self.clock, key).await? else {
            return Ok(None);
        };
        // Once more, under the lease: who had it before may just have stored a result.
        match self.known(app, used, old).await? {
            RefreshStep::Send(turn) => Ok(Some(RefreshStep::Send(Box::new(RefreshAttempt {
                lease: Some(lease),
                ..*turn
            })))),
            known @ (RefreshStep::Answer(_) | RefreshStep::EndStolen) => {
                lease.release().await;
                Ok(Some(known))
            }
        }
    }

    /// What the store tells about the token: [`RefreshStep::Send`], without a lease, says that nobody has used it.
    async fn known(
        &self,
        app: &AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<RefreshStep<'static>, StoreError> {
        let now = self.now();
        let (rotation, successor) = self.rotations(app).get(&used.sid, now).await?;
        let mut rotation = rotation.unwrap_or_default();
        if rotation.ended {
            return Ok(RefreshStep::Answer(Refreshed::Revocation(
                NoSessionReason::Revoked,
            )));
        }
        let send = |used: RefreshGrant, old: Option<SessionJwt>, rotation| {
            Ok(RefreshStep::Send(Box::new(RefreshAttempt {
                used,
                old,
                rotation,
                lease: None,
            })))
        };
        let answer = match rotation.status(used.generation, now) {
            TokenStatus::Current => {
                rotation.newest = used.generation;
                rotation.confirm(used.generation, now);
                return send(used.clone(), old.cloned(), rotation);
            }
            TokenStatus::Replayed => return Ok(RefreshStep::EndStolen),
            TokenStatus::Superseded => match successor {
                Some(grant) if now < grant.jwt.valid_until => Refreshed::Renewed(grant.into()),
                Some(Grant {
                    jwt,
                    refresh: Some(refresh),
                    ..
                }) => return send(refresh, Some(jwt), rotation),
                // The successor ended with its grace: the newest token is in the browser that sent it.
                Some(_) | None if rotation.is_confirmed_after(used.generation) => {
                    Refreshed::Unavailable(Unavailable::new("rotated_token_gone"))
                }
                // No browser ever had it, and none will: coming back later would be of no use.
                Some(_) | None => Refreshed::Revocation(NoSessionReason::Expired),
            },
        };
        Ok(RefreshStep::Answer(answer))
    }

    async fn send<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        turn: RefreshAttempt<'a>,
    ) -> (Refreshed, Option<PendingWrite<'a>>) {
        let called = self.call(app, &turn.used.token, turn.lease.as_ref()).await;
        let (refreshed, lease) = match called {
            Ok(Ok(answer)) => return self.take_in(app, answer, turn).await,
            Ok(Err(TokenError::Refused {
                error,
                description,
                reason,
            })) => {
                let used = &turn.used;
                tracing::info!(app = %app.app.name, sid = %used.sid, error, description, reason, "refresh_rejected");
                let why = if is_ended(app, used, turn.old.as_ref()) {
                    NoSessionReason::Revoked
                } else {
                    NoSessionReason::RefreshRefused
                };
                self.revoke_session_and_rotation(app, &used.sid, &used.subject, used.started_at)
                    .await;
                (Refreshed::Revocation(why), turn.lease)
            }
            Ok(Err(error)) => {
                let (code, sid) = (error.code(), &turn.used.sid);
                tracing::warn!(app = %app.app.name, %sid, code, %error, "refresh_failed");
                (Refreshed::Unavailable(outage_of(&error)), turn.lease)
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
    ) -> Result<Result<TokenResponse, TokenError>, StoreError> {
        let deadline = app.provider.settings().refresh_timeout;
        let extend_past = async || match lease {
            Some(lease) => lease.extend_past(deadline).await,
            None => Ok(true),
        };
        if !extend_past().await? {
            return Err(StoreError::Unavailable(
                "the lease was lost before anything was sent".to_owned(),
            ));
        }
        let first = app.provider.refresh(&app.client, token).await;
        let Err(TokenError::TargetError(error)) = &first else {
            return Ok(first);
        };
        tracing::warn!(app = %app.app.name, code = error.code(), %error, "refresh_retried");
        match extend_past().await {
            Ok(true) => Ok(app.provider.refresh(&app.client, token).await),
            Ok(false) | Err(_) => Ok(first),
        }
    }

    async fn take_in<'a>(
        self: &'a Arc<Self>,
        app: &'a AppAuth,
        answer: TokenResponse,
        turn: RefreshAttempt<'a>,
    ) -> (Refreshed, Option<PendingWrite<'a>>) {
        let RefreshAttempt {
            used,
            old,
            mut rotation,
            lease,
        } = turn;
        let new_token = answer.refresh_token.clone();
        let made = tokens::of_refresh(app, answer, &used, old.as_ref(), self.now()).await;
        let (grant, fault) = match made {
            Ok(grant) => (grant, None),
            Err(error) => {
                tracing::warn!(app = %app.app.name, sid = %used.sid, code = error.code(), %error, "refresh_unusable");
                let outage = if error.is_outage() {
                    Unavailable::of_provider
                } else {
                    Unavailable::new
                };
                let fault = Refreshed::Unavailable(outage(error.code()));
                match (new_token, &old) {
                    // The old token may be used up: what replaced it must not be lost with the JWT that is no good.
                    (Some(token), Some(old)) if !error.is_final() => {
                        (carried_on(&used, old, token), Some(fault))
                    }
                    (new_token, _) => {
                        let over = error.is_final() || new_token.is_some();
                        if over {
                            self.revoke_session_and_rotation(
                                app,
                                &used.sid,
                                &used.subject,
                                used.started_at,
                            )
                            .await;
                            self.revoke_at_provider(app, new_token.as_ref().unwrap_or(&used.token))
                                .await;
                        }
                        release(lease).await;
                        // The same token may bring more the next time.
                        return (
                            if over {
                                Refreshed::Revocation(NoSessionReason::RefreshRefused)
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
            Refreshed::Revocation(NoSessionReason::Revoked)
        } else {
            fault.unwrap_or_else(|| Refreshed::Renewed(grant.clone().into()))
        };
        match stored {
            Err(error) if !ended => {
                tracing::warn!(app = %app.app.name, sid = %used.sid, %error, "rotated_token_write_failed");
                (
                    refreshed,
                    Some(PendingWrite {
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
    pub(in crate::auth) async fn store_late(&self, app: &AppAuth, unstored: PendingWrite<'_>) {
        let PendingWrite {
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
                    tracing::info!(app = %app.app.name, %sid, "rotated_token_stored_late");
                    release(lease).await;
                    return;
                }
                Err(error) => {
                    tracing::debug!(app = %app.app.name, %sid, %error, "rotated_token_write_failed")
                }
            }
        }
        // Who has the new cookies goes on; who does not have them yet will have to log in again.
        tracing::error!(app = %app.app.name, %sid, "rotated_token_lost");
    }

    /// A token that was replaced long ago: whoever sends it took it from somewhere. Both sides lose the session.
    async fn end_stolen(self: &Arc<Self>, app: &AppAuth, used: &RefreshGrant) -> Refreshed {
        tracing::warn!(app = %app.app.name, sid = %used.sid, generation = used.generation.number(), "refresh_token_reused");
        match app.settings.on_refresh_token_reuse {
            OnReuse::Refuse => self
                .observer
                .record_event(app, Event::RefreshTokenReuse, "refused"),
            OnReuse::EndSession => {
                self.observer
                    .record_event(app, Event::RefreshTokenReuse, "session_ended");
                let newest = self
                    .revoke_session_and_rotation(app, &used.sid, &used.subject, used.started_at)
                    .await;
                match newest {
                    Some(newest) => self.revoke_newest(app, &newest, &used.token).await,
                    None => _ = self.revoke_at_provider(app, &used.token).await,
                }
            }
        }
        Refreshed::Revocation(NoSessionReason::RefreshTokenReused)
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
    tracing::warn!(app = %app.app.name, sid = %used.sid, code = error.code(), %error, "refresh_start_failed");
    Refreshed::Unavailable(Unavailable::new(error.code()))
}

/// What came of a call that brought neither tokens nor a refusal. That our registration is not accepted is the operator's
/// trouble, and no outage of the provider's.
const fn outage_of(error: &TokenError) -> Unavailable {
    match error {
        TokenError::Unavailable { .. }
        | TokenError::Unreachable(_)
        | TokenError::TargetError(_)
        | TokenError::BadResponse(_) => Unavailable::of_provider(error.code()),
        TokenError::ClientRejected { .. } | TokenError::Refused { .. } => {
            Unavailable::new(error.code())
        }
    }
}

fn is_ended(app: &AppAuth, used: &RefreshGrant, jwt: Option<&SessionJwt>) -> bool {
    app.revocations.snapshot().contains(SessionKeyRef {
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
