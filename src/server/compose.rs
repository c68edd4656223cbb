//! From the configuration's values to the parts that serve.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::StartError;
use super::observe::Telemetry;
use crate::admin::{Orders, ReadGauges};
use crate::auth::app::AppAuth;
use crate::auth::bearer::{BearerAuth, TokenCache};
use crate::auth::introspect::Introspection;
use crate::auth::resume::SessionCache;
use crate::auth::{Auth, Stores};
use crate::config::{AppConfig, BearerConfig, Config, StorePlace};
use crate::control::Control;
use crate::oidc::Provider;
use crate::policy::app::App;
use crate::policy::client_address::TrustedProxies;
use crate::policy::identity::HeaderTemplate;
use crate::policy::route::Sites;
use crate::proxy::{Proxy, Recorder, Respond, Room, RoomSettings, Rooms};
use crate::session::seal::{Key, KeyRing};
use crate::store::{FeedLimits, Measured, Memory, Redis, Store, StoreNumbers};
use crate::telemetry::access::AccessBuffer;
use crate::telemetry::metrics::Metrics;
use crate::types::oauth::ProviderName;
use crate::types::time::{Clock, Timestamp};
use crate::upstream::{HeaderPolicy, Tunnels, Upstream, UpstreamPlan};

/// How often what has ended is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How long the first answer waits for the store's word on sessions that were ended before.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How many calls to a shared store may be under way for sessions, for those who have none yet, and for proofs.
const CALLS_FOR_SESSIONS: usize = 1024;
const CALLS_FOR_STRANGERS: usize = 128;
const CALLS_FOR_PROOFS: usize = 1024;

/// Room for more announcements than all revocations take twice: before that, somebody says the same in fewer.
const MORE_ITEMS: usize = 10_000;

/// The codes of decisions that are counted without looking their series up.
const HOT_CODES: [&str; 3] = ["forward", "start_login", "no_session"];

/// The parts that all workers share.
pub(super) struct Composed {
    sites: Arc<Sites>,
    trusted: Arc<TrustedProxies>,
    auth: Arc<Auth>,
    plans: Vec<Arc<UpstreamPlan>>,
    providers: Vec<Arc<Provider>>,
    rooms: Arc<Rooms>,
    respond: Arc<Respond>,
    clock: Arc<dyn Clock>,
    max_cached_sessions: usize,
}

impl Composed {
    pub(super) fn new(
        config: &Config,
        control: &Control,
        metrics: &Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let Guarded {
            providers,
            apps: flows,
        } = guarded(config, &clock)?;
        let apps: Vec<Arc<App>> = flows.iter().map(|flow| Arc::clone(&flow.app)).collect();
        let plans = apps
            .iter()
            .zip(&config.apps)
            .map(|(app, settings)| plan(app, settings));
        let plans = plans.collect::<Result<_, _>>()?;
        let observer = Arc::new(Telemetry::new(Arc::clone(metrics)));
        let stores = stores(config, metrics, clock.now())?;
        Ok(Self {
            sites: Arc::new(Sites::new(apps)),
            trusted: Arc::new(
                TrustedProxies::new(config.server.trusted_proxies.clone())
                    .saying_in(config.server.forwarded_in),
            ),
            auth: Auth::new(flows, control.clone(), Arc::clone(&clock), stores, observer),
            plans,
            providers,
            rooms: Arc::new(rooms(config)),
            respond: Arc::new(Respond::new()?),
            clock,
            max_cached_sessions: config.max_cached_sessions,
        })
    }

    /// Hears which sessions were ended before this replica began, if the store tells it in time, and listens on.
    pub(super) fn listen(&self, control: &Control) {
        let auth = Arc::clone(&self.auth);
        let (heard, caught_up) = mpsc::channel();
        let begun = control.detach(async move {
            let cursor = auth.catch_up().await;
            // Nobody may be waiting any more.
            let _ = heard.send(());
            auth.listen(cursor).await;
        });
        // The runtime has just begun, so there is room.
        debug_assert!(begun.is_ok());
        if caught_up.recv_timeout(CATCH_UP).is_err() {
            tracing::warn!("revocations_not_known_yet");
        }
    }

