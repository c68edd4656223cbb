//! Request parsing. The request is read once; ambiguous requests are rejected here, and later
//! stages use only the result.

use http::request::Parts;
use http::{HeaderMap, Method, Uri, header};
use std::net::IpAddr;

use super::client_address::{ClientAddress, TrustedProxies};
use super::client_kind::ClientKind;
use super::forwarded_origin::{ForwardedOrigin, Scheme};
use crate::session::client_continuity::PresentedClient;
use crate::types::net::ListenerKind;
use crate::types::target::{Target, TargetError};

/// A parsed request.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The method, unchanged.
    pub method: Method,
    /// The requested host, with a port if the request has one.
    pub authority: String,
    /// The canonical target.
    pub target: Target,
    /// The kind of client.
    pub client_kind: ClientKind,
    /// The client's address.
    pub address: ClientAddress,
    /// The scheme of the client's connection, if it is known: the listener's, or the one that a
    /// trusted proxy reports.
    pub scheme: Option<Scheme>,
    /// Whether a trusted proxy sent it.
    pub is_proxied: bool,
    /// The kind of the listener.
    pub listener: ListenerKind,
}

impl RequestInfo {
    /// The client, with the headers of the request.
    pub const fn presented_client<'r>(&self, headers: &'r HeaderMap) -> PresentedClient<'r> {
        PresentedClient {
            address: self.address.end_client,
            headers,
        }
    }
}

/// Why a request is rejected by the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// `Host` is missing, repeated, or not a host with an optional port.
    #[error("the request does not name exactly one host")]
    Host,
    /// An absolute-form target whose host or scheme differs from `Host`.
    #[error("the request target and the `Host` header name different hosts")]
    HostMismatch,
    /// `CONNECT`, `TRACE` or `TRACK`; or a method with lower-case letters. Methods are
    /// case-sensitive (RFC 9110 section 9.1), so the rules would not match it, but some backends
    /// ignore its case.
    #[error("the method is not supported")]
    Method,
    /// See [`TargetError`].
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A header that must occur once is repeated.
    #[error("a header that must occur once is repeated")]
    Repeated,
    /// A transfer coding other than a single `chunked`.
    #[error("only a single `chunked` transfer coding is supported")]
    TransferCoding,
    /// Several different lengths, or one that is not a number.
    #[error("the request does not have exactly one length")]
    Length,
    /// An HTTP/2 request with a connection-specific header.
    #[error("the request has a connection-specific header, which HTTP/2 forbids")]
    ConnectionField,
    /// An extended CONNECT (RFC 8441) for another protocol than WebSocket, or to something that is no
    /// WebSocket.
    #[error("the protocol is not supported here")]
    Protocol,
    /// A trusted proxy reports several hosts or schemes, or one that is malformed.
    #[error("the proxy does not report exactly one host and scheme")]
    ForwardedOrigin,
    /// `Expect` with a value other than `100-continue`.
    #[error("the expectation is not supported")]
    Expectation,
}

impl InvalidRequest {
    /// The stable code for logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Host => "bad_host",
            Self::HostMismatch => "host_mismatch",
            Self::Method => "method_rejected",
            Self::Target(TargetError::TooLong) => "target_too_long",
            Self::Target(_) => "ambiguous_target",
            Self::Repeated => "repeated_header",
            Self::TransferCoding => "bad_transfer_coding",
            Self::Length => "bad_length",
            Self::ConnectionField => "connection_field",
            Self::Protocol => "unsupported_protocol",
            Self::ForwardedOrigin => "bad_forwarded_origin",
            Self::Expectation => "bad_expectation",
        }
    }
}

