//! Routing: maps a request by host and path to an app, and there to an endpoint of Doorward or to an
//! access requirement. There is no default app.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, header};
use quick_cache::sync::Cache;

use super::app::App;
use super::apps_by_path::OriginApps;
use super::endpoint::endpoint_of;
use super::forwarded_origin::Scheme;
use super::login_providers::{LoginProvider, ProviderIndex};
use super::path_routes::{LeadingSlashes, MatchedRoute};
use super::request_info::RequestInfo;
use super::rules::{Access, AccessRequirement};
use crate::types::host_label::HostLabel;
use crate::types::net::{ListenerKind, Origin};
use crate::types::target::Target;

pub use super::endpoint::{Endpoint, ResumeMode};

/// The apps by host and path.
#[derive(Debug)]
pub struct HostRouter {
    by_authority: HashMap<String, AppHost>,
    /// The apps at a host, whatever its port. `None` if several origins have the host.
    by_host: HashMap<String, Option<AppHost>>,
    apps: Vec<Arc<App>>,
    /// The apps at hosts of wildcards.
    matched: Cache<(usize, HostLabel), Arc<App>>,
}

/// The app of a request's host and path.
#[derive(Debug)]
pub struct FoundHost<'a> {
    index: usize,
    kind: HostKind,
    app: FoundApp<'a>,
}

/// Why a request has no app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoApp {
    /// No app has the host.
    Host,
    /// The host has apps, and none of them has the path in all its readings.
    Path,
}

#[derive(Debug)]
enum FoundApp<'a> {
    Configured(&'a Arc<App>),
    Matched(Arc<App>),
}

impl FoundHost<'_> {
    fn app_ref(&self) -> AppRef<'_> {
        let app = match &self.app {
            FoundApp::Configured(app) => app,
            FoundApp::Matched(app) => app,
        };
        AppRef {
            index: self.index,
            provider: app.providers.only(),
            app,
        }
    }
}

/// A host of apps.
#[derive(Clone, Debug)]
struct AppHost {
    apps: OriginApps,
    kind: HostKind,
}

/// The apps of a host that a request names.
struct FoundApps<'a> {
    host: &'a AppHost,
    /// The label in place of a wildcard.
    label: Option<HostLabel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostKind {
    Canonical,
    Alias,
}

