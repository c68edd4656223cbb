//! Header filter: the only code that sets identity headers. A client's fields under such a name are
//! removed first, in every spelling that a backend may fold to it (CGI and WSGI turn `-` into `_`,
//! PHP also `.`). Then Doorward's are set, so that names nominated by `Connection` cannot remove
//! them.

pub(super) mod caching;
pub(super) mod edge;
mod nominated;

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::connection_auth;
use super::credentials::UpstreamCredentials;
use super::field_value::FieldValue;
use super::folded_name::{folded, folds_to, has_folded_prefix};
use super::foreign_identity;
use super::loop_guard::{CDN_LOOP, LoopGuard};
use super::request::ForwardRequest;
use crate::identity::credentials::{Scheme, is_basic};
use crate::identity::header_edits::HeaderEdits;
use crate::policy::native::holds_doorward_token;
use crate::session::cookie::pairs;
use crate::types::request_id::X_REQUEST_ID;
use crate::types::trace_context::{ForwardedTrace, TRACEPARENT, TRACESTATE};
use nominated::Nominated;

pub use caching::make_private;

/// Request fields that are never forwarded, in any spelling. Proxies and frameworks trust them;
/// Doorward sets `X-Forwarded-For`, `-Proto` and `-Host` itself. They include vendors' fields for
/// the client address: with a trusted proxy in front, the address is in `X-Forwarded-For`.
const NEVER_FORWARDED: [&str; 41] = [
    // Hop-by-hop fields (RFC 9110 section 7.6.1) and framing, which is set anew.
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
    // For proxies, which means for Doorward.
    "proxy",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    // The origin of the request and its original target.
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
    // Doorward's own, which is that of a trusted proxy if it chose one.
    "x-request-id",
    // Another method than the one that the rules matched.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    // Another path or method than those that the rules matched.
    "x-original-path",
    "x-original-method",
    // The length of the described request (`policy::described_request`).
    "x-original-content-length",
];

/// Prefixes of such names.
const NEVER_FORWARDED_PREFIXES: [&str; 5] = [
    "x-forwarded-",
    "x-envoy-",
    "secure-session-",
    "sec-secure-session-",
    "doorward-",
];

/// The assertion about the user. Clients cannot send it, since its prefix is Doorward's.
pub(super) static ASSERTION: HeaderName = HeaderName::from_static("doorward-assertion");

