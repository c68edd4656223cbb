//! `[apps.NAME]`: public URL, upstream, sessions and access policy of an app.

use std::sync::Arc;
use std::time::Duration;

use super::super::files::Folder;
use super::super::keywords::AuthorizationHeader;
use super::super::raw::RawApp;
use super::super::report::{Location, quoted};
use super::super::settings::{AppConfig, ClientHeaders};
use super::credentials::{CredentialContext, RawCredentials};
use super::native::PasswordLogins;
use super::registrations::{Logins, Site};
use super::routes::RouteContext;
use super::rule_lists::RuleListFiles;
use super::rules::RuleContext;
use super::session::{cookie_name, default_cookie_name, limits};
use super::{
    app_logout, assertion, authentication, basic, bearer, check_name, client_limits, credentials,
    device_binding, elements, header_edits, headers, maintenance, native, public_url,
    registrations, routes, rules, server, token_exchange, unbound_sessions, upstream, web_origins,
    wildcard,
};
use crate::auth::app::{AuthSettings, OnReuse, RevocationMode, Userinfo};
use crate::policy::app::{App, OptionalEndpoints};
use crate::policy::background_paths::BackgroundPaths;
use crate::policy::rules::{AuthMethods, Rules};
use crate::proxy::MaintenanceSettings;
use crate::session::cookie::CookieNames;
use crate::session::validity::Limits;
use crate::types::app_paths::AppPaths;
use crate::types::oauth::AppName;

/// The default of `preserve_post_max_bytes`.
const PRESERVE_POST_MAX_BYTES: u32 = 64 * 1024;

/// The longest `outage_grace`.
const MAX_GRACE: Duration = Duration::from_secs(60 * 60);

/// Settings of other tables that are the defaults of apps.
#[derive(Clone, Copy)]
pub(super) struct AppDefaults<'d> {
    /// Of `[session]`.
    pub(super) limits: Limits,
    /// Of `[maintenance]`.
    pub(super) maintenance: &'d MaintenanceSettings,
}