impl RequestInfo {
    /// Parses a request in [canonical](super::canonical) form from `peer`.
    ///
    /// # Errors
    /// [`InvalidRequest`].
    pub fn read(
        parts: &Parts,
        peer: Option<IpAddr>,
        trusted: &TrustedProxies,
    ) -> Result<Self, InvalidRequest> {
        check_method(&parts.method)?;
        check_repeated(&parts.headers)?;
        check_framing(&parts.headers)?;
        let is_proxied = trusted.contain_peer(peer);
        let mut authority = authority(&parts.uri, &parts.headers)?;
        let mut scheme = None;
        if is_proxied && (trusted.reads_host() || trusted.reads_scheme()) {
            let forwarded = ForwardedOrigin::read(&parts.headers, trusted)
                .map_err(|_| InvalidRequest::ForwardedOrigin)?;
            if let Some(host) = forwarded.host {
                if !is_host_and_port(host) {
                    return Err(InvalidRequest::ForwardedOrigin);
                }
                authority = host.to_ascii_lowercase();
            }
            scheme = forwarded.scheme;
        }
        Ok(Self {
            method: parts.method.clone(),
            authority,
            target: Target::read(&parts.uri)?,
            client_kind: ClientKind::read(&parts.method, &parts.headers),
            address: ClientAddress::read(peer, &parts.headers, trusted),
            scheme,
            is_proxied,
            listener: ListenerKind::Plain,
        })
    }

    /// The same request as it arrived at a listener of this kind. Without a proxy, the listener
    /// knows the scheme of the client's connection.
    #[must_use]
    pub fn arriving_at(self, listener: ListenerKind) -> Self {
        let own_scheme = match listener {
            ListenerKind::Plain => None,
            ListenerKind::Tls => (!self.is_proxied).then_some(Scheme::Https),
            ListenerKind::RedirectToHttps => Some(Scheme::Http),
        };
        Self {
            scheme: self.scheme.or(own_scheme),
            listener,
            ..self
        }
    }

    /// Whether a proxy may have removed the port from `Host`, so that a host without a port may
    /// stand for any port. `is_https` tells whether the app is reached by https.
    pub(super) fn may_lack_port(&self, is_https: bool) -> bool {
        let behind_tls = is_https && self.listener == ListenerKind::Plain;
        (self.is_proxied || behind_tls) && !has_port(&self.authority)
    }
}

fn has_port(authority: &str) -> bool {
    let after_address = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest);
    after_address.contains(':')
}

/// See [`InvalidRequest::Method`].
pub(super) fn check_method(method: &Method) -> Result<(), InvalidRequest> {
    let method = method.as_str();
    if matches!(method, "CONNECT" | "TRACE" | "TRACK")
        || method.bytes().any(|byte| byte.is_ascii_lowercase())
    {
        return Err(InvalidRequest::Method);
    }
    Ok(())
}

fn check_repeated(headers: &HeaderMap) -> Result<(), InvalidRequest> {
    let alone = [header::HOST, header::AUTHORIZATION, header::CONTENT_TYPE];
    if alone
        .iter()
        .any(|name| headers.get_all(name).iter().nth(1).is_some())
    {
        return Err(InvalidRequest::Repeated);
    }
    Ok(())
}

fn check_framing(headers: &HeaderMap) -> Result<(), InvalidRequest> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(InvalidRequest::TransferCoding);
    }
    let expects = headers.get_all(header::EXPECT).iter();
    if expects
        .into_iter()
        .any(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(InvalidRequest::Expectation);
    }
    Ok(())
}

/// The host of the request. An absolute-form target must agree with `Host` (RFC 9112 section
/// 3.2.2).
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<String, InvalidRequest> {
    let host = match headers.get(header::HOST) {
        Some(host) => Some(host.to_str().map_err(|_| InvalidRequest::Host)?),
        None => None,
    };
    let in_target = uri.authority().map(|authority| authority.as_str());
    if uri
        .scheme_str()
        .is_some_and(|scheme| !matches!(scheme, "http" | "https"))
    {
        return Err(InvalidRequest::HostMismatch);
    }
    let named = match (host, in_target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            return Err(InvalidRequest::HostMismatch);
        }
        (Some(host), _) => host,
        (None, _) => return Err(InvalidRequest::Host),
    };
    if !is_host_and_port(named) {
        return Err(InvalidRequest::Host);
    }
    Ok(named.to_ascii_lowercase())
}

