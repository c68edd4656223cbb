//! Trailer fields (RFC 9110 section 6.5). They are filtered like headers: no identity, framing or
//! forwarding fields pass, nor fields that have no meaning in trailers, nor those of responses that the
//! configuration removes or sets.

use http::header::{TE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use std::sync::Arc;

use http_body::Frame;

use super::headers::HeaderPolicy;
use super::target::UpstreamPlan;
use crate::types::body::BodyError;

/// Maximum number of trailer fields. Their size is bounded like that of headers.
const MAX_TRAILERS: usize = 64;

/// Fields for framing, routing, authentication, conditions and caching, which are not allowed in
/// trailers (RFC 9110 section 6.5.1).
const HEADER_ONLY: [&str; 24] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "vary",
    "warning",
    "www-authenticate",
];

/// The receiver of a message's trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver {
    Backend,
    Client,
}

/// Removes the fields that must not be forwarded.
///
/// # Errors
/// There are too many fields.
fn filter(
    mut trailers: HeaderMap,
    policy: &HeaderPolicy,
    receiver: Receiver,
) -> Result<HeaderMap, BodyError> {
    if trailers.len() > MAX_TRAILERS {
        return Err(BodyError::TooManyTrailers);
    }
    let removed: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_pass(name, policy, receiver))
        .cloned()
        .collect();
    for name in removed {
        trailers.remove(name);
    }
    Ok(trailers)
}

/// Filters the trailers of a body's next frame; data frames are unchanged. `None`: the body has
/// ended.
pub(super) fn filter_frame<D>(
    frame: Option<Result<Frame<D>, BodyError>>,
    policy: &HeaderPolicy,
    receiver: Receiver,
) -> Option<Result<Frame<D>, BodyError>> {
    match frame?.map(Frame::into_trailers) {
        Ok(Ok(trailers)) => match filter(trailers, policy, receiver) {
            Ok(trailers) => Some(trailers)
                .filter(|trailers| !trailers.is_empty())
                .map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error)),
        },
        Ok(Err(data)) => Some(Ok(data)),
        Err(error) => Some(Err(error)),
    }
}

/// The trailers of a response over HTTP/1.1, for a client that accepts some.
pub(super) struct ReceivedTrailers {
    plan: Arc<UpstreamPlan>,
    fields: HeaderMap,
}

impl ReceivedTrailers {
    /// None so far.
    pub(super) fn new(plan: &Arc<UpstreamPlan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            fields: HeaderMap::new(),
        }
    }

    /// Adds a line. One that is no header field is dropped.
    pub(super) fn add(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) else {
            return;
        };
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            self.fields.append(name, value);
        }
    }

    /// The last frame of the body, if any field may be forwarded.
    pub(super) fn into_frame<D>(self) -> Option<Result<Frame<D>, BodyError>> {
        let frame = Frame::trailers(self.fields);
        filter_frame(Some(Ok(frame)), &self.plan.headers, Receiver::Client)
    }
}

fn may_pass(name: &HeaderName, policy: &HeaderPolicy, receiver: Receiver) -> bool {
    let is_dropped = match receiver {
        Receiver::Backend => false,
        Receiver::Client => {
            HeaderPolicy::is_dropped_from_response(name) || policy.is_replaced_in_response(name)
        }
    };
    !is_dropped && !policy.is_never_forwarded(name) && !HEADER_ONLY.contains(&name.as_str())
}

/// Whether a client accepts trailers. Over HTTP/1.1 it has to say so (RFC 9110 section 10.1.4).
pub(super) fn are_accepted(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_2 || te_has_trailers(headers)
}

