//! The one place that touches identity headers. What a client sent under a name that a backend could take for one
//! of ours is left out first, in every spelling that a backend may fold to it (CGI and WSGI turn `-` into `_`, PHP
//! also `.`); then ours are set, so nothing nominated in `Connection` can take them away again.

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::ForwardRequest;
use crate::identity::credentials::Scheme;
use crate::policy::native::holds_doorward_token;
use crate::session::cookie::pairs;

/// Names that go no further, each in every spelling. Proxies and frameworks believe them; we say what is true
/// ourselves, in `X-Forwarded-For`, `-Proto` and `-Host`. The vendors' forms of the client's address are among them:
/// who trusts the proxy that sets one lists that proxy as trusted, and finds the address in `X-Forwarded-For`.
const NEVER_FORWARDED: [&str; 39] = [
    // Hop by hop (RFC 9110 section 7.6.1) and framing, which is set anew.
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "http2-settings",
    "expect",
    // Meant for a proxy: us.
    "proxy",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    // Where the request came from and what it asked for.
    "forwarded",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "x-cluster-client-ip",
    "x-azure-clientip",
    "x-originating-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-original-forwarded-for",
    "x-original-host",
    "x-host",
    "x-rewrite-url",
    "x-original-url",
    "x-original-uri",
    // Another method than the one the rules saw.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    // Another path or method than the ones the rules saw.
    "x-original-path",
    "x-original-method",
];

/// Beginnings of such names.
const NEVER_FORWARDED_FAMILIES: [&str; 5] = [
    "x-forwarded-",
    "x-envoy-",
    "secure-session-",
    "sec-secure-session-",
    "doorward-",
];

