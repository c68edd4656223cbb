//! `login_url` of a provider: the login host that completes the logins of its apps.

use std::sync::Arc;

use url::Url;

use super::super::raw::RawProvider;
use super::super::report::Location;
use super::super::settings::{AppConfig, LoginHostConfig, StoreBackend, StoreConfig};
use super::public_url;
use super::session::COOKIE_NAME;
use crate::identity::header_edits::HeaderEdits;
use crate::policy::app::{App, AppLogoutPolicy, OptionalEndpoints};
use crate::policy::background_paths::BackgroundPaths;
use crate::policy::cors::CorsPolicy;
use crate::policy::hosts::AppHosts;
use crate::policy::login_parameters::AllowedParameters;
use crate::policy::login_providers::{LoginProvider, LoginProviders, LoginSite};
use crate::policy::rules::{AuthMethods, Rules};
use crate::policy::strict_paths::StrictPaths;
use crate::session::client_continuity::UnboundSessions;
use crate::session::cookie::CookieNames;
use crate::session::validity::Limits;
use crate::types::app_paths::AppPaths;
use crate::types::oauth::{AppName, ProviderName};
use crate::types::public_url::BasePath;
use crate::types::target::PathAmbiguities;

/// Takes the keys of the login host out of `raw`.
pub(super) fn check(
    provider: &str,
    raw: &mut RawProvider,
    at: &Location<'_>,
    limits: Limits,
) -> Option<LoginHostConfig> {
    let endpoint_prefix = raw.login_endpoint_prefix.take();
    let prefix_at = at.key("login_endpoint_prefix");
    if endpoint_prefix.is_some() && raw.login_url.is_none() {
        prefix_at.warning(
            "`login_endpoint_prefix` has no effect without `login_url`",
            "set `login_url`, or remove the key",
        );
    }
    let url = raw.login_url.take()?;
    let prefix = public_url::prefix(endpoint_prefix, &prefix_at);
    let origin = public_url::origin(&url, &at.key("login_url"), false)?;
    let callback = Url::parse(&format!("{origin}{prefix}/callback")).ok()?;
    let paths = AppPaths::new(BasePath::default(), &prefix);
    let policy = App {
        // No app has a name with a dot or a colon.
        name: AppName::new(origin.authority()),
        cookies: CookieNames::new(COOKIE_NAME, &origin, &paths.base),
        origin,
        aliases: Vec::new(),
        hosts: AppHosts::One,
        // Set when the apps are known.
        hsts: false,
        providers: LoginProviders::one(LoginProvider {
            site: LoginSite::Host,
            ..LoginProvider::new(ProviderName::new(provider))
        }),
        login_parameters: AllowedParameters::default(),
        paths,
        rules: Arc::new(Rules::new(Vec::new(), false, AuthMethods::SESSION)),
        routes: Arc::default(),
        background_paths: BackgroundPaths::default(),
        stream_activity: false,
        allowed_ambiguities: PathAmbiguities::NONE,
        headers: Vec::new(),
        limits,
        device_binding: None,
        unbound_sessions: UnboundSessions::as_all(limits),
        strict_paths: StrictPaths::default(),
        optional_endpoints: OptionalEndpoints::default(),
        logout_return_to: Vec::new(),
        app_logout: AppLogoutPolicy::default(),
        max_preserved_post: 0,
        websocket_origins: Vec::new(),
        cors: CorsPolicy::default(),
        native: None,
        bearer: None,
        basic: None,
        assertion: None,
        passed_token: None,
        token_exchange: None,
        request_edits: HeaderEdits::default(),
        response_edits: HeaderEdits::default(),
    };
    Some(LoginHostConfig {
        policy,
        provider: ProviderName::new(provider),
        callback,
    })
}

/// Makes the login hosts of the app's providers complete its logins there.
pub(super) fn join(app: &mut AppConfig, hosts: &mut [LoginHostConfig]) {
    let providers = app.policy.providers.iter_mut();
    for (provider, registration) in providers.zip(&mut app.registrations) {
        let mut hosts = hosts.iter_mut();
        if let Some(host) = hosts.find(|host| host.provider == provider.name) {
            let is_posted = registration.client.response_mode.is_posted();
            host.policy.optional_endpoints.posted_callback |= is_posted;
            host.policy.hsts |= app.policy.hsts && host.policy.origin.is_secure();
            provider.site = LoginSite::Through(host.policy.origin.clone());
            registration.client.redirect_uri = host.callback.clone();
        }
    }
}

/// Says what several replicas need.
pub(super) fn check_store(store: &StoreConfig, hosts: &[LoginHostConfig], root: &Location<'_>) {
    let is_memory = match store.backend {
        StoreBackend::Memory => true,
        StoreBackend::Redis(_) => false,
    };
    for host in hosts.iter().filter(|_| is_memory) {
        let at = root.key("providers").key(host.provider.as_str());
        at.key("login_url").advice(
            "with several replicas, logins through a login host fail without a shared store: the \
             session is handed over in the memory of one replica",
            "for more than one replica, set `store.url` to a Redis",
        );
    }
}
