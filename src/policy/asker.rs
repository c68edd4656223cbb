//! Browser or program? Who asks decides in which form a refusal comes: a login is only ever started for
//! somebody who can follow it.

use http::{HeaderMap, HeaderName, Method, header};

static SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
pub(super) static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// What sent the request, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A browser that opens a page in a tab, with `GET`: it can be sent to log in.
    Navigation,
    /// A browser that sent a form from a tab: a login would lose what was in it.
    FormNavigation,
    /// A browser that opens a page within another page: providers refuse to be framed.
    Frame,
    /// A script, an app, a prefetch, an event stream or a socket: it gets a problem document.
    Program,
}

impl Asker {
    /// Reads the fetch metadata first (W3C Fetch Metadata), then `Accept`, then `X-Requested-With`.
    pub fn read(method: &Method, headers: &HeaderMap) -> Self {
        if headers.contains_key(header::UPGRADE) || text(headers, &SEC_PURPOSE).is_some() {
            return Self::Program;
        }
        match (text(headers, &SEC_FETCH_MODE), text(headers, &SEC_FETCH_DEST)) {
            (Some("navigate"), None | Some("document")) => Self::tab(method),
            (Some("navigate"), Some(_)) => Self::Frame,
            (Some(_), _) => Self::Program,
            (None, _) if headers.contains_key(&X_REQUESTED_WITH) || !accepts_html(headers) => Self::Program,
            (None, _) => Self::tab(method),
        }
    }

    fn tab(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Navigation,
            Method::HEAD => Self::Program,
            _ => Self::FormNavigation,
        }
    }

    /// Whether an answer is read by a person.
    pub const fn reads_pages(self) -> bool {
        match self {
            Self::Navigation | Self::FormNavigation | Self::Frame => true,
            Self::Program => false,
        }
    }
}

/// The first field of this name, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .map(str::trim)
        .any(|media| ["text/html", "application/xhtml+xml"].iter().any(|page| media.eq_ignore_ascii_case(page)))
}

/// Whether a state-changing request comes from our own origin: `Origin` names it, or, where that is absent,
/// the browser says `Sec-Fetch-Site: same-origin`. What proves neither is cross-site.
pub fn is_same_origin(headers: &HeaderMap, origin: &str) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let site = text(headers, &SEC_FETCH_SITE);
    match (origins.next(), origins.next()) {
        (Some(_), Some(_)) => false,
        (Some(said), None) => said.as_bytes() == origin.as_bytes() && site.is_none_or(|site| site == "same-origin"),
        (None, _) => site == Some("same-origin"),
    }
}

/// Whether the browser says that a page of our own site asks; what does not say so is cross-site.
pub fn is_same_site(headers: &HeaderMap) -> bool {
    matches!(text(headers, &SEC_FETCH_SITE), Some("same-origin" | "same-site"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_a_tab_with_get_is_a_navigation() {
        use Asker::*;
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        let cases = [
            (Method::GET, vec![html], Navigation),
            (Method::GET, vec![("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], Navigation),
            (Method::POST, vec![("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], FormNavigation),
            (Method::POST, vec![html], FormNavigation),
            (Method::GET, vec![("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), html], Frame),
            (Method::GET, vec![("sec-fetch-mode", "cors"), html], Program),
            (Method::GET, vec![("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch;prerender")], Program),
            (Method::GET, vec![("accept", "*/*")], Program),
            (Method::GET, vec![("accept", "application/json, text/htmlx")], Program),
            (Method::GET, vec![html, ("x-requested-with", "XMLHttpRequest")], Program),
            (Method::GET, vec![html, ("upgrade", "websocket")], Program),
            (Method::HEAD, vec![html], Program),
            (Method::GET, vec![], Program),
        ];
        for (method, lines, expected) in cases {
            assert_eq!(Asker::read(&method, &headers(&lines)), expected, "{method} {lines:?}");
        }
    }

    #[test]
    fn a_request_is_ours_only_if_it_says_so_and_nothing_contradicts() {
        let ours = "https://store.example.com";
        let cases = [
            (vec![("origin", ours)], true),
            (vec![("origin", ours), ("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("origin", ours), ("sec-fetch-site", "cross-site")], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "https://store.example.com.evil")], false),
            (vec![("origin", "http://store.example.com")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![], false),
        ];
        for (lines, expected) in cases {
            assert_eq!(is_same_origin(&headers(&lines), ours), expected, "{lines:?}");
        }
        let mut twice = headers(&[("origin", ours)]);
        twice.append("origin", "https://evil.example".parse().unwrap());
        assert!(!is_same_origin(&twice, ours));
    }
}
