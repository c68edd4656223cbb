//! Tests of the flows against a provider on a loopback port, with a clock under control.

mod authenticate;
mod browser;
mod callback;
mod dpop;
mod hosts;
mod provider;
mod redeem;
mod refresh;
mod replicas;
mod revocation;
mod session_cache;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use url::Url;

use crate::auth::app::{AppAuth, AuthSettings, OnReuse, RevocationMode, Userinfo};
use crate::auth::context::Context;
use crate::auth::login::{Login, StartedLogins};
use crate::auth::refresh::exchange::RefreshExchange;
use crate::auth::refresh::generations::NewestGenerations;
use crate::auth::refresh::revoke::SessionRevoker;
use crate::auth::refresh::rotations::Rotations;
use crate::auth::refresh::single_flight::{RefreshHandle, TokenRefresher};
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session::authenticate::{SessionAuthenticator, SessionServices};
use crate::auth::session::cache::SessionCache;
use crate::auth::session::client_continuity::ClientContinuity;
use crate::auth::session::key_rotation::KeyRotation;
use crate::auth::session::open::SessionOpener;
use crate::auth::session::stream::StreamActivity;
use crate::auth::session::writer::SessionWriter;
use crate::auth::{Event, EventSession, Observer, Stores};
use crate::oidc::{ClientAuth, ClientSettings, Provider, ProviderSettings, SessionTokenSource};
use crate::policy::app::{App, AppLogoutPolicy, OptionalEndpoints};
use crate::policy::background_paths::BackgroundPaths;
use crate::policy::hosts::AppHosts;
use crate::policy::login_providers::{LoginProvider, LoginProviders};
use crate::policy::route::AppRef;
use crate::policy::rules::{AuthMethods, Rules};
use crate::policy::strict_paths::StrictPaths;
use crate::runtime::BackgroundRuntime;
use crate::session::client_continuity::UnboundSessions;
use crate::session::cookie::CookieNames;
use crate::session::grant::{LoginClaims, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::seal::{Key, KeyRing};
use crate::session::validity::Limits;
use crate::store::{Memory, Outbox, Revocations};
use crate::types::app_paths::AppPaths;
use crate::types::net::Origin;
use crate::types::oauth::{
    AppName, ClientId, Generation, Issuer, ProviderName, RefreshToken, SessionId, Subject,
};
use crate::types::public_url::BasePath;
use crate::types::secret::Secret;
use crate::types::target::PathAmbiguities;
use crate::types::time::{ManualClock, Timestamp};

/// The timeouts of the sessions.
const LIMITS: Limits = Limits {
    idle: Duration::from_secs(1800),
    absolute: Duration::from_secs(43_200),
};

const START: Timestamp = Timestamp::from_secs(1_000_000);

struct NoObserver;

impl Observer for NoObserver {
    fn session_started(&self, _: &AppAuth, _: &SessionJwt) {}

    fn record_event(&self, _: &AppAuth, _: Event, _: &'static str, _: &EventSession) {}
    fn revocations_synced(&self, _known: bool) {}
    fn revocation_event_invalid(&self) {}
    fn store_data_lost(&self) {}
    fn rotation_state_missing(&self, _app: &AppAuth) {}
    fn sessions_on_previous_keys(&self, _count: usize) {}
    fn session_not_listed(&self) {}
    fn login_took(&self, _app: &AppAuth, _duration: Duration) {}
    fn observe_cookie_size(&self, _app: &AppAuth, _bytes: usize) {}
}

/// The flows of one app.
struct Setup {
    context: Arc<Context>,
    login: Login,
    sessions: SessionAuthenticator,
    writer: Arc<SessionWriter>,
    refresher: Arc<TokenRefresher>,
    revoker: SessionRevoker,
    app: Arc<AppAuth>,
    cache: SessionCache,
    clock: Arc<ManualClock>,
}

/// How a [`Setup`] differs from the default.
struct Options {
    sessions: Arc<Memory>,
    on_refresh_token_reuse: OnReuse,
    outage_grace: Duration,
    session_jwt: SessionTokenSource,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sessions: Arc::new(Memory::new(10)),
            on_refresh_token_reuse: OnReuse::EndSession,
            outage_grace: Duration::ZERO,
            session_jwt: SessionTokenSource::Access,
        }
    }
}

impl Setup {
    /// One app with a provider at this address.
    fn new(provider: SocketAddr) -> Self {
        Self::with(provider, Options::default())
    }

    /// The same, with a session store that replicas can share.
    fn replica(provider: SocketAddr, sessions: &Arc<Memory>) -> Self {
        let options = Options {
            sessions: Arc::clone(sessions),
            ..Options::default()
        };
        Self::with(provider, options)
    }

