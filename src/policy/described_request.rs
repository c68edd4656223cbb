//! Described requests: another proxy (an edge) keeps a request to itself, describes it to Doorward
//! and acts by the decision. The description becomes the request that it describes, so that it
//! passes the same parser and the same rules as a request that Doorward forwards. A description that
//! is incomplete, repeated or contradictory is rejected: it may describe another request than the
//! one that the edge forwards.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

/// How an edge describes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `auth_request` of nginx: `X-Original-Method`, and `X-Original-URL` or `X-Original-URI`.
    AuthRequest,
    /// `ForwardAuth` of Traefik and `forward_auth` of Caddy: `X-Forwarded-Method`, `-Proto`,
    /// `-Host` and `-Uri`.
    ForwardAuth,
    /// `ext_authz` of Envoy over HTTP: the method, the host and the path behind a prefix.
    ExtAuthz,
    /// `ext_authz` of Envoy over gRPC: the attributes of `envoy.service.auth.v3`.
    ExtAuthzGrpc,
}

/// Why a description is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDescription {
    /// A part is missing.
    #[error("the description of the request is incomplete")]
    Missing,
    /// A part occurs twice, or is a list.
    #[error("a part of the description is repeated")]
    Repeated,
    /// Two parts differ that must agree.
    #[error("two parts of the description contradict each other")]
    Contradictory,
    /// A part is no method, URL, host or header.
    #[error("a part of the description is malformed")]
    Malformed,
}

/// The attributes of a request in a gRPC check. `fields` are its header fields, with pseudo-header
/// fields if the edge sends them.
#[derive(Clone, Debug)]
pub struct CheckAttributes<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The host.
    pub host: &'a str,
    /// The header fields.
    pub fields: Vec<CheckField<'a>>,
}

/// A header field in a gRPC check.
#[derive(Clone, Copy, Debug)]
pub struct CheckField<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a [u8],
}

const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_LENGTH: HeaderName = HeaderName::from_static("x-original-content-length");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Fields of the edge's own request: its framing and its connection.
static OF_THE_CHECK: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    CONTENT_LENGTH,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// Fields that every WebSocket handshake has, also over HTTP/2. Edges pass them on where they keep
/// `Upgrade` to themselves.
static OF_WEBSOCKETS: [HeaderName; 2] = [
    HeaderName::from_static("sec-websocket-key"),
    HeaderName::from_static("sec-websocket-version"),
];

impl InvalidDescription {
    /// The stable code for logs, metrics and responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "description_missing",
            Self::Repeated => "description_repeated",
            Self::Contradictory => "description_contradictory",
            Self::Malformed => "description_malformed",
        }
    }
}

impl Dialect {
    /// The path prefix of [`Self::ExtAuthz`]. The path of the described request follows it.
    pub const EXT_AUTHZ_PREFIX: &'static str = "/ext-authz";

    /// The dialect of a check at `path` of the decision listener.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/auth-request" => Some(Self::AuthRequest),
            "/forward-auth" => Some(Self::ForwardAuth),
            "/envoy.service.auth.v3.Authorization/Check" => Some(Self::ExtAuthzGrpc),
            _ => {
                let described = path.strip_prefix(Self::EXT_AUTHZ_PREFIX)?;
                described.starts_with('/').then_some(Self::ExtAuthz)
            }
        }
    }

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthRequest => "auth-request",
            Self::ForwardAuth => "forward-auth",
            Self::ExtAuthz => "ext-authz",
            Self::ExtAuthzGrpc => "ext-authz-grpc",
        }
    }

    /// The fields that describe a request, of all dialects. The edge replaces a client's fields of
    /// these names in its check, so that only it knows whether the client sent any.
    pub const DESCRIPTION: [HeaderName; 6] = [
        ORIGINAL_METHOD,
        ORIGINAL_URL,
        ORIGINAL_URI,
        ORIGINAL_LENGTH,
        FORWARDED_METHOD,
        FORWARDED_URI,
    ];

    /// Whether the edge passes refused requests, with their bodies, to Doorward's listener for
    /// clients.
    pub const fn passes_refused_requests(self) -> bool {
        match self {
            Self::AuthRequest => true,
            Self::ForwardAuth | Self::ExtAuthz | Self::ExtAuthzGrpc => false,
        }
    }
}

/// The request that `check` describes, a request in [canonical](super::canonical) form.
///
/// # Errors
/// [`InvalidDescription`].
pub fn read(dialect: Dialect, check: Parts) -> Result<Parts, InvalidDescription> {
    match dialect {
        Dialect::AuthRequest => auth_request(check.headers),
        Dialect::ForwardAuth => forward_auth(check.headers),
        Dialect::ExtAuthz => ext_authz(check),
        Dialect::ExtAuthzGrpc => Err(InvalidDescription::Malformed),
    }
}

