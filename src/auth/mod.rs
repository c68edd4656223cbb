//! Authentication flows: login, session, refresh, logout, bearer tokens and native apps.

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

/// How long somebody waits for the provider before being asked to come back.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How many calls to the provider strangers may cause at once; sessions have room of their own.
const MAX_ANONYMOUS_TASKS: usize = 1024;

/// How many passwords may be on their way to the provider at once, which is slow at checking them on purpose.
const MAX_PASSWORD_TASKS: usize = 128;

/// How many calls to providers the tokens of programs may cause at once.
const MAX_BEARER_TASKS: usize = 256;

/// How many sessions' newest generations are remembered, so that a late answer does not bring back an older one.
const NEWEST: usize = 50_000;

/// Everything that the flows share in one process.
pub struct Auth {
    apps: Vec<Arc<AppAuth>>,
    runtime: BackgroundRuntime,
    /// The part of `runtime` that callers without a session may take: callbacks, logout tokens, first logins.
    anonymous_tasks: BackgroundRuntime,
    /// The part that password logins may take: a flood of them leaves room for other logins.
    password_tasks: BackgroundRuntime,
    /// The part for tokens that were never seen: anybody can make some up, and must not keep people from logging in.
    bearer_tasks: BackgroundRuntime,
    stores: Stores,
    feed: Feed,
    clock: Arc<dyn Clock>,
    flights: InFlightRefreshes,
    attempts: Attempts,
    post_replays: post_replay::quota::PostQuota,
    newest: Cache<SessionId, Generation>,
    /// Until when no refresh of a session is begun ahead of time, because one failed.
    refresh_backoff: Cache<SessionId, Timestamp>,
    /// When the provider last failed a session whose JWT had expired.
    outage_grace: Cache<SessionId, Timestamp>,
    key_rotation: PreviousKeySessions,
    /// Sessions in whose place a login put another: a late answer must not take that one's cookies away.
    superseded: Cache<SessionId, ()>,
    observer: Arc<dyn Observer>,
}

/// What is remembered between requests. All may be the same where room is no concern.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Of sessions: rotations, successors, revocations.
    pub sessions: Arc<dyn Store>,
    /// Of login attempts whose code was brought. Anybody can begin a login and bring a code, and must not take the room
    /// that refreshed sessions need.
    pub anonymous: Arc<dyn Store>,
    /// How many entries of `anonymous` there may be. Forms that wait take a quarter of them at most.
    pub max_anonymous: usize,
    /// Of proofs of possession that were used. A program in a hurry brings one with every request.
    pub proofs: Arc<dyn Store>,
}

/// Told of what happens, for logs and metrics.
pub trait Observer: Send + Sync {
    /// A login, refresh or logout at `app` ended; `outcome` is a stable word.
    fn record_event(&self, app: &AppAuth, event: Event, outcome: &'static str);

    /// Whether all endings that were announced are known here, from now on.
    fn revocations_synced(&self, known: bool);

    /// So many living sessions were last seen under a key that only opens any more.
    fn sessions_on_previous_keys(&self, count: usize);

    /// The cookies of a session at `app` take so many bytes of a request, those that do not fit included.
    fn observe_cookie_size(&self, app: &AppAuth, bytes: usize);
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A person was sent to the provider.
    LoginStarted,
    /// A person came back.
    LoginFinished,
    /// A native app brought a name and a password.
    PasswordLogin,
    /// A refresh token was used.
    Refresh,
    /// A person logged out.
    Logout,
    /// The provider ended sessions.
    Revocation,
    /// A refresh token was seen again after it had been replaced.
    RefreshTokenReuse,
    /// The provider was asked about an opaque token.
    Introspection,
    /// The app itself was told that a person left.
    AppLogout,
    /// A form met no session, or was called for after the login.
    PostReplay,
}

impl Event {
    /// The stable word for logs and metrics.
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
            Self::PostReplay => "form",
        }
    }
}

/// The provider could not be asked, so that nothing can be said about the person: neither a login page nor a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The stable word for logs, metrics and pages.
    pub code: &'static str,
    /// When to try again.
    pub retry_after: Duration,
    /// Whether it is the provider that is down, slow or in trouble, and nothing else.
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
    /// The flows of `apps`, which stand in the order of [`crate::policy::route::HostRouter::apps`].
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

    /// The app at `app_ref` itself was told that a person left; `outcome` is a stable word.
    pub fn observe_app_logout(&self, app_ref: AppRef<'_>, outcome: &'static str) {
        if let Some(app) = self.app(app_ref.index) {
            self.observer.record_event(app, Event::AppLogout, outcome);
        }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How many entries this process holds for its stores, and how many sessions are revoked by name.
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

    /// Of how many opaque tokens it is remembered what the provider said.
    pub fn introspected_tokens(&self) -> usize {
        let introspections = self
            .apps
            .iter()
            .filter_map(|app| app.bearer.as_ref()?.introspection.as_ref());
        introspections
            .map(bearer::introspection::Introspection::remembered)
            .sum()
    }

    /// Forgets what has ended; to be called from time to time.
    pub fn sweep(&self) {
        let now = self.now();
        self.stores.sessions.sweep(now);
        self.stores.anonymous.sweep(now);
        self.stores.proofs.sweep(now);
        self.sweep_old_keys(now);
        self.post_replays.sweep(now);
    }

    /// Ends a session, for the rest of its life.
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

    /// Ends a session so that a refresh under way at another replica is of no use to it either. Returns the newest tokens
    /// that it had, if they are still kept.
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
