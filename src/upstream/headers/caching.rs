//! Caching of authenticated responses: they are kept out of shared caches (RFC 9111).

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Response fields that override `Cache-Control` for some caches (RFC 9213 and its predecessors).
static CACHE_CONTROL_OVERRIDES: [HeaderName; 7] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("edge-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("vercel-cdn-cache-control"),
    HeaderName::from_static("x-accel-expires"),
];

/// Adds `private`, which keeps a response out of shared caches, also one that would be cached
/// heuristically (RFC 9111 section 5.2.2).
pub fn make_private(headers: &mut HeaderMap) {
    let is_override = |name: &&HeaderName| CACHE_CONTROL_OVERRIDES.contains(name);
    let overrides: Vec<HeaderName> = headers.keys().filter(is_override).cloned().collect();
    for name in overrides {
        headers.remove(name);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, const { HeaderValue::from_static("private") });
        return;
    }
    let mut kept = Vec::new();
    for field in headers.get_all(CACHE_CONTROL) {
        for directive in directives(field.as_bytes()) {
            let name = directive
                .split(|byte| *byte == b'=')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            let replaced = [&b"public"[..], b"s-maxage", b"private", b"proxy-revalidate"];
            if !name.is_empty()
                && !replaced
                    .iter()
                    .any(|other| name.eq_ignore_ascii_case(other))
            {
                kept.push(directive);
            }
        }
    }
    if !kept
        .iter()
        .any(|directive| directive.eq_ignore_ascii_case(b"no-store"))
    {
        kept.insert(0, b"private");
    }
    let joined = HeaderValue::from_bytes(&kept.join(&b", "[..]));
    headers.insert(
        CACHE_CONTROL,
        joined.unwrap_or(const { HeaderValue::from_static("private, no-store") }),
    );
}

/// Splits a field at commas outside quoted strings.
fn directives(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    let parts = field.split(move |byte| {
        let comma = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        comma
    });
    parts.map(<[u8]>::trim_ascii)
}