/// The route of a request.
#[derive(Debug)]
pub enum Route<'a> {
    /// An endpoint of Doorward.
    Endpoint(AppRef<'a>, Endpoint),
    /// The app's backend.
    App(AppRoute<'a>),
    /// An alias of the app.
    Alias(AppRef<'a>),
    /// Any host of the app, which is reached by https, over plain HTTP.
    PlainHttp(AppRef<'a>),
    /// A path with an ambiguity that the app does not allow.
    UnsupportedPath(AppRef<'a>),
    /// No app has the host (RFC 9110 section 15.5.20).
    Misdirected,
    /// No app at the host has the path.
    NoAppAtPath,
}

/// The route of a request to an app's backend.
#[derive(Clone, Copy, Debug)]
pub struct AppRoute<'a> {
    /// The app.
    pub app_ref: AppRef<'a>,
    /// The requirement of its rule.
    pub requirement: &'a AccessRequirement,
    /// The part of the app, if its path has a route of its own.
    pub path_route: Option<MatchedRoute<'a>>,
}

/// An app, its index, and the provider that a request belongs to.
#[derive(Clone, Copy, Debug)]
pub struct AppRef<'a> {
    /// The index in [`HostRouter::apps`].
    pub index: usize,
    /// The provider of the session, the token or the endpoint. `None`: the app has several, and the
    /// request has nothing of any of them.
    pub provider: Option<ProviderIndex>,
    /// The app.
    pub app: &'a Arc<App>,
}

impl<'a> AppRef<'a> {
    /// The same app at this provider.
    #[must_use]
    pub const fn at(self, provider: ProviderIndex) -> Self {
        Self {
            provider: Some(provider),
            ..self
        }
    }

    /// The settings of its provider. `None`: see [`Self::provider`].
    pub fn login_provider(&self) -> Option<&'a LoginProvider> {
        Some(self.app.providers.get(self.provider?))
    }

    /// The accepted difference between the provider's clock and this one.
    pub fn leeway(&self) -> Duration {
        let provider = self.login_provider();
        provider.map_or(Duration::ZERO, |provider| provider.leeway)
    }
}

impl<'a> Route<'a> {
    /// The app that the host belongs to.
    pub const fn app_ref(&self) -> Option<AppRef<'a>> {
        match self {
            Self::Endpoint(app_ref, _)
            | Self::App(AppRoute { app_ref, .. })
            | Self::Alias(app_ref)
            | Self::PlainHttp(app_ref)
            | Self::UnsupportedPath(app_ref) => Some(*app_ref),
            Self::Misdirected | Self::NoAppAtPath => None,
        }
    }

    /// The app whose sessions apply: those of endpoints and apps, but not of an alias. A login host
    /// has none.
    pub fn session_app(&self) -> Option<AppRef<'a>> {
        match self {
            Self::Endpoint(app_ref, _) if app_ref.app.is_login_host() => None,
            Self::Endpoint(app_ref, _) | Self::App(AppRoute { app_ref, .. }) => Some(*app_ref),
            Self::Alias(_)
            | Self::PlainHttp(_)
            | Self::UnsupportedPath(_)
            | Self::Misdirected
            | Self::NoAppAtPath => None,
        }
    }

    /// The app whose backend gets the request if it is authorized.
    pub const fn backend_app(&self) -> Option<AppRef<'a>> {
        match self {
            Self::App(AppRoute { app_ref, .. }) => Some(*app_ref),
            Self::Endpoint(..)
            | Self::Alias(_)
            | Self::PlainHttp(_)
            | Self::UnsupportedPath(_)
            | Self::Misdirected
            | Self::NoAppAtPath => None,
        }
    }

    /// Whether the request asks for a login, which needs no session.
    pub const fn is_login(&self) -> bool {
        matches!(self, Self::Endpoint(_, Endpoint::Login))
    }

    /// Whether the request is a provider's to end sessions, and no client's.
    pub const fn is_for_provider(&self) -> bool {
        matches!(
            self,
            Self::Endpoint(_, Endpoint::BackchannelLogout | Endpoint::FusionAuthWebhook)
        )
    }

    /// Whether the request renews the proof of a device-bound session.
    pub const fn is_device_proof(&self) -> bool {
        matches!(self, Self::Endpoint(_, Endpoint::DeviceProof))
    }

    /// Whether the request resets the idle timeout. Background requests and session checks do not.
    pub fn counts_as_activity(&self, target: &Target) -> bool {
        match self {
            Self::App(route) => !route.app_ref.app.background_paths.contains(target),
            Self::Endpoint(_, endpoint) => endpoint.counts_as_activity(),
            Self::Alias(_)
            | Self::PlainHttp(_)
            | Self::UnsupportedPath(_)
            | Self::Misdirected
            | Self::NoAppAtPath => true,
        }
    }

    /// Whether session cookies authenticate the request.
    pub const fn accepts_session(&self) -> bool {
        match self {
            Self::App(route) => route.requirement.auth_methods.session,
            Self::Endpoint(..)
            | Self::Alias(_)
            | Self::PlainHttp(_)
            | Self::UnsupportedPath(_)
            | Self::Misdirected
            | Self::NoAppAtPath => true,
        }
    }

    /// The permitted effects of authentication for the request. The response to a protocol upgrade sets no
    /// cookie.
    pub fn resume_mode(&self, headers: &HeaderMap) -> ResumeMode {
        match self {
            Self::App(route) => match route.requirement.access {
                Access::Public | Access::Denied => ResumeMode::ReadOnly,
                Access::Authenticated | Access::If(_) => {
                    if headers.contains_key(header::UPGRADE) {
                        ResumeMode::NoSetCookie
                    } else {
                        ResumeMode::Refresh
                    }
                }
            },
            Self::Endpoint(_, endpoint) => endpoint.resume_mode(),
            Self::Alias(_)
            | Self::PlainHttp(_)
            | Self::UnsupportedPath(_)
            | Self::Misdirected
            | Self::NoAppAtPath => ResumeMode::ReadOnly,
        }
    }
}

