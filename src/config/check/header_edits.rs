//! `[apps.NAME.request_headers]`, `[apps.NAME.response_headers]`, `security_headers` and
//! `hide_server_headers`: header fields that are set, added and removed.

use http::header::{REFERRER_POLICY, SERVER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue};

use super::super::keywords::SecurityHeaders;
use super::super::raw::{List, Named, RawApp, RawHeaderEdits};
use super::super::report::{Location, quoted};
use super::elements;
use super::headers::{folded, is_reserved, templates};
use crate::identity::header_edits::{HeaderEdits, REQUEST_FACTS};
use crate::identity::identity::HeaderTemplate;

/// Response fields that an app has to send itself, or Doorward: framing, content, cookies,
/// challenges.
const RESERVED_IN_RESPONSES: [&str; 17] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "dpop-nonce",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// The headers that `security_headers = "strict"` adds to responses without them.
const STRICT: [(HeaderName, &str); 7] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "SAMEORIGIN"),
    (REFERRER_POLICY, "strict-origin-when-cross-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (
        HeaderName::from_static("x-permitted-cross-domain-policies"),
        "none",
    ),
];

/// Response fields that tell which software an app runs on.
const SERVER_HEADERS: [HeaderName; 5] = [
    SERVER,
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-aspnetmvc-version"),
    HeaderName::from_static("x-generator"),
];

/// The changes of both kinds of messages.
#[derive(Default)]
pub(super) struct AppHeaderEdits {
    pub(super) requests: HeaderEdits,
    pub(super) responses: HeaderEdits,
}

/// `identity` are the names of the app's identity headers.
pub(super) fn check(raw: &mut RawApp, identity: &[&str], at: &Location<'_>) -> AppHeaderEdits {
    let (requests, responses) = (raw.request_headers.take(), raw.response_headers.take());
    let mut edits = both(requests, responses, identity, at);
    if raw.security_headers == Some(SecurityHeaders::Strict) {
        let strict = STRICT.map(|(name, value)| (name, HeaderValue::from_static(value)));
        edits.responses.default = strict.into();
    }
    if raw.hide_server_headers == Some(true) {
        edits.responses.remove.extend(SERVER_HEADERS);
    }
    edits
}

/// `request_headers` and `response_headers` of an app or a route.
pub(super) fn both(
    raw_requests: Option<RawHeaderEdits>,
    raw_responses: Option<RawHeaderEdits>,
    identity: &[&str],
    at: &Location<'_>,
) -> AppHeaderEdits {
    let identity: Vec<String> = identity.iter().map(|name| folded(name)).collect();
    let requests = Message {
        at: at.key("request_headers"),
        reserved: &|name| {
            if identity.iter().any(|own| own == name) {
                return Some("it is an identity header of this app: change it under `headers`");
            }
            (is_reserved(name) || name.starts_with("doorward-"))
                .then_some("Doorward sets it, or forwards it as it is")
        },
        adds_claims: false,
    };
    let responses = Message {
        at: at.key("response_headers"),
        reserved: &|name| {
            let is_reserved = RESERVED_IN_RESPONSES.contains(&name)
                || name.starts_with("doorward-")
                || name.starts_with("secure-session-");
            is_reserved.then_some("only the app or Doorward can send it")
        },
        adds_claims: true,
    };
    AppHeaderEdits {
        requests: requests.check(raw_requests.unwrap_or_default()),
        responses: responses.check(raw_responses.unwrap_or_default()),
    }
}

/// The rules for one kind of message.
struct Message<'a> {
    at: Location<'a>,
    /// Why a folded name cannot be changed.
    reserved: &'a dyn Fn(&str) -> Option<&'static str>,
    /// Whether fields with claims can be added beside those that the message has.
    adds_claims: bool,
}

impl Message<'_> {
    fn check(&self, raw: RawHeaderEdits) -> HeaderEdits {
        let set = self.templates(raw.set, &self.at.key("set"));
        let add = self.templates(raw.add, &self.at.key("add"));
        let claim = add
            .iter()
            .flat_map(HeaderTemplate::claims)
            .find(|name| !REQUEST_FACTS.contains(name));
        if !self.adds_claims
            && let Some(claim) = claim
        {
            self.at.key("add").error(
                format!("the claim {} is in a header that is added", quoted(claim)),
                "a client could send the same header: use `set`, which replaces it",
            );
        }
        let remove = self.names(raw.remove, &self.at.key("remove"));
        let is_set = |name: &&HeaderName| set.iter().any(|template| template.name() == *name);
        if let Some(name) = remove.iter().find(is_set) {
            self.at.key("remove").error(
                format!("the header {} is set too", quoted(name.as_str())),
                "`set` replaces it: remove it here",
            );
        }
        HeaderEdits {
            remove,
            set,
            add,
            default: Vec::new(),
        }
    }

    fn templates(&self, raw: Option<Named<String>>, at: &Location<'_>) -> Vec<HeaderTemplate> {
        let hint = "text with claims, `{client_ip}`, `{request_id}` or `{host}`";
        templates(raw.unwrap_or_default(), at, self.reserved, hint)
    }

    fn names(&self, raw: Option<List<String>>, at: &Location<'_>) -> Vec<HeaderName> {
        let mut names = Vec::new();
        for (at, text) in elements(raw, at) {
            let name = HeaderName::try_from(&text);
            match ((self.reserved)(&folded(&text)), name) {
                (Some(hint), _) => {
                    at.error(format!("the header {} is reserved", quoted(&text)), hint)
                }
                (None, Ok(name)) => names.push(name),
                (None, Err(_)) => at.error(
                    format!("{} is not a header name", quoted(&text)),
                    "for example `\"X-Debug\"`",
                ),
            }
        }
        names
    }
}
