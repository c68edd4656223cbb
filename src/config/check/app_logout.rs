//! `app_cookies`, `app_logout_path` and `app_logout_method`: what ends the backend's own session.

use http::Method;

use super::super::raw::{List, RawApp, RawAppCookie};
use super::super::report::{Location, quoted};
use super::super::values::AppLogoutMethod;
use super::elements;
use crate::policy::app::{AppLogout, AppLogoutPolicy};
use crate::session::app_cookie::{AppCookie, AppCookieError};
use crate::types::net::Origin;
use crate::types::target::Target;

/// Most cookies: each is a line of every logout's answer.
const MOST: usize = 16;

/// Takes the keys out of `raw`. `origin` is where the app is, once that is known.
pub(super) fn check(
    raw: &mut RawApp,
    origin: Option<&Origin>,
    prefix: &str,
    at: &Location<'_>,
) -> AppLogoutPolicy {
    let cookies = cookies(raw.app_cookies.take(), origin, &at.key("app_cookies"));
    let url = raw.app_logout_path.take();
    if url.is_none() && raw.app_logout_method.is_some() {
        let hint = "name the app's own logout with `app_logout_path`, or take the key away";
        at.key("app_logout_method")
            .error("there is no `app_logout_path`", hint);
    }
    let method = match raw.app_logout_method.unwrap_or(AppLogoutMethod::Get) {
        AppLogoutMethod::Get => Method::GET,
        AppLogoutMethod::Post => Method::POST,
    };
    let target = url.and_then(|url| target(url, prefix, &at.key("app_logout_path")));
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
    if raw.as_ref().is_some_and(|list| list.len() > MOST) {
        at.error(
            "these are too many cookies",
            format!("at most {MOST}: those that hold the app's own session"),
        );
    }
    for (at, raw) in elements(raw, at) {
        let hint = "as the app sets it: `{ name = \"PHPSESSID\" }`, with `path` and `domain` if it has them";
        let (Some(name), Some(origin)) = (at.required("name", raw.name, hint), origin) else {
            continue;
        };
        let path = raw.path.as_deref().unwrap_or("/");
        match AppCookie::new(&name, path, raw.domain.as_deref(), origin) {
            Ok(cookie) if cookies.contains(&cookie) => {
                at.error("this cookie is there twice", "name each once")
            }
            Ok(cookie) => cookies.push(cookie),
            Err(error) => {
                let (key, value) = match error {
                    AppCookieError::Name | AppCookieError::Prefix => ("name", name.as_str()),
                    AppCookieError::Path => ("path", path),
                    AppCookieError::Domain => ("domain", raw.domain.as_deref().unwrap_or_default()),
                };
                at.key(key).error(
                    format!("{} cannot be a cookie of this app: {error}", quoted(value)),
                    hint,
                );
            }
        }
    }
    cookies
}

/// A path of the backend, in the one form in which every request is sent.
fn target(url: String, prefix: &str, at: &Location<'_>) -> Option<String> {
    let (path, query) = url
        .split_once('?')
        .map_or((url.as_str(), None), |(path, query)| (path, Some(query)));
    let read = Target::parse(path, query)
        .ok()
        .filter(|target| target.as_str() == url && !url.contains('#'));
    let Some(read) = read else {
        let hint = "a path at the app's own address, such as `/account/logout`";
        at.error(
            format!("{} is not a path that can be asked for", quoted(&url)),
            hint,
        );
        return None;
    };
    if read
        .path()
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        at.error(
            format!("{} is doorward's own", quoted(&url)),
            "the app's logout, which doorward asks for itself",
        );
        return None;
    }
    Some(url)
}
