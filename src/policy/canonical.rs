//! Canonical form: brings an HTTP/2 request into the form of an HTTP/1.1 request (RFC 9113 section
//! 8.3), so that later stages handle one form only. Requests that have no such form are rejected.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::request_info::{InvalidRequest, check_method};
use crate::types::extended_connect::{ExtendedConnect, WEBSOCKET};

/// Connection-specific headers. A request with one is malformed (RFC 9113 section 8.2.2).
static OF_THE_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Brings a request into canonical form. An HTTP/1 request already has it. `Cookie` fields stay as
/// they are: browsers send one for each cookie (RFC 9113 section 8.2.3). All are read, and those that
/// are forwarded become one.
///
/// # Errors
/// [`InvalidRequest`]: no host or several, a user name in the host, a scheme other than `http` and
/// `https`, different lengths, or an extended CONNECT for another protocol than WebSocket.
pub fn canonical(parts: &mut Parts) -> Result<(), InvalidRequest> {
    if parts.version != Version::HTTP_2 {
        return Ok(());
    }
    let connect = parts.extensions.get::<ExtendedConnect>();
    let is_websocket = match connect.map(ExtendedConnect::is_websocket) {
        Some(false) => return Err(InvalidRequest::Protocol),
        Some(true) => true,
        None => false,
    };
    if !is_websocket {
        check_method(&parts.method)?;
    }
    trim(&mut parts.headers);
    let te_is_more = parts
        .headers
        .get_all(TE)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if te_is_more
        || OF_THE_CONNECTION
            .iter()
            .any(|name| parts.headers.contains_key(name))
    {
        return Err(InvalidRequest::ConnectionField);
    }
    set_host(parts)?;
    unify_length(&mut parts.headers)?;
    if is_websocket {
        set_upgrade(parts);
    }
    Ok(())
}

/// Whether a request in canonical form is a WebSocket handshake over HTTP/2.
pub fn is_http2_websocket(parts: &Parts) -> bool {
    parts.extensions.get::<ExtendedConnect>().is_some()
}

/// Turns an extended CONNECT (RFC 8441 section 5) into the upgrade request that it stands for. It has no
/// key: one is made when it is forwarded over HTTP/1.1.
fn set_upgrade(parts: &mut Parts) {
    parts.method = Method::GET;
    let headers = &mut parts.headers;
    headers.remove(SEC_WEBSOCKET_KEY);
    headers.insert(CONNECTION, const { HeaderValue::from_static("upgrade") });
    headers.insert(UPGRADE, const { HeaderValue::from_static(WEBSOCKET) });
}

/// Removes white space around values, which is not part of them (RFC 9110 section 5.5). HTTP/2 does
/// not remove it.
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

/// Turns `:authority` into `Host`, and the target into a path. A request may have one of both, as
/// those that proxies convert from HTTP/1.1 have; with both, they must agree (RFC 9113 section
/// 8.3.1). The scheme says nothing about this connection: a proxy may have terminated TLS, or have
/// added it.
fn set_host(parts: &mut Parts) -> Result<(), InvalidRequest> {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    // Without an authority the library drops the scheme.
    if !matches!(
        (parts.uri.scheme_str(), authority),
        (Some("https" | "http"), _) | (None, None)
    ) {
        return Err(InvalidRequest::HostMismatch);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(InvalidRequest::Repeated);
    }
    match (authority, host) {
        (None, None) => return Err(InvalidRequest::Host),
        (None, Some(_)) => {}
        (Some(authority), Some(host))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) =>
        {
            return Err(InvalidRequest::HostMismatch);
        }
        (Some(authority), _) => {
            let host = HeaderValue::from_str(authority).map_err(|_| InvalidRequest::Host)?;
            parts.headers.insert(HOST, host);
        }
    }
    parts.uri = parts
        .uri
        .path_and_query()
        .cloned()
        .map(Uri::from)
        .unwrap_or_default();
    Ok(())
}

