//! Client kinds, which determine the format of an error response. A login starts only for a client
//! that can follow it.

use http::{HeaderMap, HeaderName, Method, header};

static SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
/// Announce a prefetch in browsers without `Sec-Purpose`.
static PREFETCH_FIELDS: [HeaderName; 3] = [
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];
pub(super) static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
pub(super) static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

const HTML: [&str; 2] = ["text/html", "application/xhtml+xml"];

/// The kind of client that sent a request, as far as headers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// A browser that opens a page in a tab with `GET`. It can follow a login.
    Navigation,
    /// A browser that submits a form in a tab. A login would lose the form.
    FormSubmission,
    /// A browser that opens a page inside a frame. Providers refuse to be framed.
    EmbeddedFrame,
    /// A script, a service worker or a prefetch that prefers HTML. It cannot follow a login, but a
    /// browser may show the response as a page.
    HtmlFetch,
    /// A script, an app, an event stream or a WebSocket. It gets a problem document.
    NonBrowser,
    /// A gRPC client. It reads only a status in trailers.
    Grpc,
}

impl ClientKind {
    /// Its name in explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Navigation => "navigation",
            Self::FormSubmission => "form submission",
            Self::EmbeddedFrame => "embedded frame",
            Self::HtmlFetch => "fetch of html",
            Self::NonBrowser => "non-browser",
            Self::Grpc => "grpc",
        }
    }

    /// Determines the kind by content type, then fetch metadata (W3C Fetch Metadata), then
    /// `Accept`, then `X-Requested-With`.
    pub fn read(method: &Method, headers: &HeaderMap) -> Self {
        // Only for `POST`: a gRPC error has status 200, and a header that anyone can send must not
        // turn other errors into that.
        if *method == Method::POST && is_grpc(headers) {
            return Self::Grpc;
        }
        if headers.contains_key(header::UPGRADE) {
            return Self::NonBrowser;
        }
        let kind = match (
            text(headers, &SEC_FETCH_MODE),
            text(headers, &SEC_FETCH_DEST),
        ) {
            // A service worker passes a navigation on with an empty destination.
            (Some("navigate"), None | Some("document" | "empty")) => Self::tab(method),
            (Some("navigate"), Some(_)) => Self::EmbeddedFrame,
            (Some(_), _) => Self::fetch(method, headers),
            (None, _) if is_script(headers) || !accepts_html(headers) => {
                Self::fetch(method, headers)
            }
            (None, _) => Self::tab(method),
        };
        if matches!(kind, Self::Navigation | Self::EmbeddedFrame) && is_prefetch(headers) {
            return Self::fetch(method, headers);
        }
        kind
    }

    fn fetch(method: &Method, headers: &HeaderMap) -> Self {
        if *method != Method::HEAD && prefers_html(headers) {
            Self::HtmlFetch
        } else {
            Self::NonBrowser
        }
    }

    fn tab(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Navigation,
            Method::HEAD => Self::NonBrowser,
            _ => Self::FormSubmission,
        }
    }

    /// Whether the response is a page.
    pub const fn reads_pages(self) -> bool {
        match self {
            Self::Navigation | Self::FormSubmission | Self::EmbeddedFrame | Self::HtmlFetch => true,
            Self::NonBrowser | Self::Grpc => false,
        }
    }

    /// The kind of the same client if it is known to be no browser.
    #[must_use]
    pub const fn as_non_browser(self) -> Self {
        match self {
            Self::Grpc => Self::Grpc,
            Self::Navigation
            | Self::FormSubmission
            | Self::EmbeddedFrame
            | Self::HtmlFetch
            | Self::NonBrowser => Self::NonBrowser,
        }
    }
}

/// The first field of this name, if it is visible ASCII.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `application/grpc`, also with an encoding. gRPC-Web is sent by scripts of pages, which read
/// problem documents.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &str = "application/grpc";
    let Some(kind) = text(headers, &header::CONTENT_TYPE) else {
        return false;
    };
    let (Some(start), Some(rest)) = (kind.get(..GRPC.len()), kind.get(GRPC.len()..)) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && (rest.is_empty() || rest.starts_with(['+', ';', ' ']))
}

/// Whether a script library marks the request as its own.
pub(super) fn is_script(headers: &HeaderMap) -> bool {
    headers.contains_key(&X_REQUESTED_WITH)
}

/// Whether the browser fetches a page that the user may never open.
fn is_prefetch(headers: &HeaderMap) -> bool {
    let announces = |name: &HeaderName| {
        let purpose = text(headers, name).unwrap_or_default().to_ascii_lowercase();
        ["prefetch", "preview", "prerender"]
            .iter()
            .any(|kind| purpose.contains(kind))
    };
    headers.contains_key(&SEC_PURPOSE) || PREFETCH_FIELDS.iter().any(announces)
}

