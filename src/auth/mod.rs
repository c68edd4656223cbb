//! Authentication flows: login, session authentication, token refresh, logout, bearer tokens,
//! native apps, POST replay.

pub mod app;
pub mod bearer;
pub mod login;
pub mod logout;
pub mod native;
pub mod post_replay;
pub mod random;
pub mod refresh;
pub mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::policy::route::AppRef;
use crate::runtime::{BackgroundRuntime, TaskError};
use crate::session::grant::Grant;
use crate::store::{Revocation, Store};
use crate::types::oauth::{Generation, SessionId, Subject};
use crate::types::time::{Clock, Timestamp};
use app::AppAuth;
use login::start::Attempts;
use logout::replication::Feed;
use refresh::single_flight::InFlightRefreshes;
use session::key_rotation::PreviousKeySessions;

/// How long a request waits for the provider or the store, and the `Retry-After` of its 503.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Limit of concurrent provider calls on behalf of clients without a session.
const MAX_ANONYMOUS_TASKS: usize = 1024;

/// Limit of concurrent password logins. Providers hash passwords slowly on purpose.
const MAX_PASSWORD_TASKS: usize = 128;

/// Limit of concurrent provider calls that verify unknown access tokens.
const MAX_BEARER_TASKS: usize = 256;

/// Capacity of each cache that is keyed by session.
const NEWEST: usize = 50_000;

/// All authentication flows of one process.
pub struct Auth {
    apps: Vec<Arc<AppAuth>>,
    runtime: BackgroundRuntime,
    /// Limit for callers without a session: callbacks, logout tokens, metadata at a first login.
    anonymous_tasks: BackgroundRuntime,
    /// Limit for password logins, so that a flood of them does not block other logins.
    password_tasks: BackgroundRuntime,
    /// Limit for unknown access tokens. Anybody can invent tokens, and must not block logins with
    /// them.
    bearer_tasks: BackgroundRuntime,
    stores: Stores,
    feed: Feed,
    clock: Arc<dyn Clock>,
    flights: InFlightRefreshes,
    attempts: Attempts,
    post_replays: post_replay::quota::PostQuota,
    newest: Cache<SessionId, Generation>,
    /// Until when a session is not refreshed ahead of time, because its last refresh failed.
    refresh_backoff: Cache<SessionId, Timestamp>,
    /// When the provider last failed to refresh a session with an expired JWT.
    outage_grace: Cache<SessionId, Timestamp>,
    key_rotation: PreviousKeySessions,
    /// Sessions that a login on the same browser replaced. A late response must not clear the
    /// cookies of the new session.
    superseded: Cache<SessionId, ()>,
    observer: Arc<dyn Observer>,
}

/// The stores of one process. They may be the same store.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Session state: rotations, successors, revocations.
    pub sessions: Arc<dyn Store>,
    /// Login attempts, counters and preserved POSTs. Anybody can create these entries, so they have
    /// a limit of their own and cannot evict session state.
    pub anonymous: Arc<dyn Store>,
    /// The maximum number of entries in `anonymous`. Preserved POSTs use at most a quarter.
    pub max_anonymous: usize,
    /// Used DPoP proofs. A client sends one with every request.
    pub proofs: Arc<dyn Store>,
}

/// Receives events for logs and metrics.
pub trait Observer: Send + Sync {
    /// A flow at `app` ended. `outcome` is a stable code.
    fn record_event(&self, app: &AppAuth, event: Event, outcome: &'static str);

    /// Whether all published revocations are known here changed to `known`.
    fn revocations_synced(&self, known: bool);

    /// A published revocation could not be decrypted or parsed.
    fn revocation_event_invalid(&self);

    /// The number of live sessions that were last seen under a decryption-only key changed.
    fn sessions_on_previous_keys(&self, count: usize);

    /// The session cookies at `app` take `bytes` of a request, including cookies that are too large
    /// to set.
    fn observe_cookie_size(&self, app: &AppAuth, bytes: usize);
}

/// What an [`Observer`] is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A user was redirected to the provider.
    LoginStarted,
    /// A callback was handled.
    LoginFinished,
    /// A native app sent a user name and a password.
    PasswordLogin,
    /// A refresh token was used.
    Refresh,
    /// A user logged out.
    Logout,
    /// The provider or an operator revoked sessions.
    Revocation,
    /// A refresh token was used again after it was replaced.
    RefreshTokenReuse,
    /// The provider introspected an opaque token.
    Introspection,
    /// The logout at the app itself ended.
    AppLogout,
    /// A POST without a session was preserved, or replayed after the login.
    PostReplay,
}