/// Leaves one `Content-Length`, without leading zeros, signs or repetition (RFC 9110 section 8.6).
fn unify_length(headers: &mut HeaderMap) -> Result<(), InvalidRequest> {
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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(uri: &str, fields: &[(&str, &str)]) -> Result<Parts, InvalidRequest> {
        let mut request = Request::builder().version(Version::HTTP_2).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        canonical(&mut parts).map(|()| parts)
    }

    fn field(uri: &str, fields: &[(&str, &str)], name: &str) -> Vec<String> {
        let parts = read(uri, fields).unwrap();
        parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    const HERE: &str = "https://a.example/x?y";

    #[test]
    fn authority_becomes_host_and_target_a_path() {
        let parts = read(HERE, &[]).unwrap();
        assert!(parts.uri == "/x?y" && parts.headers[HOST] == "a.example");
        assert_eq!(field(HERE, &[("host", "A.example")], "host"), ["a.example"]);
        assert_eq!(read("https://a.example", &[]).unwrap().uri, "/");
    }

    #[test]
    fn host_alone_serves_and_must_agree_with_authority() {
        let parts = read("/x?y", &[("host", "a.example")]).unwrap();
        assert!(parts.uri == "/x?y" && parts.headers[HOST] == "a.example");
        for (uri, hosts, error) in [
            (HERE, &["b.example"][..], InvalidRequest::HostMismatch),
            (HERE, &["a.example:443"], InvalidRequest::HostMismatch),
            (HERE, &["u@a.example"], InvalidRequest::HostMismatch),
            (HERE, &["a.example", "a.example"], InvalidRequest::Repeated),
            ("/x", &["a.example", "a.example"], InvalidRequest::Repeated),
            ("/x", &[], InvalidRequest::Host),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(read(uri, &fields).unwrap_err(), error, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn scheme_is_http_or_https() {
        assert!(read("http://a.example/", &[]).is_ok());
        assert!(read("https://a.example/", &[]).is_ok());
        assert_eq!(
            read("ftp://a.example/", &[]).unwrap_err(),
            InvalidRequest::HostMismatch
        );
    }

    #[test]
    fn cookie_fields_stay_separate_and_in_order() {
        let crumbs = [
            ("cookie", "a=b"),
            ("x-a", "1"),
            ("cookie", " c=d; e=f"),
            ("cookie", "g=h"),
        ];
        assert_eq!(field(HERE, &crumbs, "cookie"), ["a=b", "c=d; e=f", "g=h"]);
    }

    #[test]
    fn equal_lengths_become_one_and_others_fail() {
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
                read(HERE, &fields).unwrap_err(),
                InvalidRequest::Length,
                "{lengths:?}"
            );
        }
    }

    #[test]
    fn connection_specific_header_is_rejected() {
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
                read(HERE, &[(name, value)]).unwrap_err(),
                InvalidRequest::ConnectionField,
                "{name}: {value}"
            );
        }
        assert!(read(HERE, &[("te", "trailers")]).is_ok());
    }

    fn connect(protocol: &str, fields: &[(&str, &str)]) -> Result<Parts, InvalidRequest> {
        let mut request = Request::builder()
            .method("CONNECT")
            .version(Version::HTTP_2)
            .uri(HERE)
            .extension(ExtendedConnect::new(protocol));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        canonical(&mut parts).map(|()| parts)
    }

    #[test]
    fn extended_connect_becomes_an_upgrade_without_a_key() {
        let fields = [
            ("sec-websocket-key", "chosen"),
            ("sec-websocket-version", "13"),
        ];
        let parts = connect("websocket", &fields).unwrap();
        assert!(parts.method == Method::GET && parts.uri == "/x?y");
        assert_eq!(parts.headers[UPGRADE], "websocket");
        assert_eq!(parts.headers[CONNECTION], "upgrade");
        assert_eq!(parts.headers["sec-websocket-version"], "13");
        assert!(!parts.headers.contains_key(SEC_WEBSOCKET_KEY));
        assert!(is_http2_websocket(&parts));
        assert!(!is_http2_websocket(&read(HERE, &[]).unwrap()));
    }

    #[test]
    fn extended_connect_for_another_protocol_is_rejected() {
        for protocol in ["connect-udp", "webtransport", "websocket2", "h2c", ""] {
            let error = connect(protocol, &[]).unwrap_err();
            assert_eq!(error, InvalidRequest::Protocol, "{protocol}");
        }
        let error = connect("websocket", &[("upgrade", "websocket")]).unwrap_err();
        assert_eq!(error, InvalidRequest::ConnectionField);
    }

    #[test]
    fn white_space_around_values_is_removed() {
        assert_eq!(field(HERE, &[("x-a", " \tb c\t ")], "x-a"), ["b c"]);
    }

    #[test]
    fn http_1_is_left_alone() {
        let request = Request::builder()
            .uri("http://b.example/x")
            .header("connection", "close")
            .header("host", "a");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        canonical(&mut parts).unwrap();
        assert!(parts.uri == "http://b.example/x" && parts.headers[HOST] == "a");
    }
}