/// The quality of the best of these media types in `Accept`, in thousandths (RFC 9110 section
/// 12.4.2). Wildcards do not count.
fn quality(headers: &HeaderMap, media_types: &[&str]) -> u16 {
    let ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let qualities = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?;
        let is_one = media_types
            .iter()
            .any(|one| media.eq_ignore_ascii_case(one));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        is_one.then(|| weight.map_or(1000, thousandths))
    });
    qualities.max().unwrap_or(0)
}

/// A weight such as `0.8`. An invalid one counts as 1.
fn thousandths(weight: &str) -> u16 {
    let weight: f32 = weight.parse().unwrap_or(1.0);
    (weight.clamp(0.0, 1.0) * 1000.0) as u16
}

fn accepts_html(headers: &HeaderMap) -> bool {
    quality(headers, &HTML) > 0
}

fn prefers_html(headers: &HeaderMap) -> bool {
    const JSON: [&str; 2] = ["application/json", "application/problem+json"];
    let html = quality(headers, &HTML);
    html > 0 && html > quality(headers, &JSON)
}

/// Whether a state-changing request comes from the app's own origin: by `Origin` or, without that,
/// by `Sec-Fetch-Site: same-origin`. Anything else is cross-site.
pub fn is_same_origin(headers: &HeaderMap, origin: &str) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let site = text(headers, &SEC_FETCH_SITE);
    match (origins.next(), origins.next()) {
        (Some(_), Some(_)) => false,
        (Some(sent), None) => {
            sent.as_bytes() == origin.as_bytes() && site.is_none_or(|site| site == "same-origin")
        }
        (None, _) => site == Some("same-origin"),
    }
}

