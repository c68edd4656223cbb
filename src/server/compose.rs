//! Builds the components from the configuration. A reload builds them again, and continues with each
//! component of the configuration before whose settings are the same.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::StartError;
use super::apps::{AppBuilder, key_ring};
use super::certificates::CertificateReports;
use super::observe::{MetricsObserver, NamedLimiters, refresh_gauges, refresh_maintenance};
use super::providers::{UsedProvider, providers};
use super::stores::{log_limits, stores};
use super::upstreams::{plans, refresh_upstream_gauges};
use crate::auth::Auth;
use crate::auth::app::AppAuth;
use crate::auth::assertion::{AssertionCache, AssertionSigner};
use crate::auth::bearer::authenticate::TokenCache;
use crate::auth::session::cache::SessionCache;
use crate::auth::session_list::{ClientDetail, SessionListSettings};
use crate::config::{AppConfig, Config};
use crate::dns::Resolver;
use crate::limits::{
    ByClient, ByteBudget, ClientLimit, ClientLimitSettings, ConcurrencyLimiter, LimiterSettings,
};
use crate::oidc::Provider;
use crate::policy::app::App;
use crate::policy::client_address::TrustedProxies;
use crate::policy::login_providers::ProviderIndex;
use crate::policy::route::HostRouter;
use crate::policy::rule_lists::RuleLists;
use crate::proxy::log_names::{LogNames, LoggedUser};
use crate::proxy::{
    AppLimiters, ConfiguredTelemetry, Limiters, Maintenance, NamedMaintenance, Proxy, RequestLogs,
    RequestTelemetry, Responder,
};
use crate::runtime::BackgroundRuntime;
use crate::session::seal::KeyRing;
use crate::static_files::StaticFiles;
use crate::telemetry::access::AccessBuffer;
use crate::telemetry::audit::AuditBuffer;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::SpanRecorder;
use crate::types::time::{Clock, Timestamp};
use crate::upstream::{AppPlans, ClientParts, Tunnels, Upstreams, keep_checked};

/// Frequent decisions, whose counters are cached.
const FREQUENT_DECISIONS: [&str; 3] = ["forward", "start_login", "no_session"];

/// The parts that all configurations of a process share.
pub(super) struct Process {
    pub(super) runtime: BackgroundRuntime,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) started_at: Timestamp,
    pub(super) resolver: Resolver,
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) bytes: Arc<ByteBudget>,
    static_files: StaticFiles,
    pub(super) audit: Option<AuditBuffer>,
    pub(super) spans: Option<Arc<SpanRecorder>>,
    observer: Arc<MetricsObserver>,
}

/// One configuration with its components, which all workers share.
pub(super) struct Configured {
    pub(super) config: Config,
    pub(super) auth: Arc<Auth>,
    pub(super) providers: Vec<Arc<UsedProvider>>,
    pub(super) plans: Vec<AppPlans>,
    pub(super) ring: Arc<KeyRing>,
    pub(super) admin_hosts: Arc<[String]>,
    pub(super) certificates: CertificateReports,
    apps: Vec<Arc<AppAuth>>,
    sites: Arc<HostRouter>,
    trusted: Arc<TrustedProxies>,
    trusted_edges: Arc<TrustedProxies>,
    rule_lists: Arc<RuleLists>,
    limiters: Arc<Limiters>,
    pub(super) maintenance: Arc<Maintenance>,
    assertions: Arc<AssertionSigner>,
    log_names: LogNames,
    responder: Arc<Responder>,
}

/// The parts of a [`Process`].
pub(super) struct ProcessParts {
    pub(super) runtime: BackgroundRuntime,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) bytes: Arc<ByteBudget>,
    pub(super) audit: Option<AuditBuffer>,
    pub(super) spans: Option<Arc<SpanRecorder>>,
    pub(super) names: LogNames,
}

impl Process {
    pub(super) fn new(parts: ProcessParts) -> Result<Self, StartError> {
        let ProcessParts {
            runtime,
            metrics,
            clock,
            bytes,
            audit,
            spans,
            names,
        } = parts;
        let observer = MetricsObserver::new(Arc::clone(&metrics), audit.clone(), names);
        let resolver = Resolver::on(runtime.handle().clone(), Arc::clone(&clock), &metrics);
        Ok(Self {
            resolver,
            tunnels: Tunnels::new(&metrics),
            started_at: clock.now(),
            bytes,
            static_files: StaticFiles::default(),
            observer: Arc::new(observer),
            audit,
            spans,
            runtime,
            metrics,
            clock,
        })
    }
}