    /// Keeps what is known of the providers fresh, and what backends are shown, and forgets what has ended.
    pub(super) fn keep_fresh(&self, control: &Control, metrics: &Arc<Metrics>) {
        for provider in &self.providers {
            let begun = control.detach(Arc::clone(provider).keep_fresh());
            // The runtime has just begun, so there is room.
            debug_assert!(begun.is_ok());
        }
        for certificate in self
            .plans
            .iter()
            .filter_map(|plan| plan.client_certificate())
        {
            let begun = control.detach(Arc::clone(certificate).keep_fresh(Arc::clone(metrics)));
            debug_assert!(begun.is_ok());
        }
        let auth = Arc::clone(&self.auth);
        let begun = control.detach(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                auth.sweep();
            }
        });
        debug_assert!(begun.is_ok());
    }

    /// What sets the gauges when somebody asks for the numbers.
    pub(super) fn gauges(&self, metrics: &Arc<Metrics>) -> ReadGauges {
        let (auth, metrics, providers) = (
            Arc::clone(&self.auth),
            Arc::clone(metrics),
            self.providers.clone(),
        );
        let (rooms, sites) = (Arc::clone(&self.rooms), Arc::clone(&self.sites));
        Arc::new(move || {
            let of_apps = sites.apps().iter().zip(&rooms.apps);
            let of_apps =
                of_apps.filter_map(|(app, room)| Some((app.name.as_str(), room.as_ref()?)));
            let rooms: Vec<_> = std::iter::once(("", &rooms.all)).chain(of_apps).collect();
            super::observe::read_gauges(&auth, &providers, &rooms, &metrics);
        })
    }

    /// Who follows an operator's orders.
    pub(super) fn orders(&self) -> Arc<dyn Orders> {
        Arc::new(Obedience(Arc::clone(&self.auth)))
    }

    /// What one worker answers with.
    pub(super) fn proxy(
        &self,
        access: Option<AccessBuffer>,
        metrics: &Arc<Metrics>,
        tunnels: &Arc<Tunnels>,
    ) -> Proxy {
        let upstreams = self
            .plans
            .iter()
            .map(|plan| Upstream::new(Arc::clone(plan), Arc::clone(tunnels), metrics));
        let handles = self.sites.apps().iter().map(|app| {
            let name = app.name.as_str();
            (name.to_owned(), metrics.app(name, &HOT_CODES))
        });
        let takes_tokens = self.sites.apps().iter().any(|app| app.bearer.is_some());
        // Good enough to tell workers apart; the crypto library's randomness takes 30 ms before its first byte.
        let seed = RandomState::new().hash_one(());
        Proxy {
            sites: Arc::clone(&self.sites),
            trusted: Arc::clone(&self.trusted),
            auth: Arc::clone(&self.auth),
            upstreams: upstreams.collect(),
            sessions: SessionCache::new(self.max_cached_sessions),
            tokens: TokenCache::new(if takes_tokens {
                self.max_cached_sessions
            } else {
                0
            }),
            rooms: Arc::clone(&self.rooms),
            respond: Arc::clone(&self.respond),
            recorder: Recorder::new(
                Arc::clone(&self.clock),
                access,
                Arc::clone(metrics),
                handles.collect(),
                seed,
            ),
        }
    }
}

/// What guards the apps, in the order of the configuration.
pub(super) struct Guarded {
    providers: Vec<Arc<Provider>>,
    pub(super) apps: Vec<Arc<AppAuth>>,
}

pub(super) fn guarded(config: &Config, clock: &Arc<dyn Clock>) -> Result<Guarded, StartError> {
    let ring = Arc::new(key_ring(config)?);
    let providers: Vec<_> = config
        .providers
        .iter()
        .map(|settings| Provider::new(settings.clone(), Arc::clone(clock)))
        .collect();
    let apps = config.apps.iter().map(|settings| {
        let app = Arc::new(settings.policy.clone());
        let bearer = settings
            .bearer
            .as_ref()
            .map(|bearer| bearer_auth(&app, bearer, &providers, config))
            .transpose()?;
        let provider = named(&providers, &settings.provider, &app)?;
        let (client, most) = (settings.client.clone(), config.store.max_revoked);
        let flow = AppAuth::new(app, provider, client, settings.auth, &ring, most);
        Ok(Arc::new(match bearer {
            Some(bearer) => flow.taking_tokens(bearer),
            None => flow,
        }))
    });
    Ok(Guarded {
        apps: apps.collect::<Result<_, StartError>>()?,
        providers,
    })
}

