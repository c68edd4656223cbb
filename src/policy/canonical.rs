//! Every protocol in one form. An HTTP/2 request says some things in other words than HTTP/1.1 does (RFC 9113 section
//! 8.3), or in several pieces; before anything is read from it, it is brought to the form that an HTTP/1.1 request
//! has, so that all that follows knows one form only. What has no such form is refused.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri, Version};

use super::request_info::{InvalidRequest, served_method};

/// Fields that speak of an HTTP/1.1 connection: a request with one is malformed (RFC 9113 section 8.2.2).
const OF_THE_CONNECTION: [&str; 5] = [
    "connection",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "proxy-connection",
];

/// Brings a request to the one form; one that came over HTTP/1 has it already. `secure`: it came over TLS.
///
/// # Errors
/// [`InvalidRequest`]: no or several hosts, a user name in the host, another scheme than it came over, unequal lengths.
pub fn canonical(parts: &mut Parts, secure: bool) -> Result<(), InvalidRequest> {
    if parts.version != Version::HTTP_2 {
        return Ok(());
    }
    served_method(&parts.method)?;
    trim(&mut parts.headers);
    let te_is_more = parts
        .headers
        .get_all(TE)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if te_is_more
        || OF_THE_CONNECTION
            .iter()
            .any(|name| parts.headers.contains_key(*name))
    {
        return Err(InvalidRequest::ConnectionField);
    }
    host_of_authority(parts, secure)?;
    one_length(&mut parts.headers)?;
    join_cookies(&mut parts.headers);
    Ok(())
}

/// White space around a value is no part of it (RFC 9110 section 5.5); HTTP/2 brings it along.
fn trim(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let bare = value.as_bytes().trim_ascii();
        if bare.len() != value.len()
            && let Ok(bare) = HeaderValue::from_bytes(bare)
        {
            *value = bare;
        }
    }
}

/// `:authority` becomes `Host`, and the target a path. A `Host` beside it may say the same only.
fn host_of_authority(parts: &mut Parts, secure: bool) -> Result<(), InvalidRequest> {
    // Something before us may have ended the TLS of an `https` request, but over TLS nothing is `http`.
    if !matches!(
        (parts.uri.scheme_str(), secure),
        (Some("https"), _) | (Some("http"), false)
    ) {
        return Err(InvalidRequest::HostMismatch);
    }
    let authority = parts.uri.authority().ok_or(InvalidRequest::Host)?.as_str();
    let mut hosts = parts.headers.get_all(HOST).iter();
    if let Some(host) = hosts.next() {
        if hosts.next().is_some() {
            return Err(InvalidRequest::Repeated);
        }
        if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) {
            return Err(InvalidRequest::HostMismatch);
        }
    }
    let host = HeaderValue::from_str(authority).map_err(|_| InvalidRequest::Host)?;
    parts.headers.insert(HOST, host);
    parts.uri = parts
        .uri
        .path_and_query()
        .cloned()
        .map(Uri::from)
        .unwrap_or_default();
    Ok(())
}

/// One `Content-Length` without leading zeros, signs or repetition (RFC 9110 section 8.6).
fn one_length(headers: &mut HeaderMap) -> Result<(), InvalidRequest> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(|value| {
        let digits = value
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .and_then(|digits| digits.parse::<u64>().ok())
            .ok_or(InvalidRequest::Length)
    });
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let first = first?;
    for other in lengths {
        if other? != first {
            return Err(InvalidRequest::Length);
        }
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(first));
    Ok(())
}

