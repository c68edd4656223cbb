//! Stage 2: of whom it was asked: one of our own endpoints, or an app under a rule. Never a default app.

use std::collections::HashMap;
use std::sync::Arc;

use super::app::App;
use super::native::NativeCall;
use super::request_info::RequestInfo;
use super::rules::AccessRequirement;
use crate::types::net::Origin;

/// Every app, found by the host that a request names.
#[derive(Debug)]
pub struct HostRouter {
    by_authority: HashMap<String, (usize, Named)>,
    apps: Vec<Arc<App>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Canonically,
    ByAlias,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Route<'a> {
    /// To one of our own endpoints.
    Endpoint(AppRef<'a>, Endpoint),
    /// To the backend, for who is admitted.
    App(AppRef<'a>, &'a AccessRequirement),
    /// To the app's canonical origin.
    Alias(AppRef<'a>),
    /// A spelling of the path that this app does not tolerate.
    UnsupportedPath(AppRef<'a>),
    /// No app has this host (RFC 9110 section 15.5.20).
    Misdirected,
}

/// An app, and its place among all.
#[derive(Clone, Copy, Debug)]
pub struct AppRef<'a> {
    /// Its index in [`HostRouter::apps`].
    pub index: usize,
    /// The app.
    pub app: &'a Arc<App>,
}

/// Our own endpoints under an app's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Starts a login.
    Login,
    /// Where the provider sends the browser back to.
    Callback,
    /// Ends the session.
    Logout,
    /// What a person sees after that.
    SignedOut,
    /// Who is signed in, and for how long.
    Session,
    /// Where the provider tells that sessions have ended.
    BackchannelLogout,
    /// For native apps.
    Native(NativeCall),
    /// Where a page of the provider's ends the browser's session, in a frame.
    FrontchannelLogout,
    /// Where FusionAuth tells what has happened.
    FusionAuthWebhook,
    /// What waits to be sent after a login.
    PostReplay,
    /// Nothing that we have.
    Unknown,
}

impl Endpoint {
    /// Every endpoint, by its path below the app's `endpoint_prefix`.
    pub const PATHS: [(&'static str, Self); 13] = [
        ("/login", Self::Login),
        ("/callback", Self::Callback),
        ("/logout", Self::Logout),
        ("/signed-out", Self::SignedOut),
        ("/session", Self::Session),
        ("/form", Self::PostReplay),
        ("/backchannel-logout", Self::BackchannelLogout),
        ("/frontchannel-logout", Self::FrontchannelLogout),
        ("/webhooks/fusionauth", Self::FusionAuthWebhook),
        ("/token", Self::Native(NativeCall::Token)),
        ("/native/login", Self::Native(NativeCall::Login)),
        ("/native/refresh", Self::Native(NativeCall::Refresh)),
        ("/native/logout", Self::Native(NativeCall::Logout)),
    ];

    /// Whether the app has it. The native endpoints of an app without native clients are refused by `decide`.
    const fn is_offered(self, app: &App) -> bool {
        match self {
            Self::FrontchannelLogout => app.offers.frontchannel_logout,
            Self::FusionAuthWebhook => app.offers.fusionauth_webhooks,
            Self::Login
            | Self::Callback
            | Self::Logout
            | Self::SignedOut
            | Self::Session
            | Self::BackchannelLogout
            | Self::Native(_)
            | Self::PostReplay
            | Self::Unknown => true,
        }
    }
}

impl HostRouter {
    /// All apps; that no two share a host was checked with the configuration.
    pub fn new(apps: Vec<Arc<App>>) -> Self {
        let mut by_authority = HashMap::new();
        for (index, app) in apps.iter().enumerate() {
            for alias in &app.aliases {
                for authority in spellings(alias) {
                    by_authority.insert(authority, (index, Named::ByAlias));
                }
            }
        }
        for (index, app) in apps.iter().enumerate() {
            for authority in spellings(&app.origin) {
                by_authority.insert(authority, (index, Named::Canonically));
            }
        }
        Self { by_authority, apps }
    }

    /// The apps, in the order of their indices.
    pub fn apps(&self) -> &[Arc<App>] {
        &self.apps
    }

    /// Where `info` leads.
    pub fn route(&self, info: &RequestInfo) -> Route<'_> {
        let Some(&(index, named)) = self.by_authority.get(&info.authority) else {
            return Route::Misdirected;
        };
        let Some(app) = self.apps.get(index) else {
            return Route::Misdirected;
        };
        let app_ref = AppRef { index, app };
        if named == Named::ByAlias {
            return Route::Alias(app_ref);
        }
        if !info.target.ambiguities().within(app.allowed_ambiguities) {
            return Route::UnsupportedPath(app_ref);
        }
        match own_endpoint(info.target.path(), app) {
            Some(endpoint) => Route::Endpoint(app_ref, endpoint),
            None => Route::App(app_ref, app.rules.requirement(&info.method, &info.target)),
        }
    }
}

/// The ways in which a `Host` field may name an origin, in lower case.
fn spellings(origin: &Origin) -> Vec<String> {
    vec![
        origin.authority().to_owned(),
        format!("{}:{}", origin.host(), origin.port()),
    ]
}

fn own_endpoint(path: &str, app: &App) -> Option<Endpoint> {
    let rest = path.strip_prefix(&app.prefix)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let known = Endpoint::PATHS.iter().find(|(path, _)| *path == rest);
    let offered = known.filter(|(_, endpoint)| endpoint.is_offered(app));
    Some(offered.map_or(Endpoint::Unknown, |(_, endpoint)| *endpoint))
}
