//! Header fields that `Connection` nominates as hop-by-hop.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// End-to-end fields that `Connection` must not nominate (RFC 9110 section 7.6.1). Without them the
/// backend would process another request than the one that was authorized.
const NOT_NOMINABLE: [&str; 15] = [
    "host",
    "cdn-loop",
    "cookie",
    "authorization",
    "content-type",
    "content-encoding",
    "content-language",
    "content-range",
    "cache-control",
    "date",
    "origin",
    "referer",
    "range",
    "accept",
    "user-agent",
];

/// The names that `Connection` nominates.
pub(super) struct Nominated(Vec<HeaderName>);

impl Nominated {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(CONNECTION).iter();
        let tokens = fields
            .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii);
        let usual = |token: &&[u8]| {
            !token.is_empty()
                && !token.eq_ignore_ascii_case(b"keep-alive")
                && !token.eq_ignore_ascii_case(b"close")
                && !token.eq_ignore_ascii_case(b"upgrade")
        };
        let names = tokens
            .filter(usual)
            .filter_map(|token| HeaderName::from_bytes(token).ok());
        Self(names.filter(|name| !is_end_to_end(name)).collect())
    }

    pub(super) fn contains(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    NOT_NOMINABLE.contains(&name.as_str()) || name.as_str().starts_with("sec-")
}