/// The request that the attributes of a gRPC check describe.
///
/// # Errors
/// [`InvalidDescription`].
pub fn read_attributes(check: &CheckAttributes<'_>) -> Result<Parts, InvalidDescription> {
    let mut headers = HeaderMap::with_capacity(check.fields.len() + 2);
    for CheckField { name, value } in &check.fields {
        let described = match *name {
            ":method" => Some(check.method),
            ":path" => Some(check.path),
            ":authority" | "host" => Some(check.host),
            _ => None,
        };
        match described {
            Some(described) if described.as_bytes() != *value => {
                return Err(InvalidDescription::Contradictory);
            }
            Some(_) => continue,
            None if name.starts_with(':') => continue,
            None => {}
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.trim_ascii());
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(InvalidDescription::Malformed);
        };
        headers.append(name, value);
    }
    let length = headers.remove(CONTENT_LENGTH);
    let described = Described {
        method: check.method.as_bytes(),
        target: check.path.as_bytes(),
        host: check.host.as_bytes(),
    };
    let mut parts = described.assemble(headers, &[])?;
    if let Some(length) = length {
        parts.headers.insert(CONTENT_LENGTH, length);
    }
    Ok(parts)
}

fn auth_request(headers: HeaderMap) -> Result<Parts, InvalidDescription> {
    let method = single(&headers, &ORIGINAL_METHOD)?;
    let url = optional(&headers, &ORIGINAL_URL)?;
    let uri = optional(&headers, &ORIGINAL_URI)?;
    let length = optional(&headers, &ORIGINAL_LENGTH)?;
    let by_url = url.as_ref().map(SplitUrl::read).transpose()?;
    let by_uri = match &uri {
        None => None,
        Some(uri) => Some((uri, single(&headers, &HOST)?)),
    };
    let described = match (&by_url, &by_uri) {
        (None, None) => return Err(InvalidDescription::Missing),
        (Some(url), Some((uri, host)))
            if url.target != uri.as_bytes() || !url.host.eq_ignore_ascii_case(host.as_bytes()) =>
        {
            return Err(InvalidDescription::Contradictory);
        }
        (Some(url), _) => Described {
            method: method.as_bytes(),
            target: url.target,
            host: url.host,
        },
        (None, Some((uri, host))) => Described {
            method: method.as_bytes(),
            target: uri.as_bytes(),
            host: host.as_bytes(),
        },
    };
    let names = [ORIGINAL_METHOD, ORIGINAL_URL, ORIGINAL_URI, ORIGINAL_LENGTH];
    let mut parts = described.assemble(headers, &names)?;
    if let Some(length) = length {
        if !length.as_bytes().iter().all(u8::is_ascii_digit) {
            return Err(InvalidDescription::Malformed);
        }
        parts.headers.insert(CONTENT_LENGTH, length);
    }
    Ok(parts)
}

fn forward_auth(headers: HeaderMap) -> Result<Parts, InvalidDescription> {
    let scheme = single(&headers, &FORWARDED_PROTO)?;
    if !matches!(scheme.as_bytes(), b"http" | b"https") {
        return Err(of_list(&scheme));
    }
    let host = single(&headers, &FORWARDED_HOST)?;
    if host.as_bytes().contains(&b',') {
        return Err(InvalidDescription::Repeated);
    }
    let method = single(&headers, &FORWARDED_METHOD)?;
    let target = single(&headers, &FORWARDED_URI)?;
    let described = Described {
        method: method.as_bytes(),
        target: target.as_bytes(),
        host: host.as_bytes(),
    };
    let names = [
        FORWARDED_METHOD,
        FORWARDED_PROTO,
        FORWARDED_HOST,
        FORWARDED_URI,
    ];
    described.assemble(headers, &names)
}

fn ext_authz(check: Parts) -> Result<Parts, InvalidDescription> {
    if check.uri.authority().is_some() {
        return Err(InvalidDescription::Malformed);
    }
    let host = single(&check.headers, &HOST)?;
    let target = check.uri.path_and_query().map(PathAndQuery::as_str);
    let target = target
        .and_then(|target| target.strip_prefix(Dialect::EXT_AUTHZ_PREFIX))
        .ok_or(InvalidDescription::Missing)?;
    let described = Described {
        method: check.method.as_str().as_bytes(),
        target: target.as_bytes(),
        host: host.as_bytes(),
    };
    described.assemble(check.headers, &[])
}

