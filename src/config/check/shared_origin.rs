//! Apps whose `public_url` has a path, and which may share an origin with others. Like the checks in
//! `across`, these use the raw values.

use std::collections::HashMap;

use super::super::raw::{RawApp, RawConfig};
use super::super::report::{Location, quoted};
use super::super::settings::AppConfig;
use super::across::apps;
use super::public_url::PREFIX;
use super::session::COOKIE_NAME;
use crate::policy::path_pattern::PathPattern;
use crate::types::app_paths::AppPaths;
use crate::types::public_url::PublicUrl;

/// An app with a valid URL.
struct Placed<'c, 'r> {
    at: Location<'r>,
    name: &'c str,
    app: &'c RawApp,
    url: PublicUrl,
}

/// A path of the configuration, or a pattern of paths.
struct Listed<'c, 'r> {
    at: Location<'r>,
    text: &'c str,
}

pub(super) fn check(raw: &RawConfig, root: &Location<'_>) {
    let placed = apps(raw, root).filter_map(|(at, name, app)| {
        let url = PublicUrl::parse(app.public_url.as_deref()?).ok()?;
        Some(Placed { at, name, app, url })
    });
    let mut by_origin: HashMap<String, Vec<Placed<'_, '_>>> = HashMap::new();
    for app in placed {
        by_origin
            .entry(app.url.origin.to_string())
            .or_default()
            .push(app);
    }
    let has_paths = |apps: &&Vec<Placed<'_, '_>>| apps.iter().any(|app| !app.url.base.is_root());
    for apps in by_origin.values().filter(has_paths) {
        for app in apps {
            let nested: Vec<_> = apps.iter().filter(|other| app.contains(other)).collect();
            app.check_paths(&nested);
            app.check_endpoints(&nested);
            app.advise_cookies();
        }
    }
}

impl Placed<'_, '_> {
    /// Whether another app begins below this one.
    fn contains(&self, other: &Self) -> bool {
        self.url.base != other.url.base && self.url.base.contains(other.url.base.as_str())
    }

    /// Reports paths that never match, because they belong to no app or to another one.
    fn check_paths(&self, nested: &[&Self]) {
        let base = &self.url.base;
        let ignores_case = self.app.case_insensitive_paths.unwrap_or(false);
        for Listed { at, text } in self.listed() {
            let Ok(pattern) = PathPattern::parse(text) else {
                continue;
            };
            if !pattern.matches_below(base, ignores_case) {
                // An error, since a rule that denies access would be lost.
                at.error(
                    format!(
                        "{} never matches, because the app has the paths below {}",
                        quoted(text),
                        quoted(base.as_str())
                    ),
                    format!(
                        "paths are those of requests, and include the path of `public_url`: `{}{text}`",
                        base.as_str()
                    ),
                );
                continue;
            }
            let is_within = |other: &&&Self| {
                let all = PathPattern::parse(&format!("{}/**", other.url.base.as_str()));
                all.is_ok_and(|all| all.covers(&pattern, false))
            };
            if let Some(other) = nested.iter().find(is_within) {
                at.warning(
                    format!(
                        "{} never matches, because the app {} has {}",
                        quoted(text),
                        quoted(other.name),
                        quoted(other.url.base.as_str())
                    ),
                    "remove the path, or move it to that app",
                );
            }
        }
    }

    /// The paths of the app's keys.
    fn listed(&self) -> Vec<Listed<'_, '_>> {
        let Self { at, app, .. } = self;
        let mut listed = Vec::new();
        for (index, rule) in app.rules.iter().flatten().enumerate() {
            let at = at.key("rules").index(index).key("paths");
            let paths = rule.iter().flat_map(|rule| rule.paths.iter().flatten());
            listed.extend(paths.enumerate().filter_map(|(index, text)| {
                Some(Listed {
                    at: at.index(index),
                    text: text.as_deref()?,
                })
            }));
        }
        for (index, route) in app.routes.iter().flatten().enumerate() {
            let path = route.as_ref().and_then(|route| route.path.as_deref());
            listed.extend(path.map(|text| Listed {
                at: at.key("routes").index(index).key("path"),
                text,
            }));
        }
        let background = app.background_paths.iter().flatten().enumerate();
        listed.extend(background.filter_map(|(index, text)| {
            Some(Listed {
                at: at.key("background_paths").index(index),
                text: text.as_deref()?,
            })
        }));
        let strict = app.device_binding.iter().flat_map(|table| &table.strict);
        let strict = strict.flatten().enumerate();
        listed.extend(strict.filter_map(|(index, text)| {
            let text = text.as_deref()?;
            let path = text.find('/').and_then(|start| text.get(start..));
            Some(Listed {
                at: at.key("device_binding").key("strict").index(index),
                text: path.unwrap_or(text),
            })
        }));
        listed.extend(app.app_logout_path.iter().map(|text| Listed {
            at: at.key("app_logout_path"),
            text: text.split('?').next().unwrap_or_default(),
        }));
        listed
    }

    /// Reports apps that begin at endpoints of this one.
    fn check_endpoints(&self, nested: &[&Self]) {
        let prefix = self.app.endpoint_prefix.as_deref().unwrap_or(PREFIX);
        let paths = AppPaths::new(self.url.base.clone(), prefix);
        for other in nested {
            if paths.endpoint(other.url.base.as_str()).is_some() {
                other.at.key("public_url").error(
                    format!(
                        "the app {} has doorward's endpoints below {}",
                        quoted(self.name),
                        quoted(&paths.endpoints)
                    ),
                    "change the path, or `endpoint_prefix` of that app",
                );
            }
        }
    }

    /// Says what a host of its own would protect from.
    fn advise_cookies(&self) {
        if self.url.base.is_root() {
            return;
        }
        let message = "other apps of this origin can act as users of this app, and other hosts of the \
             domain can plant its cookies, which cannot have the prefix `__Host-`";
        let hint = "give the app a host of its own, unless you trust all of them alike";
        self.at.key("public_url").advice(message, hint);
    }
}

/// Tells each app which other apps have paths below its own, and which cookies of Doorward's its host
/// has.
pub(super) fn join(apps: &mut [AppConfig]) {
    let mut by_host: HashMap<String, Vec<Neighbor>> = HashMap::new();
    for app in &*apps {
        let policy = &app.policy;
        let neighbor = Neighbor {
            url: PublicUrl {
                origin: policy.origin.clone(),
                base: policy.paths.base.clone(),
            },
            cookies: family(policy.cookies.stem()),
        };
        by_host
            .entry(policy.origin.host().to_owned())
            .or_default()
            .push(neighbor);
    }
    for app in apps {
        let policy = &mut app.policy;
        let own = &policy.paths.base;
        let neighbors = by_host.get(policy.origin.host()).into_iter().flatten();
        for Neighbor { url, cookies } in neighbors {
            if url.origin == policy.origin && url.base != *own && own.contains(url.base.as_str()) {
                policy.paths.nested.push(url.base.clone());
            }
            let is_known = policy.cookies.others.contains(cookies);
            if !is_known && *cookies != format!("{}_", policy.cookies.stem()) {
                policy.cookies.others.push(cookies.clone());
            }
        }
    }
}

/// An app at a host.
struct Neighbor {
    url: PublicUrl,
    cookies: String,
}

/// The beginning of the names of all cookies with this stem. Apps with the default name have one in
/// common, so that their number does not matter.
fn family(stem: &str) -> String {
    match stem.strip_prefix(COOKIE_NAME) {
        Some(rest) if rest.starts_with('-') => format!("{COOKIE_NAME}-"),
        Some(_) | None => format!("{stem}_"),
    }
}
