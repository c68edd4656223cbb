//! Headers that a browser adds by itself: `Sec-Fetch-*`, `Accept`, `Origin`, `Referer`; and
//! whether `SameSite` allows a cookie to be sent.

use url::Url;

use super::browser::{Kind, RequestSpec};
use super::cookies::{CookieContext, same_site};
use super::page::Redirect;

/// The redirects before a request, as far as cookie rules depend on them.
pub(super) fn situation(request: &RequestSpec, before: &[Redirect]) -> CookieContext {
    CookieContext {
        same_site: request.kind == Kind::Program || is_same_site(request, before),
        top_level: request.kind == Kind::Navigation,
        safe_method: matches!(
            request.method.as_str(),
            "GET" | "HEAD" | "OPTIONS" | "TRACE"
        ),
    }
}

/// The headers that the browser adds by itself, except cookies.
pub(super) fn implied_headers(
    request: &RequestSpec,
    before: &[Redirect],
) -> Vec<(&'static str, String)> {
    const HTML: &str =
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
    let (mode, dest, accept) = match request.kind {
        Kind::Navigation => ("navigate", "document", HTML),
        Kind::Frame => ("navigate", "iframe", HTML),
        Kind::Fetch => ("cors", "empty", "*/*"),
        Kind::Image => ("no-cors", "image", "image/avif,image/webp,*/*;q=0.8"),
        Kind::Program => {
            return vec![
                ("Accept", "*/*".to_owned()),
                ("User-Agent", "program/1".to_owned()),
            ];
        }
    };
    let mut headers = vec![
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) Test".to_owned(),
        ),
        ("Accept", accept.to_owned()),
    ];
    if is_trustworthy(&request.url) {
        headers.push(("Sec-Fetch-Site", fetch_site(request, before).to_owned()));
        headers.push(("Sec-Fetch-Mode", mode.to_owned()));
        headers.push(("Sec-Fetch-Dest", dest.to_owned()));
        if request.kind == Kind::Navigation {
            headers.push(("Sec-Fetch-User", "?1".to_owned()));
        }
    }
    let Some(initiator) = &request.initiator else {
        return headers;
    };
    let crossed = before
        .iter()
        .any(|hop| hop.url.origin() != request.url.origin());
    if !matches!(request.method.as_str(), "GET" | "HEAD")
        || (request.kind == Kind::Fetch && initiator.origin() != request.url.origin())
    {
        let origin = if crossed {
            "null".to_owned()
        } else {
            initiator.origin().ascii_serialization()
        };
        headers.push(("Origin", origin));
    }
    let referer = if initiator.origin() == request.url.origin() {
        initiator.as_str().to_owned()
    } else {
        format!("{}/", initiator.origin().ascii_serialization())
    };
    headers.push(("Referer", referer));
    headers
}

/// The initiator of the request and every response that redirected it.
fn is_same_site(request: &RequestSpec, before: &[Redirect]) -> bool {
    let Some(initiator) = &request.initiator else {
        return true;
    };
    same_site(initiator, &request.url)
        && before
            .iter()
            .all(|hop| same_site(&hop.url, &request.url) || request.kind == Kind::Navigation)
}

/// `Sec-Fetch-*` is sent to potentially trustworthy URLs only (W3C Secure Contexts).
fn is_trustworthy(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "https"
        || host == "localhost"
        || host.ends_with(".localhost")
        || host.starts_with("127.")
}

fn fetch_site(request: &RequestSpec, before: &[Redirect]) -> &'static str {
    let Some(initiator) = &request.initiator else {
        return "none";
    };
    let urls = || before.iter().map(|hop| &hop.url).chain([&request.url]);
    if urls().all(|url| url.origin() == initiator.origin()) {
        return "same-origin";
    }
    if urls().all(|url| same_site(url, initiator)) {
        "same-site"
    } else {
        "cross-site"
    }
}
