//! Connection-bound authentication: NTLM and Negotiate (RFC 4559) authenticate a connection, not a
//! request. The next request on it is taken for one of the same user, so such a connection must not
//! return to the pool that all clients share.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};

const SCHEMES: [&str; 2] = ["NTLM", "Negotiate"];

/// Whether the value of an `Authorization` field authenticates its connection.
pub(super) fn is_bound(authorization: &HeaderValue) -> bool {
    words(authorization).next().is_some_and(is_scheme)
}

/// Whether a response offers to authenticate its connection. A parameter with the name of a scheme
/// counts as well.
pub(super) fn is_offered(response: &HeaderMap) -> bool {
    response
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .any(|field| words(field).any(is_scheme))
}

fn words(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field
        .as_bytes()
        .split(|byte| !byte.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// Schemes are compared without case (RFC 9110 section 11.1).
fn is_scheme(word: &[u8]) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntlm_and_negotiate_are_bound_to_the_connection() {
        for (field, expected) in [
            ("NTLM TlRMTVNTUAAB", true),
            ("ntlm", true),
            (" Negotiate YII=", true),
            ("NEGOTIATE\tYII=", true),
            ("Basic TlRM", false),
            ("Bearer NTLM", false),
            ("Digest username=\"NTLM\"", false),
            ("NTLMv3 x", false),
            ("", false),
        ] {
            assert_eq!(
                is_bound(&HeaderValue::from_static(field)),
                expected,
                "{field}"
            );
        }
    }

    #[test]
    fn offer_is_found_among_other_challenges() {
        for (fields, expected) in [
            (&["Negotiate", "NTLM"][..], true),
            (&["Basic realm=\"a\", NTLM"], true),
            (&["Basic realm=\"a\"", "negotiate YII="], true),
            (&["Basic realm=\"a\"", "Bearer"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(field));
            }
            assert_eq!(is_offered(&headers), expected, "{fields:?}");
        }
    }
}
