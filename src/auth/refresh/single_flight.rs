//! Single-flight refresh per session and process. Any number of requests wait for one refresh.
//! Cancelling a waiter never cancels the refresh. After a failure the session backs off: requests
//! get the same result without another call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::auth::app::AppAuth;
use crate::auth::context::{Context, MAX_CACHED_SESSIONS};
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::events::{Event, EventSession};
use crate::auth::refresh::exchange::RefreshExchange;
use crate::auth::refresh::outcome::{REFRESH_TOO_SLOW, Refreshed};
use crate::auth::refresh::result_writer::Renewal;
use crate::auth::refresh::revoke::SessionKey;
use crate::limits::on_behalf_of;
use crate::lock::lock;
use crate::session::grant::RefreshGrant;
use crate::session::jwt::SessionJwt;
use crate::telemetry::request_scope::{Dependency, enter_span, record_call};
use crate::types::oauth::{Generation, SessionId};
use crate::types::time::Timestamp;

/// The longest backoff of a session that the provider refuses to refresh, or asks to refresh later.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// A handle to a refresh that may be in flight.
#[derive(Clone, Debug)]
pub struct RefreshHandle {
    result: watch::Receiver<Option<Refreshed>>,
    /// Whether another request started it, whose calls are not those of this one.
    is_joined: bool,
}

impl RefreshHandle {
    const fn of(result: watch::Receiver<Option<Refreshed>>) -> Self {
        Self {
            result,
            is_joined: false,
        }
    }

    /// The same refresh for another request.
    fn joined(&self) -> Self {
        Self {
            result: self.result.clone(),
            is_joined: true,
        }
    }

    /// A refresh that has ended.
    fn ended_with(refreshed: Refreshed) -> Self {
        Self::of(watch::channel(Some(refreshed)).1)
    }

    /// The result, if the refresh has ended.
    pub fn try_result(&self) -> Option<Refreshed> {
        self.result.borrow().clone()
    }

    /// Waits without a deadline until the refresh has ended.
    async fn ended(mut self) {
        // An error means that the task was dropped, which is an end too.
        let _ = self.result.wait_for(Option::is_some).await;
    }

    /// Waits for the result with a deadline. The refresh continues after it. To the log, the wait for a
    /// refresh of another request is a call to the provider.
    pub async fn wait(mut self) -> Refreshed {
        let started = self.is_joined.then(Instant::now);
        let refreshed = self.result_in_time().await;
        if let Some(started) = started {
            record_call(
                Dependency::Provider,
                "refresh of another request",
                started.elapsed(),
            );
        }
        refreshed
    }

    async fn result_in_time(&mut self) -> Refreshed {
        let internal_error = || Refreshed::Unavailable(Unavailable::internal("internal_error"));
        match tokio::time::timeout(CALL_TIMEOUT, self.result.wait_for(Option::is_some)).await {
            Ok(Ok(result)) => result.clone().unwrap_or_else(internal_error),
            Ok(Err(_)) => internal_error(),
            Err(_) => Refreshed::Unavailable(Unavailable::of_provider(REFRESH_TOO_SLOW)),
        }
    }
}

/// The in-flight refreshes of this process.
#[derive(Default)]
struct InFlightRefreshes(Mutex<HashMap<SessionId, InFlight>>);

struct InFlight {
    generation: Generation,
    handle: RefreshHandle,
}

/// The refreshes in flight and the last failures of recent sessions, in any configuration.
pub(in crate::auth) struct RefreshState {
    in_flight: InFlightRefreshes,
    failures: Cache<SessionId, Failure>,
}

impl Default for RefreshState {
    fn default() -> Self {
        Self {
            in_flight: InFlightRefreshes::default(),
            failures: Cache::new(MAX_CACHED_SESSIONS),
        }
    }
}

/// Refreshes sessions.
pub(in crate::auth) struct TokenRefresher {
    context: Arc<Context>,
    exchange: RefreshExchange,
    state: Arc<RefreshState>,
}

/// The last failure of a session's refresh.
#[derive(Clone)]
struct Failure {
    generation: Generation,
    /// The number of refusals in a row.
    refusals: u32,
    /// The start of the backoff.
    since: Timestamp,
    /// The end of the backoff.
    until: Timestamp,
    refreshed: Refreshed,
}

impl Failure {
    /// Whether the backoff lasts. A clock that was set back must not prolong it.
    fn is_recent(&self, now: Timestamp) -> bool {
        now < self.until && self.until.since(now) <= MAX_BACKOFF
    }
}

