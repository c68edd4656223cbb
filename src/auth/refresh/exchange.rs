//! One refresh (RFC 6749 section 6). The store is read before the token is sent, and the result is
//! written before the lease is released. A token known to be consumed is never sent, and a client
//! that lost the response gets its tokens with its next request, at any replica. Requests wait for
//! three round trips to the store at most: claim the lease and read the state, store the successor.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::auth::app::{AppAuth, OnReuse};
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::events::{Event, EventSession};
use crate::auth::refresh::generations::NewestGenerations;
use crate::auth::refresh::grant_error::GrantError;
use crate::auth::refresh::lease::Lease;
use crate::auth::refresh::outcome::{
    REFRESH_TOO_SLOW, Refreshed, after_refusal, is_refusal, is_revoked, log_failure, outage_of,
    outage_of_grant, store_outage,
};
use crate::auth::refresh::result_writer::{PendingWrite, Renewal, ResultWriter};
use crate::auth::refresh::revoke::{SessionKey, SessionRevoker};
use crate::auth::refresh::rotation::{Rotation, TokenStatus};
use crate::auth::refresh::rotations::{ClaimedRotation, Rotations, StoredRotation};
use crate::auth::refresh::tokens::{self, ReceivedRefreshToken, is_usable, is_valid, stale_grant};
use crate::auth::revocation::replication::RevocationReplicator;
use crate::oidc::provider::BoundRefreshToken;
use crate::oidc::settings::OnStoreOutage;
use crate::oidc::token::{TokenError, TokenResponse};
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::NoSessionReason;
use crate::store::StoreError;
use crate::types::oauth::Generation;
use crate::types::time::Timestamp;

/// Poll interval and timeout while another replica holds the lease.
const LEASE_POLL_INTERVAL: Duration = Duration::from_millis(100);
const LEASE_TIMEOUT: Duration = Duration::from_secs(150);

/// The next step for a refresh token.
enum RefreshStep {
    /// Done, with this result.
    Done(Refreshed),
    /// The token was replayed.
    Replayed,
    /// Send it to the provider.
    Send(Box<RefreshAttempt>),
}

struct RefreshAttempt {
    used: RefreshGrant,
    old: Option<SessionJwt>,
    rotation: Rotation,
    /// `None`: the store is unavailable, and the provider tolerates that a token is sent twice.
    lease: Option<Lease>,
}

/// The exchange of refresh tokens. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct RefreshExchange {
    context: Arc<Context>,
    revoker: SessionRevoker,
    replicator: RevocationReplicator,
    generations: Arc<NewestGenerations>,
    results: ResultWriter,
}

impl RefreshExchange {
    pub(in crate::auth) fn new(
        context: Arc<Context>,
        revoker: SessionRevoker,
        replicator: RevocationReplicator,
        generations: Arc<NewestGenerations>,
    ) -> Self {
        let results = ResultWriter::new(
            Arc::clone(&context),
            revoker.clone(),
            Arc::clone(&generations),
        );
        Self {
            context,
            revoker,
            replicator,
            generations,
            results,
        }
    }

    /// The tokens that replaced those of `used` a moment ago, if this process has them and they are
    /// valid.
    pub(in crate::auth) fn recent(&self, app: &AppAuth, used: &RefreshGrant) -> Option<Arc<Grant>> {
        let now = self.context.now();
        let successors = &self.generations.successors;
        let recent = successors.recent(&used.sid, used.generation, now);
        recent.filter(|grant| is_valid(app, grant, now) && !is_revoked(app, used, Some(&grant.jwt)))
    }

    /// Refreshes with `used`, once this replica has the lease.
    pub(in crate::auth) async fn renew(
        &self,
        app: &Arc<AppAuth>,
        used: RefreshGrant,
        old: Option<SessionJwt>,
    ) -> Renewal {
        match self.next_step(app, &used, old.as_ref()).await {
            Ok(RefreshStep::Done(refreshed)) => refreshed.into(),
            Ok(RefreshStep::Replayed) => self.token_reused(app, &used).await.into(),
            Ok(RefreshStep::Send(attempt)) => self.send(app, *attempt).await,
            Err(error) => store_outage(app, &used, &error).into(),
        }
    }

