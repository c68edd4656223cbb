//! One refresh (RFC 6749 section 6). The store is read before the token is sent, and the result is
//! written before the lease is released. A token known to be consumed is never sent, and a client
//! that lost the response gets its tokens with its next request, at any replica.

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

/// Poll interval and timeout while another replica holds the lease.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_FOR: Duration = Duration::from_secs(150);

/// Retry interval and timeout for writing a result to the store.
const STORE_EVERY: Duration = Duration::from_millis(500);
const STORE_FOR: Duration = Duration::from_secs(90);

/// The next step for a refresh token.
enum RefreshStep<'a> {
    /// Done, with this result.
    Answer(Refreshed),
    /// The token was replayed.
    EndStolen,
    /// Send it to the provider, under this lease.
    Send(Box<RefreshAttempt<'a>>),
}

struct RefreshAttempt<'a> {
    used: RefreshGrant,
    old: Option<SessionJwt>,
    rotation: Rotation,
    /// `None`: the store is unavailable, and the provider tolerates that a token is sent twice.
    lease: Option<Lease<'a>>,
}

/// A result that is not stored yet. The lease is kept until it is.
pub(in crate::auth) struct PendingWrite<'a> {
    rotation: Rotation,
    grant: Grant,
    lease: Option<Lease<'a>>,
}

impl Auth {
    /// Refreshes with `used`, once this replica has the lease.
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

    /// Waits until the token may be sent, or need not be.
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

    /// `None`: another replica holds the lease.
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
        // Checked again under the lease: its previous holder may have just stored a result.
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

    /// The step by the state of the store. [`RefreshStep::Send`], without a lease: the token is
    /// unused.
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
                // The successor expired after its grace: the client has a newer token.
                Some(_) | None if rotation.is_confirmed_after(used.generation) => {
                    Refreshed::Unavailable(Unavailable::new("rotated_token_gone"))
                }
                // No client ever received the successor, and none will. A retry cannot help.
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

    /// Calls the provider. A call with an ambiguous outcome is retried once, serially: providers
    /// with a grace period accept that. No call is made without a lease that outlives it.
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
                    // The old token may be consumed: its replacement must not be lost with an
                    // unusable JWT.
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
                        // The same token may succeed next time.
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
        // A logout during the provider call found the old token only. A later one finds the new
        // token.
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

    /// Stores a result that the store did not accept at first.
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
        // Clients that have the new cookies continue. Others have to log in again.
        tracing::error!(app = %app.app.name, %sid, "rotated_token_lost");
    }

    /// Refresh token reuse: the sender may have stolen the token. By default all holders lose the
    /// session.
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

/// The outage that a failed call means. A rejected client registration is a configuration error,
/// not an outage of the provider.
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

/// The old JWT with the new refresh token, as the next generation. It needs a refresh at once.
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