impl TokenRefresher {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        exchange: RefreshExchange,
        state: Arc<RefreshState>,
    ) -> Self {
        Self {
            context,
            exchange,
            state,
        }
    }

    /// Refreshes the session of `used`, or joins its in-flight refresh. `old` is the content of its
    /// JWT cookie. A refresh of another generation of the session is awaited first: both could
    /// consume the same token. During the backoff after a failure of the provider, the result is
    /// the same failure.
    pub(in crate::auth) fn refresh(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        used: RefreshGrant,
        old: Option<SessionJwt>,
    ) -> RefreshHandle {
        let generation = used.generation;
        let mut in_flight = lock(&self.state.in_flight.0);
        let before = match in_flight.get(&used.sid) {
            Some(same) if same.generation == generation => return same.handle.joined(),
            Some(other) => Some(other.handle.clone()),
            None => None,
        };
        if let Some(refreshed) = self.recent_failure(&used, self.context.now()) {
            return RefreshHandle::ended_with(refreshed);
        }
        // Without a call to the store, so that the response in hand delivers them.
        if let Some(grant) = self.exchange.recent(app, &used) {
            return RefreshHandle::ended_with(Refreshed::Renewed(grant));
        }
        let (result, receiver) = watch::channel(None);
        let handle = RefreshHandle::of(receiver);
        let sid = used.sid.clone();
        let (refresher, app) = (Arc::clone(self), Arc::clone(app));
        let spawned = self.context.runtime.spawn(async move {
            refresher.run(&app, used, old, before, &result).await;
        });
        match spawned {
            Ok(()) => {
                let entry = InFlight {
                    generation,
                    handle: handle.clone(),
                };
                in_flight.insert(sid, entry);
                handle
            }
            Err(busy) => RefreshHandle::ended_with(Refreshed::Unavailable(busy.into())),
        }
    }

    /// How many refreshes are in flight.
    pub(in crate::auth) fn in_flight(&self) -> usize {
        lock(&self.state.in_flight.0).len()
    }

    /// Whether a refresh of this session failed a moment ago.
    pub(in crate::auth) fn is_backing_off(&self, sid: &SessionId, now: Timestamp) -> bool {
        self.state
            .failures
            .get(sid)
            .is_some_and(|failure| failure.is_recent(now))
    }

    /// The failure of the provider after which the session of `used` backs off. Other generations
    /// are not concerned.
    fn recent_failure(&self, used: &RefreshGrant, now: Timestamp) -> Option<Refreshed> {
        let failure = self.state.failures.get(&used.sid)?;
        if !failure.is_recent(now) || used.generation != failure.generation {
            return None;
        }
        let retry_after = failure.until.since(now);
        failure
            .refreshed
            .is_by_provider()
            .then(|| failure.refreshed.with_retry_after(retry_after))
    }

    /// Starts or ends the backoff of a session after a refresh of `generation`. An outage ends by
    /// itself, so its backoff is short, unless the provider says more. A refusal usually repeats, so
    /// its backoff doubles.
    fn back_off(&self, sid: &SessionId, generation: Generation, refreshed: Refreshed) -> Refreshed {
        let before = self.state.failures.get(sid);
        let outage = match &refreshed {
            // The JWT before the failure, with a newer refresh token: the provider renewed nothing.
            Refreshed::Renewed(grant)
                if before
                    .as_ref()
                    .is_some_and(|failure| grant.jwt.sealed_at < failure.since) =>
            {
                return refreshed;
            }
            Refreshed::Renewed(_) | Refreshed::SessionOver(_) => {
                self.state.failures.remove(sid);
                return refreshed;
            }
            Refreshed::Unavailable(outage) | Refreshed::LoginRequired(outage) => outage,
        };
        let refusals = match before {
            Some(failure) if outage.login_helps => failure.refusals.saturating_add(1),
            None if outage.login_helps => 1,
            Some(_) | None => 0,
        };
        let factor = 1_u32
            .checked_shl(refusals.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let backoff = CALL_TIMEOUT.saturating_mul(factor);
        let backoff = backoff.max(outage.retry_after).min(MAX_BACKOFF);
        let now = self.context.now();
        let refreshed = refreshed.with_retry_after(backoff);
        let failure = Failure {
            generation,
            refusals,
            since: now,
            until: now.plus(backoff),
            refreshed: refreshed.clone(),
        };
        self.state.failures.insert(sid.clone(), failure);
        refreshed
    }

    async fn run(
        &self,
        app: &Arc<AppAuth>,
        used: RefreshGrant,
        old: Option<SessionJwt>,
        before: Option<RefreshHandle>,
        result: &watch::Sender<Option<Refreshed>>,
    ) {
        let _span = enter_span("refresh");
        let sid = used.sid.clone();
        let guard = RefreshGuard {
            in_flight: &self.state.in_flight,
            sid: &sid,
            generation: used.generation,
        };
        if let Some(before) = before {
            before.ended().await;
        }
        // Store entries count towards the share of the user, not of the client that came first.
        let user = app.client_key(&used.subject);
        let generation = used.generation;
        let about = match &old {
            Some(jwt) => EventSession::from(jwt),
            None => EventSession::from(&SessionKey::from(&used)),
        };
        let renewal = on_behalf_of(Some(user), self.exchange.renew(app, used, old));
        let Renewal { refreshed, pending } = renewal.await;
        self.record(app, &refreshed, &about);
        let refreshed = self.back_off(&sid, generation, refreshed);
        if let Some(pending) = pending {
            // Requests with the same token join this refresh until the store has the result.
            result.send_replace(Some(refreshed));
            on_behalf_of(Some(user), self.exchange.finish(app, pending)).await;
        } else {
            drop(guard);
            result.send_replace(Some(refreshed));
        }
    }

    fn record(&self, app: &AppAuth, refreshed: &Refreshed, about: &EventSession) {
        let (event, outcome) = match refreshed {
            Refreshed::Renewed(_) => (Event::Refresh, "renewed"),
            Refreshed::SessionOver(why) => (Event::RefreshRefused, why.code()),
            Refreshed::Unavailable(outage) => (Event::Refresh, outage.code),
            Refreshed::LoginRequired(outage) => (Event::RefreshRefused, outage.code),
        };
        let observer = &self.context.observer;
        observer.record_event(app, event, outcome, about);
    }
}

/// Removes the in-flight entry however the refresh ends, a panic included.
struct RefreshGuard<'a> {
    in_flight: &'a InFlightRefreshes,
    sid: &'a SessionId,
    generation: Generation,
}

impl Drop for RefreshGuard<'_> {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.in_flight.0);
        let entry = in_flight.get(self.sid);
        if entry.is_some_and(|entry| entry.generation == self.generation) {
            in_flight.remove(self.sid);
        }
    }
}