/// Hop-by-hop response fields, which are not forwarded.
static RESPONSE_HOP_BY_HOP: [HeaderName; 9] = [
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

/// One app's header rules, built when the configuration is loaded.
#[derive(Clone, Debug)]
pub struct HeaderPolicy {
    /// Folded names, indexed by length, which folding preserves.
    never_forwarded: Vec<Vec<Box<[u8]>>>,
    cookie_prefixes: Vec<Box<[u8]>>,
    /// Folded names of other products' identity headers that are forwarded.
    forwarded_identity: Vec<Box<[u8]>>,
    drops_access_tokens: bool,
    loop_guard: Option<LoopGuard>,
    drops_authorization: bool,
    drops_passwords: bool,
    request_edits: HeaderEdits,
    response_edits: HeaderEdits,
    credentials: UpstreamCredentials,
}

impl HeaderPolicy {
    /// `identity` are the names of the app's identity headers. `cookie_prefixes` are the prefixes
    /// of Doorward's cookies.
    pub fn new<'a>(
        identity: impl IntoIterator<Item = &'a HeaderName>,
        cookie_prefixes: &[&str],
    ) -> Self {
        let mut policy = Self {
            never_forwarded: Vec::new(),
            cookie_prefixes: Vec::new(),
            forwarded_identity: Vec::new(),
            drops_access_tokens: false,
            loop_guard: None,
            drops_authorization: false,
            drops_passwords: false,
            request_edits: HeaderEdits::default(),
            response_edits: HeaderEdits::default(),
            credentials: UpstreamCredentials::default(),
        };
        for name in NEVER_FORWARDED
            .iter()
            .chain(&foreign_identity::NAMES)
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

    /// For an app whose bearer tokens Doorward checks: removes access tokens and DPoP proofs from
    /// every request, on every path. `Authorization` with another scheme is forwarded.
    #[must_use]
    pub fn dropping_access_tokens(mut self) -> Self {
        self.never_forward(b"dpop");
        self.drops_access_tokens = true;
        self
    }

    /// For an app with a rule that accepts passwords: removes them from every request, on every path,
    /// since clients send them everywhere.
    #[must_use]
    pub fn dropping_passwords(mut self) -> Self {
        self.drops_passwords = true;
        self
    }

    /// Marks requests with the authority of the app's public URL, so that loops are recognized.
    #[must_use]
    pub fn detecting_loops(mut self, authority: &str) -> Self {
        self.loop_guard = LoopGuard::new(authority);
        self
    }

    /// Whether the client's request has passed this app too often.
    pub(super) fn is_loop(&self, client: &HeaderMap) -> bool {
        self.loop_guard
            .as_ref()
            .is_some_and(|guard| guard.is_loop(client))
    }

    /// For an app whose native clients send DPoP proofs to Doorward: removes the proofs.
    #[must_use]
    pub fn dropping_dpop_proofs(mut self) -> Self {
        self.never_forward(b"dpop");
        self
    }

    /// Removes `Authorization` from every request.
    #[must_use]
    pub fn dropping_authorization(mut self) -> Self {
        self.drops_authorization = true;
        self
    }

    /// Forwards these headers as clients send them, although other products use them for
    /// identities. None may be an identity header of the app.
    #[must_use]
    pub fn forwarding<'a>(mut self, names: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        for name in names {
            let folded = folded(name.as_ref());
            for same_length in &mut self.never_forwarded {
                same_length.retain(|known| *known != folded);
            }
            self.forwarded_identity.push(folded);
        }
        self
    }

    /// Changes the fields of requests. A client's fields under the name of one that is set or removed
    /// are removed in every spelling.
    #[must_use]
    pub fn editing_requests(mut self, edits: HeaderEdits) -> Self {
        for name in edits.replaced() {
            self.never_forward(name.as_ref());
        }
        self.request_edits = edits;
        self
    }

    /// Changes the fields of responses.
    #[must_use]
    pub fn editing_responses(mut self, edits: HeaderEdits) -> Self {
        self.response_edits = edits;
        self
    }

    /// Whether the configuration removes or sets this field of responses.
    pub(super) fn is_replaced_in_response(&self, name: &HeaderName) -> bool {
        self.response_edits.replaced().any(|edited| edited == name)
    }

    /// Sends these credentials to protected paths, and removes the client's fields of these names on
    /// every path.
    #[must_use]
    pub fn sending(mut self, credentials: UpstreamCredentials) -> Self {
        if let Some(name) = credentials.token_name() {
            self.never_forward(name.as_ref());
        }
        self.drops_authorization |= credentials.replace_authorization();
        self.credentials = credentials;
        self
    }

    /// Whether the token of the user is sent.
    pub(super) const fn takes_token(&self) -> bool {
        self.credentials.token.is_some()
    }

    fn never_forward(&mut self, name: &[u8]) {
        let folded = folded(name);
        if self.never_forwarded.len() <= folded.len() {
            self.never_forwarded.resize(folded.len() + 1, Vec::new());
        }
        if let Some(same_length) = self.never_forwarded.get_mut(folded.len())
            && !same_length.contains(&folded)
        {
            same_length.push(folded);
        }
    }

    /// The fields of the upstream request, without framing and `Host`.
    pub(super) fn upstream_headers(
        &self,
        client: &HeaderMap,
        forward: &ForwardRequest<'_>,
    ) -> HeaderMap {
        let mut headers =
            HeaderMap::with_capacity(client.len() + forward.identity_headers.len() + 7);
        self.each_upstream_field(client, forward, |name, value| {
            headers.append(name.clone(), value.to_header_value());
        });
        headers
    }

    /// Calls `put` with each field of the upstream request, without framing and `Host`.
    pub(super) fn each_upstream_field(
        &self,
        client: &HeaderMap,
        forward: &ForwardRequest<'_>,
        mut put: impl FnMut(&HeaderName, FieldValue<'_>),
    ) {
        let nominated = Nominated::read(client);
        for (name, value) in client {
            let dropped = self.is_never_forwarded(name)
                || *name == HOST
                || *name == COOKIE
                || forward.trace.is_some_and(|trace| replaces(trace, name))
                || (*name == AUTHORIZATION && !self.forwards_authorization(value))
                || nominated.contains(name);
            if !dropped {
                put(name, value.into());
            }
        }
        if let Some(cookies) = self.app_cookies(client) {
            put(&COOKIE, (&cookies).into());
        }
        for (name, value) in forward.identity_headers {
            put(name, value.into());
        }
        if let Some(assertion) = forward.credentials.assertion {
            put(&ASSERTION, assertion.into());
        }
        if forward.credentials.are_sent {
            let token = forward.credentials.token;
            self.credentials
                .each_field(token, |name, value| put(name, value.into()));
        }
        self.request_edits
            .each_field(&forward.facts, |name, value| put(name, value.into()));
        if let Some(guard) = &self.loop_guard {
            put(&CDN_LOOP, guard.id().into());
        }
        if let Some(value) = FieldValue::text(forward.facts.request_id.as_str()) {
            put(&X_REQUEST_ID, value);
        }
        if let Some(trace) = forward.trace {
            put(&TRACEPARENT, (&trace.context.header_value()).into());
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
            if let Some(value) = FieldValue::text(value) {
                put(&name, value);
            }
        }
        let stripped = forward.route.map(|route| route.strip_prefix.as_str());
        if let Some(prefix) = stripped.filter(|prefix| !prefix.is_empty())
            && let Some(value) = FieldValue::text(prefix)
        {
            put(
                &const { HeaderName::from_static("x-forwarded-prefix") },
                value,
            );
        }
    }

    /// Whether the value of an `Authorization` field belongs to the app: it is neither a token or
    /// password that Doorward checks nor a token that it issued.
    fn forwards_authorization(&self, value: &HeaderValue) -> bool {
        let is_consumed = self.drops_authorization
            || (self.drops_access_tokens && Scheme::of(value).is_some())
            || (self.drops_passwords && is_basic(value))
            || holds_doorward_token(value);
        !is_consumed
    }

    /// Whether the request authenticates its connection to the backend.
    pub(super) fn forwards_bound_auth(&self, client: &HeaderMap) -> bool {
        client.get(AUTHORIZATION).is_some_and(|value| {
            connection_auth::is_bound(value) && self.forwards_authorization(value)
        })
    }

    /// Whether a client's field of this name, in any spelling, is never forwarded.
    pub(super) fn is_never_forwarded(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        let same_length = self
            .never_forwarded
            .get(name.len())
            .map_or(&[][..], Vec::as_slice);
        same_length.iter().any(|blocked| folds_to(name, blocked))
            || NEVER_FORWARDED_PREFIXES
                .iter()
                .any(|prefix| has_folded_prefix(name, prefix.as_bytes()))
            || (foreign_identity::has_prefix(name) && !self.is_forwarded_identity(name))
    }

    fn is_forwarded_identity(&self, name: &[u8]) -> bool {
        let mut forwarded = self.forwarded_identity.iter();
        forwarded.any(|forwarded| folds_to(name, forwarded))
    }

    /// The client's cookies without Doorward's, as one field; `None` if there are no others.
    pub(super) fn app_cookies(&self, client: &HeaderMap) -> Option<HeaderValue> {
        let fields = client.get_all(COOKIE);
        let mut several = fields.iter();
        let first = several.next()?;
        let mut is_unchanged = several.next().is_none();
        let mut kept = Vec::new();
        for pair in fields.iter().flat_map(pairs) {
            if self.is_doorward_cookie(pair) {
                is_unchanged = false;
            } else if !pair.is_empty() {
                kept.push(pair);
            }
        }
        if is_unchanged {
            return Some(first.clone());
        }
        if kept.is_empty() {
            return None;
        }
        HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok()
    }

    /// Prefixes are compared case-insensitively, as browsers do for `__Host-` and `__Secure-`. A
    /// nameless cookie (`=doorward_jwt=x`) is sent back as its value alone, which then reads as one
    /// of Doorward's (RFC 6265bis section 5.7).
    fn is_doorward_cookie(&self, pair: &[u8]) -> bool {
        let pair = pair.trim_ascii();
        let pair = pair.strip_prefix(b"=").unwrap_or(pair).trim_ascii();
        self.cookie_prefixes.iter().any(|prefix| {
            pair.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        })
    }

    /// Whether a field of this name is removed from responses: hop-by-hop fields, and those that
    /// only Doorward may send.
    pub(super) fn is_dropped_from_response(name: &HeaderName) -> bool {
        let text = name.as_str().as_bytes();
        RESPONSE_HOP_BY_HOP.contains(name)
            || ["secure-session-", "doorward-"]
                .iter()
                .any(|prefix| has_folded_prefix(text, prefix.as_bytes()))
    }

    /// Removes hop-by-hop fields, cookies under Doorward's names, and device-binding fields from
    /// the backend's response, and makes the configured changes. Keeps authenticated responses out
    /// of shared caches.
    pub(super) fn sanitize_response(&self, headers: &mut HeaderMap, request: &ForwardRequest<'_>) {
        let nominated = Nominated::read(headers);
        let is_dropped = |name: &&HeaderName| {
            Self::is_dropped_from_response(name)
                || (**name != SET_COOKIE && nominated.contains(name))
        };
        let dropped: Vec<HeaderName> = headers.keys().filter(is_dropped).cloned().collect();
        for name in dropped {
            headers.remove(name);
        }
        if headers
            .get_all(SET_COOKIE)
            .iter()
            .any(|cookie| self.is_doorward_cookie(cookie.as_bytes()))
        {
            let all: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
            headers.remove(SET_COOKIE);
            for cookie in all
                .into_iter()
                .filter(|cookie| !self.is_doorward_cookie(cookie.as_bytes()))
            {
                headers.append(SET_COOKIE, cookie);
            }
        }
        self.response_edits.apply(headers, &request.facts);
        if request.authenticated {
            make_private(headers);
        }
    }
}

/// Whether a field of the client is that of another trace.
fn replaces(trace: ForwardedTrace, name: &HeaderName) -> bool {
    *name == TRACEPARENT || (*name == TRACESTATE && !trace.keeps_state)
}

#[cfg(test)]
mod tests;
