//! `redirect`, `respond` and `files` of `[[apps.NAME.routes]]`: own responses.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use url::Url;

use super::super::files::Folder;
use super::super::raw_routes::{RawRedirect, RawRespond, RawRoute};
use super::super::report::{Location, quoted};
use super::is_host;
use crate::policy::path_routes::{FixedResponse, RedirectTarget, RoutePath, RouteResponse};
use crate::static_files::check_folder;

/// The largest body of a fixed response, in bytes.
const MAX_BODY: usize = 4096;

/// The response of a route without upstream. Takes the keys out of `raw`.
pub(super) fn check(
    raw: &mut RawRoute,
    path: Option<&RoutePath>,
    folder: &Folder,
    at: &Location<'_>,
) -> Option<RouteResponse> {
    match (raw.redirect.take(), raw.respond.take(), raw.files.take()) {
        (Some(raw), None, None) => redirect(raw, path, &at.key("redirect")),
        (None, Some(raw), None) => respond(raw, &at.key("respond")),
        (None, None, Some(name)) => files(&name, folder, &at.key("files")),
        (None, None, None) => None,
        (redirect, _, _) => {
            let name = if redirect.is_some() {
                "redirect"
            } else {
                "respond"
            };
            at.key(name).error(
                "the route has two of `redirect`, `respond` and `files`",
                "keep one of them",
            );
            None
        }
    }
}

fn redirect(
    raw: RawRedirect,
    path: Option<&RoutePath>,
    at: &Location<'_>,
) -> Option<RouteResponse> {
    const HINT: &str = "a path such as `/new` or `/new/**`, or a URL such as \
                        `https://www.example.com/**`: `/**` stands for the rest of the path";
    let to = at.required("to", raw.to, HINT);
    let status = raw.status.unwrap_or(302);
    let status = match status {
        301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(status).ok(),
        _ => {
            let message = format!("{status} is not the status of a redirect");
            at.key("status").error(message, "301, 302, 303, 307 or 308");
            None
        }
    };
    let to = to?;
    let target = redirect_target(&to);
    if target.is_none() {
        at.key("to")
            .error(format!("{} is not a target", quoted(&to)), HINT);
    }
    let target = target?;
    if target.keeps_rest && path.is_some_and(|path| !path.has_descendants()) {
        at.key("to").error(
            "`/**` stands for the rest of the path, but the route is for one path",
            "end `path` with `/**`, or name the whole target",
        );
    }
    Some(RouteResponse::Redirect {
        status: status?,
        to: target,
    })
}

fn redirect_target(text: &str) -> Option<RedirectTarget> {
    let (base, keeps_rest) = match text.strip_suffix("/**") {
        Some(base) => (base, true),
        None => (text, false),
    };
    let (origin, path) = if base.contains("://") {
        let url = Url::parse(base).ok()?;
        let origin = url.origin().ascii_serialization();
        let is_web = matches!(url.scheme(), "http" | "https");
        // Nothing but an origin and a path, spelled as browsers read it.
        let path = base.strip_prefix(&origin)?;
        let is_plain = url.as_str().trim_end_matches('/') == base.trim_end_matches('/');
        let is_valid = is_web && is_plain && url.host_str().is_some_and(is_host);
        if !is_valid {
            return None;
        }
        (Some(origin), path)
    } else {
        (None, base)
    };
    let path = match path {
        "" if keeps_rest => String::new(),
        "" => "/".to_owned(),
        path => {
            let parsed = RoutePath::parse(path).ok()?;
            if parsed.has_descendants() || (keeps_rest && path.ends_with('/')) {
                return None;
            }
            parsed.literal().to_owned()
        }
    };
    if origin.is_none() && base.is_empty() && !keeps_rest {
        return None;
    }
    Some(RedirectTarget {
        origin,
        path,
        keeps_rest,
    })
}

fn respond(raw: RawRespond, at: &Location<'_>) -> Option<RouteResponse> {
    let body = raw.body.unwrap_or_default();
    let number = raw.status.unwrap_or(200);
    let is_allowed = matches!(number, 200..=204 | 400 | 402..=406 | 408..=599);
    let status = StatusCode::from_u16(number).ok().filter(|_| is_allowed);
    if status.is_none() {
        at.key("status").error(
            format!("{number} is not a status of a fixed response"),
            "200 to 204, or an error from 400 to 599 other than 401 and 407",
        );
    }
    if number == 204 && !body.is_empty() {
        let hint = "remove `body`, or choose 200";
        at.key("body").error("a response 204 has no body", hint);
    }
    if body.len() > MAX_BODY {
        at.key("body").error(
            format!("{} bytes are too many", body.len()),
            format!("at most {MAX_BODY}; let a server deliver larger files"),
        );
    }
    let text = raw.content_type.as_deref();
    let text = text.unwrap_or("text/plain; charset=utf-8");
    let content_type = HeaderValue::from_str(text).ok();
    let content_type = content_type.filter(|_| text.contains('/') && text.is_ascii());
    if content_type.is_none() {
        at.key("content_type").error(
            format!("{} is not a media type", quoted(text)),
            "such as `\"text/html; charset=utf-8\"`",
        );
    }
    Some(RouteResponse::Respond(FixedResponse {
        status: status?,
        content_type: content_type?,
        body: Bytes::from(body),
    }))
}

/// The folder of static files.
fn files(name: &str, folder: &Folder, at: &Location<'_>) -> Option<RouteResponse> {
    let path = folder.path(name);
    if let Err(error) = check_folder(&path) {
        at.error(
            format!("the folder {} cannot be read: {error}", quoted(name)),
            "a folder that the user of the process may search",
        );
        return None;
    }
    if folder.is_within(&path) {
        at.error(
            format!("the folder {} contains the configuration", quoted(name)),
            "a folder that has only files for clients",
        );
        return None;
    }
    Some(RouteResponse::Files(path))
}