    fn with(provider: SocketAddr, options: Options) -> Self {
        crate::oidc::install_crypto();
        let clock = Arc::new(ManualClock::starting_at(START));
        let app = Arc::new(app_auth(provider, &options, &clock));
        let runtime = BackgroundRuntime::on(tokio::runtime::Handle::current());
        let memory = || Arc::new(Memory::new(10));
        let stores = Stores {
            sessions: options.sessions,
            outbox: Arc::new(Outbox::new(10)),
            anonymous: memory(),
            max_anonymous: 10,
            proofs: memory(),
            login_proofs: memory(),
            session_list: None,
        };
        let context = Arc::new(Context::new(
            vec![Arc::clone(&app)],
            runtime,
            clock.clone(),
            stores,
            Arc::new(NoObserver),
        ));
        let shared = || Arc::clone(&context);
        let replicator = RevocationReplicator::new(shared(), Arc::default());
        let revoker = SessionRevoker::new(shared(), replicator.clone());
        let generations = Arc::new(NewestGenerations::default());
        let exchange = RefreshExchange::new(
            shared(),
            revoker.clone(),
            replicator.clone(),
            Arc::clone(&generations),
        );
        let refresher = Arc::new(TokenRefresher::new(shared(), exchange, Arc::default()));
        let opener = Arc::new(SessionOpener::new(shared(), Arc::clone(&generations)));
        let streams = Arc::new(StreamActivity::new(
            shared(),
            Arc::default(),
            Arc::default(),
        ));
        let continuity = ClientContinuity::new(shared(), Arc::default());
        let writer = Arc::new(SessionWriter::new(
            shared(),
            revoker.clone(),
            generations,
            Arc::default(),
            continuity.clone(),
            Arc::clone(&streams),
        ));
        Self {
            login: Login::new(shared(), Arc::clone(&writer), StartedLogins::default()),
            sessions: SessionAuthenticator::new(SessionServices {
                context: shared(),
                replicator,
                refresher: Arc::clone(&refresher),
                opener,
                key_rotation: Arc::new(KeyRotation::new(shared(), Arc::default())),
                grace_failures: Arc::default(),
                continuity,
                streams,
            }),
            writer,
            refresher,
            context,
            revoker,
            app,
            cache: SessionCache::new(10),
            clock,
        }
    }

    fn app_ref(&self) -> AppRef<'_> {
        AppRef {
            index: 0,
            provider: self.app.app.providers.only(),
            app: &self.app.app,
        }
    }

    fn rotations(&self) -> Rotations<'_> {
        Rotations::new(&self.context, &self.app)
    }

    /// Refreshes a session of this generation without an old JWT.
    fn refresh(&self, generation: Generation) -> RefreshHandle {
        self.refresher.refresh(&self.app, used(generation), None)
    }
}

fn app_auth(provider: SocketAddr, options: &Options, clock: &Arc<ManualClock>) -> AppAuth {
    let issuer = Issuer::new(format!("http://{provider}"));
    let provider = ProviderSettings::new(ProviderName::new("login"), issuer).unwrap();
    let provider = Provider::new(provider, clock.clone());
    let origin = Origin::parse("https://store.example.com").unwrap();
    let app = Arc::new(App {
        name: AppName::new("store"),
        cookies: CookieNames::new("doorward", &origin, &BasePath::default()),
        origin,
        aliases: Vec::new(),
        hsts: false,
        hosts: AppHosts::One,
        providers: LoginProviders::one(LoginProvider {
            leeway: Duration::from_secs(30),
            ..LoginProvider::new(ProviderName::new("login"))
        }),
        paths: AppPaths::new(BasePath::default(), "/.doorward"),
        rules: Arc::new(Rules::new(Vec::new(), false, AuthMethods::SESSION)),
        routes: Default::default(),
        background_paths: BackgroundPaths::default(),
        stream_activity: true,
        allowed_ambiguities: PathAmbiguities::NONE,
        headers: Vec::new(),
        request_edits: Default::default(),
        response_edits: Default::default(),
        limits: LIMITS,
        login_parameters: Default::default(),
        native: None,
        bearer: None,
        basic: None,
        assertion: None,
        passed_token: None,
        token_exchange: None,
        device_binding: None,
        unbound_sessions: UnboundSessions::as_all(LIMITS),
        strict_paths: StrictPaths::default(),
        optional_endpoints: OptionalEndpoints::default(),
        logout_return_to: Vec::new(),
        app_logout: AppLogoutPolicy::default(),
        max_preserved_post: 1024,
        websocket_origins: Vec::new(),
        cors: Default::default(),
    });
    let settings = AuthSettings {
        userinfo: Userinfo::Never,
        on_refresh_token_reuse: options.on_refresh_token_reuse,
        outage_grace: options.outage_grace,
        revocation: RevocationMode::FailOpen,
    };
    let callback = Url::parse("https://store.example.com/.doorward/callback").unwrap();
    let client = ClientSettings {
        session_jwt: options.session_jwt,
        ..ClientSettings::new(ClientId::new("store"), ClientAuth::None, callback)
    };
    let key = Key::new(&Secret::new([7; 32])).unwrap();
    let ring = Arc::new(KeyRing::new(key, Vec::new()));
    let revocations = Arc::new(Revocations::new(10, app.limits.absolute));
    AppAuth::new(app, provider, client, settings, &ring, revocations)
}

/// An address where nothing listens.
async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

fn used(generation: Generation) -> RefreshGrant {
    RefreshGrant {
        token: RefreshToken::new("token"),
        sid: SessionId::new("sid"),
        generation,
        subject: Subject::new("alice"),
        started_at: START,
        sealed_at: START,
        active_at: START,
        provider_sid: None,
        login: LoginClaims::default(),
        device: Default::default(),
        dpop_key: None,
        client: None,
    }
}
