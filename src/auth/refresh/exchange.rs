//! One refresh (RFC 6749 section 6). The store is read before the token is sent, and the result is
//! written before the lease is released. A token known to be consumed is never sent, and a client
//! that lost the response gets its tokens with its next request, at any replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::auth::app::{AppAuth, OnReuse};
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::events::Event;
use crate::auth::refresh::generations::NewestGenerations;
use crate::auth::refresh::lease::Lease;
use crate::auth::refresh::outcome::{
    Refreshed, after_refusal, is_refusal, is_revoked, log_failure, outage_of, outage_of_grant,
    store_outage,
};
use crate::auth::refresh::revoke::{SessionKey, SessionRevoker};
use crate::auth::refresh::rotation::{Rotation, Rotations, StoredRotation, TokenStatus};
use crate::auth::refresh::tokens::{self, GrantError, is_usable, is_valid, stale_grant};
use crate::auth::session_validity::key_of_jwt;
use crate::oidc::settings::OnStoreOutage;
use crate::oidc::token::{TokenError, TokenResponse};
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::NoSessionReason;
use crate::store::StoreError;
use crate::types::oauth::RefreshToken;

/// Poll interval and timeout while another replica holds the lease.
const LEASE_POLL_INTERVAL: Duration = Duration::from_millis(100);
const LEASE_TIMEOUT: Duration = Duration::from_secs(150);

/// Retry interval and timeout for writing a result to the store.
const WRITE_RETRY_INTERVAL: Duration = Duration::from_millis(500);
const WRITE_TIMEOUT: Duration = Duration::from_secs(90);

/// The result of a refresh, and what is left to write to the store.
pub(in crate::auth) struct Renewal<'a> {
    pub(in crate::auth) refreshed: Refreshed,
    pub(in crate::auth) pending: Option<PendingWrite<'a>>,
}

impl From<Refreshed> for Renewal<'_> {
    fn from(refreshed: Refreshed) -> Self {
        Self {
            refreshed,
            pending: None,
        }
    }
}

/// A result that is not stored yet. The lease is kept until it is.
pub(in crate::auth) struct PendingWrite<'a> {
    rotation: Rotation,
    grant: Grant,
    lease: Option<Lease<'a>>,
}

/// The next step for a refresh token.
enum RefreshStep<'a> {
    /// Done, with this result.
    Done(Refreshed),
    /// The token was replayed.
    Replayed,
    /// Send it to the provider.
    Send(Box<RefreshAttempt<'a>>),
}

struct RefreshAttempt<'a> {
    used: RefreshGrant,
    old: Option<SessionJwt>,
    rotation: Rotation,
    /// `None`: the store is unavailable, and the provider tolerates that a token is sent twice.
    lease: Option<Lease<'a>>,
}

/// The exchange of refresh tokens. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct RefreshExchange {
    context: Arc<Context>,
    revoker: SessionRevoker,
    generations: Arc<NewestGenerations>,
}