/// Whether the text is a host, as in a URL, with an optional port.
pub fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port))
                if address
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.') =>
            {
                (
                    address,
                    port.strip_prefix(':').or((port.is_empty()).then_some("0")),
                )
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("0")),
        },
    };
    let host_is_good = !host.is_empty()
        && (text.starts_with('[')
            || host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')));
    host_is_good
        && port.is_some_and(|port| {
            !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn read(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Result<RequestInfo, InvalidRequest> {
        let (parts, ()) = build(Request::builder()).body(()).unwrap().into_parts();
        RequestInfo::read(
            &parts,
            Some("192.0.2.1".parse().unwrap()),
            &TrustedProxies::default(),
        )
    }

    #[test]
    fn plain_request_is_parsed() {
        let info =
            read(|request| request.uri("/a?b").header("host", "Store.Example.com:8080")).unwrap();
        assert_eq!(info.authority, "store.example.com:8080");
        assert_eq!(info.target.as_str(), "/a?b");
        assert_eq!(info.address.forwarded_for, "192.0.2.1");
    }

    #[test]
    fn host_must_occur_exactly_once() {
        assert_eq!(
            read(|request| request.uri("/")).unwrap_err(),
            InvalidRequest::Host
        );
        assert_eq!(
            read(|request| request.uri("/").header("host", "a").header("host", "a")).unwrap_err(),
            InvalidRequest::Repeated
        );
        for host in [
            "", "a b", "a,b", "a/b", "a@b", "a:", "a:x", "a:99999", "a\u{e9}", "[::1", "[x]",
            "::1", "a\\b", "a#b",
        ] {
            assert!(
                read(|request| request.uri("/").header("host", host)).is_err(),
                "{host}"
            );
        }
        for host in [
            "a",
            "a.b",
            "a:1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:443",
            "a_b",
        ] {
            assert!(
                read(|request| request.uri("/").header("host", host)).is_ok(),
                "{host}"
            );
        }
    }

    #[test]
    fn absolute_target_must_match_host() {
        let with = |uri: &'static str, host: &'static str| {
            read(move |request| request.uri(uri).header("host", host))
        };
        assert_eq!(
            with("http://a.example/x", "a.example")
                .unwrap()
                .target
                .path(),
            "/x"
        );
        assert_eq!(
            with("http://b.example/x", "a.example").unwrap_err(),
            InvalidRequest::HostMismatch
        );
        assert_eq!(
            with("http://u@a.example/x", "a.example").unwrap_err(),
            InvalidRequest::HostMismatch
        );
        assert_eq!(
            with("ftp://a.example/x", "a.example").unwrap_err(),
            InvalidRequest::HostMismatch
        );
    }

    #[test]
    fn ambiguous_framing_and_methods_are_rejected() {
        let with = |name: &'static str, value: &'static str| {
            read(move |request| request.uri("/").header("host", "a").header(name, value))
                .map(|_| ())
        };
        assert_eq!(with("transfer-encoding", "chunked"), Ok(()));
        for coding in [
            "gzip, chunked",
            "chunked, chunked",
            "identity",
            "xchunked",
            "",
        ] {
            assert_eq!(
                with("transfer-encoding", coding),
                Err(InvalidRequest::TransferCoding),
                "{coding}"
            );
        }
        assert_eq!(with("expect", "100-Continue"), Ok(()));
        assert_eq!(with("expect", "200-ok"), Err(InvalidRequest::Expectation));
        for method in [
            "TRACE", "CONNECT", "TRACK", "get", "Post", "dELETE", "trace",
        ] {
            assert_eq!(
                read(|request| request.method(method).uri("/").header("host", "a")).unwrap_err(),
                InvalidRequest::Method
            );
        }
    }
}