/// Whether a page of an origin other than `own` and the `allowed` opens a WebSocket. Browsers let
/// any page do so, send cookies with it and let the page read the messages. Their only protection
/// is to send `Origin` (RFC 6455 section 10.2).
pub fn is_cross_origin_websocket(headers: &HeaderMap, own: &str, allowed: &[String]) -> bool {
    let upgrades = headers
        .get_all(header::UPGRADE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let is_socket = upgrades
        .map(<[u8]>::trim_ascii)
        .any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    let mut origins = headers.get_all(header::ORIGIN).iter();
    is_socket
        && match (origins.next(), origins.next()) {
            (None, _) => false,
            (Some(origin), None) => !std::iter::once(own)
                .chain(allowed.iter().map(String::as_str))
                .any(|allowed| allowed.as_bytes() == origin.as_bytes()),
            (Some(_), Some(_)) => true,
        }
}

/// Whether the browser confirms that a page of the same site sent the request.
pub fn is_same_site(headers: &HeaderMap) -> bool {
    matches!(
        text(headers, &SEC_FETCH_SITE),
        Some("same-origin" | "same-site")
    )
}

/// Whether the browser confirms that a page of the app's own origin sent the request.
pub fn is_from_own_page(headers: &HeaderMap) -> bool {
    text(headers, &SEC_FETCH_SITE) == Some("same-origin")
}

/// Whether the browser says that a page of another origin caused the request.
pub fn comes_from_other_origin(headers: &HeaderMap) -> bool {
    matches!(
        text(headers, &SEC_FETCH_SITE),
        Some("cross-site" | "same-site")
    )
}

/// Whether another site may have caused the request: the browser says neither that the same site
/// did, nor that the user did.
pub fn may_be_cross_site(headers: &HeaderMap) -> bool {
    !is_same_site(headers) && text(headers, &SEC_FETCH_SITE) != Some("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_get_in_a_tab_is_a_navigation() {
        use ClientKind::*;
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        let cases = [
            (Method::GET, vec![html], Navigation),
            (
                Method::GET,
                vec![
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                Navigation,
            ),
            (
                Method::POST,
                vec![
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                FormSubmission,
            ),
            (Method::POST, vec![html], FormSubmission),
            (
                Method::GET,
                vec![
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "iframe"),
                    html,
                ],
                EmbeddedFrame,
            ),
            (
                Method::GET,
                vec![("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "empty")],
                Navigation,
            ),
            (
                Method::POST,
                vec![("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "empty")],
                FormSubmission,
            ),
            (
                Method::GET,
                vec![("sec-fetch-mode", "cors"), html],
                HtmlFetch,
            ),
            (
                Method::GET,
                vec![("sec-fetch-mode", "same-origin"), ("accept", "*/*")],
                NonBrowser,
            ),
            (
                Method::GET,
                vec![
                    ("sec-fetch-mode", "cors"),
                    ("accept", "application/json, text/html"),
                ],
                NonBrowser,
            ),
            (
                Method::GET,
                vec![
                    ("sec-fetch-mode", "cors"),
                    ("accept", "text/html, application/json;q=0.9, */*;q=0.1"),
                ],
                HtmlFetch,
            ),
            (
                Method::GET,
                vec![("sec-fetch-mode", "cors"), ("accept", "text/html;q=0")],
                NonBrowser,
            ),
            (
                Method::GET,
                vec![
                    ("sec-fetch-mode", "navigate"),
                    ("sec-purpose", "prefetch;prerender"),
                ],
                NonBrowser,
            ),
            (Method::GET, vec![html, ("purpose", "prefetch")], HtmlFetch),
            (Method::GET, vec![html, ("x-purpose", "preview")], HtmlFetch),
            (Method::GET, vec![html, ("x-moz", "prefetch")], HtmlFetch),
            (Method::GET, vec![html, ("purpose", "x")], Navigation),
            (Method::GET, vec![("accept", "*/*")], NonBrowser),
            (
                Method::GET,
                vec![("accept", "application/json, text/htmlx")],
                NonBrowser,
            ),
            (
                Method::GET,
                vec![html, ("x-requested-with", "XMLHttpRequest")],
                HtmlFetch,
            ),
            (
                Method::GET,
                vec![html, ("upgrade", "websocket")],
                NonBrowser,
            ),
            (Method::HEAD, vec![html], NonBrowser),
            (Method::GET, vec![], NonBrowser),
        ];
        for (method, fields, expected) in cases {
            assert_eq!(
                ClientKind::read(&method, &headers(&fields)),
                expected,
                "{method} {fields:?}"
            );
        }
    }

    #[test]
    fn websocket_of_unlisted_origin_is_cross_origin() {
        let own = "https://store.example.com";
        let allowed = ["https://chat.example.com".to_owned()];
        let socket = ("upgrade", "h2c, WebSocket");
        for (fields, expected) in [
            (vec![socket, ("origin", own)], false),
            (vec![socket, ("origin", "https://chat.example.com")], false),
            (vec![socket], false),
            (vec![("origin", "https://evil.example")], false),
            (vec![socket, ("origin", "https://evil.example")], true),
            (
                vec![socket, ("origin", "https://store.example.com.evil.example")],
                true,
            ),
            (vec![socket, ("origin", "http://store.example.com")], true),
            (vec![socket, ("origin", "null")], true),
            (vec![socket, ("origin", "")], true),
        ] {
            assert_eq!(
                is_cross_origin_websocket(&headers(&fields), own, &allowed),
                expected,
                "{fields:?}"
            );
        }
        let mut two = headers(&[socket, ("origin", own)]);
        two.append("origin", own.parse().unwrap());
        assert!(is_cross_origin_websocket(&two, own, &allowed));
    }

    #[test]
    fn grpc_is_recognized_by_method_and_content_type() {
        let html = ("accept", "text/html");
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC;charset=x",
        ] {
            let client_kind =
                ClientKind::read(&Method::POST, &headers(&[("content-type", kind), html]));
            assert_eq!(
                (client_kind, client_kind.as_non_browser()),
                (ClientKind::Grpc, ClientKind::Grpc),
                "{kind}"
            );
        }
        let client_kind = ClientKind::read(
            &Method::GET,
            &headers(&[("content-type", "application/grpc"), html]),
        );
        assert_eq!(
            client_kind,
            ClientKind::Navigation,
            "its error response must not have status 200"
        );
        for kind in [
            "application/grpc-web+proto",
            "application/grpcx",
            "application/json",
        ] {
            let client_kind = ClientKind::read(&Method::POST, &headers(&[("content-type", kind)]));
            assert_eq!(client_kind, ClientKind::NonBrowser, "{kind}");
        }
    }

    #[test]
    fn same_origin_needs_a_header_and_no_contradiction() {
        let own = "https://store.example.com";
        let cases = [
            (vec![("origin", own)], true),
            (
                vec![("origin", own), ("sec-fetch-site", "same-origin")],
                true,
            ),
            (vec![("sec-fetch-site", "same-origin")], true),
            (
                vec![("origin", own), ("sec-fetch-site", "cross-site")],
                false,
            ),
            (vec![("origin", "null")], false),
            (vec![("origin", "https://store.example.com.evil")], false),
            (vec![("origin", "http://store.example.com")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![], false),
        ];
        for (fields, expected) in cases {
            assert_eq!(
                is_same_origin(&headers(&fields), own),
                expected,
                "{fields:?}"
            );
        }
        let mut twice = headers(&[("origin", own)]);
        twice.append("origin", "https://evil.example".parse().unwrap());
        assert!(!is_same_origin(&twice, own));
    }
}