impl Event {
    /// The stable code for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoginStarted => "login_started",
            Self::LoginFinished => "login_finished",
            Self::PasswordLogin => "password_login",
            Self::Refresh => "refresh",
            Self::Logout => "logout",
            Self::Revocation => "revocation",
            Self::RefreshTokenReuse => "refresh_token_reuse",
            Self::Introspection => "introspection",
            Self::AppLogout => "app_logout",
            Self::PostReplay => "post_replay",
        }
    }
}

/// The provider or the store cannot be reached. The session is neither valid nor over: the response
/// is 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The stable code for logs, metrics and pages.
    pub code: &'static str,
    /// For `Retry-After`.
    pub retry_after: Duration,
    /// Whether the provider is the cause: it is down, slow or returns errors.
    pub is_providers: bool,
}

impl Unavailable {
    const fn new(code: &'static str) -> Self {
        Self {
            code,
            retry_after: TIMEOUT,
            is_providers: false,
        }
    }

    const fn of_provider(code: &'static str) -> Self {
        Self {
            is_providers: true,
            ..Self::new(code)
        }
    }
}

impl From<TaskError> for Unavailable {
    fn from(no_result: TaskError) -> Self {
        Self::new(no_result.code())
    }
}

impl Auth {
    /// Creates the flows of `apps`, in the order of [`crate::policy::route::HostRouter::apps`].
    pub fn new(
        apps: Vec<Arc<AppAuth>>,
        runtime: BackgroundRuntime,
        clock: Arc<dyn Clock>,
        stores: Stores,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        Arc::new(Self {
            apps,
            anonymous_tasks: runtime.with_limit(MAX_ANONYMOUS_TASKS),
            password_tasks: runtime.with_limit(MAX_PASSWORD_TASKS),
            bearer_tasks: runtime.with_limit(MAX_BEARER_TASKS),
            runtime,
            post_replays: post_replay::quota::PostQuota::new(stores.max_anonymous),
            stores,
            feed: Feed::default(),
            clock,
            flights: InFlightRefreshes::default(),
            attempts: Attempts::default(),
            newest: Cache::new(NEWEST),
            refresh_backoff: Cache::new(NEWEST),
            outage_grace: Cache::new(NEWEST),
            key_rotation: PreviousKeySessions::default(),
            superseded: Cache::new(NEWEST),
            observer,
        })
    }

    /// The app with this index.
    pub fn app(&self, index: usize) -> Option<&Arc<AppAuth>> {
        self.apps.get(index)
    }

    /// Records how the logout at the app itself ended. `outcome` is a stable code.
    pub fn observe_app_logout(&self, app_ref: AppRef<'_>, outcome: &'static str) {
        if let Some(app) = self.app(app_ref.index) {
            self.observer.record_event(app, Event::AppLogout, outcome);
        }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How many entries this process holds in its stores, and how many revocations it knows.
    pub fn remembered(&self) -> (usize, usize) {
        let revoked = self
            .apps
            .iter()
            .map(|app| app.revocations.snapshot().len())
            .sum();
        let held = |store: &dyn Store| store.held().unwrap_or_default();
        let Stores {
            sessions,
            anonymous,
            max_anonymous: _,
            proofs,
        } = &self.stores;
        (
            held(&**sessions) + held(&**anonymous) + held(&**proofs),
            revoked,
        )
    }

    /// How many introspection results are cached.
    pub fn introspected_tokens(&self) -> usize {
        let introspections = self
            .apps
            .iter()
            .filter_map(|app| app.bearer.as_ref()?.introspection.as_ref());
        introspections
            .map(bearer::introspection::Introspection::remembered)
            .sum()
    }

    /// Drops expired entries. Called periodically.
    pub fn sweep(&self) {
        let now = self.now();
        self.stores.sessions.sweep(now);
        self.stores.anonymous.sweep(now);
        self.stores.proofs.sweep(now);
        self.sweep_old_keys(now);
        self.post_replays.sweep(now);
    }

    /// Revokes a session until its absolute timeout.
    fn revoke_session(
        self: &Arc<Self>,
        app: &AppAuth,
        sid: &SessionId,
        subject: &Subject,
        started_at: Timestamp,
    ) {
        let ends_at = started_at.plus(app.app.limits.absolute);
        self.end(
            app,
            Revocation::Session(sid.clone(), subject.clone()),
            ends_at,
        );
    }

    /// Revokes a session and its rotation, so that an in-flight refresh at another replica cannot
    /// continue it. Returns its newest tokens if the store still has them.
    async fn revoke_session_and_rotation(
        self: &Arc<Self>,
        app: &AppAuth,
        sid: &SessionId,
        subject: &Subject,
        started_at: Timestamp,
    ) -> Option<Grant> {
        self.revoke_session(app, sid, subject, started_at);
        let newest = self.rotations(app).end(sid, started_at, self.now()).await;
        newest.unwrap_or_else(|error| {
            tracing::warn!(app = %app.app.name, %sid, code = error.code(), %error, "revocation_write_failed");
            None
        })
    }
}
