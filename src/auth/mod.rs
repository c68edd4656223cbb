//! Authentication flows: login, session authentication, token refresh, logout, bearer tokens,
//! passwords, native apps, POST replay.

mod affinity;
pub mod app;
pub mod assertion;
pub mod basic;
pub mod bearer;
pub(in crate::auth) mod context;
pub mod device_binding;
pub(in crate::auth) mod error;
pub(in crate::auth) mod events;
pub mod login;
pub mod login_host;
pub mod logout;
pub mod native;
pub mod operator_command;
pub mod post_replay;
pub mod purposes;
pub mod random;
pub mod refresh;
pub mod request_head;
pub mod revocation;
pub mod session;
mod session_id;
pub mod session_list;
pub(in crate::auth) mod session_validity;
mod state;
#[cfg(test)]
mod tests;
pub mod token_exchange;

use std::sync::Arc;

use app::AppAuth;
use basic::BasicAuthenticator;
use bearer::authenticate::BearerAuthenticator;
use bearer::dpop::{DpopTarget, DpopVerifier};
use context::Context;
use device_binding::DeviceBinder;
use login::Login;
use login_host::LoginHost;
use logout::back_channel::BackchannelLogout;
use logout::front_channel::FrontchannelLogout;
use logout::rp_initiated::Logout;
use logout::webhook::WebhookReceiver;
use native::authenticate::NativeRequest;
use native::password_grant::PasswordGrants;
use native::{NativeFlows, NativeServices};
use post_replay::PostReplay;
use refresh::exchange::RefreshExchange;
use refresh::restore::SuccessorRestorer;
use refresh::revoke::SessionRevoker;
use refresh::single_flight::TokenRefresher;
use request_head::RequestHead;
use revocation::command::RevocationCommands;
use revocation::replication::RevocationReplicator;
use session::authenticate::{SessionAuthenticator, SessionServices};
use session::authentication::Authentication;
use session::cache::SessionCache;
use session::client_continuity::ClientContinuity;
use session::key_rotation::KeyRotation;
use session::open::SessionOpener;
use session::stream::StreamActivity;
use session::writer::SessionWriter;
use session_list::SessionList;
use state::FlowState;
use token_exchange::TokenExchanger;

use crate::limits::ClientKey;
use crate::policy::decide::Caller;
use crate::policy::native::NativeCredentials;
use crate::policy::route::{AppRef, ResumeMode};
use crate::runtime::BackgroundRuntime;
use crate::session::cookie::RequestCookies;
use crate::store::{LogLimits, Store};
use crate::types::oauth::Subject;
use crate::types::time::{Clock, Timestamp};

pub use context::Stores;
pub use error::{FailureCause, Unavailable};
pub use events::{Event, EventSession, Observer};

/// All authentication flows of one process.
pub struct Auth {
    context: Arc<Context>,
    state: FlowState,
    key_rotation: Arc<KeyRotation>,
    refresher: Arc<TokenRefresher>,
    /// Authentication by session cookie.
    pub sessions: SessionAuthenticator,
    /// Session cookies of responses.
    pub session_writer: Arc<SessionWriter>,
    /// Authentication by access token.
    pub bearer: BearerAuthenticator,
    /// Tokens for apps in exchange for those of users.
    pub token_exchanger: TokenExchanger,
    /// Authentication by user name and password.
    pub basic: BasicAuthenticator,
    /// Device-bound sessions.
    pub device_binder: DeviceBinder,
    /// Login.
    pub login: Login,
    /// Logins of apps through a login host, and the logout of all of them.
    pub login_host: LoginHost,
    /// RP-initiated logout.
    pub logout: Logout,
    /// Front-channel logout.
    pub frontchannel_logout: FrontchannelLogout,
    /// Back-channel logout.
    pub backchannel_logout: BackchannelLogout,
    /// FusionAuth webhooks.
    pub webhooks: WebhookReceiver,
    /// Native apps.
    pub native: NativeFlows,
    /// Preserved form submissions.
    pub post_replay: PostReplay,
    /// Stores successors again that the store has lost.
    pub successor_restorer: SuccessorRestorer,
    /// Replication of revocations.
    pub revocations: RevocationReplicator,
    /// Revocation commands of operators.
    pub revocation_commands: RevocationCommands,
    /// The list of sessions.
    pub session_list: SessionList,
}

