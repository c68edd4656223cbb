//! The state that all flows share: the apps, the stores, the clock, the background runtime and the observer.

use std::ops::Deref;
use std::sync::Arc;

use quick_cache::sync::Cache;
use url::Url;

use super::app::AppAuth;
use super::error::{CALL_TIMEOUT, Unavailable};
use super::events::Observer;
use super::random;
use super::session_id::new_session_id;
use crate::oidc::discovery::Metadata;
use crate::oidc::error::ProviderError;
use crate::policy::login_providers::{LoginSite, ProviderIndex};
use crate::policy::route::AppRef;
use crate::runtime::{BackgroundRuntime, TaskError};
use crate::session::posted_response::{PARAMETER, PostedResponse};
use crate::store::{Cursor, Outbox, Store, StoreError};
use crate::types::host_label::HostLabel;
use crate::types::oauth::{AppName, ProviderName, SessionId};
use crate::types::time::{Clock, Timestamp};

/// Limit of concurrent provider calls on behalf of clients without a session.
const MAX_ANONYMOUS_TASKS: usize = 1024;

/// Limit of leases that are prolonged. Others expire.
const MAX_LEASE_TASKS: usize = 4096;

/// Limit of leases whose release is tried again beside the callers. Others expire.
const MAX_LATE_RELEASES: usize = 256;

/// Limit of concurrent provider calls that verify unknown access tokens. Anybody can invent tokens,
/// and must not block logins with them.
const MAX_BEARER_TASKS: usize = 256;

/// Limit of concurrent password logins, so that a flood of them does not block other logins.
/// Providers hash passwords slowly on purpose.
const MAX_PASSWORD_TASKS: usize = 128;

/// Capacity of each cache that is keyed by session.
pub(in crate::auth) const MAX_CACHED_SESSIONS: usize = 50_000;

/// The stores of one process. They may be the same store.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Session state: rotations, successors, revocations.
    pub sessions: Arc<dyn Store>,
    /// Revocations that `sessions` has not taken yet.
    pub outbox: Arc<Outbox>,
    /// Login attempts, counters and preserved POSTs. Anybody can create these entries, so they have
    /// a limit of their own and cannot evict session state.
    pub anonymous: Arc<dyn Store>,
    /// The maximum number of entries in `anonymous`. Preserved POSTs use at most a quarter.
    pub max_anonymous: usize,
    /// Used DPoP proofs of bound tokens. A client sends one with every request.
    pub proofs: Arc<dyn Store>,
    /// Used DPoP proofs of logins. Anybody can make them.
    pub login_proofs: Arc<dyn Store>,
    /// The log of the session list. `None`: no other process reads it.
    pub session_list: Option<Arc<dyn Store>>,
}

/// The dependencies of the flows.
pub(in crate::auth) struct Context {
    /// The configured apps, each at all its providers in turn. Those with a wildcard serve no request
    /// themselves.
    pub(in crate::auth) apps: Vec<Arc<AppAuth>>,
    /// Where the providers of each app begin in `apps`.
    first: Vec<usize>,
    /// The apps at hosts of wildcards, by position in `apps`.
    matched: Cache<(usize, HostLabel), Arc<AppAuth>>,
    /// Tasks on behalf of sessions.
    pub(in crate::auth) runtime: BackgroundRuntime,
    /// Limit for callers without a session: callbacks, logout tokens, metadata at a first login.
    pub(in crate::auth) anonymous_tasks: BackgroundRuntime,
    /// Prolongation of leases.
    pub(in crate::auth) lease_tasks: BackgroundRuntime,
    /// Releases of leases that the store has not taken yet.
    pub(in crate::auth) late_releases: BackgroundRuntime,
    /// Verification of access tokens.
    pub(in crate::auth) bearer_tasks: BackgroundRuntime,
    /// Password logins.
    pub(in crate::auth) password_tasks: BackgroundRuntime,
    pub(in crate::auth) stores: Stores,
    pub(in crate::auth) clock: Arc<dyn Clock>,
    pub(in crate::auth) observer: Arc<dyn Observer>,
}