/// Browsers send each cookie as a field of its own, for the compression's sake (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut joined = [first.as_bytes(), second.as_bytes()].join(&b"; "[..]);
    for crumb in crumbs {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::try_from(joined) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(uri: &str, fields: &[(&str, &str)], secure: bool) -> Result<Parts, InvalidRequest> {
        let mut request = Request::builder().version(Version::HTTP_2).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        canonical(&mut parts, secure).map(|()| parts)
    }

    fn field(uri: &str, fields: &[(&str, &str)], name: &str) -> Vec<String> {
        let parts = read(uri, fields, true).unwrap();
        parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    const HERE: &str = "https://a.example/x?y";

    #[test]
    fn the_authority_is_the_host_and_the_target_a_path() {
        let parts = read(HERE, &[], true).unwrap();
        assert!(parts.uri == "/x?y" && parts.headers[HOST] == "a.example");
        assert_eq!(field(HERE, &[("host", "A.example")], "host"), ["a.example"]);
        assert_eq!(
            read(HERE, &[("host", "b.example")], true).unwrap_err(),
            InvalidRequest::HostMismatch
        );
        assert_eq!(
            read(HERE, &[("host", "a.example:443")], true).unwrap_err(),
            InvalidRequest::HostMismatch
        );
        let twice = [("host", "a.example"), ("host", "a.example")];
        assert_eq!(
            read(HERE, &twice, true).unwrap_err(),
            InvalidRequest::Repeated
        );
        assert!(
            read("/x", &[("host", "a.example")], true).is_err(),
            "no authority"
        );
        assert_eq!(read("https://a.example", &[], true).unwrap().uri, "/");
    }

    #[test]
    fn the_scheme_is_the_one_it_came_over_or_what_a_proxy_before_us_ended() {
        assert!(read("http://a.example/", &[], false).is_ok());
        assert!(read("https://a.example/", &[], false).is_ok());
        assert_eq!(
            read("http://a.example/", &[], true).unwrap_err(),
            InvalidRequest::HostMismatch
        );
        assert_eq!(
            read("ftp://a.example/", &[], false).unwrap_err(),
            InvalidRequest::HostMismatch
        );
    }

    #[test]
    fn crumbs_are_one_cookie_field_in_their_order() {
        let crumbs = [
            ("cookie", "a=b"),
            ("x-a", "1"),
            ("cookie", " c=d; e=f"),
            ("cookie", "g=h"),
        ];
        assert_eq!(field(HERE, &crumbs, "cookie"), ["a=b; c=d; e=f; g=h"]);
        assert_eq!(field(HERE, &[("cookie", "a=b")], "cookie"), ["a=b"]);
    }

    #[test]
    fn there_is_one_length_in_one_spelling() {
        assert_eq!(
            field(
                HERE,
                &[("content-length", "002"), ("content-length", "2")],
                "content-length"
            ),
            ["2"]
        );
        for lengths in [
            ["1", "2"],
            ["1", "x"],
            ["+1", "1"],
            ["", ""],
            ["1, 1", "1"],
            ["99999999999999999999", "1"],
        ] {
            let fields = lengths.map(|length| ("content-length", length));
            assert_eq!(
                read(HERE, &fields, true).unwrap_err(),
                InvalidRequest::Length,
                "{lengths:?}"
            );
        }
    }

    #[test]
    fn what_speaks_of_a_connection_is_refused() {
        for (name, value) in [
            ("connection", "close"),
            ("connection", "x-forwarded-user"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers, deflate"),
        ] {
            assert_eq!(
                read(HERE, &[(name, value)], true).unwrap_err(),
                InvalidRequest::ConnectionField,
                "{name}: {value}"
            );
        }
        assert!(read(HERE, &[("te", "trailers")], true).is_ok());
    }

    #[test]
    fn white_space_around_values_is_gone() {
        assert_eq!(field(HERE, &[("x-a", " \tb c\t ")], "x-a"), ["b c"]);
    }

    #[test]
    fn http_1_is_left_alone() {
        let request = Request::builder()
            .uri("http://b.example/x")
            .header("connection", "close")
            .header("host", "a");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        canonical(&mut parts, true).unwrap();
        assert!(parts.uri == "http://b.example/x" && parts.headers[HOST] == "a");
    }
}