pub(super) fn check(
    name: &str,
    mut raw: RawApp,
    at: &Location<'_>,
    folder: &Folder,
    rule_lists: &RuleListFiles<'_>,
    defaults: AppDefaults<'_>,
) -> Option<AppConfig> {
    check_name(name, at);
    let allow_http = raw.dangerously_allow_http_public_url.unwrap_or(false);
    let public_url = raw.public_url.take();
    let public_url = at.required(
        "public_url",
        public_url,
        "the URL of the app for browsers, such as `https://store.example.com`",
    );
    let (origin, base) = public_url
        .and_then(|url| public_url::check(&url, &at.key("public_url"), allow_http))
        .map(|url| (url.origin, url.base))
        .unzip();
    let base = base.unwrap_or_default();
    let aliases = elements(raw.aliases.take(), &at.key("aliases"))
        // An alias only redirects, so that it may be plain http.
        .filter_map(|(at, url)| public_url::origin(&url, &at, true))
        .collect();
    let hsts = raw.hsts.unwrap_or(false);
    if hsts && origin.as_ref().is_some_and(|origin| !origin.is_secure()) {
        at.key("hsts").error(
            "`hsts` needs an https `public_url`",
            "browsers ignore the header over http",
        );
    }
    let prefix = public_url::prefix(raw.endpoint_prefix.take(), &at.key("endpoint_prefix"));
    let paths = AppPaths::new(base, &prefix);
    let prefix = paths.endpoints.as_str();
    let hosts = wildcard::hosts(&mut raw, origin.as_ref(), prefix, at);
    let site = Site {
        origin: origin.as_ref(),
        prefix,
    };
    let logins = registrations::check(&mut raw, &site, at, folder);
    let clients = logins.as_ref().map(Logins::clients).unwrap_or_default();
    let cookie_name = cookie_name(
        raw.cookie_name.take(),
        || default_cookie_name(name, &paths.base),
        &at.key("cookie_name"),
    );
    let limits = limits(raw.idle_timeout, raw.absolute_timeout, at, defaults.limits);
    let allowed_ambiguities = rules::ambiguities(
        raw.allow_ambiguous_paths.take(),
        &at.key("allow_ambiguous_paths"),
    );
    let headers = headers::check(raw.headers.take(), &at.key("headers"));
    let auth_methods = if raw.bearer.is_some() {
        AuthMethods::BOTH
    } else {
        AuthMethods::SESSION
    };
    let case_insensitive = raw.case_insensitive_paths.unwrap_or(false);
    let rule_context = RuleContext {
        auth_methods,
        prefix,
        case_insensitive,
        files: rule_lists,
    };
    let rules_at = at.key("rules");
    let rules = rules::check(raw.rules.take(), &rule_context, &rules_at);
    authentication::check_reachable(&rules, &clients, &rules_at);
    let logout_return_to = app_logout::return_targets(&mut raw, at);
    let login_parameters = authentication::check_parameters(&mut raw, &clients, at);
    let rules = Arc::new(Rules::new(rules, case_insensitive, auth_methods));
    let background_paths =
        rules::background_paths(raw.background_paths.take(), &at.key("background_paths"));
    let background_paths = BackgroundPaths::new(background_paths, case_insensitive);
    let stream_activity = raw.stream_activity.unwrap_or(true);
    let accepts_bearer = raw.bearer.is_some();
    let raw_native = raw.native.take().unwrap_or_default();
    let at_native = at.key("native");
    let checks_passwords = raw_native.password_grant == Some(true) || rules.accept_basic();
    let password_provider = logins.as_ref().map(|logins| logins.password_provider);
    if checks_passwords && password_provider == Some(None) {
        at.missing(
            "password_provider",
            "the one of `providers` that checks passwords",
        );
    }
    let passwords = PasswordLogins {
        provider: password_provider.flatten().unwrap_or_default(),
        client: logins.as_ref().and_then(Logins::password_client),
        throttle: native::throttle(&raw_native, &at_native),
    };
    let native = native::check(raw_native, &at_native, &passwords, accepts_bearer);
    let basic = basic::check(raw.basic.take(), &rules, &passwords, &at.key("basic"));
    let names: Vec<&str> = headers
        .iter()
        .map(|template| template.name().as_str())
        .collect();
    let client_headers = ClientHeaders {
        removes_authorization: raw.authorization_header == Some(AuthorizationHeader::Remove),
        forwarded_identity: headers::check_forwarded(
            raw.dangerously_forward_headers.take(),
            &names,
            &at.key("dangerously_forward_headers"),
        ),
    };
    let header_edits = header_edits::check(&mut raw, &names, at);
    let bearer = raw
        .bearer
        .take()
        .map(|raw| bearer::check(raw, &names, &at.key("bearer")));
    let device_binding = device_binding::check(
        raw.device_binding.take().unwrap_or_default(),
        origin.as_ref(),
        case_insensitive,
        &at.key("device_binding"),
    );
    let unbound_sessions = unbound_sessions::check(
        raw.unbound_sessions.take().unwrap_or_default(),
        &at.key("unbound_sessions"),
        limits,
    );
    let optional_endpoints = OptionalEndpoints {
        frontchannel_logout: raw.frontchannel_logout.unwrap_or(false),
        // Set when the providers and the session list are known.
        fusionauth_webhooks: None,
        sessions: false,
        posted_callback: false,
    };
    let max_preserved_post = preserve_post_max_bytes(
        raw.preserve_post_max_bytes,
        &at.key("preserve_post_max_bytes"),
    );
    let max_in_flight_requests = server::max_in_flight_requests(
        raw.max_in_flight_requests,
        &at.key("max_in_flight_requests"),
    );
    let websocket_origins =
        web_origins::origins(raw.websocket_origins.take(), &at.key("websocket_origins"));
    let cors = web_origins::cors(raw.cors_origins.take(), raw.cors_credentials, at);
    let app_logout = app_logout::check(&mut raw, origin.as_ref(), prefix, at);
    let credential_context = CredentialContext {
        clients: &clients,
        identity: &names,
        folder,
    };
    let raw_credentials = RawCredentials::of_app(&mut raw);
    let mut credentials = credentials::check(raw_credentials, credential_context, at);
    let exchange_at = at.key("token_exchange");
    let token_exchange = raw.token_exchange.take().and_then(|raw| {
        token_exchange::check(raw, &mut credentials, credential_context, &exchange_at)
    });
    let auth = auth_settings(&raw, at);
    let assertion = raw.assertion.take();
    let assertion = assertion.map(|raw| assertion::check(raw, name, &at.key("assertion")));
    let client_limits = raw.client_limits.take().unwrap_or_default();
    let client_limits = client_limits::check(client_limits, &at.key("client_limits"));
    let maintenance = maintenance::check_app(
        raw.maintenance.take().unwrap_or_default(),
        defaults.maintenance,
        &at.key("maintenance"),
        folder,
    );
    let raw_routes = raw.routes.take();
    let upstream = upstream::check(raw, &hosts, at, folder);
    let route_context = RouteContext {
        base: &paths.base,
        prefix,
        case_insensitive,
        identity: &names,
        hosts: &hosts,
        upstream: upstream.as_ref(),
        credentials: &credentials,
        credential_context,
        folder,
    };
    let routes = routes::check(raw_routes, &route_context, &at.key("routes"));

    let passed_token = credentials.passed.or(routes.passed_token);
    let origin = origin?;
    let Logins {
        providers,
        mut registrations,
        ..
    } = logins?;
    let bearer_policy = match bearer {
        Some(bearer) => {
            let bearer = bearer?;
            let verification = &bearer.verification;
            verification.check_providers(&providers, &at.key("bearer"));
            for registration in &mut registrations {
                registration.bearer = Some(verification.at(registration, &providers));
            }
            Some(bearer.policy)
        }
        None => None,
    };
    let cookies = CookieNames::new(&cookie_name, &origin, &paths.base);
    let name = AppName::new(name);
    let policy = App {
        name,
        origin,
        hosts,
        aliases,
        hsts,
        // Completed when the tables of the providers are known.
        providers,
        login_parameters,
        paths,
        rules,
        routes: Arc::new(routes.policy),
        background_paths,
        stream_activity,
        allowed_ambiguities,
        headers,
        request_edits: header_edits.requests,
        response_edits: header_edits.responses,
        cookies,
        limits,
        device_binding: device_binding.policy,
        strict_paths: device_binding.strict_paths,
        unbound_sessions,
        optional_endpoints,
        logout_return_to,
        app_logout,
        max_preserved_post,
        websocket_origins,
        cors: cors.unwrap_or_default(),
        native,
        bearer: bearer_policy,
        basic,
        assertion,
        passed_token,
        token_exchange,
    };
    Some(AppConfig {
        policy,
        registrations,
        auth,
        max_in_flight_requests,
        upstream: upstream?,
        routes: routes.settings,
        client_headers,
        credentials: credentials.upstream,
        client_limits,
        maintenance,
    })
}