/// The parts of a request that a description consists of.
struct Described<'a> {
    method: &'a [u8],
    target: &'a [u8],
    host: &'a [u8],
}

impl Described<'_> {
    /// The request, with the header fields of the check. `description` are the fields that describe
    /// the request and are not part of it.
    fn assemble(
        &self,
        mut headers: HeaderMap,
        description: &[HeaderName],
    ) -> Result<Parts, InvalidDescription> {
        for name in OF_THE_CHECK.iter().chain(description) {
            headers.remove(name);
        }
        let host = HeaderValue::from_bytes(self.host).map_err(|_| InvalidDescription::Malformed)?;
        headers.insert(HOST, host);
        // An upgrade that the edge keeps to itself is an upgrade nevertheless: it needs the checks
        // of one, and its response can set no cookie.
        if OF_WEBSOCKETS.iter().any(|name| headers.contains_key(name)) {
            headers
                .entry(UPGRADE)
                .or_insert(const { HeaderValue::from_static("websocket") });
        }
        let mut request = Request::new(());
        *request.method_mut() =
            Method::from_bytes(self.method).map_err(|_| InvalidDescription::Malformed)?;
        *request.uri_mut() = Uri::from(path_and_query(self.target)?);
        *request.headers_mut() = headers;
        Ok(request.into_parts().0)
    }
}

/// The target exactly as it is described: the URL parser cuts off a fragment, which the edge
/// forwards.
fn path_and_query(target: &[u8]) -> Result<PathAndQuery, InvalidDescription> {
    let parsed = PathAndQuery::try_from(target).map_err(|_| InvalidDescription::Malformed)?;
    if target.starts_with(b"/") && parsed.as_str().as_bytes() == target {
        Ok(parsed)
    } else {
        Err(InvalidDescription::Malformed)
    }
}

/// The host and the target of an absolute URL.
struct SplitUrl<'u> {
    host: &'u [u8],
    target: &'u [u8],
}

impl<'u> SplitUrl<'u> {
    fn read(url: &'u HeaderValue) -> Result<Self, InvalidDescription> {
        let url = url.as_bytes();
        let rest = url
            .strip_prefix(b"https://")
            .or_else(|| url.strip_prefix(b"http://"))
            .ok_or(InvalidDescription::Malformed)?;
        let end = rest.iter().position(|byte| *byte == b'/');
        let (host, target) = rest.split_at(end.ok_or(InvalidDescription::Malformed)?);
        Ok(Self { host, target })
    }
}

fn single(headers: &HeaderMap, name: &HeaderName) -> Result<HeaderValue, InvalidDescription> {
    optional(headers, name)?.ok_or(InvalidDescription::Missing)
}

fn optional(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<HeaderValue>, InvalidDescription> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    match values.next() {
        None => Ok(value.cloned()),
        Some(_) => Err(InvalidDescription::Repeated),
    }
}

