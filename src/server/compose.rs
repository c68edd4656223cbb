//! Builds the components from the configuration.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::StartError;
use super::login_host::login_host;
use super::observe::{MetricsObserver, NamedLimiters, refresh_gauges};
use super::readiness::Sources;
use super::rule_lists::WatchedLists;
use super::upstreams::plan;
use crate::admin::readiness::DependencyProbe;
use crate::admin::{Applied, Applying, CommandHandler, GaugeRefresher};
use crate::auth::app::{AppAuth, BearerAuth, IntrospectionSettings};
use crate::auth::bearer::authenticate::TokenCache;
use crate::auth::revocation::publication::Reach;
use crate::auth::revocation::replication::{MAX_BLOCK, RevocationReplicator};
use crate::auth::session::open::SessionCache;
use crate::auth::{Auth, Stores};
use crate::config::{AppConfig, BearerConfig, Config, StoreBackend};
use crate::dns::Resolver;
use crate::limits::{ByteBudget, LimiterSettings};
use crate::oidc::Provider;
use crate::policy::app::App;
use crate::policy::client_address::TrustedProxies;
use crate::policy::route::HostRouter;
use crate::proxy::{Limiters, Proxy, RequestTelemetry, Responder};
use crate::runtime::BackgroundRuntime;
use crate::session::seal::{Key, KeyRing};
use crate::store::{InstrumentedStore, LogLimits, Memory, Outbox, Redis, Store, StoreMetrics};
use crate::telemetry::access::AccessBuffer;
use crate::telemetry::certificates::CertificateReporter;
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::Metrics;
use crate::types::oauth::ProviderName;
use crate::types::time::{Clock, Timestamp};
use crate::upstream::{Tunnels, UpstreamPlan, Upstreams};

/// How often expired entries are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How long the start waits for the revocations that were published before. After that, requests
/// with a session are answered with 503 until they are known.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Limits of concurrent calls to a shared store: for sessions, login attempts and DPoP proofs.
const MAX_SESSION_CALLS: usize = 1024;
const MAX_LOGIN_CALLS: usize = 128;
const MAX_PROOF_CALLS: usize = 1024;

/// How many log entries a store holds beyond twice the revocations. A replica compacts the log
/// before that.
const EXTRA_LOG_ENTRIES: usize = 10_000;

/// The most revocations that wait for a shared store.
const MAX_PENDING_REVOCATIONS: usize = 10_000;

/// Frequent decisions, whose counters are cached.
const FREQUENT_DECISIONS: [&str; 3] = ["forward", "start_login", "no_session"];

/// The components that all workers share.
pub(super) struct Components {
    sites: Arc<HostRouter>,
    trusted: Arc<TrustedProxies>,
    trusted_edges: Arc<TrustedProxies>,
    auth: Arc<Auth>,
    rule_lists: Arc<WatchedLists>,
    plans: Vec<Arc<UpstreamPlan>>,
    providers: Vec<Arc<Provider>>,
    limiters: Arc<Limiters>,
    responder: Arc<Responder>,
    pub(super) clock: Arc<dyn Clock>,
    resolver: Resolver,
    session_cache_size: usize,
}

impl Components {
    pub(super) fn new(
        config: &Config,
        runtime: &BackgroundRuntime,
        metrics: &Arc<Metrics>,
        bytes: Arc<ByteBudget>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let resolver = Resolver::on(runtime.handle().clone(), Arc::clone(&clock), metrics);
        let AppComponents {
            providers,
            apps: auth_apps,
        } = build_apps(config, &clock, &resolver)?;
        let apps: Vec<Arc<App>> = auth_apps.iter().map(|auth| Arc::clone(&auth.app)).collect();
        let workers = config.server.workers;
        let plans = apps
            .iter()
            .zip(&config.apps)
            .map(|(app, settings)| plan(app, settings, workers));
        let plans = plans.collect::<Result<_, _>>()?;
        let observer = Arc::new(MetricsObserver::new(Arc::clone(metrics)));
        let stores = stores(config, metrics, clock.now())?;
        let edges = TrustedProxies::new(config.server.trusted_proxies.clone())
            .with_unix_peers(config.server.trusts_unix_peers)
            .reading(config.server.forwarded_header);
        Ok(Self {
            sites: Arc::new(HostRouter::new(apps)),
            trusted: Arc::new(
                edges
                    .clone()
                    .reading_host(config.server.forwarded_host)
                    .reading_scheme(config.server.forwarded_proto),
            ),
            trusted_edges: Arc::new(edges),
            auth: Auth::new(
                auth_apps,
                runtime.clone(),
                Arc::clone(&clock),
                stores,
                observer,
            ),
            rule_lists: WatchedLists::new(config.rule_lists.clone(), Arc::clone(metrics)),
            plans,
            providers,
            limiters: Arc::new(limiters(config, bytes)),
            responder: Arc::new(Responder::new()?),
            clock,
            resolver,
            session_cache_size: config.session_cache_size,
        })
    }