fn auth_settings(raw: &RawApp, at: &Location<'_>) -> AuthSettings {
    let outage_grace = raw
        .outage_grace
        .map_or(Duration::ZERO, |duration| duration.0);
    if outage_grace > MAX_GRACE {
        let hint = "at most `\"1h\"`: users that the provider has locked keep access for this long";
        at.key("outage_grace")
            .error(format!("{} s is too long", outage_grace.as_secs()), hint);
    }
    AuthSettings {
        userinfo: raw.userinfo.unwrap_or(Userinfo::WhenNeeded),
        on_refresh_token_reuse: raw.on_refresh_token_reuse.unwrap_or(OnReuse::EndSession),
        outage_grace,
        revocation: raw.revocation_mode.unwrap_or(RevocationMode::FailOpen),
    }
}

fn preserve_post_max_bytes(raw: Option<u32>, at: &Location<'_>) -> usize {
    let bytes = raw.unwrap_or(PRESERVE_POST_MAX_BYTES);
    if bytes != 0 && !(1024..=1024 * 1024).contains(&bytes) {
        at.error(
            format!("{} is out of range", quoted(bytes)),
            "from 1024 to 1048576 bytes, or 0 to preserve none",
        );
    }
    usize::try_from(bytes).unwrap_or_default()
}
