//! App: the settings of one app that routing and authorization use.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderValue, Method};
use url::Url;

use crate::session::client_continuity::UnboundSessions;
use crate::session::cookie::CookieNames;
use crate::session::device_binding::BindingPolicy;
use crate::session::validity::Limits;
use crate::types::app_paths::AppPaths;
use crate::types::host_label::HostLabel;
use crate::types::net::Origin;
use crate::types::oauth::AppName;

use super::assertion::AssertionPolicy;
use super::background_paths::BackgroundPaths;
use super::basic::Basic;
use super::cors::CorsPolicy;
use super::hosts::AppHosts;
use super::login_parameters::AllowedParameters;
use super::login_providers::{LoginProviders, LoginSite, ProviderIndex};
use super::native::Native;
use super::path_routes::PathRoutes;
use super::rules::Rules;
use super::strict_paths::StrictPaths;
use super::token_exchange::TokenExchangePolicy;
use crate::identity::claims::Claims;
use crate::identity::header_edits::HeaderEdits;
use crate::identity::identity::HeaderTemplate;
use crate::types::target::{PathAmbiguities, Target};

/// One app.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name in the configuration.
    pub name: AppName,
    /// Its origin, which every absolute URL is based on.
    pub origin: Origin,
    /// Which hosts it has.
    pub hosts: AppHosts,
    /// Other origins of the app. Navigations are redirected to `origin`.
    pub aliases: Vec<Origin>,
    /// Whether responses over https tell browsers to use https only (RFC 6797).
    pub hsts: bool,
    /// The providers of its logins.
    pub providers: LoginProviders,
    /// The parameters that its login links may have.
    pub login_parameters: AllowedParameters,
    /// Its paths at the origin.
    pub paths: AppPaths,
    /// Its access rules.
    pub rules: Arc<Rules>,
    /// Its paths with upstreams of their own.
    pub routes: Arc<PathRoutes>,
    /// Paths whose requests do not reset the idle timeout.
    pub background_paths: BackgroundPaths,
    /// Whether data that clients send on streams reset the idle timeout.
    pub stream_activity: bool,
    /// Path ambiguities that the app needs.
    pub allowed_ambiguities: PathAmbiguities,
    /// The identity headers for its backend.
    pub headers: Vec<HeaderTemplate>,
    /// Changes of the headers of requests to its backend.
    pub request_edits: HeaderEdits,
    /// Changes of the headers of its backend's responses.
    pub response_edits: HeaderEdits,
    /// The names of its cookies.
    pub cookies: CookieNames,
    /// The lifetimes of its sessions.
    pub limits: Limits,
    /// How its sessions are bound to devices. `None`: they are not.
    pub device_binding: Option<BindingPolicy>,
    /// How those of browsers are treated that are bound to no device.
    pub unbound_sessions: UnboundSessions,
    /// Its requests that need a recent proof of the device.
    pub strict_paths: StrictPaths,
    /// The optional endpoints that it has.
    pub optional_endpoints: OptionalEndpoints,
    /// URLs of other origins that a logout may lead to.
    pub logout_return_to: Vec<Url>,
    /// How the app's own session is ended.
    pub app_logout: AppLogoutPolicy,
    /// Maximum size of a POST that is preserved during a login, in bytes. 0 disables it.
    pub max_preserved_post: usize,
    /// Web origins other than its own whose pages may open WebSockets.
    pub websocket_origins: Vec<String>,
    /// The web origins whose scripts may read Doorward's own responses.
    pub cors: CorsPolicy,
    /// Native clients. `None` disables their endpoints.
    pub native: Option<Native>,
    /// Access tokens of issuers. `None`: `Authorization` is passed to the app unread.
    pub bearer: Option<BearerPolicy>,
    /// Basic authentication. `None`: no rule accepts it.
    pub basic: Option<Basic>,
    /// Signed assertions. `None`: the app gets none.
    pub assertion: Option<AssertionPolicy>,
    /// The token of the user that the app, or one of its routes, gets.
    pub passed_token: Option<PassedToken>,
    /// For which audience it is exchanged before. `None`: it is passed as it is.
    pub token_exchange: Option<TokenExchangePolicy>,
}

/// A token of the user that an app gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedToken {
    /// The access token.
    Access,
    /// The ID token.
    Id,
}

/// How access tokens of issuers are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerPolicy {
    /// Header that names the client of a token without a user.
    pub client_header: HeaderTemplate,
    /// Whether only tokens with a bound key are accepted (RFC 9449).
    pub dpop_required: bool,
}