/// End-to-end fields that `Connection` may not nominate: without them the backend would see another request than
/// the one that was judged (RFC 9110 section 7.6.1 forbids to nominate them).
const NOT_NOMINABLE: [&str; 14] = [
    "host",
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

/// Response fields that end here.
static RESPONSE_ONLY_HERE: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Response fields that tell some caches more than `Cache-BackgroundRuntime` does (RFC 9213 and its forerunners).
static CACHE_SIDE_CHANNELS: [HeaderName; 7] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("edge-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("vercel-cdn-cache-control"),
    HeaderName::from_static("x-accel-expires"),
];

/// One app's rules for headers, made when the configuration is loaded.
#[derive(Clone, Debug)]
pub struct HeaderPolicy {
    /// Folded names by length, since folding keeps the length.
    never_forwarded: Vec<Vec<Box<[u8]>>>,
    cookie_prefixes: Vec<Box<[u8]>>,
    takes_tokens: bool,
}

impl HeaderPolicy {
    /// `identity` are the names that the app is configured to get; `cookie_prefixes` begin the names of our cookies.
    pub fn new<'a>(
        identity: impl IntoIterator<Item = &'a HeaderName>,
        cookie_prefixes: &[&str],
    ) -> Self {
        let mut policy = Self {
            never_forwarded: Vec::new(),
            cookie_prefixes: Vec::new(),
            takes_tokens: false,
        };
        for name in NEVER_FORWARDED
            .iter()
            .map(|name| name.as_bytes())
            .chain(identity.into_iter().map(|n| n.as_ref()))
        {
            policy.never_forward(name);
        }
        policy.cookie_prefixes = cookie_prefixes
            .iter()
            .map(|prefix| prefix.as_bytes().into())
            .collect();
        policy
    }

    /// For an app whose access tokens are our business: neither they nor proofs of possession go further, whoever
    /// sends them and wherever to. `Authorization` of any other kind stays the app's own.
    #[must_use]
    pub fn taking_tokens(mut self) -> Self {
        self.never_forward(b"dpop");
        self.takes_tokens = true;
        self
    }

    /// For an app whose native apps prove possession to us: proofs go no further.
    #[must_use]
    pub fn keeping_proofs(mut self) -> Self {
        self.never_forward(b"dpop");
        self
    }

    fn never_forward(&mut self, name: &[u8]) {
        let folded: Box<[u8]> = name.iter().map(|byte| fold(*byte)).collect();
        if self.never_forwarded.len() <= folded.len() {
            self.never_forwarded.resize(folded.len() + 1, Vec::new());
        }
        if let Some(same_length) = self.never_forwarded.get_mut(folded.len())
            && !same_length.contains(&folded)
        {
            same_length.push(folded);
        }
    }

    /// The fields that go to the backend, framing and `Host` aside.
    pub(super) fn upstream_headers(
        &self,
        client: &HeaderMap,
        forward: &ForwardRequest<'_>,
    ) -> HeaderMap {
        let mut headers =
            HeaderMap::with_capacity(client.len() + forward.identity_headers.len() + 6);
        self.each_upstream_field(client, forward, |name, value| {
            headers.append(name.clone(), value.clone());
        });
        headers
    }

    /// Gives `put` each field that goes to the backend, framing and `Host` aside.
    pub(super) fn each_upstream_field(
        &self,
        client: &HeaderMap,
        forward: &ForwardRequest<'_>,
        mut put: impl FnMut(&HeaderName, &HeaderValue),
    ) {
        let nominated = Nominated::read(client);
        for (name, value) in client {
            let dropped = self.is_never_forwarded(name)
                || *name == HOST
                || *name == COOKIE
                || (*name == AUTHORIZATION
                    && (forward.consume_authorization
                        || self.is_token(value)
                        || holds_doorward_token(value)))
                || nominated.contains(name);
            if !dropped {
                put(name, value);
            }
        }
        if let Some(cookies) = self.foreign_cookies(client) {
            put(&COOKIE, &cookies);
        }
        for (name, value) in forward.identity_headers {
            put(name, value);
        }
        for (name, value) in [
            (
                const { HeaderName::from_static("x-forwarded-for") },
                forward.forwarded_for,
            ),
            (
                const { HeaderName::from_static("x-forwarded-proto") },
                forward.forwarded_proto,
            ),
            (
                const { HeaderName::from_static("x-forwarded-host") },
                forward.forwarded_host,
            ),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                put(&name, &value);
            }
        }
    }

    fn is_token(&self, authorization: &HeaderValue) -> bool {
        self.takes_tokens && Scheme::of(authorization).is_some()
    }

    /// Whether a field of this name, in whatever spelling, never reaches the backend as it came.
    pub(super) fn is_never_forwarded(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        let same_length = self
            .never_forwarded
            .get(name.len())
            .map_or(&[][..], Vec::as_slice);
        same_length.iter().any(|blocked| folds_to(name, blocked))
            || NEVER_FORWARDED_FAMILIES
                .iter()
                .any(|family| begins_like(name, family.as_bytes()))
    }

    /// The client's cookies without ours, as one field; `None` if nothing is left.
    pub(super) fn foreign_cookies(&self, client: &HeaderMap) -> Option<HeaderValue> {
        let mut fields = client.get_all(COOKIE).iter();
        let first = fields.next()?;
        if fields.next().is_none() && !pairs(first).any(|pair| self.is_our_cookie(pair)) {
            return Some(first.clone());
        }
        let foreign = client
            .get_all(COOKIE)
            .iter()
            .flat_map(pairs)
            .filter(|pair| !self.is_our_cookie(pair));
        let joined = foreign
            .filter(|pair| !pair.is_empty())
            .collect::<Vec<_>>()
            .join(&b"; "[..]);
        if joined.is_empty() {
            None
        } else {
            HeaderValue::from_bytes(&joined).ok()
        }
    }

    /// Prefixes are compared without regard to case, as browsers do for `__Host-` and `__Secure-`. A cookie without a
    /// name (`=doorward_jwt=x`) comes back as its value alone, and so under our name (RFC 6265bis section 5.7).
    fn is_our_cookie(&self, pair: &[u8]) -> bool {
        let pair = pair.trim_ascii();
        let pair = pair.strip_prefix(b"=").unwrap_or(pair).trim_ascii();
        self.cookie_prefixes.iter().any(|prefix| {
            pair.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        })
    }

    /// Whether a field of this name never reaches the client: hop-by-hop, and what only we may say.
    pub(super) fn is_never_answered(name: &HeaderName) -> bool {
        let text = name.as_str().as_bytes();
        RESPONSE_ONLY_HERE.contains(name)
            || ["secure-session-", "doorward-"]
                .iter()
                .any(|family| begins_like(text, family.as_bytes()))
    }

    /// Takes out of the backend's answer what is not for the client: hop-by-hop fields, cookies under our names,
    /// device-binding fields; and what was answered on the strength of an identity is kept out of shared caches.
    pub(super) fn clean_response(&self, headers: &mut HeaderMap, authenticated: bool) {
        let nominated = Nominated::read(headers);
        let ends_here = |name: &&HeaderName| {
            Self::is_never_answered(name) || (**name != SET_COOKIE && nominated.contains(name))
        };
        let gone: Vec<HeaderName> = headers.keys().filter(ends_here).cloned().collect();
        for name in gone {
            headers.remove(name);
        }
        if headers
            .get_all(SET_COOKIE)
            .iter()
            .any(|cookie| self.is_our_cookie(cookie.as_bytes()))
        {
            let all: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
            headers.remove(SET_COOKIE);
            for cookie in all
                .into_iter()
                .filter(|cookie| !self.is_our_cookie(cookie.as_bytes()))
            {
                headers.append(SET_COOKIE, cookie);
            }
        }
        if authenticated {
            keep_private(headers);
        }
    }
}

/// Lower case, and everything but letters and digits in one class.
const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

fn folds_to(name: &[u8], folded: &[u8]) -> bool {
    name.len() == folded.len()
        && name
            .iter()
            .zip(folded)
            .all(|(byte, folded)| fold(*byte) == *folded)
}

fn begins_like(name: &[u8], folded: &[u8]) -> bool {
    name.get(..folded.len())
        .is_some_and(|start| folds_to(start, folded))
}

/// The names that `Connection` lists.
struct Nominated(Vec<HeaderName>);

impl Nominated {
    fn read(headers: &HeaderMap) -> Self {
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

    fn contains(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    NOT_NOMINABLE.contains(&name.as_str()) || name.as_str().starts_with("sec-")
}

/// RFC 9111 section 5.2.2: `private` keeps an answer out of shared caches, also one that would be cached by guess.
fn keep_private(headers: &mut HeaderMap) {
    for name in &CACHE_SIDE_CHANNELS {
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
            let public = [&b"public"[..], b"s-maxage", b"private", b"proxy-revalidate"];
            if !name.is_empty() && !public.iter().any(|word| name.eq_ignore_ascii_case(word)) {
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

/// Splits at commas outside quotes.
fn directives(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
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

#[cfg(test)]
mod tests;