fn named(
    providers: &[Arc<Provider>],
    name: &ProviderName,
    app: &App,
) -> Result<Arc<Provider>, StartError> {
    let provider = providers
        .iter()
        .find(|provider| provider.settings().name == *name);
    provider
        .cloned()
        .ok_or_else(|| StartError::NoProvider(app.name.to_string()))
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
        .map(|name| named(providers, name, app))
        .collect::<Result<_, _>>()?;
    let introspection = settings
        .introspection
        .map(|lifetime| Introspection::new(lifetime, config.max_cached_sessions));
    let (audiences, dpop_nonce) = (settings.audiences.clone(), settings.dpop_nonce);
    Ok(BearerAuth {
        providers,
        audiences,
        introspection,
        dpop_nonce,
    })
}

struct Obedience(Arc<Auth>);

impl Orders for Obedience {
    fn obey(&self, message: &str) -> Result<usize, String> {
        self.0.obey(message).map_err(|error| error.to_string())
    }
}

/// Three of one kind, so that nobody who merely begins logins, or sends proofs, takes what sessions need.
fn stores(config: &Config, metrics: &Metrics, now: Timestamp) -> Result<Stores, StartError> {
    let (store, numbers) = (&config.store, StoreNumbers::new(metrics));
    let measured = |store: Arc<dyn Store>| Arc::new(Measured::new(store, Arc::clone(&numbers)));
    let revoked = store.max_revoked.saturating_mul(config.apps.len());
    let limits = FeedLimits {
        longest_life: config
            .apps
            .iter()
            .map(|app| app.policy.limits.absolute)
            .max()
            .unwrap_or_default(),
        max_items: revoked.saturating_mul(2).saturating_add(MORE_ITEMS),
    };
    match &store.place {
        StorePlace::Memory { journal_file } => {
            let memory = || Memory::new(store.max_entries).with_room_for(limits.max_items);
            let sessions = match journal_file {
                Some(file) => memory()
                    .with_journal(file, now)
                    .map_err(|error| StartError::Journal(file.clone(), error))?,
                None => memory(),
            };
            Ok(Stores {
                sessions: measured(Arc::new(sessions)),
                strangers: measured(Arc::new(memory())),
                max_strangers: store.max_entries,
                proofs: measured(Arc::new(memory())),
            })
        }
        StorePlace::Redis(settings) => {
            let sessions = Redis::new(settings, "sessions", CALLS_FOR_SESSIONS, limits)?;
            let strangers = sessions.beside(&settings.key_prefix, "logins", CALLS_FOR_STRANGERS);
            let proofs = sessions.beside(&settings.key_prefix, "proofs", CALLS_FOR_PROOFS);
            Ok(Stores {
                sessions: measured(Arc::new(sessions)),
                strangers: measured(Arc::new(strangers)),
                max_strangers: store.max_entries,
                proofs: measured(Arc::new(proofs)),
            })
        }
    }
}

fn rooms(config: &Config) -> Rooms {
    let all = config.server.requests;
    let of_app = |app: &AppConfig| {
        app.max_requests
            .map(|most| Room::new(RoomSettings { most, ..all }))
    };
    Rooms {
        all: Room::new(all),
        apps: config.apps.iter().map(of_app).collect(),
    }
}

fn key_ring(config: &Config) -> Result<KeyRing, StartError> {
    let mut keys = config
        .keys
        .iter()
        .map(|key| Key::new(key.material()).map_err(|_| StartError::Key));
    let sealing = keys.next().ok_or(StartError::Key)??;
    Ok(KeyRing::new(sealing, keys.collect::<Result<_, _>>()?))
}

fn plan(app: &App, settings: &AppConfig) -> Result<Arc<UpstreamPlan>, StartError> {
    let beginnings = app.cookies.beginnings();
    let of_clients = app.bearer.iter().map(|bearer| &bearer.client_header);
    let names = app
        .headers
        .iter()
        .chain(of_clients)
        .map(HeaderTemplate::name);
    let headers = HeaderPolicy::new(names, &beginnings.each_ref().map(String::as_str));
    let headers = if app.native.is_some() {
        headers.keeping_proofs()
    } else {
        headers
    };
    let headers = if app.bearer.is_some() {
        headers.taking_tokens()
    } else {
        headers
    };
    UpstreamPlan::new(app.name.as_str(), settings.upstream.clone(), headers)
        .map_err(|error| StartError::Upstream(app.name.to_string(), error))
}