/// Endpoints that only some apps have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalEndpoints {
    /// Receives webhook events from this provider, a FusionAuth.
    pub fusionauth_webhooks: Option<ProviderIndex>,
    /// Receives front-channel logout requests from the provider.
    pub frontchannel_logout: bool,
    /// Shows users their sessions.
    pub sessions: bool,
    /// Accepts authorization responses as forms.
    pub posted_callback: bool,
}

/// How the app's own session is ended when a user logs out or another user logs in.
#[derive(Clone, Debug, Default)]
pub struct AppLogoutPolicy {
    /// `Set-Cookie` headers that clear the app's cookies.
    pub cookies: Vec<HeaderValue>,
    /// The app's logout request.
    pub logout: Option<AppLogout>,
}

/// The app's logout request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppLogout {
    /// `GET` or `POST`.
    pub method: Method,
    /// Its path, and a query if it has one.
    pub target: Target,
}

impl AppLogoutPolicy {
    /// Whether the policy does nothing. Then the last user need not be remembered.
    pub const fn is_empty(&self) -> bool {
        self.cookies.is_empty() && self.logout.is_none()
    }
}

impl App {
    /// The timeouts of a browser's session, which has the key of a device or not.
    pub const fn browser_limits(&self, has_device_key: bool) -> &Limits {
        if self.is_device_bound(has_device_key) {
            &self.limits
        } else {
            &self.unbound_sessions.limits
        }
    }

    /// Whether a session is accepted from its device only, if it has the key of one.
    pub const fn is_device_bound(&self, has_device_key: bool) -> bool {
        self.device_binding.is_some() && has_device_key
    }

    /// The web origins whose scripts may read Doorward's own response to a request.
    pub fn cors_for(&self, method: &Method, target: &Target) -> &CorsPolicy {
        self.rules.cors(method, target).unwrap_or(&self.cors)
    }

    /// The app at one host of its wildcard, with the label in its headers. `None` if it has
    /// no wildcard that accepts the label.
    pub fn at_label(&self, label: &HostLabel) -> Option<Self> {
        let wildcard = self.hosts.wildcard()?;
        if !wildcard.accepts(label) {
            return None;
        }
        let headers = self.headers.iter();
        Some(Self {
            origin: self.origin.at_label(label)?,
            hosts: AppHosts::Matched(label.clone()),
            headers: headers.map(|header| header.at_label(label)).collect(),
            ..self.clone()
        })
    }

    /// Its public URL, which is that of no other app.
    pub fn public_url(&self) -> String {
        format!("{}{}", self.origin, self.paths.base.as_str())
    }

    /// Its address as users know it: the host, with its path if it has one.
    pub fn site(&self) -> Cow<'_, str> {
        if self.paths.base.is_root() {
            self.origin.host().into()
        } else {
            format!("{}{}", self.origin.host(), self.paths.base.as_str()).into()
        }
    }

    /// The URL of an endpoint, such as `callback`.
    pub fn endpoint_url(&self, endpoint: &str) -> String {
        format!("{}{}/{endpoint}", self.origin, self.paths.endpoints)
    }

    /// Whether this is a login host.
    pub fn is_login_host(&self) -> bool {
        let mut sites = self.providers.iter().map(|provider| &provider.site);
        sites.any(|site| *site == LoginSite::Host)
    }

    /// Its name at its login host: with the label after `@` if it is a host of a wildcard.
    pub fn login_name(&self) -> AppName {
        match self.hosts.label() {
            None => self.name.clone(),
            Some(label) => AppName::new(format!("{}@{label}", self.name)),
        }
    }

    /// The path of an endpoint.
    pub fn endpoint_path(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.paths.endpoints)
    }

    /// Every claim that a rule, header or assertion uses, once. Only these are kept from an ID token.
    pub fn claims_in_use(&self) -> impl Iterator<Item = &str> {
        let rules = self.rules.claims();
        let headers = self.headers.iter().flat_map(HeaderTemplate::claims);
        let of_routes = self.routes.all().iter();
        let of_routes = of_routes.flat_map(|route| [&route.request_edits, &route.response_edits]);
        let edits = [&self.request_edits, &self.response_edits];
        let edits = edits.into_iter().chain(of_routes);
        let edits = edits.flat_map(HeaderEdits::claims);
        // `{label}` of a wildcard is no claim.
        let has_labels = self.hosts != AppHosts::One;
        let templates = headers.chain(edits);
        let templates = templates.filter(move |name| *name != "label" || !has_labels);
        // Nor is the name of the provider.
        let of_tokens = |name: &&str| *name != Claims::PROVIDER;
        let asserted = self
            .assertion
            .iter()
            .flat_map(|assertion| &assertion.claims);
        let claims = rules.chain(templates).chain(asserted.map(String::as_str));
        let claims: BTreeSet<&str> = claims.filter(of_tokens).collect();
        claims.into_iter()
    }
}