impl Configured {
    /// The components of the configuration with which a process starts.
    pub(super) fn at_start(config: Config, process: &Process) -> Result<Self, StartError> {
        let configured = Self::new(config, process, None)?;
        configured.configure_session_list(false);
        configured.maintenance.check_files();
        Ok(configured)
    }

    /// The components of the configuration that replaces this one.
    pub(super) fn successor(&self, config: Config, process: &Process) -> Result<Self, StartError> {
        Self::new(config, process, Some(self))
    }

    fn new(config: Config, process: &Process, previous: Option<&Self>) -> Result<Self, StartError> {
        let ring = key_ring(&config)?;
        let providers = providers(
            &config,
            &process.clock,
            &process.resolver,
            previous.map(|previous| previous.providers.as_slice()),
        );
        let shared_providers: Vec<Arc<Provider>> = providers
            .iter()
            .map(|used| Arc::clone(&used.provider))
            .collect();
        for provider in &shared_providers {
            provider.record_calls(&process.metrics);
        }
        let builder = AppBuilder {
            config: &config,
            providers: &shared_providers,
            ring: &ring,
            previous: previous.map_or(&[], |previous| &previous.apps),
            now: process.clock.now(),
        };
        let apps = builder.apps()?;
        let auth = match previous {
            Some(previous) => previous.auth.with_apps(apps.clone()),
            None => Auth::new(
                apps.clone(),
                process.runtime.clone(),
                Arc::clone(&process.clock),
                stores(&config, &process.metrics, process.clock.now())?,
                Arc::clone(&process.observer) as _,
            ),
        };
        let first = apps
            .iter()
            .filter(|auth| auth.index == ProviderIndex::default());
        let policies: Vec<Arc<App>> = first.map(|auth| Arc::clone(&auth.app)).collect();
        let plans = policies.iter().zip(&config.apps).map(|(app, settings)| {
            let previous = previous.map_or(&[][..], |previous| &previous.plans);
            plans(app, settings, config.server.workers, previous)
        });
        let trusted = trusted_proxies(&config);
        let edges = trusted.clone().reading_host(false).reading_scheme(false);
        let lists = config.rule_lists.iter();
        Ok(Self {
            plans: plans.collect::<Result<_, _>>()?,
            sites: Arc::new(HostRouter::new(policies)),
            trusted: Arc::new(trusted),
            trusted_edges: Arc::new(edges),
            rule_lists: Arc::new(RuleLists::new(
                lists.map(|list| Arc::clone(&list.content)).collect(),
            )),
            limiters: Arc::new(limiters(
                &config,
                process,
                previous.map(|previous| &*previous.limiters),
                previous.map_or(&[], |previous| previous.config.apps.as_slice()),
            )),
            maintenance: Arc::new(maintenance(
                &config,
                previous.map(|previous| &*previous.maintenance),
            )),
            assertions: Arc::new(AssertionSigner::new(config.assertion_keys.clone())),
            log_names: log_names(&config)?,
            responder: Arc::new(Responder::new(config.pages.clone())),
            admin_hosts: Arc::from(config.server.admin_hosts.as_slice()),
            certificates: CertificateReports::new(&config, &process.metrics, &process.clock),
            providers,
            apps,
            auth,
            ring,
            config,
        })
    }

    /// Applies what concerns components that this configuration shares with `previous`.
    pub(super) fn take_over_from(&self, previous: &Self, process: &Process) {
        let lists = [&self.config, &previous.config].map(listed_details);
        let [list, previous_list] = lists;
        self.configure_session_list(list != previous_list);
        self.maintenance.check_files();
        process.observer.set_names(self.log_names.clone());
        self.auth.set_log_limits(log_limits(&self.config));
        for app in &self.apps {
            let absolute = app.app.limits.absolute;
            app.revocations.set_absolute_timeout(absolute);
        }
        for app in &previous.apps {
            let mut apps = self.apps.iter();
            if !apps.any(|other| Arc::ptr_eq(&other.revocations, &app.revocations)) {
                app.revocations.mark_removed();
            }
        }
    }

    /// Sets what is listed of sessions. `renames`: names that are in the list are forgotten.
    fn configure_session_list(&self, renames: bool) {
        let ListedDetails { user, client } = listed_details(&self.config);
        let settings = SessionListSettings {
            max_sessions: self.config.session_list.max_sessions,
            client,
            names: Some(Arc::new(self.log_names.naming(user.clone()))),
        };
        self.auth.session_list.configure(settings, renames);
    }