/// How much this process holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Entries of its stores.
    pub store_entries: usize,
    /// Revocations.
    pub revocations: usize,
    /// Refreshes in flight.
    pub refreshes: usize,
    /// Revocations that the store has not taken yet.
    pub pending_revocations: usize,
    /// Refreshed tokens that no browser has confirmed.
    pub successors: usize,
    /// Sessions with activity on streams.
    pub streamed_sessions: usize,
    /// Sessions in the list.
    pub listed_sessions: usize,
    /// Whether the list has what other replicas have published.
    pub is_session_list_complete: bool,
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
        let context = Context::new(apps, runtime, clock, stores, observer);
        let state = FlowState::new(&context);
        Self::with(context, state)
    }

    /// The flows of another configuration of the same process. Refreshes in flight, limits,
    /// throttles and everything else that the process knows continue.
    #[must_use]
    pub fn with_apps(&self, apps: Vec<Arc<AppAuth>>) -> Arc<Self> {
        Self::with(self.context.with_apps(apps), self.state.clone())
    }

    fn with(context: Context, state: FlowState) -> Arc<Self> {
        let context = Arc::new(context);
        let shared = || Arc::clone(&context);
        let generations = &state.generations;
        let revocations = RevocationReplicator::new(shared(), Arc::clone(&state.replication));
        let revoker = SessionRevoker::new(shared(), revocations.clone());
        let exchange = RefreshExchange::new(
            shared(),
            revoker.clone(),
            revocations.clone(),
            Arc::clone(generations),
        );
        let refresher = TokenRefresher::new(shared(), exchange, Arc::clone(&state.refreshes));
        let refresher = Arc::new(refresher);
        let previous_keys = Arc::clone(&state.previous_keys);
        let key_rotation = Arc::new(KeyRotation::new(shared(), previous_keys));
        let opener = Arc::new(SessionOpener::new(shared(), Arc::clone(generations)));
        let seen_proofs = Arc::clone(&state.seen_proofs);
        let streams = StreamActivity::new(
            shared(),
            Arc::clone(&state.streamed),
            Arc::clone(&seen_proofs),
        );
        let streams = Arc::new(streams);
        let continuity = ClientContinuity::new(shared(), Arc::clone(&state.client_changes));
        let session_writer = Arc::new(SessionWriter::new(
            shared(),
            revoker.clone(),
            Arc::clone(generations),
            Arc::clone(&state.replaced),
            continuity.clone(),
            Arc::clone(&streams),
        ));
        let dpop = DpopVerifier::new(shared());
        let logout = Logout::new(shared(), revoker.clone());
        let grants = PasswordGrants::new(shared(), Arc::clone(&state.known_subjects));
        let services = NativeServices {
            context: shared(),
            replicator: revocations.clone(),
            refresher: Arc::clone(&refresher),
            opener: Arc::clone(&opener),
            key_rotation: Arc::clone(&key_rotation),
            session_writer: Arc::clone(&session_writer),
            dpop: dpop.clone(),
            logout: logout.clone(),
            streams: Arc::clone(&streams),
            grants: grants.clone(),
        };
        let session_list = Arc::clone(&state.session_list);
        Arc::new(Self {
            session_list: SessionList::new(
                shared(),
                session_list,
                Arc::clone(&streams),
                revocations.clone(),
                revoker.clone(),
                logout.clone(),
            ),
            sessions: SessionAuthenticator::new(SessionServices {
                context: shared(),
                replicator: revocations.clone(),
                refresher: Arc::clone(&refresher),
                opener,
                key_rotation: Arc::clone(&key_rotation),
                grace_failures: Arc::clone(&state.grace_failures),
                continuity,
                streams,
            }),
            bearer: BearerAuthenticator::new(shared(), revocations.clone(), dpop),
            token_exchanger: TokenExchanger::new(shared()),
            basic: BasicAuthenticator::new(
                shared(),
                revocations.clone(),
                grants,
                Arc::clone(&state.basic_hasher),
            ),
            device_binder: DeviceBinder::new(
                shared(),
                Arc::clone(&refresher),
                Arc::clone(&session_writer),
                Arc::clone(&state.offered_registrations),
                seen_proofs,
                Arc::clone(&state.network_changes),
            ),
            login: Login::new(
                shared(),
                Arc::clone(&session_writer),
                state.started_logins.clone(),
            ),
            login_host: LoginHost::new(shared(), revoker.clone()),
            frontchannel_logout: FrontchannelLogout::new(shared(), revoker),
            backchannel_logout: BackchannelLogout::new(shared(), revocations.clone()),
            webhooks: WebhookReceiver::new(shared(), revocations.clone()),
            native: NativeFlows::new(services),
            post_replay: PostReplay::new(shared(), Arc::clone(&state.posts)),
            revocation_commands: RevocationCommands::new(
                shared(),
                revocations.clone(),
                Arc::clone(&state.applied_commands),
            ),
            successor_restorer: SuccessorRestorer::new(
                shared(),
                Arc::clone(generations),
                revocations.clone(),
            ),
            revocations,
            logout,
            session_writer,
            key_rotation,
            refresher,
            state,
            context,
        })
    }

    /// Authenticates a request by its cookies, else by its native access token. A session cookie
    /// wins: the token is then not read.
    pub async fn authenticate(
        &self,
        app_ref: AppRef<'_>,
        head: RequestHead<'_>,
        target: DpopTarget<'_>,
        cookies: &RequestCookies<'_>,
        mode: ResumeMode,
        cache: &SessionCache,
    ) -> Authentication {
        let app_ref = self.sessions.at_session(app_ref, cookies);
        let sessions = &self.sessions;
        let by_cookies = sessions.authenticate(app_ref, head, cookies, mode, cache);
        let by_cookies = by_cookies.await.at(app_ref.provider);
        let (Ok(Caller::Anonymous(_)), Some(native)) = (&by_cookies.caller, &app_ref.app.native)
        else {
            return by_cookies;
        };
        let Some(credentials) = NativeCredentials::read(target.headers) else {
            return by_cookies;
        };
        let app_ref = app_ref.at(native.provider);
        let request = NativeRequest {
            app_ref,
            native,
            credentials,
            target,
            mode,
        };
        // Boxed: browsers do not take this path, and its future is large.
        let by_token = Box::pin(self.native.authenticator.authenticate(request, cache)).await;
        match by_token.caller {
            Ok(Caller::Anonymous(_)) => by_token.at(by_cookies.provider),
            Ok(_) | Err(_) => by_token.at(app_ref.provider),
        }
    }

    /// Records how the logout at the app itself ended. `outcome` is a stable code.
    pub fn record_app_logout(&self, app_ref: AppRef<'_>, outcome: &'static str) {
        if let Some(app) = &self.context.app(app_ref) {
            let observer = &self.context.observer;
            observer.record_event(app, Event::AppLogout, outcome, &EventSession::default());
        }
    }

    /// The key of a user in the limits of all apps of the same provider.
    pub fn client_key(&self, app_ref: AppRef<'_>, user: &Subject) -> Option<ClientKey> {
        let app = &self.context.app(app_ref)?;
        Some(app.client_key(user))
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// Whether the last call to the store of sessions succeeded. `None` before the first call.
    pub fn is_store_up(&self) -> Option<bool> {
        self.context.stores.sessions.is_up()
    }

    /// How much this process holds in memory.
    pub fn holdings(&self) -> Holdings {
        let apps = self.context.apps.iter();
        let revocations = apps.map(|app| app.revocations.snapshot().len()).sum();
        let stores = self.stores().into_iter();
        let store_entries = stores.map(|store| store.held().unwrap_or_default()).sum();
        Holdings {
            store_entries,
            revocations,
            refreshes: self.refresher.in_flight(),
            pending_revocations: self.context.stores.outbox.len(),
            successors: self.state.generations.successors.len(),
            streamed_sessions: self.state.streamed.len(),
            listed_sessions: self.state.session_list.index.len(),
            is_session_list_complete: self.session_list.is_complete(),
        }
    }

    /// How much of the limit of revocations each app uses.
    pub fn revocation_limit_ratios(&self) -> impl Iterator<Item = (&str, f64)> {
        // The set of the provider with the most revocations is that of the app.
        let mut apps: Vec<&Arc<AppAuth>> = self.context.apps.iter().collect();
        apps.sort_by_key(|app| app.revocations.snapshot().len());
        apps.into_iter().map(|app| {
            let count = u32::try_from(app.revocations.snapshot().len()).unwrap_or(u32::MAX);
            let max = u32::try_from(app.revocations.max_entries()).unwrap_or(u32::MAX);
            (
                app.app.name.as_str(),
                f64::from(count) / f64::from(max.max(1)),
            )
        })
    }

    /// Sets the limits of the revocation log.
    pub fn set_log_limits(&self, limits: LogLimits) {
        self.context.stores.sessions.set_log_limits(limits);
    }

    /// Drops expired entries. Called periodically.
    pub fn sweep(&self) {
        let now = self.now();
        for store in self.stores() {
            store.sweep(now);
        }
        for app in &self.context.apps {
            app.revocations.sweep(now);
        }
        self.state.generations.successors.sweep(now);
        self.key_rotation.sweep(now);
        self.post_replay.sweep(now);
        self.session_list.sweep(now);
    }

    fn stores(&self) -> [&dyn Store; 4] {
        let Stores {
            sessions,
            anonymous,
            max_anonymous: _,
            outbox: _,
            proofs,
            login_proofs,
            session_list: _,
        } = &self.context.stores;
        [&**sessions, &**anonymous, &**proofs, &**login_proofs]
    }
}