impl HostRouter {
    /// Routes to these apps. The configuration check ensures that no two share a public URL.
    pub fn new(apps: Vec<Arc<App>>) -> Self {
        let mut by_authority = HashMap::new();
        for (index, app) in apps.iter().enumerate() {
            for alias in &app.aliases {
                for authority in spellings(alias) {
                    by_authority.insert(
                        authority,
                        AppHost {
                            apps: OriginApps::One(index),
                            kind: HostKind::Alias,
                        },
                    );
                }
            }
        }
        let mut by_origin: HashMap<&Origin, Vec<usize>> = HashMap::new();
        for (index, app) in apps.iter().enumerate() {
            by_origin.entry(&app.origin).or_default().push(index);
        }
        let mut by_host = HashMap::new();
        for (origin, indices) in by_origin {
            let Some(apps) = OriginApps::new(&indices, &apps) else {
                continue;
            };
            let kind = HostKind::Canonical;
            let host = AppHost { apps, kind };
            for authority in spellings(origin) {
                by_authority.insert(authority, host.clone());
            }
            by_host
                .entry(origin.host().to_owned())
                .and_modify(|other| *other = None)
                .or_insert(Some(host));
        }
        let wildcards = apps.iter().filter_map(|app| app.hosts.wildcard());
        let matched = Cache::new(wildcards.map(|wildcard| wildcard.max_hosts).sum());
        Self {
            by_authority,
            by_host,
            apps,
            matched,
        }
    }

    /// The apps, by index.
    pub fn apps(&self) -> &[Arc<App>] {
        &self.apps
    }

    /// The `https` origin of the apps with this host, which may be an alias. `None` if there is no
    /// such app, or its public URL is not `https`.
    pub fn https_origin(&self, host: &str) -> Option<String> {
        let found = self.find_apps(&host.to_ascii_lowercase(), |_| false)?;
        let found = self.app_of(&found, found.host.apps.any()?)?;
        let origin = &found.app_ref().app.origin;
        origin.is_secure().then(|| origin.to_string())
    }

    /// The app of a request's host and path.
    ///
    /// # Errors
    /// [`NoApp`].
    pub fn find(&self, info: &RequestInfo) -> Result<FoundHost<'_>, NoApp> {
        let may_lack_port = |is_https| info.may_lack_port(is_https);
        let found = self.find_apps(&info.authority, may_lack_port);
        let found = found.ok_or(NoApp::Host)?;
        let index = found.host.apps.at(&info.target).ok_or(NoApp::Path)?;
        self.app_of(&found, index).ok_or(NoApp::Host)
    }

    /// An exact host wins over a wildcard. `may_lack_port` tells whether a proxy may have removed
    /// the port of an app that is reached by https, or not.
    fn find_apps(
        &self,
        authority: &str,
        may_lack_port: impl Fn(bool) -> bool,
    ) -> Option<FoundApps<'_>> {
        // A request never names the pattern itself.
        let exact = (!authority.starts_with('*')).then_some(authority);
        if let Some(host) = exact.and_then(|authority| self.lookup(authority, &may_lack_port)) {
            return Some(FoundApps { host, label: None });
        }
        if self.matched.capacity() == 0 {
            return None;
        }
        let (label, rest) = authority.split_once('.')?;
        let label = Some(HostLabel::parse(label)?);
        let host = self.lookup(&format!("*.{rest}"), &may_lack_port)?;
        Some(FoundApps { host, label })
    }

    /// The app with this index at the host. `None` if it has no host with the label.
    fn app_of(&self, found: &FoundApps<'_>, index: usize) -> Option<FoundHost<'_>> {
        let configured = self.apps.get(index)?;
        let app = match &found.label {
            None => FoundApp::Configured(configured),
            Some(label) => {
                let key = (index, label.clone());
                FoundApp::Matched(match self.matched.get(&key) {
                    Some(app) => app,
                    None => {
                        let app = Arc::new(configured.at_label(label)?);
                        self.matched.insert(key, Arc::clone(&app));
                        app
                    }
                })
            }
        };
        Some(FoundHost {
            index,
            kind: found.host.kind,
            app,
        })
    }

    /// A host without a port names an app at another port if a proxy may have removed the port: a
    /// redirect to the app's URL would have the same host again.
    fn lookup(&self, authority: &str, may_lack_port: &impl Fn(bool) -> bool) -> Option<&AppHost> {
        let named = self.by_authority.get(authority);
        if named.is_some_and(|named| named.kind == HostKind::Canonical) {
            return named;
        }
        let origin = |host: &AppHost| Some(&self.apps.get(host.apps.any()?)?.origin);
        let of_host = self.by_host.get(authority).and_then(Option::as_ref);
        let of_host =
            of_host.filter(|host| named.is_none_or(|named| origin(named) == origin(host)));
        let without_port = of_host
            .filter(|host| origin(host).is_some_and(|origin| may_lack_port(origin.is_secure())));
        without_port.or(named)
    }
}