    /// Starts to keep the documents of new providers and the addresses of new upstreams up to date, and
    /// reports on certificates.
    pub(super) fn start_tasks(&self, process: &Process) {
        for provider in &self.providers {
            provider.keep_fresh(&process.runtime);
        }
        let runtime = process.runtime.handle();
        let parts = ClientParts {
            resolver: process.resolver.clone(),
            tunnels: Arc::clone(&process.tunnels),
            metrics: Arc::clone(&process.metrics),
        };
        for (app, plans) in self.config.apps.iter().zip(&self.plans) {
            for plan in plans.all() {
                plan.keep_resolved(runtime, &process.resolver);
                keep_checked(plan, &app.policy.origin, runtime, &parts);
            }
        }
        self.certificates.report_due();
    }

    /// Sets the gauges to their current values.
    pub(super) fn refresh_gauges(&self, metrics: &Metrics) {
        let apps = self.sites.apps().iter().zip(&self.limiters.apps);
        let limiters = NamedLimiters {
            server: &self.limiters.server,
            body_reads: &self.limiters.body_reads,
            bytes: &self.limiters.bytes,
            apps: apps
                .map(|(app, limiters)| (app.name.as_str(), limiters))
                .collect(),
        };
        let providers = self.providers.iter().map(|used| &*used.provider);
        refresh_gauges(&self.auth, providers, &limiters, metrics);
        refresh_maintenance(&self.maintenance.state(), &self.config.apps, metrics);
        refresh_upstream_gauges(&self.plans, metrics);
    }

    /// The request handler of one worker.
    pub(super) fn proxy(&self, access: Option<AccessBuffer>, process: &Process) -> Proxy {
        // Only separates the request IDs of workers. The crypto library's generator would take 30 ms
        // for its first byte.
        let seed = RandomState::new().hash_one(());
        let logs = RequestLogs {
            clock: Arc::clone(&process.clock),
            access,
            audit: process.audit.clone(),
            spans: process.spans.clone(),
        };
        let telemetry = RequestTelemetry::new(
            logs,
            Arc::clone(&process.metrics),
            self.telemetry(&process.metrics),
            seed,
        );
        let Process {
            resolver,
            tunnels,
            metrics,
            ..
        } = process;
        let upstreams = Upstreams::new(&self.plans, resolver, tunnels, metrics);
        self.proxy_with(telemetry, upstreams, process)
    }

    /// The request handler that replaces `before` in its worker.
    pub(super) fn proxy_after(&self, before: &Proxy, process: &Process) -> Proxy {
        let telemetry = self.telemetry(&process.metrics);
        let upstreams = before.upstreams.with_plans(&self.plans);
        self.proxy_with(before.telemetry.reconfigured(telemetry), upstreams, process)
    }

    fn proxy_with(
        &self,
        telemetry: RequestTelemetry,
        upstreams: Upstreams,
        process: &Process,
    ) -> Proxy {
        let cache_size = self.config.session_cache_size;
        Proxy {
            router: Arc::clone(&self.sites),
            trusted: Arc::clone(&self.trusted),
            trusted_edges: Arc::clone(&self.trusted_edges),
            auth: Arc::clone(&self.auth),
            rule_lists: Arc::clone(&self.rule_lists),
            upstreams,
            sessions: SessionCache::new(cache_size),
            tokens: TokenCache::new(self.cache_size_if(|app| app.bearer.is_some())),
            limiters: Arc::clone(&self.limiters),
            static_files: process.static_files.clone(),
            maintenance: Arc::clone(&self.maintenance),
            assertions: Arc::clone(&self.assertions),
            assertion_cache: AssertionCache::new(self.cache_size_if(|app| app.assertion.is_some())),
            responder: Arc::clone(&self.responder),
            telemetry,
        }
    }

    /// The size of a cache that only some apps use: 0 if none of this configuration does.
    fn cache_size_if(&self, uses: fn(&App) -> bool) -> usize {
        let is_used = self.sites.apps().iter().any(|app| uses(app));
        if is_used {
            self.config.session_cache_size
        } else {
            0
        }
    }

    fn telemetry(&self, metrics: &Metrics) -> ConfiguredTelemetry {
        let apps = self.sites.apps().iter().map(|app| {
            let name = app.name.as_str();
            let providers = app.providers.iter();
            metrics.begin_app(name, providers.map(|provider| provider.name.as_str()));
            (name.to_owned(), metrics.app(name, &FREQUENT_DECISIONS))
        });
        ConfiguredTelemetry {
            apps: apps.collect(),
            names: self.log_names.clone(),
            user_agent: self.config.log.user_agent,
            traces: self.config.tracing.requests,
        }
    }
}

/// The settings of the session list for users and clients.
#[derive(PartialEq)]
struct ListedDetails<'c> {
    user: &'c LoggedUser,
    client: ClientDetail,
}

