//! What the configuration says of one app, as far as deciding about a request goes.

use http::{HeaderValue, Method};

use crate::session::cookie::CookieNames;
use crate::session::validity::Limits;
use crate::types::net::Origin;
use crate::types::oauth::AppName;

use super::background_paths::BackgroundPaths;
use super::native::Native;
use super::rules::Rules;
use crate::identity::identity::HeaderTemplate;
use crate::types::target::PathAmbiguities;

/// One app behind Doorward.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name in the configuration.
    pub name: AppName,
    /// Where people reach it: the source of every absolute URL that we make.
    pub origin: Origin,
    /// Other origins that lead to it; navigations there are sent to `origin`.
    pub aliases: Vec<Origin>,
    /// The path of our own endpoints, such as `/.doorward`: no slash at its end.
    pub prefix: String,
    /// Who may do what.
    pub rules: Rules,
    /// Paths whose requests are no activity.
    pub background_paths: BackgroundPaths,
    /// Spellings of paths that this app needs.
    pub allowed_ambiguities: PathAmbiguities,
    /// The identity headers that its backend gets.
    pub headers: Vec<HeaderTemplate>,
    /// What our cookies are called here.
    pub cookies: CookieNames,
    /// How long its sessions last.
    pub limits: Limits,
    /// Which of our endpoints it has besides those that every app has.
    pub offers: OptionalEndpoints,
    /// What ends the backend's own session with a browser.
    pub app_logout: AppLogoutPolicy,
    /// Longest form that is kept while its sender logs in, in bytes; 0: none is.
    pub max_kept_form: usize,
    /// Web origins besides its own whose pages may open WebSockets.
    pub websocket_origins: Vec<String>,
    /// What native apps may do; none: there are none.
    pub native: Option<Native>,
    /// How programs with access tokens are treated; without this `Authorization` is the app's own business.
    pub bearer: Option<BearerPolicy>,
}

/// How programs with access tokens are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerPolicy {
    /// Tells the backend which client asks where no person is behind it.
    pub client_header: HeaderTemplate,
    /// Whether only tokens count that are bound to a key (RFC 9449).
    pub dpop_required: bool,
}

/// Endpoints that are there for some apps only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalEndpoints {
    /// Where FusionAuth tells what has happened.
    pub fusionauth_webhooks: bool,
    /// Where the provider's own pages end sessions, in a frame.
    pub frontchannel_logout: bool,
}

/// What ends the backend's own session with a browser, when a person logs out or another one logs in.
#[derive(Clone, Debug, Default)]
pub struct AppLogoutPolicy {
    /// The lines that take the backend's own cookies from the browser.
    pub cookies: Vec<HeaderValue>,
    /// Where the backend itself is told.
    pub logout: Option<AppLogout>,
}

/// The backend's own logout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppLogout {
    /// `GET` or `POST`.
    pub method: Method,
    /// Its path, and a query if it has one.
    pub target: String,
}

impl AppLogoutPolicy {
    /// Whether there is nothing to end, and so nothing to remember a person for.
    pub const fn is_nothing(&self) -> bool {
        self.cookies.is_empty() && self.logout.is_none()
    }
}

impl App {
    /// The URL of one of our endpoints, `endpoint` being `callback` for example.
    pub fn endpoint_url(&self, endpoint: &str) -> String {
        format!("{}{}/{endpoint}", self.origin, self.prefix)
    }

    /// The path of one of our endpoints.
    pub fn endpoint_path(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.prefix)
    }

    /// Every claim that a rule or header of this app asks about, each once: what is worth keeping of an ID token.
    pub fn claims_in_use(&self) -> Vec<&str> {
        let mut claims: Vec<&str> = self
            .rules
            .claims()
            .chain(self.headers.iter().flat_map(HeaderTemplate::claims))
            .collect();
        claims.sort_unstable();
        claims.dedup();
        claims
    }
}