    /// Starts the replication of revocations, and waits a limited time for those published before.
    /// `ready` is met when they are known, or when the store does not answer.
    pub(super) fn start_replication(&self, runtime: &BackgroundRuntime, ready: Condition) {
        let revocations = self.revocations();
        revocations.begin_catch_up(ready);
        let replicator = revocations.clone();
        runtime.supervise("revocation_replication", move || {
            replicator.clone().listen()
        });
        let restorer = self.auth.successor_restorer.clone();
        runtime.supervise("successor_restoration", move || restorer.clone().run());
        let (sender, caught_up) = mpsc::channel();
        let replicator = revocations.clone();
        runtime.supervise("revocation_catch_up", move || {
            let (replicator, sender) = (replicator.clone(), sender.clone());
            async move {
                replicator.caught_up().await;
                // The receiver stops waiting after a while.
                let _ = sender.send(());
            }
        });
        // Not ready yet: `/readyz` says so.
        let _ = caught_up.recv_timeout(CATCH_UP_TIMEOUT);
    }

    /// The replication of revocations.
    pub(super) fn revocations(&self) -> RevocationReplicator {
        self.auth.revocations.clone()
    }

    /// Starts the refresh of provider metadata, the reload of client certificates and rule lists, and
    /// the removal of expired entries.
    pub(super) fn start_background_tasks(
        &self,
        runtime: &BackgroundRuntime,
        metrics: &Arc<Metrics>,
    ) {
        for provider in &self.providers {
            let provider = Arc::clone(provider);
            runtime.supervise("provider_refresh", move || {
                Arc::clone(&provider).keep_fresh()
            });
        }
        for certificate in self
            .plans
            .iter()
            .filter_map(|plan| plan.client_certificate())
        {
            let certificate = Arc::clone(certificate);
            let reporter = CertificateReporter::new(Arc::clone(metrics), Arc::clone(&self.clock));
            let reporter = Arc::new(reporter);
            runtime.supervise("client_certificate_reload", move || {
                Arc::clone(&certificate).keep_fresh(Arc::clone(&reporter))
            });
        }
        let rule_lists = Arc::clone(&self.rule_lists);
        runtime.supervise("rule_list_reload", move || {
            Arc::clone(&rule_lists).keep_fresh()
        });
        let auth = Arc::clone(&self.auth);
        runtime.supervise("sweep", move || {
            let auth = Arc::clone(&auth);
            async move {
                loop {
                    tokio::time::sleep(SWEEP_INTERVAL).await;
                    auth.sweep();
                }
            }
        });
    }

    /// Refreshes the gauges at each scrape.
    pub(super) fn gauge_refresher(&self, metrics: &Arc<Metrics>) -> GaugeRefresher {
        let auth = Arc::clone(&self.auth);
        let metrics = Arc::clone(metrics);
        let providers = self.providers.clone();
        let limiters = Arc::clone(&self.limiters);
        let sites = Arc::clone(&self.sites);
        Arc::new(move || {
            let apps = sites.apps().iter().zip(&limiters.apps);
            let limiters = NamedLimiters {
                server: &limiters.server,
                body_reads: &limiters.body_reads,
                bytes: &limiters.bytes,
                apps: apps
                    .filter_map(|(app, limiter)| Some((app.name.as_str(), limiter.as_ref()?)))
                    .collect(),
            };
            refresh_gauges(&auth, &providers, &limiters, &metrics);
        })
    }

    /// Reads the state of the dependencies for `/readyz`.
    pub(super) fn dependency_probe(&self, config: &Config) -> DependencyProbe {
        let sources = Sources::new(
            config,
            Arc::clone(&self.auth),
            Arc::clone(&self.clock),
            &self.providers,
            &self.plans,
        );
        Arc::new(move || sources.read())
    }