/// Whether `TE` contains `trailers`.
pub(super) fn te_has_trailers(headers: &HeaderMap) -> bool {
    let codings = headers
        .get_all(TE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// The `Trailer` field without the names that are filtered; `None` if no name is left. Over
/// HTTP/1.1 only declared trailers are sent.
pub(super) fn declared(headers: &HeaderMap, policy: &HeaderPolicy) -> Option<HeaderValue> {
    let names = headers
        .get_all(TRAILER)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let names: Vec<HeaderName> = names
        .filter(|name| may_pass(name, policy, Receiver::Client))
        .take(MAX_TRAILERS)
        .collect();
    if names.is_empty() {
        return None;
    }
    HeaderValue::try_from(
        names
            .iter()
            .map(HeaderName::as_str)
            .collect::<Vec<_>>()
            .join(", "),
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::identity::header_edits::HeaderEdits;
    use crate::identity::identity::HeaderTemplate;
    use crate::upstream::UpstreamSettings;

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn policy() -> HeaderPolicy {
        HeaderPolicy::new(
            &[HeaderName::from_static("x-forwarded-user")],
            &["__Host-doorward_"],
        )
    }

    const DROPPED: [(&str, &str); 14] = [
        ("x-forwarded-user", "admin"),
        ("x_forwarded_user", "admin"),
        ("x-forwarded-for", "::1"),
        ("forwarded", "for=::1"),
        ("content-length", "9"),
        ("transfer-encoding", "chunked"),
        ("cookie", "a=b"),
        ("set-cookie", "__Host-doorward_jwt=x"),
        ("authorization", "Bearer x"),
        ("host", "other"),
        ("connection", "close"),
        ("doorward-access-token", "x"),
        ("secure-session-registration", "x"),
        ("x-http-method-override", "DELETE"),
    ];

    #[test]
    fn filter_removes_what_headers_must_not_contain() {
        let mut sent = fields(&DROPPED);
        sent.extend(fields(&[("grpc-status", "0"), ("checksum", "abc")]));
        let kept = filter(sent.clone(), &policy(), Receiver::Backend).unwrap();
        assert_eq!(kept, fields(&[("grpc-status", "0"), ("checksum", "abc")]));
        let back = filter(sent, &policy(), Receiver::Client).unwrap();
        assert_eq!(back, kept);
    }

    #[test]
    fn fields_that_the_configuration_replaces_do_not_pass_to_clients() {
        let edits = HeaderEdits {
            remove: vec![HeaderName::from_static("x-debug")],
            set: vec![HeaderTemplate::parse("x-frame-options", "DENY").unwrap()],
            ..HeaderEdits::default()
        };
        let policy = policy().editing_responses(edits);
        let sent = fields(&[
            ("x-debug", "a"),
            ("x-frame-options", "b"),
            ("checksum", "c"),
        ]);
        let back = filter(sent.clone(), &policy, Receiver::Client).unwrap();
        assert_eq!(back, fields(&[("checksum", "c")]));
        let to_backend = filter(sent.clone(), &policy, Receiver::Backend).unwrap();
        assert_eq!(to_backend, sent);
        let names = fields(&[("trailer", "x-debug, checksum")]);
        assert_eq!(declared(&names, &policy).unwrap(), "checksum");
    }

    #[test]
    fn lines_that_are_no_fields_are_dropped() {
        let settings = UpstreamSettings::at("http://a.test".parse().unwrap());
        let plan = UpstreamPlan::new("store", settings, policy()).unwrap();
        let mut trailers = ReceivedTrailers::new(&plan);
        for line in [
            "checksum: abc ",
            "no colon",
            ": no name",
            "two words: x",
            " folded: x",
            "set-cookie: a=b",
            "nul: a\0b",
            "checksum:def",
            "empty:",
        ] {
            trailers.add(line.as_bytes());
        }
        let frame = trailers.into_frame::<Bytes>().unwrap().unwrap();
        let expected = [("checksum", "abc"), ("checksum", "def"), ("empty", "")];
        assert_eq!(frame.into_trailers().unwrap(), fields(&expected));
        let none = ReceivedTrailers::new(&plan);
        assert!(none.into_frame::<Bytes>().is_none());
    }

    #[test]
    fn filter_rejects_too_many_fields() {
        let many = |count| {
            (0..count)
                .map(|n| (format!("t-{n}").parse().unwrap(), HeaderValue::from(n)))
                .collect()
        };
        assert_eq!(
            filter(many(MAX_TRAILERS), &policy(), Receiver::Client)
                .unwrap()
                .len(),
            MAX_TRAILERS
        );
        assert!(matches!(
            filter(many(MAX_TRAILERS + 1), &policy(), Receiver::Client),
            Err(BodyError::TooManyTrailers)
        ));
    }

    #[test]
    fn declared_lists_only_fields_that_pass() {
        let response = fields(&[
            ("trailer", "Grpc-Status, Set-Cookie,checksum"),
            ("trailer", "content-length, b@d"),
        ]);
        assert_eq!(
            declared(&response, &policy()).unwrap(),
            "grpc-status, checksum"
        );
        assert_eq!(
            declared(&fields(&[("trailer", "Content-Length")]), &policy()),
            None
        );
        assert!(are_accepted(
            Version::HTTP_11,
            &fields(&[("te", "gzip, Trailers")])
        ));
        assert!(are_accepted(Version::HTTP_2, &fields(&[])));
        assert!(!are_accepted(Version::HTTP_11, &fields(&[("te", "gzip")])));
    }
}