    /// Waits until the token may be sent, or need not be.
    async fn next_step(
        &self,
        app: &AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<RefreshStep, StoreError> {
        let deadline = Instant::now() + LEASE_TIMEOUT;
        loop {
            match self.try_step(app, used, old).await {
                Ok(Some(step)) => return Ok(step),
                Ok(None) if Instant::now() < deadline => sleep(LEASE_POLL_INTERVAL).await,
                Ok(None) => {
                    let outage = Unavailable::of_provider(REFRESH_TOO_SLOW);
                    return Ok(RefreshStep::Done(Refreshed::Unavailable(outage)));
                }
                Err(error)
                    if app.provider.settings().on_store_outage == OnStoreOutage::LocalLease =>
                {
                    tracing::debug!(app = %app.app.name, session = %used.sid.log_name(), %error, "refresh_under_local_lease");
                    let rotation = Rotation {
                        newest: used.generation,
                        ..Rotation::default()
                    };
                    let stored = StoredRotation {
                        rotation: Some(rotation),
                        successor: None,
                    };
                    return Ok(self.stored_step(app, used, old, stored));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `None`: another replica holds the lease, or may publish what the store has lost.
    async fn try_step(
        &self,
        app: &AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
    ) -> Result<Option<RefreshStep>, StoreError> {
        let rotations = Rotations::new(&self.context, app);
        let now = self.context.now();
        // Both run to their end: a claim that is not awaited could take the lease unnoticed.
        let (claimed, is_complete) = tokio::join!(
            rotations.claim(&used.sid, used.generation, now),
            self.replicator.is_store_complete(),
        );
        let (lease, stored) = match claimed? {
            ClaimedRotation::Taken(lease, stored) => (Some(lease), stored),
            ClaimedRotation::Held(stored) => (None, stored),
        };
        let is_complete = match is_complete {
            Ok(is_complete) => is_complete,
            Err(error) => {
                release(lease).await;
                return Err(error);
            }
        };
        match (self.stored_step(app, used, old, stored), lease) {
            (RefreshStep::Send(attempt), Some(lease)) if is_complete => {
                let sent = attempt.used.generation;
                // The lease of an older generation counts as done, and would be taken over.
                let lease = if sent > used.generation {
                    lease.for_generation(sent).await?
                } else {
                    Some(lease)
                };
                Ok(lease.map(|lease| {
                    let lease = Some(lease);
                    RefreshStep::Send(Box::new(RefreshAttempt { lease, ..*attempt }))
                }))
            }
            (RefreshStep::Send(_), lease) => {
                release(lease).await;
                Ok(None)
            }
            (step @ (RefreshStep::Done(_) | RefreshStep::Replayed), lease) => {
                release(lease).await;
                Ok(Some(step))
            }
        }
    }

    /// The step by the state of the store, and by what this process knows: the store may have
    /// forgotten. [`RefreshStep::Send`], without a lease: the token is unused.
    fn stored_step(
        &self,
        app: &AppAuth,
        used: &RefreshGrant,
        old: Option<&SessionJwt>,
        stored: StoredRotation,
    ) -> RefreshStep {
        let now = self.context.now();
        if stored.rotation.is_none() && used.generation > Generation::FIRST {
            self.context.observer.rotation_state_missing(app);
        }
        let mut rotation = stored.rotation.unwrap_or_default();
        rotation.merge(&self.generations.rotation(&used.sid));
        let successor = self.newest_tokens(used, stored.successor, now);
        // An older one was consumed.
        let successor = successor.filter(|grant| grant.jwt.generation >= rotation.newest);
        if let Some(grant) = &successor {
            rotation.newest = grant.jwt.generation;
        }
        if rotation.ended {
            return RefreshStep::Done(Refreshed::SessionOver(NoSessionReason::Revoked));
        }
        let send = |used: RefreshGrant, old: Option<SessionJwt>, rotation| {
            RefreshStep::Send(Box::new(RefreshAttempt {
                used,
                old,
                rotation,
                lease: None,
            }))
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
            TokenStatus::Replayed => return RefreshStep::Replayed,
            TokenStatus::Superseded => match successor {
                Some(grant) if is_valid(app, &grant, now) => Refreshed::Renewed(grant.into()),
                Some(Grant {
                    jwt,
                    refresh: Some(refresh),
                    ..
                }) => {
                    let old = (!jwt.jwt.is_unknown()).then_some(jwt);
                    return send(refresh, old, rotation);
                }
                // The successor expired after its grace: the client has a newer token.
                Some(_) | None if rotation.is_confirmed_after(used.generation) => {
                    Refreshed::Unavailable(Unavailable::of_client("rotated_token_gone"))
                }
                // No client ever received the successor, and none will. A retry cannot help.
                Some(_) | None => Refreshed::SessionOver(NoSessionReason::Expired),
            },
        };
        RefreshStep::Done(refreshed)
    }

    /// The newest tokens of a session: from the store, or those that this process has held.
    fn newest_tokens(
        &self,
        used: &RefreshGrant,
        stored: Option<Grant>,
        now: Timestamp,
    ) -> Option<Grant> {
        let known = stored
            .as_ref()
            .map_or(used.generation, |grant| grant.jwt.generation);
        let held = self.generations.successors.of(&used.sid, known, now);
        held.map(|grant| Grant::clone(&grant)).or(stored)
    }

    async fn send(&self, app: &Arc<AppAuth>, attempt: RefreshAttempt) -> Renewal {
        let called = self.call(app, &attempt.used, attempt.lease.as_ref());
        let refreshed = match called.await {
            Ok(Ok(response)) => return self.accept(app, response, attempt).await,
            Ok(Err(TokenError::GrantRejected {
                error,
                description,
                reason,
            })) => {
                let used = &attempt.used;
                tracing::info!(app = %app.app.name, session = %used.sid.log_name(), error, description, reason, url = app.provider.refresh_url(), "refresh_rejected");
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
        attempt: &RefreshAttempt,
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
            tracing::debug!(app = %app.app.name, session = %used.sid.log_name(), %error, "refresh_refusal_write_failed");
        }
        after_refusal(rotation, used.generation, outage)
    }

    /// Calls the provider. A call with an ambiguous outcome is retried once, serially: providers
    /// with a grace period accept that. No call is made without a lease, which is prolonged meanwhile.
    async fn call(
        &self,
        app: &AppAuth,
        used: &RefreshGrant,
        lease: Option<&Lease>,
    ) -> Result<Result<TokenResponse, TokenError>, StoreError> {
        let ensure_lease = async || match lease {
            Some(lease) => lease.ensure().await,
            None => Ok(true),
        };
        if !ensure_lease().await? {
            return Err(StoreError::Unavailable(
                "the lease was lost before the refresh token was sent".to_owned(),
            ));
        }
        let token = BoundRefreshToken {
            token: &used.token,
            dpop_key: used.dpop_key.as_ref(),
        };
        let first = app.provider.refresh(&app.client, token).await;
        let Err(TokenError::OutcomeUnknown(error)) = &first else {
            return Ok(first);
        };
        tracing::debug!(app = %app.app.name, code = error.code(), %error, url = app.provider.refresh_url(), "refresh_retried");
        match ensure_lease().await {
            Ok(true) => Ok(app.provider.refresh(&app.client, token).await),
            Ok(false) | Err(_) => Ok(first),
        }
    }

    /// Verifies and stores the tokens of a response.
    async fn accept(
        &self,
        app: &Arc<AppAuth>,
        response: TokenResponse,
        attempt: RefreshAttempt,
    ) -> Renewal {
        let new_token = ReceivedRefreshToken::of(&response, &attempt.used);
        let now = self.context.now();
        let old = attempt.old.as_ref();
        let verified = tokens::of_refresh(app, response, &attempt.used, old, now).await;
        let error = match verified {
            Ok(grant) => {
                let grant = Arc::new(grant);
                let refreshed = Refreshed::Renewed(Arc::clone(&grant));
                let RefreshAttempt {
                    used,
                    rotation,
                    lease,
                    ..
                } = attempt;
                let pending = PendingWrite::new(rotation, grant, lease);
                return self.results.store(app, &used, pending, refreshed).await;
            }
            Err(error) => error,
        };
        tracing::warn!(app = %app.app.name, session = %attempt.used.sid.log_name(), code = error.code(), %error, "refresh_unusable");
        // The old token may be consumed: its replacement must not be lost with an unusable JWT.
        let is_kept = !error.is_final() && (attempt.old.is_some() || error.is_outage());
        if let (Some(token), true) = (&new_token, is_kept) {
            let grant = stale_grant(&attempt.used, attempt.old.clone(), token.clone());
            return self.store_unusable(app, attempt, grant, &error).await;
        }
        let refreshed = if error.is_final() || new_token.is_some() {
            let session = SessionKey::from(&attempt.used);
            self.revoker.revoke_with_rotation(app, &session).await;
            let token = new_token
                .as_ref()
                .map_or(&attempt.used.token, |new| &new.token);
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
    async fn store_unusable(
        &self,
        app: &Arc<AppAuth>,
        attempt: RefreshAttempt,
        grant: Grant,
        error: &GrantError,
    ) -> Renewal {
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
        let pending = PendingWrite::new(rotation, Arc::new(grant), lease);
        let renewal = self.results.store(app, &used, pending, refreshed).await;
        // The next refresh must find the refusal.
        self.results.try_complete(app, renewal).await
    }

    /// Writes what is left of a result, for as long as the store does not accept it.
    pub(in crate::auth) async fn finish(&self, app: &AppAuth, pending: PendingWrite) {
        self.results.finish(app, pending).await;
    }

    /// Refresh token reuse: the sender may have stolen the token. By default all holders lose the
    /// session.
    async fn token_reused(&self, app: &AppAuth, used: &RefreshGrant) -> Refreshed {
        tracing::warn!(app = %app.app.name, session = %used.sid.log_name(), generation = used.generation.number(), "refresh_token_reused");
        let observer = &self.context.observer;
        let about = EventSession::from(&SessionKey::from(used));
        let record = |outcome| {
            observer.record_event(app, Event::RefreshTokenReuse, outcome, &about);
        };
        match app.settings.on_refresh_token_reuse {
            OnReuse::Refuse => record("refused"),
            OnReuse::EndSession => {
                record("session_ended");
                let session = used.clone().into();
                self.revoker.revoke_with_tokens(app, session).await;
            }
        }
        Refreshed::SessionOver(NoSessionReason::RefreshTokenReused)
    }
}

async fn release(lease: Option<Lease>) {
    if let Some(lease) = lease {
        lease.release().await;
    }
}