fn of_list(value: &HeaderValue) -> InvalidDescription {
    if value.as_bytes().contains(&b',') {
        InvalidDescription::Repeated
    } else {
        InvalidDescription::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InvalidDescription::{Contradictory, Malformed, Missing, Repeated};

    fn check(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// Method, host and target of the described request.
    fn described(uri: &str, fields: &[(&str, &str)]) -> Result<String, InvalidDescription> {
        let check = check(uri, fields);
        let dialect = Dialect::of_path(check.uri.path()).unwrap();
        read(dialect, check).map(|parts| {
            let host = parts.headers[HOST].to_str().unwrap();
            format!("{} {host} {}", parts.method, parts.uri)
        })
    }

    #[test]
    fn auth_request_is_read_from_url_or_uri() {
        const PATH: &str = "/auth-request";
        let method = ("x-original-method", "POST");
        let host = ("host", "a.test");
        let url = ("x-original-url", "https://a.test/x?y=1");
        let uri = ("x-original-uri", "/x?y=1");
        let good = Ok("POST a.test /x?y=1".to_owned());
        for fields in [
            vec![method, host, uri],
            vec![method, ("host", "doorward"), url],
            vec![method, host, url, uri],
        ] {
            assert_eq!(described(PATH, &fields), good, "{fields:?}");
        }
        for (fields, error) in [
            (vec![host, uri], Missing),
            (vec![method, host], Missing),
            (vec![method, uri], Missing),
            (vec![method, method, host, uri], Repeated),
            (vec![method, host, uri, uri], Repeated),
            (vec![method, host, host, uri], Repeated),
            (vec![method, url, url], Repeated),
            (
                vec![method, host, url, ("x-original-uri", "/x")],
                Contradictory,
            ),
            (vec![method, ("host", "b.test"), url, uri], Contradictory),
            (vec![method, host, ("x-original-uri", "x")], Malformed),
            (vec![method, host, ("x-original-uri", "/x#y")], Malformed),
            (vec![method, host, ("x-original-uri", "/x y")], Malformed),
            (vec![method, host, ("x-original-uri", "")], Malformed),
            (vec![method, ("x-original-url", "ftp://a/x")], Malformed),
            (
                vec![method, ("x-original-url", "https://a.test")],
                Malformed,
            ),
            (vec![("x-original-method", "A B"), host, uri], Malformed),
            (
                vec![method, host, uri, ("x-original-content-length", "+1")],
                Malformed,
            ),
        ] {
            assert_eq!(described(PATH, &fields), Err(error), "{fields:?}");
        }
    }

    #[test]
    fn forward_auth_needs_each_part_once() {
        let parts = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.test"),
            ("x-forwarded-uri", "/x?y"),
            ("host", "doorward"),
        ];
        let good = described("/forward-auth", &parts);
        assert_eq!(good, Ok("GET a.test /x?y".to_owned()));
        for index in 0..4 {
            let mut fewer = parts.to_vec();
            let part = fewer.remove(index);
            assert_eq!(described("/forward-auth", &fewer), Err(Missing), "{part:?}");
            let twice: Vec<_> = parts.into_iter().chain([part]).collect();
            assert_eq!(
                described("/forward-auth", &twice),
                Err(Repeated),
                "{part:?}"
            );
        }
        for (index, value, error) in [
            (1, "https, http", Repeated),
            (1, "HTTPS", Malformed),
            (2, "a.test, b.test", Repeated),
            (3, "x", Malformed),
            (3, "/x#/y", Malformed),
        ] {
            let mut other = parts;
            other[index].1 = value;
            assert_eq!(described("/forward-auth", &other), Err(error), "{value}");
        }
    }

    #[test]
    fn ext_authz_path_follows_the_prefix() {
        let host = ("host", "a.test");
        for (path, target) in [
            ("/ext-authz/", "/"),
            ("/ext-authz/x?y", "/x?y"),
            ("/ext-authz//x", "//x"),
            ("/ext-authz/ext-authz/x", "/ext-authz/x"),
        ] {
            let expected = Ok(format!("GET a.test {target}"));
            assert_eq!(described(path, &[host]), expected, "{path}");
        }
        assert_eq!(described("/ext-authz/", &[]), Err(Missing));
        assert_eq!(described("/ext-authz/", &[host, host]), Err(Repeated));
        for path in ["/ext-authz", "/ext-authzx", "/", "/forward-auth/", "/other"] {
            assert_eq!(Dialect::of_path(path), None, "{path}");
        }
    }

    #[test]
    fn attributes_must_agree_with_pseudo_header_fields() {
        let with = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| CheckField {
                name,
                value: value.as_bytes(),
            });
            read_attributes(&CheckAttributes {
                method: "GET",
                path: "/x?y",
                host: "a.test",
                fields: fields.collect(),
            })
        };
        let parts = with(&[
            (":method", "GET"),
            (":path", "/x?y"),
            (":authority", "a.test"),
            (":scheme", "https"),
            ("accept", "a"),
            ("accept", "b"),
        ])
        .unwrap();
        assert_eq!(parts.uri, "/x?y");
        assert_eq!(parts.headers.get_all("accept").iter().count(), 2);
        assert_eq!(parts.headers.len(), 3, "{:?}", parts.headers);
        for field in [
            (":method", "POST"),
            (":path", "/x"),
            (":authority", "b.test"),
            ("host", "b.test"),
        ] {
            assert_eq!(with(&[field]).unwrap_err(), Contradictory, "{field:?}");
        }
        assert_eq!(with(&[("a b", "c")]).unwrap_err(), Malformed);
    }

    #[test]
    fn websocket_without_upgrade_counts_as_upgrade() {
        let fields = [("host", "a.test"), ("sec-websocket-version", "13")];
        let parts = read(Dialect::ExtAuthz, check("/ext-authz/", &fields)).unwrap();
        assert_eq!(parts.headers[UPGRADE], "websocket");
    }

    #[test]
    fn framing_of_the_check_is_not_part_of_the_request() {
        let fields = [
            ("host", "a.test"),
            ("content-length", "0"),
            ("connection", "close"),
            ("cookie", "a=b"),
        ];
        let parts = read(Dialect::ExtAuthz, check("/ext-authz/", &fields)).unwrap();
        let names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "cookie"]);
    }
}
