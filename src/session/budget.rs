//! The cookie size budget: how many bytes the cookies take in a request, and which claim or token
//! is the largest part of a session, for error messages that name what to reduce.

use std::fmt;

use serde_json::{Map, Value};

use super::cookie::{MAX_ALL, MAX_VALUE, RequestCookies, chunk_name};
use super::grant::Grant;

/// Bytes reserved for the small cookies that are sent with every page alongside the session
/// cookies.
const RESERVED: usize = 320;

/// The most bytes that the proof cookie of a device-bound session takes.
pub const DEVICE_PROOF: usize = 192;

/// Maximum length of a claim's name in a message, in characters.
const MAX_NAME: usize = 64;

/// The size of a cookie in the `Cookie` header, in bytes, all its chunks together.
pub fn cookie_size(name: &str, value: &str) -> usize {
    let length = if value.len() > MAX_VALUE {
        value.len() + 2
    } else {
        value.len()
    };
    let chunks = length.div_ceil(MAX_VALUE).max(1);
    let names: usize = (0..chunks)
        .map(|index| chunk_name(name, index).len() + "=; ".len())
        .sum();
    length + names
}

/// The part of [`MAX_ALL`] that a page request uses if the session cookies take `session` bytes.
pub const fn total(session: usize) -> usize {
    session + RESERVED
}

/// How many attempt cookies of `attempt` bytes fit alongside the cookies of the request that starts
/// an attempt; at least 1, at most `max`. `prefixes` are those of Doorward's cookie names.
pub fn attempts_that_fit(
    request_cookies: &RequestCookies<'_>,
    prefixes: &[String],
    attempt: usize,
    max: usize,
) -> usize {
    let cookies = prefixes
        .iter()
        .flat_map(|prefix| request_cookies.beginning_with(prefix));
    let taken: usize = cookies.map(|(name, value)| cookie_size(name, value)).sum();
    let left = MAX_ALL.saturating_sub(taken);
    left.checked_div(attempt)
        .unwrap_or(max)
        .clamp(1, max.max(1))
}

/// The oldest attempt cookies that must be expired, so that at most `max` remain and fit alongside
/// a session of `total` bytes. Browsers send the cookies of one path in the order in which they
/// were set (RFC 6265 section 5.4).
pub fn evictable_attempts<'r>(
    request_cookies: &RequestCookies<'r>,
    attempts: &str,
    total: usize,
    max: usize,
) -> Vec<&'r str> {
    let mut names: Vec<&str> = request_cookies
        .beginning_with(attempts)
        .map(|(name, _)| name)
        .collect();
    let mut left = MAX_ALL.saturating_sub(total);
    let mut kept = 0;
    for (name, value) in request_cookies.beginning_with(attempts).rev() {
        match left.checked_sub(cookie_size(name, value)) {
            Some(rest) if kept < max => {
                left = rest;
                kept += 1;
            }
            Some(_) | None => break,
        }
    }
    names.truncate(names.len().saturating_sub(kept));
    names
}

/// The largest part of a session's cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargestPart {
    /// The part.
    pub part: Part,
    /// Its size as sent by the provider.
    pub bytes: usize,
}

/// A part of the provider's token response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The refresh token.
    RefreshToken,
    /// The JWT's header (RFC 7515 section 4).
    JwtHeader,
    /// A claim of the JWT, by its path.
    Claim(String),
    /// A claim that is kept alongside the JWT, by its path.
    KeptClaim(String),
}

impl LargestPart {
    /// The largest part of the cookies of `grant`.
    pub fn of(grant: &Grant) -> Self {
        let refresh = grant
            .refresh
            .as_ref()
            .map_or(0, |refresh| refresh.token.expose().len());
        let mut largest = Self {
            part: Part::RefreshToken,
            bytes: refresh,
        };
        let mut compare = |part: Part, bytes: usize| {
            if bytes > largest.bytes {
                largest = Self { part, bytes };
            }
        };
        compare(Part::JwtHeader, grant.jwt.jwt.header_len());
        if let Some((name, bytes)) = grant.jwt.jwt.claims().as_ref().and_then(largest_claim) {
            compare(Part::Claim(printable_name(&name)), bytes);
        }
        if let Some((name, bytes)) = grant.jwt.kept().as_ref().and_then(largest_claim) {
            compare(Part::KeptClaim(printable_name(&name)), bytes);
        }
        largest
    }
}

/// The path to the largest member. It descends into an object while one member is more than half of
/// it.
fn largest_claim(claims: &Map<String, Value>) -> Option<(String, usize)> {
    let size = |value: &Value| value.to_string().len();
    let (name, value) = claims
        .iter()
        .max_by_key(|(name, value)| name.len() + size(value))?;
    let bytes = size(value);
    let inner = value
        .as_object()
        .and_then(largest_claim)
        .filter(|(_, inner)| inner * 2 > bytes);
    Some(match inner {
        Some((path, bytes)) => (format!("{name}.{path}"), bytes),
        None => (name.clone(), bytes),
    })
}

fn printable_name(name: &str) -> String {
    let printable = name.chars().take(MAX_NAME).map(|c| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    });
    printable.collect()
}

