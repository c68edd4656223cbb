//! `app_cookies`, `app_logout_path` and `app_logout_method`: the end of the app's own session.

use http::Method;
use url::Url;

use super::super::keywords::AppLogoutMethod;
use super::super::raw::{List, RawApp, RawAppCookie};
use super::super::report::{Location, quoted};
use super::elements;
use crate::policy::app::{AppLogout, AppLogoutPolicy};
use crate::session::app_cookie::{AppCookie, AppCookieError};
use crate::types::net::{Origin, is_loopback_host};
use crate::types::target::Target;

/// The most cookies: each is a `Set-Cookie` header of every logout response.
const MAX_COOKIES: usize = 16;

/// `logout_return_to`: URLs of other sites that a logout may lead to.
pub(super) fn return_targets(raw: &mut RawApp, at: &Location<'_>) -> Vec<Url> {
    let at = at.key("logout_return_to");
    let parse = |(at, text): (Location<'_>, String)| {
        let url = Url::parse(&text).ok().filter(|url| {
            let is_loopback = url.host_str().is_some_and(is_loopback_host);
            let is_web = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
            is_web && url.username().is_empty() && url.password().is_none()
        });
        if url.is_none() {
            at.error(
                format!("{} is not an https URL", quoted(&text)),
                "such as `https://www.example.com/goodbye`; pages of the app need not be listed",
            );
        }
        url
    };
    elements(raw.logout_return_to.take(), &at)
        .filter_map(parse)
        .collect()
}

/// Takes the keys out of `raw`. `origin` is the app's origin, if it is valid.
pub(super) fn check(
    raw: &mut RawApp,
    origin: Option<&Origin>,
    prefix: &str,
    at: &Location<'_>,
) -> AppLogoutPolicy {
    let cookies = cookies(raw.app_cookies.take(), origin, &at.key("app_cookies"));
    let path = raw.app_logout_path.take();
    if path.is_none() && raw.app_logout_method.is_some() {
        let hint = "set `app_logout_path`, or remove this key";
        at.key("app_logout_method")
            .error("`app_logout_method` needs `app_logout_path`", hint);
    }
    let method = match raw.app_logout_method.unwrap_or(AppLogoutMethod::Get) {
        AppLogoutMethod::Get => Method::GET,
        AppLogoutMethod::Post => Method::POST,
    };
    let target = path.and_then(|path| target(&path, prefix, &at.key("app_logout_path")));
    AppLogoutPolicy {
        cookies: cookies.iter().filter_map(AppCookie::expire).collect(),
        logout: target.map(|target| AppLogout { method, target }),
    }
}

fn cookies(
    raw: Option<List<RawAppCookie>>,
    origin: Option<&Origin>,
    at: &Location<'_>,
) -> Vec<AppCookie> {
    let mut cookies: Vec<AppCookie> = Vec::new();
    if raw.as_ref().is_some_and(|list| list.len() > MAX_COOKIES) {
        at.error(
            "too many cookies",
            format!("at most {MAX_COOKIES}: list those that identify the user"),
        );
    }
    for (at, raw) in elements(raw, at) {
        let hint =
            "as the app sets it, such as `{ name = \"PHPSESSID\" }`, with its `path` and `domain`";
        let (Some(name), Some(origin)) = (at.required("name", raw.name, hint), origin) else {
            continue;
        };
        let path = raw.path.as_deref().unwrap_or("/");
        match AppCookie::new(&name, path, raw.domain.as_deref(), origin) {
            Ok(cookie) if cookies.contains(&cookie) => {
                at.error("duplicate cookie", "list each cookie once")
            }
            Ok(cookie) => cookies.push(cookie),
            Err(error) => {
                let (key, value) = match error {
                    AppCookieError::Name | AppCookieError::Prefix => ("name", name.as_str()),
                    AppCookieError::Path => ("path", path),
                    AppCookieError::Domain => ("domain", raw.domain.as_deref().unwrap_or_default()),
                };
                at.key(key).error(
                    format!(
                        "{} is not valid for a cookie of this app: {error}",
                        quoted(value)
                    ),
                    hint,
                );
            }
        }
    }
    cookies
}

/// A request target of the app, in canonical form.
fn target(text: &str, prefix: &str, at: &Location<'_>) -> Option<Target> {
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    let parsed = Target::parse(path, query)
        .ok()
        .filter(|target| target.as_str() == text && !text.contains('#'));
    let Some(parsed) = parsed else {
        let hint = "a path of the app, such as `/account/logout`";
        at.error(format!("{} is not a canonical path", quoted(text)), hint);
        return None;
    };
    if parsed
        .path()
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        at.error(
            format!("{} is an endpoint of doorward", quoted(text)),
            "set the path of the app's own logout",
        );
        return None;
    }
    Some(parsed)
}
