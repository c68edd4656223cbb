//! Every kind of route, for the corpora of hostile requests. `RouteKind::of` names each way to respond and
//! each field of a route, so that another one does not compile before it is tried here.

use doorward::policy::path_routes::{PathRoute, RouteResponse};

use crate::support::backend::Backend;
use crate::support::doorward::{Doorward, Setup};

/// A kind of route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    /// The upstream of the app, without a route.
    App,
    /// An upstream of its own.
    Upstream,
    /// The prefix is stripped.
    Stripping,
    /// Another prefix is added.
    Adding,
    /// The prefix is replaced by itself.
    Replacing,
    /// A redirect.
    Redirect,
    /// A fixed response.
    Respond,
    /// Files of a folder.
    Files,
}

/// The path of all routes.
pub(crate) const PREFIX: &str = "/public";
/// Where the redirect leads.
pub(crate) const ELSEWHERE: &str = "https://elsewhere.example.com/base";
/// The body of the fixed response.
pub(crate) const FIXED: &str = "fixed";
/// The added prefix.
const ADDED: &str = "/app";

impl RouteKind {
    pub(crate) const ALL: [Self; 8] = [
        Self::App,
        Self::Upstream,
        Self::Stripping,
        Self::Adding,
        Self::Replacing,
        Self::Redirect,
        Self::Respond,
        Self::Files,
    ];

    /// The kind of a configured route.
    fn of(route: &PathRoute) -> Self {
        let PathRoute {
            path: _,
            strip_prefix,
            add_prefix,
            endpoints: _,
            request_edits: _,
            response_edits: _,
            response,
        } = route;
        match (response, strip_prefix.as_str(), add_prefix.as_str()) {
            (None, "", "") => Self::Upstream,
            (None, _, "") => Self::Stripping,
            (None, "", _) => Self::Adding,
            (None, _, _) => Self::Replacing,
            (Some(RouteResponse::Redirect { .. }), _, _) => Self::Redirect,
            (Some(RouteResponse::Respond(_)), _, _) => Self::Respond,
            (Some(RouteResponse::Files(_)), _, _) => Self::Files,
        }
    }

    /// The route of `app` for everything below `PREFIX`. The upstream is another than that of the app.
    pub(crate) fn table(self, app: &str, upstream: &str) -> String {
        let upstream = format!("upstream = \"{upstream}\"");
        let lines = match self {
            Self::App => return String::new(),
            Self::Upstream => upstream,
            Self::Stripping => format!("{upstream}\nstrip_prefix = \"{PREFIX}\""),
            Self::Adding => format!("{upstream}\nadd_prefix = \"{ADDED}\""),
            Self::Replacing => {
                format!("{upstream}\nstrip_prefix = \"{PREFIX}\"\nadd_prefix = \"{PREFIX}\"")
            }
            Self::Redirect => format!("redirect = {{ to = \"{ELSEWHERE}/**\" }}"),
            Self::Respond => format!("respond = {{ body = \"{FIXED}\" }}"),
            Self::Files => "files = \"site\"".to_owned(),
        };
        format!("[[apps.{app}.routes]]\npath = \"{PREFIX}/**\"\n{lines}\n")
    }

    /// The files of the folder.
    pub(crate) fn files(setup: Setup) -> Setup {
        setup
            .file("site/public/x", "file")
            .file("site/public/probe", "probe")
            .file("site/public/.hidden", "PROTECTED")
            .file("site/admin/x", "PROTECTED")
    }

    /// The path that the upstream gets. `None` if Doorward answers.
    pub(crate) fn forwarded(self, target: &str) -> Option<String> {
        let rest = target.strip_prefix(PREFIX);
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?'])) else {
            // Not on the route.
            return Some(target.to_owned());
        };
        match self {
            Self::App | Self::Upstream | Self::Replacing => Some(target.to_owned()),
            Self::Stripping if rest.starts_with('/') => Some(rest.to_owned()),
            Self::Stripping => Some(format!("/{rest}")),
            Self::Adding => Some(format!("{ADDED}{target}")),
            Self::Redirect | Self::Respond | Self::Files => None,
        }
    }
}

/// Rules by which everything is public.
pub(crate) const PUBLIC: &str = "[[apps.store.rules]]\npaths = [\"/**\"]\nallow = \"public\"\n";

/// A store with this kind of route.
pub(crate) fn start(kind: RouteKind, rules: &'static str) -> (Doorward, Backend) {
    let routed = Backend::start();
    let setup = RouteKind::files(Setup::plain()).store_rules(rules);
    let doorward = setup.more(&kind.table("store", &routed.url())).start();
    (doorward, routed)
}

#[tokio::test]
async fn every_kind_of_route_is_tried() {
    for kind in RouteKind::ALL {
        let (doorward, _routed) = start(kind, "");
        let config = doorward.config();
        let mut apps = config.apps.iter();
        let store = apps.find(|app| app.policy.name.as_str() == "store");
        let routes = store.expect("the store").policy.routes.all();
        let kinds: Vec<_> = routes.iter().map(RouteKind::of).collect();
        let expected: Vec<_> = [kind]
            .into_iter()
            .filter(|kind| *kind != RouteKind::App)
            .collect();
        assert_eq!(kinds, expected);
    }
}