fn listed_details(config: &Config) -> ListedDetails<'_> {
    let list = &config.session_list;
    ListedDetails {
        user: list.user.as_ref().unwrap_or(&config.log.user),
        client: list.client,
    }
}

/// The names of users in the logs.
pub(super) fn log_names(config: &Config) -> Result<LogNames, StartError> {
    let key = config.keys.first().ok_or(StartError::Key)?;
    Ok(LogNames::new(key.material(), config.log.user.clone()))
}

/// The peers whose forwarding headers are trusted.
pub(super) fn trusted_proxies(config: &Config) -> TrustedProxies {
    TrustedProxies::new(config.server.trusted_proxies.clone())
        .with_unix_peers(config.server.trusts_unix_peers)
        .reading(config.server.forwarded_header)
        .reading_host(config.server.forwarded_host)
        .reading_scheme(config.server.forwarded_proto)
}

/// The apps of a configuration, for commands that do not serve.
pub(super) fn apps_of(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Arc<AppAuth>>, StartError> {
    let providers = providers(config, clock, &Resolver::default(), None);
    let providers: Vec<_> = providers
        .iter()
        .map(|used| Arc::clone(&used.provider))
        .collect();
    let builder = AppBuilder {
        config,
        providers: &providers,
        ring: &key_ring(config)?,
        previous: &[],
        now: clock.now(),
    };
    builder.apps()
}

/// The limiters of a configuration. `previous` and `previous_apps` are those before.
fn limiters(
    config: &Config,
    process: &Process,
    previous: Option<&Limiters>,
    previous_apps: &[AppConfig],
) -> Limiters {
    let kept = |settings: LimiterSettings, before: Option<&Arc<ConcurrencyLimiter>>| match before {
        Some(before) if before.settings() == settings => Arc::clone(before),
        Some(_) | None => Arc::new(ConcurrencyLimiter::new(settings)),
    };
    let limited = |max_in_flight: Option<usize>, before: Option<&Arc<ConcurrencyLimiter>>| {
        let settings = LimiterSettings {
            max_in_flight: max_in_flight?,
            ..config.server.requests
        };
        Some(kept(settings, before))
    };
    let of_app = |app: &AppConfig| {
        let mut names = previous_apps.iter().enumerate();
        let before = names.find(|(_, before)| before.policy.name == app.policy.name);
        let before = before.and_then(|(index, before)| Some((before, previous?.apps.get(index)?)));
        let routes = app.policy.routes.all().iter().zip(&app.routes);
        let routes = routes.map(|(route, config)| {
            let before = before.and_then(|(before, limiters)| {
                let index = before.policy.routes.position(&route.path)?;
                limiters.routes.get(index)?.as_ref()
            });
            limited(config.max_in_flight_requests, before)
        });
        AppLimiters {
            app: limited(
                app.max_in_flight_requests,
                before.and_then(|(_, limiters)| limiters.app.as_ref()),
            ),
            routes: routes.collect(),
            clients: client_limits(
                app.client_limits,
                before.map(|(_, limiters)| &limiters.clients),
            ),
        }
    };
    let body_reads = previous.map(|previous| Arc::clone(&previous.body_reads));
    Limiters {
        server: kept(
            config.server.requests,
            previous.map(|previous| &previous.server),
        ),
        apps: config.apps.iter().map(of_app).collect(),
        body_reads: body_reads.unwrap_or_else(Limiters::body_reads),
        bytes: Arc::clone(&process.bytes),
        min_upload_rate: config.server.min_upload_rate,
    }
}

/// The limits of each client of an app. `before` are those of the previous configuration.
fn client_limits(
    settings: ByClient<ClientLimitSettings>,
    before: Option<&ByClient<Arc<ClientLimit>>>,
) -> ByClient<Arc<ClientLimit>> {
    let kept = |settings: ClientLimitSettings, before: Option<&Arc<ClientLimit>>| match before {
        Some(before) if before.settings() == settings => Arc::clone(before),
        Some(_) | None => Arc::new(ClientLimit::new(settings)),
    };
    let by_address = before.and_then(|before| before.address.as_ref());
    let by_session = before.and_then(|before| before.session.as_ref());
    ByClient {
        address: settings.address.map(|settings| kept(settings, by_address)),
        session: settings.session.map(|settings| kept(settings, by_session)),
    }
}

/// The maintenance of the apps of a configuration. `previous` is that before.
fn maintenance(config: &Config, previous: Option<&Maintenance>) -> Maintenance {
    let apps = config.apps.iter().map(|app| NamedMaintenance {
        name: app.policy.name.as_str(),
        settings: &app.maintenance,
    });
    Maintenance::new(config.maintenance_file.as_deref(), apps, previous)
}