    /// Handles revocation commands.
    pub(super) fn command_handler(&self) -> Arc<dyn CommandHandler> {
        Arc::new(RevocationHandler(Arc::clone(&self.auth)))
    }

    /// The request handler of one worker.
    pub(super) fn proxy(
        &self,
        access: Option<AccessBuffer>,
        metrics: &Arc<Metrics>,
        tunnels: &Arc<Tunnels>,
    ) -> Proxy {
        let app_metrics = self.sites.apps().iter().map(|app| {
            let name = app.name.as_str();
            (name.to_owned(), metrics.app(name, &FREQUENT_DECISIONS))
        });
        let has_bearer = self.sites.apps().iter().any(|app| app.bearer.is_some());
        // Only separates the request IDs of workers. The crypto library's generator would take 30 ms
        // for its first byte.
        let seed = RandomState::new().hash_one(());
        Proxy {
            router: Arc::clone(&self.sites),
            trusted: Arc::clone(&self.trusted),
            trusted_edges: Arc::clone(&self.trusted_edges),
            auth: Arc::clone(&self.auth),
            rule_lists: self.rule_lists.current(),
            upstreams: Upstreams::new(&self.plans, &self.resolver, tunnels, metrics),
            sessions: SessionCache::new(self.session_cache_size),
            tokens: TokenCache::new(if has_bearer {
                self.session_cache_size
            } else {
                0
            }),
            limiters: Arc::clone(&self.limiters),
            responder: Arc::clone(&self.responder),
            telemetry: RequestTelemetry::new(
                Arc::clone(&self.clock),
                access,
                Arc::clone(metrics),
                app_metrics.collect(),
                seed,
            ),
        }
    }
}

/// The providers, and the apps in the order of the configuration, then the login hosts.
pub(super) struct AppComponents {
    providers: Vec<Arc<Provider>>,
    pub(super) apps: Vec<Arc<AppAuth>>,
}

pub(super) fn build_apps(
    config: &Config,
    clock: &Arc<dyn Clock>,
    resolver: &Resolver,
) -> Result<AppComponents, StartError> {
    let ring = Arc::new(key_ring(config)?);
    let providers: Vec<_> = config
        .providers
        .iter()
        .map(|settings| {
            Provider::with_resolver(settings.clone(), Arc::clone(clock), resolver.clone())
        })
        .collect();
    let apps = config.apps.iter().map(|settings| {
        let app = Arc::new(settings.policy.clone());
        let bearer = settings
            .bearer
            .as_ref()
            .map(|bearer| bearer_auth(&app, bearer, &providers, config))
            .transpose()?;
        let provider = find_provider(&providers, &settings.provider, &app)?;
        let client = settings.client.clone();
        let max_revoked = config.store.max_revoked;
        let auth = AppAuth::new(app, provider, client, settings.auth, &ring, max_revoked);
        Ok(Arc::new(match bearer {
            Some(bearer) => auth.with_bearer(bearer),
            None => auth,
        }))
    });
    let mut apps = apps.collect::<Result<Vec<_>, StartError>>()?;
    for host in &config.login_hosts {
        let provider = find_provider(&providers, &host.provider, &host.policy)?;
        let max_revoked = config.store.max_revoked;
        apps.push(Arc::new(login_host(host, provider, &ring, max_revoked)));
    }
    Ok(AppComponents { apps, providers })
}

fn find_provider(
    providers: &[Arc<Provider>],
    name: &ProviderName,
    app: &App,
) -> Result<Arc<Provider>, StartError> {
    let provider = providers
        .iter()
        .find(|provider| provider.settings().name == *name);
    provider
        .cloned()
        .ok_or_else(|| StartError::UnknownProvider(app.name.to_string()))
}

fn bearer_auth(
    app: &App,
    settings: &BearerConfig,
    providers: &[Arc<Provider>],
    config: &Config,
) -> Result<BearerAuth, StartError> {
    let providers = settings
        .providers
        .iter()
        .map(|name| find_provider(providers, name, app))
        .collect::<Result<_, _>>()?;
    let introspection = settings
        .introspection
        .map(|lifetime| IntrospectionSettings {
            lifetime,
            max_tokens: config.session_cache_size,
        });
    Ok(BearerAuth {
        providers,
        audiences: settings.audiences.clone(),
        access_token_claim: settings.access_token_claim.clone(),
        introspection,
        dpop_nonce: settings.dpop_nonce,
    })
}