impl RefreshExchange {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        revoker: SessionRevoker,
        generations: Arc<NewestGenerations>,
    ) -> Self {
        Self {
            context,
            revoker,
            generations,
        }
    }

    /// Refreshes with `used`, once this replica has the lease.
    pub(in crate::auth) async fn renew<'a>(
        &'a self,
        app: &'a AppAuth,
        used: RefreshGrant,
        old: Option<SessionJwt>,
    ) -> Renewal<'a> {
        match self.next_step(app, &used, old.as_ref()).await {
            Ok(RefreshStep::Done(refreshed)) => refreshed.into(),
            Ok(RefreshStep::Replayed) => self.token_reused(app, &used).await.into(),
            Ok(RefreshStep::Send(attempt)) => self.send(app, *attempt).await,
            Err(error) => store_outage(app, &used, &error).into(),
        }
    }

    /// Waits until the token may be sent, or need not be.
    async fn next_step<'a>(
        &'a self,
        app: &'a AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<RefreshStep<'a>, StoreError> {
        let deadline = Instant::now() + LEASE_TIMEOUT;
        loop {
            match self.try_step(app, used, old).await {
                Ok(Some(step)) => return Ok(step),
                Ok(None) if Instant::now() < deadline => sleep(LEASE_POLL_INTERVAL).await,
                Ok(None) => {
                    let outage = Unavailable::of_provider("refresh_too_slow");
                    return Ok(RefreshStep::Done(Refreshed::Unavailable(outage)));
                }
                Err(error)
                    if app.provider.settings().on_store_outage == OnStoreOutage::LocalLease =>
                {
                    tracing::warn!(app = %app.app.name, sid = %used.sid, %error, "refresh_under_local_lease");
                    let rotation = Rotation {
                        newest: used.generation,
                        ..Rotation::default()
                    };
                    return Ok(RefreshStep::Send(Box::new(RefreshAttempt {
                        used: used.clone(),
                        old: old.cloned(),
                        rotation,
                        lease: None,
                    })));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `None`: another replica holds the lease.
    async fn try_step<'a>(
        &'a self,
        app: &'a AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<Option<RefreshStep<'a>>, StoreError> {
        let step = self.stored_step(app, used, old).await?;
        if matches!(step, RefreshStep::Done(_) | RefreshStep::Replayed) {
            return Ok(Some(step));
        }
        let rotations = Rotations::new(&self.context, app);
        let Some(lease) = rotations.lease(&used.sid, &*self.context.clock).await? else {
            return Ok(None);
        };
        // Check again under the lease: its previous holder may have just stored a result.
        match self.stored_step(app, used, old).await? {
            RefreshStep::Send(attempt) => Ok(Some(RefreshStep::Send(Box::new(RefreshAttempt {
                lease: Some(lease),
                ..*attempt
            })))),
            step @ (RefreshStep::Done(_) | RefreshStep::Replayed) => {
                lease.release().await;
                Ok(Some(step))
            }
        }
    }

    /// The step by the state of the store. [`RefreshStep::Send`], without a lease: the token is
    /// unused.
    async fn stored_step(
        &self,
        app: &AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<RefreshStep<'static>, StoreError> {
        let now = self.context.now();
        let rotations = Rotations::new(&self.context, app);
        let StoredRotation {
            rotation,
            successor,
        } = rotations.get(&used.sid, now).await?;
        let mut rotation = rotation.unwrap_or_default();
        if rotation.ended {
            let over = Refreshed::SessionOver(NoSessionReason::Revoked);
            return Ok(RefreshStep::Done(over));
        }
        let send = |used: RefreshGrant, old: Option<SessionJwt>, rotation| {
            Ok(RefreshStep::Send(Box::new(RefreshAttempt {
                used,
                old,
                rotation,
                lease: None,
            })))
        };
        let refreshed = match rotation.status(used.generation, now) {
            TokenStatus::Current if rotation.is_too_frequent(now) => match successor {
                Some(grant) if is_usable(app, &grant, used.generation, now) => {
                    Refreshed::Renewed(grant.into())
                }
                Some(_) | None => {
                    Refreshed::Unavailable(Unavailable::of_client("refresh_too_frequent"))
                }
            },
            TokenStatus::Current => {
                rotation.newest = used.generation;
                rotation.confirm(used.generation, now);
                return send(used.clone(), old.cloned(), rotation);
            }
            TokenStatus::Replayed => return Ok(RefreshStep::Replayed),
            TokenStatus::Superseded => match successor {
                Some(grant) if is_valid(app, &grant, now) => Refreshed::Renewed(grant.into()),
                Some(Grant {
                    jwt,
                    refresh: Some(refresh),
                    ..
                }) => return send(refresh, Some(jwt), rotation),
                // The successor expired after its grace: the client has a newer token.
                Some(_) | None if rotation.is_confirmed_after(used.generation) => {
                    Refreshed::Unavailable(Unavailable::of_client("rotated_token_gone"))
                }
                // No client ever received the successor, and none will. A retry cannot help.
                Some(_) | None => Refreshed::SessionOver(NoSessionReason::Expired),
            },
        };
        Ok(RefreshStep::Done(refreshed))
    }

    async fn send<'a>(&'a self, app: &'a AppAuth, attempt: RefreshAttempt<'a>) -> Renewal<'a> {
        let called = self.call(app, &attempt.used.token, attempt.lease.as_ref());
        let refreshed = match called.await {
            Ok(Ok(response)) => return self.accept(app, response, attempt).await,
            Ok(Err(TokenError::GrantRejected {
                error,
                description,
                reason,
            })) => {
                let used = &attempt.used;
                tracing::info!(app = %app.app.name, sid = %used.sid, error, description, reason, "refresh_rejected");
                let why = if is_revoked(app, used, attempt.old.as_ref()) {
                    NoSessionReason::Revoked
                } else {
                    NoSessionReason::RefreshRefused
                };
                let session = SessionKey::from(used);
                self.revoker.revoke_with_rotation(app, &session).await;
                Refreshed::SessionOver(why)
            }
            Ok(Err(error)) => {
                log_failure(app, &attempt.used, &error);
                if is_refusal(&error) {
                    self.refused(app, &attempt, outage_of(&error)).await
                } else {
                    Refreshed::Unavailable(outage_of(&error))
                }
            }
            Err(error) => store_outage(app, &attempt.used, &error),
        };
        release(attempt.lease).await;
        refreshed.into()
    }

    /// The provider refused a refresh for a reason that does not end the session: a registration, a
    /// response that is of no use. For the second time in a row a login is required.
    async fn refused(
        &self,
        app: &AppAuth,
        attempt: &RefreshAttempt<'_>,
        outage: Unavailable,
    ) -> Refreshed {
        let RefreshAttempt { used, rotation, .. } = attempt;
        let noted = Rotation {
            refused: Some(used.generation),
            ..Rotation::default()
        };
        let rotations = Rotations::new(&self.context, app);
        let now = self.context.now();
        let written = rotations.note(&used.sid, &noted, used.started_at, now);
        if let Err(error) = written.await {
            tracing::debug!(app = %app.app.name, sid = %used.sid, %error, "refresh_refusal_write_failed");
        }
        after_refusal(rotation, used.generation, outage)
    }

    /// Calls the provider. A call with an ambiguous outcome is retried once, serially: providers
    /// with a grace period accept that. No call is made without a lease that outlives it.
    async fn call(
        &self,
        app: &AppAuth,
        token: &RefreshToken,
        lease: Option<&Lease<'_>>,
    ) -> Result<Result<TokenResponse, TokenError>, StoreError> {
        let timeout = app.provider.settings().refresh_timeout;
        let extend_lease = async || match lease {
            Some(lease) => lease.extend_past(timeout).await,
            None => Ok(true),
        };
        if !extend_lease().await? {
            return Err(StoreError::Unavailable(
                "the lease was lost before the refresh token was sent".to_owned(),
            ));
        }
        let first = app.provider.refresh(&app.client, token).await;
        let Err(TokenError::OutcomeUnknown(error)) = &first else {
            return Ok(first);
        };
        tracing::warn!(app = %app.app.name, code = error.code(), %error, "refresh_retried");
        match extend_lease().await {
            Ok(true) => Ok(app.provider.refresh(&app.client, token).await),
            Ok(false) | Err(_) => Ok(first),
        }
    }

    /// Verifies and stores the tokens of a response.
    async fn accept<'a>(
        &'a self,
        app: &'a AppAuth,
        response: TokenResponse,
        attempt: RefreshAttempt<'a>,
    ) -> Renewal<'a> {
        let new_token = response.refresh_token.clone();
        let now = self.context.now();
        let old = attempt.old.as_ref();
        let verified = tokens::of_refresh(app, response, &attempt.used, old, now).await;
        let error = match verified {
            Ok(grant) => {
                let refreshed = Refreshed::Renewed(Arc::new(grant.clone()));
                let RefreshAttempt {
                    used,
                    rotation,
                    lease,
                    ..
                } = attempt;
                let pending = PendingWrite {
                    rotation,
                    grant,
                    lease,
                };
                return self.store(app, &used, pending, refreshed).await;
            }
            Err(error) => error,
        };
        tracing::warn!(app = %app.app.name, sid = %attempt.used.sid, code = error.code(), %error, "refresh_unusable");
        // The old token may be consumed: its replacement must not be lost with an unusable JWT.
        if let (Some(token), Some(old), false) = (&new_token, &attempt.old, error.is_final()) {
            let grant = stale_grant(&attempt.used, old.clone(), token.clone());
            return self.store_unusable(app, attempt, grant, &error).await;
        }
        let refreshed = if error.is_final() || new_token.is_some() {
            let session = SessionKey::from(&attempt.used);
            self.revoker.revoke_with_rotation(app, &session).await;
            let token = new_token.as_ref().unwrap_or(&attempt.used.token);
            self.revoker.revoke_token(app, token).await;
            Refreshed::SessionOver(NoSessionReason::RefreshRefused)
        } else if error.is_outage() {
            Refreshed::Unavailable(outage_of_grant(&error))
        } else {
            // The same token may succeed next time.
            self.refused(app, &attempt, outage_of_grant(&error)).await
        };
        release(attempt.lease).await;
        refreshed.into()
    }

    /// Stores the new refresh token of a response whose JWT is of no use.
    async fn store_unusable<'a>(
        &'a self,
        app: &'a AppAuth,
        attempt: RefreshAttempt<'a>,
        grant: Grant,
        error: &GrantError,
    ) -> Renewal<'a> {
        let RefreshAttempt {
            used,
            mut rotation,
            lease,
            ..
        } = attempt;
        let outage = outage_of_grant(error);
        let refreshed = if error.is_outage() {
            Refreshed::Unavailable(outage)
        } else {
            let refreshed = after_refusal(&rotation, used.generation, outage);
            rotation.refused = Some(grant.jwt.generation);
            refreshed
        };
        let pending = PendingWrite {
            rotation,
            grant,
            lease,
        };
        self.store(app, &used, pending, refreshed).await
    }

    /// Stores the grant in `pending`. Returns `refreshed`, unless the session was revoked meanwhile.
    async fn store<'a>(
        &'a self,
        app: &'a AppAuth,
        used: &RefreshGrant,
        mut pending: PendingWrite<'a>,
        refreshed: Refreshed,
    ) -> Renewal<'a> {
        let grant = &pending.grant;
        pending.rotation.newest = grant.jwt.generation;
        self.generations.set(&used.sid, grant.jwt.generation);
        let rotations = Rotations::new(&self.context, app);
        let stored = rotations
            .put(&pending.rotation, grant, self.context.now())
            .await;
        // A logout during the provider call found the old token only. A later one finds the new
        // token.
        let is_over = stored.as_ref().is_ok_and(|rotation| rotation.ended)
            || is_revoked(app, used, Some(&grant.jwt));
        if is_over {
            self.revoker.revoke_token_of(app, grant, &used.token).await;
            release(pending.lease).await;
            return Refreshed::SessionOver(NoSessionReason::Revoked).into();
        }
        match stored {
            Ok(_) => {
                release(pending.lease).await;
                refreshed.into()
            }
            Err(error) => {
                tracing::warn!(app = %app.app.name, sid = %used.sid, %error, "rotated_token_write_failed");
                Renewal {
                    refreshed,
                    pending: Some(pending),
                }
            }
        }
    }

    /// Stores a result that the store did not accept at first.
    pub(in crate::auth) async fn store_late(&self, app: &AppAuth, pending: PendingWrite<'_>) {
        let (rotation, grant, lease) = (pending.rotation, pending.grant, pending.lease);
        let sid = &grant.jwt.sid;
        let rotations = Rotations::new(&self.context, app);
        let deadline = Instant::now() + WRITE_TIMEOUT;
        while Instant::now() < deadline {
            sleep(WRITE_RETRY_INTERVAL).await;
            match rotations.put(&rotation, &grant, self.context.now()).await {
                Ok(rotation) => {
                    let key = key_of_jwt(&grant.jwt);
                    // The logout may have failed to note the end in the store.
                    let is_ended = rotation.ended || app.revocations.snapshot().contains(key);
                    if let (true, Some(refresh)) = (is_ended, &grant.refresh) {
                        self.revoker.revoke_token(app, &refresh.token).await;
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
    async fn token_reused(&self, app: &AppAuth, used: &RefreshGrant) -> Refreshed {
        tracing::warn!(app = %app.app.name, sid = %used.sid, generation = used.generation.number(), "refresh_token_reused");
        let observer = &self.context.observer;
        match app.settings.on_refresh_token_reuse {
            OnReuse::Refuse => observer.record_event(app, Event::RefreshTokenReuse, "refused"),
            OnReuse::EndSession => {
                observer.record_event(app, Event::RefreshTokenReuse, "session_ended");
                let session = SessionKey::from(used);
                let token = used.token.clone();
                self.revoker
                    .revoke_with_tokens(app, Some(&session), Some(token))
                    .await;
            }
        }
        Refreshed::SessionOver(NoSessionReason::RefreshTokenReused)
    }
}

async fn release(lease: Option<Lease<'_>>) {
    if let Some(lease) = lease {
        lease.release().await;
    }
}
