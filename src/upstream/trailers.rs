//! Trailers (RFC 9110 section 6.5): fields behind a body, under any name that their sender likes. What is true of a
//! header is true of them: none goes on that says who is asking, how long a body is, or where a request came from; nor
//! one that cannot mean anything behind a body.

use http::header::{TE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::headers::HeaderPolicy;
use crate::types::body::BodyError;

/// Most of them; their bytes are bounded as those of headers are.
const MOST: usize = 64;

/// Fields for framing, routing, authentication, conditions and caching are read before the body or never (RFC 9110
/// section 6.5.1).
const OF_HEADS_ONLY: [&str; 24] = [
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

/// Which way they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    Backend,
    Client,
}

/// Takes out what may not pass.
///
/// # Errors
/// There are too many.
pub(super) fn clean(
    mut trailers: HeaderMap,
    policy: &HeaderPolicy,
    toward: Toward,
) -> Result<HeaderMap, BodyError> {
    if trailers.len() > MOST {
        return Err(BodyError::TooManyTrailers);
    }
    let stays = |name: &HeaderName| may_pass(name, policy, toward);
    let gone: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !stays(name))
        .cloned()
        .collect();
    for name in gone {
        trailers.remove(name);
    }
    Ok(trailers)
}

fn may_pass(name: &HeaderName, policy: &HeaderPolicy, toward: Toward) -> bool {
    let ends_here = match toward {
        Toward::Backend => policy.is_never_forwarded(name),
        Toward::Client => HeaderPolicy::is_never_answered(name),
    };
    !ends_here && !OF_HEADS_ONLY.contains(&name.as_str())
}

/// Whether a client says that trailers reach it: over HTTP/1.1 it has to (RFC 9110 section 10.1.4).
pub(super) fn are_taken(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_2 || asks_for(headers)
}

/// Whether `TE` has `trailers`.
pub(super) fn asks_for(headers: &HeaderMap) -> bool {
    let codings = headers
        .get_all(TE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// The names that `Trailer` declares, without those that will not pass; `None` if none is left. Over HTTP/1.1 no
/// trailer is sent that was not declared.
pub(super) fn declared(headers: &HeaderMap, policy: &HeaderPolicy) -> Option<HeaderValue> {
    let names = headers
        .get_all(TRAILER)
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let names: Vec<HeaderName> = names
        .filter(|name| may_pass(name, policy, Toward::Client))
        .take(MOST)
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
    use super::*;

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

    const EVIL: [(&str, &str); 14] = [
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
    fn nothing_passes_behind_a_body_that_would_not_before_it() {
        let mut sent = fields(&EVIL);
        sent.extend(fields(&[("grpc-status", "0"), ("checksum", "abc")]));
        let kept = clean(sent.clone(), &policy(), Toward::Backend).unwrap();
        assert_eq!(kept, fields(&[("grpc-status", "0"), ("checksum", "abc")]));
        let back = clean(sent, &policy(), Toward::Client).unwrap();
        for name in [
            "set-cookie",
            "content-length",
            "connection",
            "doorward-access-token",
            "transfer-encoding",
        ] {
            assert!(!back.contains_key(name), "{name}");
        }
        assert_eq!(
            (&back["grpc-status"], &back["checksum"]),
            (&"0".parse().unwrap(), &"abc".parse().unwrap())
        );
    }

    #[test]
    fn there_is_a_most_of_them() {
        let many = |count| {
            (0..count)
                .map(|n| (format!("t-{n}").parse().unwrap(), HeaderValue::from(n)))
                .collect()
        };
        assert_eq!(
            clean(many(MOST), &policy(), Toward::Client).unwrap().len(),
            MOST
        );
        assert!(matches!(
            clean(many(MOST + 1), &policy(), Toward::Client),
            Err(BodyError::TooManyTrailers)
        ));
    }

    #[test]
    fn only_what_will_pass_is_declared_and_only_to_who_takes_it() {
        let answer = fields(&[
            ("trailer", "Grpc-Status, Set-Cookie,checksum"),
            ("trailer", "content-length, b@d"),
        ]);
        assert_eq!(
            declared(&answer, &policy()).unwrap(),
            "grpc-status, checksum"
        );
        assert_eq!(
            declared(&fields(&[("trailer", "Content-Length")]), &policy()),
            None
        );
        assert!(are_taken(
            Version::HTTP_11,
            &fields(&[("te", "gzip, Trailers")])
        ));
        assert!(are_taken(Version::HTTP_2, &fields(&[])));
        assert!(!are_taken(Version::HTTP_11, &fields(&[("te", "gzip")])));
    }
}