impl fmt::Display for LargestPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        match &self.part {
            Part::RefreshToken => write!(f, "the refresh token ({bytes} bytes)"),
            Part::JwtHeader => write!(f, "the JWT's header ({bytes} bytes)"),
            Part::Claim(name) => write!(f, "the claim `{name}` ({bytes} bytes)"),
            Part::KeptClaim(name) => {
                write!(f, "the claim `{name}`, kept beside the JWT ({bytes} bytes)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::session::grant::{LoginClaims, RefreshGrant};
    use crate::session::jwt::{PackedJwt, SessionJwt};
    use crate::types::oauth::{Generation, RefreshToken, SessionId, Subject};
    use crate::types::time::Timestamp;

    fn grant(header: &Value, claims: &Value, kept: &Value, refresh: usize) -> Grant {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let sid = SessionId::new("s");
        let subject = Subject::new("alice");
        let now = Timestamp::from_secs(0);
        let jwt = SessionJwt {
            jwt: PackedJwt::pack(&format!("{}.{}.AAAA", part(header), part(claims))),
            kept_claims: kept.to_string(),
            key: None,
            valid_until: now,
            subject: subject.clone(),
            provider_sid: None,
            sid: sid.clone(),
            generation: Generation::FIRST,
            started_at: now,
            sealed_at: now,
            active_at: now,
            bound_to: None,
            identity_due: None,
            identity_failing_since: None,
            authentication: Default::default(),
            device: Default::default(),
            client: None,
        };
        let token = RefreshToken::new("r".repeat(refresh));
        let refresh = RefreshGrant {
            token,
            sid,
            generation: Generation::FIRST,
            subject,
            started_at: now,
            sealed_at: now,
            active_at: now,
            provider_sid: None,
            login: LoginClaims::default(),
            device: Default::default(),
            dpop_key: None,
            client: None,
        };
        Grant {
            jwt,
            refresh: Some(refresh),
            hint: None,
        }
    }

    #[test]
    fn largest_part_is_found_at_any_depth() {
        let many = |count: usize| json!(vec!["a-group-of-people"; count]);
        let alg = json!({ "alg": "ES256" });
        let sub = json!({ "sub": "alice" });
        let cases = [
            (
                grant(&alg, &sub, &json!({}), 500),
                "the refresh token (500 bytes)",
            ),
            (
                grant(
                    &alg,
                    &json!({ "sub": "a", "groups": many(50) }),
                    &json!({}),
                    500,
                ),
                "the claim `groups` (1001 bytes)",
            ),
            (
                grant(
                    &alg,
                    &json!({ "realm_access": { "x": 1, "roles": many(50) } }),
                    &json!({}),
                    9,
                ),
                "the claim `realm_access.roles` (1001 bytes)",
            ),
            (
                grant(
                    &alg,
                    &json!({ "apps": { "a": many(50), "b": many(50), "c": many(50) } }),
                    &json!({}),
                    9,
                ),
                "the claim `apps` (3019 bytes)",
            ),
            (
                grant(&alg, &sub, &json!({ "groups": many(50) }), 9),
                "the claim `groups`, kept beside the JWT (1001 bytes)",
            ),
            (
                grant(&json!({ "x5c": many(50) }), &sub, &json!({}), 9),
                "the JWT's header (1009 bytes)",
            ),
        ];
        for (grant, expected) in cases {
            assert_eq!(LargestPart::of(&grant).to_string(), expected);
        }
    }

    #[test]
    fn largest_part_name_is_truncated_and_printable() {
        let claims = json!({ format!("a\n{}", "b".repeat(500)): "value" });
        let Part::Claim(name) = LargestPart::of(&grant(&json!({}), &claims, &json!({}), 0)).part
        else {
            panic!("a claim")
        };
        assert_eq!(
            (name.chars().count(), name.contains('\n')),
            (MAX_NAME, false)
        );
    }

    fn attempts(count: usize) -> HeaderValue {
        let value = "v".repeat(200);
        let pairs: Vec<String> = (0..count)
            .map(|number| format!("app_login_{number}={value}"))
            .collect();
        HeaderValue::from_str(&format!("other=1; {}", pairs.join("; "))).unwrap()
    }

    #[test]
    fn evictable_attempts_are_oldest_until_rest_fits() {
        let fields = [attempts(10)];
        let request_cookies = RequestCookies::read(&fields);
        let evictable_attempts =
            |total, max| evictable_attempts(&request_cookies, "app_login_", total, max);
        assert_eq!(evictable_attempts(1000, 8), ["app_login_0", "app_login_1"]);
        assert_eq!(evictable_attempts(MAX_ALL - 450, 8).len(), 8);
        assert_eq!(evictable_attempts(MAX_ALL, 8).len(), 10);
        assert!(evictable_attempts(0, 20).is_empty());
        assert!(super::evictable_attempts(&request_cookies, "no_such_", MAX_ALL, 0).is_empty());
    }

    #[test]
    fn attempts_that_fit_is_limited_by_other_cookies() {
        let value = "v".repeat(6000);
        for (field, expected) in [
            ("a=1".to_owned(), 8),
            (format!("app_jwt={value}"), 4),
            (format!("app_x={value}{value}"), 1),
        ] {
            let fields = [HeaderValue::from_str(&field).unwrap()];
            let request_cookies = RequestCookies::read(&fields);
            assert_eq!(
                attempts_that_fit(&request_cookies, &["app_".to_owned()], 250, 8),
                expected,
                "{}",
                field.len()
            );
        }
    }

    #[test]
    fn cookie_size_matches_request_header() {
        for length in [
            0,
            1,
            MAX_VALUE,
            MAX_VALUE + 1,
            2 * MAX_VALUE - 2,
            2 * MAX_VALUE - 1,
            3 * MAX_VALUE - 2,
        ] {
            let value = "v".repeat(length);
            let chunks = crate::session::cookie::chunks(&value).unwrap();
            let sent = chunks
                .iter()
                .enumerate()
                .map(|(at, chunk)| format!("{}={chunk}; ", chunk_name("name", at)).len());
            assert_eq!(cookie_size("name", &value), sent.sum::<usize>(), "{length}");
        }
    }
}