impl<'a> Route<'a> {
    /// The route of a request to the app that [`HostRouter::find`] found for it.
    pub fn of(found: Result<&'a FoundHost<'_>, &NoApp>, info: &RequestInfo) -> Self {
        let found = match found {
            Ok(found) => found,
            Err(NoApp::Host) => return Self::Misdirected,
            Err(NoApp::Path) => return Self::NoAppAtPath,
        };
        let app_ref = found.app_ref();
        let app = app_ref.app;
        if app.origin.is_secure() && info.scheme == Some(Scheme::Http) {
            return Self::PlainHttp(app_ref);
        }
        if info.listener == ListenerKind::RedirectToHttps {
            return Self::Misdirected;
        }
        if found.kind == HostKind::Alias {
            return Self::Alias(app_ref);
        }
        let ambiguities = app.rules.ambiguities(&info.method, &info.target);
        if !ambiguities.within(app.allowed_ambiguities) {
            return Self::UnsupportedPath(app_ref);
        }
        match endpoint_of(info.target.path(), app) {
            Some(found) => {
                let provider = found.provider(app).or(app_ref.provider);
                let app_ref = AppRef {
                    provider,
                    ..app_ref
                };
                Self::Endpoint(app_ref, found.endpoint)
            }
            None if app.is_login_host() => Self::Endpoint(app_ref, Endpoint::Unknown),
            None => match app.routes.find(&info.target) {
                Ok(path_route) => Self::App(AppRoute {
                    app_ref,
                    requirement: app.rules.requirement(&info.method, &info.target),
                    path_route,
                }),
                Err(LeadingSlashes) => Self::UnsupportedPath(app_ref),
            },
        }
    }

    /// The same route for a request that belongs to this provider of the app.
    #[must_use]
    pub fn at_provider(self, provider: Option<ProviderIndex>) -> Self {
        let at = |app_ref: AppRef<'a>| AppRef {
            provider,
            ..app_ref
        };
        match self {
            // The path of a callback names its provider.
            Self::Endpoint(app_ref, endpoint) if app_ref.provider.is_some() => {
                Self::Endpoint(app_ref, endpoint)
            }
            Self::Endpoint(app_ref, endpoint) => Self::Endpoint(at(app_ref), endpoint),
            Self::App(route) => Self::App(AppRoute {
                app_ref: at(route.app_ref),
                ..route
            }),
            other @ (Self::Alias(_)
            | Self::PlainHttp(_)
            | Self::UnsupportedPath(_)
            | Self::Misdirected
            | Self::NoAppAtPath) => other,
        }
    }
}

/// The forms in which a `Host` field may name an origin, in lower case.
fn spellings(origin: &Origin) -> Vec<String> {
    vec![
        origin.authority().to_owned(),
        format!("{}:{}", origin.host(), origin.port()),
    ]
}