struct RevocationHandler(Arc<Auth>);

impl CommandHandler for RevocationHandler {
    fn apply<'a>(&'a self, message: &'a str) -> Applying<'a> {
        Box::pin(async move {
            let applied = self.0.revocation_commands.apply(message).await;
            let applied = applied.map_err(|error| error.to_string())?;
            Ok(Applied {
                count: applied.count,
                is_published: applied.reach == Reach::Published,
            })
        })
    }
}

/// Separate stores, so that login attempts and DPoP proofs cannot displace the entries that sessions
/// need.
fn stores(config: &Config, metrics: &Metrics, now: Timestamp) -> Result<Stores, StartError> {
    let store = &config.store;
    let store_metrics = StoreMetrics::new(metrics);
    let instrumented =
        |store: Arc<dyn Store>| Arc::new(InstrumentedStore::new(store, Arc::clone(&store_metrics)));
    let revoked = store.max_revoked.saturating_mul(config.apps.len());
    let limits = LogLimits {
        max_lifetime: config
            .apps
            .iter()
            .map(|app| app.policy.limits.absolute)
            .max()
            .unwrap_or_default()
            .saturating_add(MAX_BLOCK),
        max_entries: revoked.saturating_mul(2).saturating_add(EXTRA_LOG_ENTRIES),
    };
    match &store.backend {
        StoreBackend::Memory => {
            let memory = || Memory::new(store.max_entries).with_log_limit(limits.max_entries);
            let sessions = match &store.journal_file {
                Some(file) => memory()
                    .with_journal(file, now)
                    .map_err(|error| StartError::Journal(file.clone(), error))?,
                None => memory(),
            };
            Ok(Stores {
                sessions: instrumented(Arc::new(sessions)),
                outbox: Arc::new(Outbox::new(MAX_PENDING_REVOCATIONS)),
                anonymous: instrumented(Arc::new(memory())),
                max_anonymous: store.max_entries,
                proofs: instrumented(Arc::new(memory())),
                login_proofs: instrumented(Arc::new(memory())),
            })
        }
        StoreBackend::Redis(settings) => {
            let outbox = Outbox::new(MAX_PENDING_REVOCATIONS);
            let outbox = match &store.journal_file {
                Some(file) => outbox
                    .with_journal(file, now)
                    .map_err(|error| StartError::Journal(file.clone(), error))?,
                None => outbox,
            };
            let sessions = Redis::new(settings, "sessions", MAX_SESSION_CALLS, limits)?;
            let anonymous =
                sessions.with_namespace(&settings.key_prefix, "logins", MAX_LOGIN_CALLS);
            let proofs = sessions.with_namespace(&settings.key_prefix, "proofs", MAX_PROOF_CALLS);
            let login_proofs =
                sessions.with_namespace(&settings.key_prefix, "login-proofs", MAX_LOGIN_CALLS);
            Ok(Stores {
                sessions: instrumented(Arc::new(sessions)),
                outbox: Arc::new(outbox),
                anonymous: instrumented(Arc::new(anonymous)),
                max_anonymous: store.max_entries,
                proofs: instrumented(Arc::new(proofs)),
                login_proofs: instrumented(Arc::new(login_proofs)),
            })
        }
    }
}

fn limiters(config: &Config, bytes: Arc<ByteBudget>) -> Limiters {
    let server = config.server.requests;
    let of_app = |app: &AppConfig| {
        app.max_in_flight_requests
            .map(|max_in_flight| LimiterSettings {
                max_in_flight,
                ..server
            })
    };
    let apps = config.apps.iter().map(of_app);
    Limiters::new(server, apps, bytes, config.server.min_upload_rate)
}

fn key_ring(config: &Config) -> Result<KeyRing, StartError> {
    let mut keys = config
        .keys
        .iter()
        .map(|key| Key::new(key.material()).map_err(|_| StartError::Key));
    let sealing = keys.next().ok_or(StartError::Key)??;
    Ok(KeyRing::new(sealing, keys.collect::<Result<_, _>>()?))
}