/// A configured app, or the app at one host of its wildcard.
pub(in crate::auth) enum AppHandle<'c> {
    Configured(&'c Arc<AppAuth>),
    Matched(Arc<AppAuth>),
}

impl Deref for AppHandle<'_> {
    type Target = Arc<AppAuth>;

    fn deref(&self) -> &Arc<AppAuth> {
        match self {
            Self::Configured(app) => app,
            Self::Matched(app) => app,
        }
    }
}

impl Context {
    pub(in crate::auth) fn new(
        apps: Vec<Arc<AppAuth>>,
        runtime: BackgroundRuntime,
        clock: Arc<dyn Clock>,
        stores: Stores,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            matched: hosts_cache(&apps),
            first: first_positions(&apps),
            apps,
            anonymous_tasks: runtime.with_limit(MAX_ANONYMOUS_TASKS),
            lease_tasks: runtime.with_limit(MAX_LEASE_TASKS),
            late_releases: runtime.with_limit(MAX_LATE_RELEASES),
            bearer_tasks: runtime.with_limit(MAX_BEARER_TASKS),
            password_tasks: runtime.with_limit(MAX_PASSWORD_TASKS),
            runtime,
            stores,
            clock,
            observer,
        }
    }

    /// The same with other apps. All limits are shared.
    pub(in crate::auth) fn with_apps(&self, apps: Vec<Arc<AppAuth>>) -> Self {
        Self {
            matched: hosts_cache(&apps),
            first: first_positions(&apps),
            apps,
            runtime: self.runtime.clone(),
            anonymous_tasks: self.anonymous_tasks.clone(),
            lease_tasks: self.lease_tasks.clone(),
            late_releases: self.late_releases.clone(),
            bearer_tasks: self.bearer_tasks.clone(),
            password_tasks: self.password_tasks.clone(),
            stores: self.stores.clone(),
            clock: Arc::clone(&self.clock),
            observer: Arc::clone(&self.observer),
        }
    }

    /// The app of a request at its provider, or at the first for what concerns none. At a host of a
    /// wildcard its seals are bound to that host.
    pub(in crate::auth) fn app(&self, app_ref: AppRef<'_>) -> Option<AppHandle<'_>> {
        self.at_position(self.position(app_ref)?, app_ref.app.hosts.label())
    }

    /// The app of a request at its provider. `None`: the app has several, and the request has no provider.
    pub(in crate::auth) fn app_at_provider(&self, app_ref: AppRef<'_>) -> Option<AppHandle<'_>> {
        app_ref.provider.and_then(|_| self.app(app_ref))
    }

    /// The app of a request with what its providers share, such as preserved forms.
    pub(in crate::auth) fn shared_app(&self, app_ref: AppRef<'_>) -> Option<AppHandle<'_>> {
        let provider = None;
        self.app(AppRef {
            provider,
            ..app_ref
        })
    }

    /// The position of an app at its provider, for caches of one configuration.
    pub(in crate::auth) fn position(&self, app_ref: AppRef<'_>) -> Option<usize> {
        let first = self.first.get(app_ref.index)?;
        Some(first + app_ref.provider.unwrap_or_default().position())
    }

    /// The configured app at this position. It has the revocations of all its hosts, but not their
    /// seals.
    pub(in crate::auth) fn configured_app(&self, position: usize) -> Option<&Arc<AppAuth>> {
        self.apps.get(position)
    }

    fn at_position(&self, position: usize, label: Option<&HostLabel>) -> Option<AppHandle<'_>> {
        let configured = self.apps.get(position)?;
        let Some(label) = label else {
            return Some(AppHandle::Configured(configured));
        };
        let key = (position, label.clone());
        if let Some(app) = self.matched.get(&key) {
            return Some(AppHandle::Matched(app));
        }
        let matched = Arc::new(configured.app.at_label(label)?);
        let app = Arc::new(configured.at_host(matched)?);
        self.matched.insert(key, Arc::clone(&app));
        Some(AppHandle::Matched(app))
    }

    /// The app of `app_ref` at each of its providers.
    pub(in crate::auth) fn at_providers<'c>(
        &'c self,
        app_ref: AppRef<'c>,
    ) -> impl Iterator<Item = AppHandle<'c>> {
        let indices = app_ref.app.providers.indices();
        indices.filter_map(move |index| self.app(app_ref.at(index)))
    }

    /// The same app at its other providers, at the same host.
    pub(in crate::auth) fn at_other_providers<'c>(
        &'c self,
        app: &'c AppAuth,
    ) -> impl Iterator<Item = AppHandle<'c>> {
        let apps = self.apps.iter().enumerate();
        let others =
            apps.filter(|(_, other)| other.app.name == app.app.name && other.index != app.index);
        others.filter_map(|(position, _)| self.at_position(position, app.app.hosts.label()))
    }

    /// An app of another configuration as it is in this one. `None`: it was removed, or its provider.
    pub(in crate::auth) fn counterpart(&self, app: &AppAuth) -> Option<Arc<AppAuth>> {
        let provider = &app.login_provider().name;
        self.app_named(&app.app.name, provider, app.app.hosts.label())
    }

    /// The app with this name at this provider, at one host of its wildcard if it has one.
    pub(in crate::auth) fn app_named(
        &self,
        name: &AppName,
        provider: &ProviderName,
        label: Option<&HostLabel>,
    ) -> Option<Arc<AppAuth>> {
        let mut apps = self.apps.iter();
        let position =
            apps.position(|app| app.app.name == *name && app.login_provider().name == *provider)?;
        let app = self.at_position(position, label)?;
        Some(Arc::clone(&app))
    }

    /// The login host that completes the logins of `app`, if it is not the app's own host.
    pub(in crate::auth) fn login_host_of(&self, app: &AppAuth) -> Option<&Arc<AppAuth>> {
        let LoginSite::Through(origin) = &app.login_provider().site else {
            return None;
        };
        let mut hosts = self.apps.iter().filter(|host| host.app.is_login_host());
        hosts.find(|host| host.app.origin == *origin)
    }

    /// The app whose [`crate::policy::app::App::login_name`] this is, if `host` completes its logins.
    pub(in crate::auth) fn app_of_login_host(
        &self,
        host: &AppAuth,
        login_name: &AppName,
    ) -> Option<Arc<AppAuth>> {
        let (name, label) = match login_name.as_str().split_once('@') {
            None => (login_name.as_str(), None),
            Some((name, label)) => (name, Some(HostLabel::parse(label)?)),
        };
        let mut apps = self.apps.iter();
        let position =
            apps.position(|app| app.app.name.as_str() == name && is_through(app, host))?;
        let app = self.at_position(position, label.as_ref())?;
        let is_served = app.app.hosts.wildcard().is_none();
        is_served.then(|| Arc::clone(&app))
    }

    /// The configured apps whose logins `host` completes.
    pub(in crate::auth) fn apps_of_login_host<'c>(
        &'c self,
        host: &'c AppAuth,
    ) -> impl Iterator<Item = &'c Arc<AppAuth>> {
        self.apps.iter().filter(move |app| is_through(app, host))
    }

    /// Whether other replicas use the store of sessions, too.
    pub(in crate::auth) fn has_shared_store(&self) -> bool {
        self.stores.sessions.held().is_none()
    }

    /// The current time.
    pub(in crate::auth) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The ID of a session that starts now. Sessions and revocations are ordered by the time of the
    /// store, so it is asked before the provider is.
    pub(in crate::auth) async fn new_session_id(&self) -> Result<SessionId, StoreError> {
        let store = &self.stores.sessions;
        let state = store.log_state(&Cursor::default(), self.now()).await?;
        new_session_id(state.time).map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// The failure of a task that calls both the provider and the store. A timeout is the store's
    /// while the store is unavailable.
    pub(in crate::auth) fn failed_task(&self, error: TaskError) -> Unavailable {
        if self.stores.sessions.is_up() == Some(false) {
            Unavailable::of_store_task(error)
        } else {
            error.into()
        }
    }

    /// The metadata of the app's provider, cached or fetched with a timeout.
    pub(in crate::auth) async fn provider_metadata(
        &self,
        app: &Arc<AppAuth>,
    ) -> Result<Arc<Metadata>, Unavailable> {
        if let Some(metadata) = app.provider.known_metadata() {
            return Ok(metadata);
        }
        let provider = Arc::clone(&app.provider);
        let fetched = self
            .anonymous_tasks
            .run(CALL_TIMEOUT, async move { provider.metadata().await })
            .await?;
        fetched.map_err(|error| {
            tracing::debug!(app = %app.app.name, code = error.code(), %error, "provider_discovery_failed");
            Unavailable::of_provider(error.code())
        })
    }

    /// Seals the form of an authorization response into a query for the same endpoint.
    pub(in crate::auth) fn sealed_response(
        &self,
        app_ref: AppRef<'_>,
        form: String,
    ) -> Option<String> {
        let app = self.app(app_ref)?;
        let posted = PostedResponse {
            form,
            received_at: self.now(),
        };
        let seal = &app.seals.posted_response;
        let sealed = seal.seal(&posted, random::bytes().ok()?)?;
        Some(format!("{PARAMETER}{sealed}"))
    }

    /// The URL of an authorization request for the browser: `request`, signed if the client has a key for
    /// it (RFC 9101), or a reference to it at the provider (RFC 9126).
    pub(in crate::auth) async fn authorization_location(
        &self,
        app: &Arc<AppAuth>,
        metadata: &Metadata,
        request: Url,
    ) -> Result<Url, Unavailable> {
        let signed = app
            .provider
            .sign_authorization(&app.client, metadata, request);
        let request = signed.map_err(|error| {
            tracing::warn!(app = %app.app.name, code = error.code(), %error, "authorization_not_signed");
            Unavailable::internal(error.code())
        })?;
        let is_required = metadata.require_pushed_authorization_requests;
        if !app.client.pushed_authorization.applies(is_required) {
            return Ok(request);
        }
        let pushing = Arc::clone(app);
        let pushed = self.anonymous_tasks.run(CALL_TIMEOUT, async move {
            let AppAuth {
                provider, client, ..
            } = &*pushing;
            provider.push_authorization(client, &request).await
        });
        pushed.await?.map_err(|error| {
            tracing::debug!(app = %app.app.name, code = error.code(), %error, "authorization_not_pushed");
            if matches!(error, ProviderError::ClientKey(_)) {
                Unavailable::internal(error.code())
            } else {
                Unavailable::of_provider(error.code())
            }
        })
    }
}

fn first_positions(apps: &[Arc<AppAuth>]) -> Vec<usize> {
    let apps = apps.iter().enumerate();
    let first = apps.filter(|(_, app)| app.index == ProviderIndex::default());
    first.map(|(position, _)| position).collect()
}

fn hosts_cache(apps: &[Arc<AppAuth>]) -> Cache<(usize, HostLabel), Arc<AppAuth>> {
    let wildcards = apps.iter().filter_map(|app| app.app.hosts.wildcard());
    Cache::new(wildcards.map(|wildcard| wildcard.max_hosts).sum())
}

fn is_through(app: &AppAuth, host: &AppAuth) -> bool {
    match &app.login_provider().site {
        LoginSite::Through(origin) => *origin == host.app.origin,
        LoginSite::Own | LoginSite::Host => false,
    }
}
