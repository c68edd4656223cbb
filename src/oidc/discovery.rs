//! Provider metadata: the discovery document (OpenID Connect Discovery 1.0 section 3, RFC 8414).
//! PURE.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use super::announced::Announced;
use super::json;
use crate::types::net::is_loopback_host;
use crate::types::oauth::Issuer;

/// The member with the endpoints for clients with certificates.
pub(super) const MTLS_ALIASES: &str = "mtls_endpoint_aliases";

/// The members of the discovery document that Doorward uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `issuer`, equal to the configured one.
    pub issuer: Issuer,
    /// `authorization_endpoint`.
    pub authorization_endpoint: Url,
    /// `token_endpoint`.
    pub token_endpoint: Url,
    /// `jwks_uri`. Not needed if the keys are in a file.
    pub jwks_uri: Option<Url>,
    /// `userinfo_endpoint`.
    pub userinfo_endpoint: Option<Url>,
    /// `revocation_endpoint` (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// `introspection_endpoint` (RFC 7662).
    pub introspection_endpoint: Option<Url>,
    /// `end_session_endpoint` (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<Url>,
    /// `pushed_authorization_request_endpoint` (RFC 9126).
    pub par_endpoint: Option<Url>,
    /// Whether each authorization request must be pushed.
    pub require_pushed_authorization_requests: bool,
    /// `mtls_endpoint_aliases`: endpoints for clients with certificates (RFC 8705 section 5).
    pub mtls_aliases: BTreeMap<&'static str, Url>,
    /// Whether every authorization response contains `iss` (RFC 9207).
    pub authorization_response_iss_parameter_supported: bool,
    /// The announced capabilities, for diagnosis.
    pub announced: Announced,
    /// Optional members that cannot be used, and count as not offered.
    pub unusable: Vec<MetadataError>,
}

/// Why a discovery document is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not a JSON object with unique members.
    #[error("the provider's discovery document is not a JSON object")]
    NotJson,
    /// It belongs to another issuer.
    #[error("the provider's discovery document is of issuer `{found}`, not of `{expected}`{hint}")]
    IssuerMismatch {
        /// The configured issuer.
        expected: String,
        /// The document's issuer.
        found: String,
        /// A hint to append, possibly empty.
        hint: &'static str,
    },
    /// A required member is missing.
    #[error("the provider's discovery document has no `{0}`")]
    Missing(&'static str),
    /// A member has the wrong type, or is not a valid URL.
    #[error("`{0}` in the provider's discovery document is malformed")]
    Malformed(&'static str),
    /// An endpoint is not https. Plain http is allowed only as [`PlainHttp`] says.
    #[error("`{0}` in the provider's discovery document is not an https address")]
    Insecure(&'static str),
}

impl MetadataError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson => "discovery_not_json",
            Self::IssuerMismatch { .. } => "discovery_issuer_mismatch",
            Self::Missing(_) => "discovery_member_missing",
            Self::Malformed(_) => "discovery_member_malformed",
            Self::Insecure(_) => "discovery_endpoint_insecure",
        }
    }
}

/// Where plain http is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Nowhere, because the discovery URL is https.
    Never,
    /// On loopback addresses, because the discovery URL is plain http.
    Loopback,
    /// Everywhere: the dangerous setting `allow_insecure_http`.
    Anywhere,
}

impl PlainHttp {
    /// The policy for the configured discovery URL.
    pub fn for_provider(discovery_url: &Url, allow_insecure_http: bool) -> Self {
        match (allow_insecure_http, discovery_url.scheme()) {
            (true, _) => Self::Anywhere,
            (false, "http") => Self::Loopback,
            (false, _) => Self::Never,
        }
    }

    /// Whether requests to `url` are allowed.
    pub fn permits(self, url: &Url) -> bool {
        match (url.scheme(), self) {
            ("https", _) | ("http", Self::Anywhere) => true,
            ("http", Self::Loopback) => url.host_str().is_some_and(is_loopback_host),
            _ => false,
        }
    }
}

/// The issuer followed by `/.well-known/openid-configuration` (section 4.1).
///
/// # Errors
/// The issuer is not an http(s) URL with a host.
pub fn default_discovery_url(issuer: &Issuer) -> Result<Url, url::ParseError> {
    let base = issuer.as_str().strip_suffix('/').unwrap_or(issuer.as_str());
    let url = Url::parse(&format!("{base}/.well-known/openid-configuration"))?;
    match url.scheme() {
        "https" | "http" => Ok(url),
        _ => Err(url::ParseError::RelativeUrlWithoutBase),
    }
}

impl Metadata {
    /// Parses a discovery document. An optional member that cannot be used counts as not offered.
    ///
    /// # Errors
    /// It belongs to another issuer, or a required endpoint is missing, malformed or without TLS.
    pub fn parse(
        document: &[u8],
        issuer: &Issuer,
        plain_http: PlainHttp,
    ) -> Result<Self, MetadataError> {
        let document = json::object(document).ok_or(MetadataError::NotJson)?;
        Self::read(&document, issuer, plain_http)
    }

    /// Reads the members of a discovery document, as [`Self::parse`] does.
    ///
    /// # Errors
    /// See [`Self::parse`].
    pub(super) fn read(
        document: &Map<String, Value>,
        issuer: &Issuer,
        plain_http: PlainHttp,
    ) -> Result<Self, MetadataError> {
        let found = document
            .get("issuer")
            .ok_or(MetadataError::Missing("issuer"))?;
        let found = found.as_str().ok_or(MetadataError::Malformed("issuer"))?;
        if found != issuer.as_str() {
            return Err(issuer_mismatch(issuer, found));
        }
        let endpoint = |name| endpoint(document, name, plain_http);
        let required = |name| endpoint(name)?.ok_or(MetadataError::Missing(name));
        let mut unusable = Vec::new();
        let mut optional = |name| usable(endpoint(name), &mut unusable);
        Ok(Self {
            issuer: issuer.clone(),
            authorization_endpoint: required("authorization_endpoint")?,
            token_endpoint: required("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            userinfo_endpoint: optional("userinfo_endpoint"),
            revocation_endpoint: optional("revocation_endpoint"),
            introspection_endpoint: optional("introspection_endpoint"),
            end_session_endpoint: optional("end_session_endpoint"),
            par_endpoint: optional("pushed_authorization_request_endpoint"),
            require_pushed_authorization_requests: usable(
                flag(document, "require_pushed_authorization_requests"),
                &mut unusable,
            ),
            mtls_aliases: mtls_aliases(document, plain_http, &mut unusable),
            authorization_response_iss_parameter_supported: usable(
                flag(document, "authorization_response_iss_parameter_supported"),
                &mut unusable,
            ),
            announced: Announced::of(document),
            unusable,
        })
    }
}

/// The endpoints that get requests with the client's certificate.
const CLIENT_ENDPOINTS: [&str; 5] = [
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
    "userinfo_endpoint",
];

fn mtls_aliases(
    document: &Map<String, Value>,
    plain_http: PlainHttp,
    unusable: &mut Vec<MetadataError>,
) -> BTreeMap<&'static str, Url> {
    let aliases = document.get(MTLS_ALIASES).and_then(Value::as_object);
    let Some(aliases) = aliases else {
        return BTreeMap::new();
    };
    let known = CLIENT_ENDPOINTS.into_iter().filter_map(|name| {
        let alias = usable(endpoint(aliases, name, plain_http), unusable);
        Some((name, alias?))
    });
    known.collect()
}

/// The value of an optional member, or its default if it cannot be used.
fn usable<T: Default>(member: Result<T, MetadataError>, unusable: &mut Vec<MetadataError>) -> T {
    member.unwrap_or_else(|error| {
        unusable.push(error);
        T::default()
    })
}

fn issuer_mismatch(expected: &Issuer, found: &str) -> MetadataError {
    let expected = expected.as_str();
    MetadataError::IssuerMismatch {
        expected: expected.to_owned(),
        found: json::printable(found, 200),
        hint: issuer_difference(expected, found),
    }
}

/// The only difference between two issuers, as a hint; empty if they differ by more.
fn issuer_difference(expected: &str, found: &str) -> &'static str {
    let without_slash = |issuer: &str| issuer.strip_suffix('/').unwrap_or(issuer).to_owned();
    if without_slash(expected) == without_slash(found) {
        return " (they differ by a trailing slash; use the provider's spelling)";
    }
    if expected.eq_ignore_ascii_case(found) {
        return " (they differ by case; use the provider's spelling)";
    }
    let (Some(expected), Some(found)) = (IssuerParts::of(expected), IssuerParts::of(found)) else {
        return "";
    };
    let differences = [
        (
            expected.scheme == found.scheme,
            " (they differ by the scheme; use the provider's)",
        ),
        (
            expected.host == found.host,
            " (they differ by the host; use the provider's)",
        ),
        (
            expected.path == found.path,
            " (they differ by the path; use the provider's)",
        ),
    ];
    let mut differences = differences.iter().filter(|(is_same, _)| !is_same);
    match (differences.next(), differences.next()) {
        (Some((_, hint)), None) => hint,
        _ => "",
    }
}

/// An issuer that is a URL, in parts.
struct IssuerParts<'i> {
    scheme: &'i str,
    /// With the port, if it has one.
    host: &'i str,
    path: &'i str,
}

impl<'i> IssuerParts<'i> {
    fn of(issuer: &'i str) -> Option<Self> {
        let (scheme, rest) = issuer.split_once("://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { scheme, host, path })
    }
}

fn endpoint(
    document: &Map<String, Value>,
    name: &'static str,
    plain_http: PlainHttp,
) -> Result<Option<Url>, MetadataError> {
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let url = value
        .as_str()
        .and_then(|text| Url::parse(text).ok())
        .ok_or(MetadataError::Malformed(name))?;
    if !plain_http.permits(&url) {
        return Err(MetadataError::Insecure(name));
    }
    let is_bare = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if is_bare {
        Ok(Some(url))
    } else {
        Err(MetadataError::Malformed(name))
    }
}

fn flag(document: &Map<String, Value>, name: &'static str) -> Result<bool, MetadataError> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        // Some providers send booleans as text.
        Some(Value::String(text)) if text == "true" => Ok(true),
        Some(Value::String(text)) if text == "false" => Ok(false),
        Some(_) => Err(MetadataError::Malformed(name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oidc::testing::with;

    fn document() -> Value {
        json!({
            "issuer": "https://login.example.com",
            "authorization_endpoint": "https://login.example.com/authorize?tenant=1",
            "token_endpoint": "https://login.example.com/token",
            "jwks_uri": "https://keys.example.net/jwks",
        })
    }

    fn parse(document: &Value) -> Result<Metadata, MetadataError> {
        Metadata::parse(
            document.to_string().as_bytes(),
            &Issuer::new("https://login.example.com"),
            PlainHttp::Never,
        )
    }

    #[test]
    fn parse_applies_the_standard_defaults() {
        let metadata = parse(&document()).unwrap();
        assert_eq!(metadata.authorization_endpoint.query(), Some("tenant=1"));
        assert!(metadata.revocation_endpoint.is_none() && metadata.end_session_endpoint.is_none());
        assert!(!metadata.authorization_response_iss_parameter_supported);
        let promised = with(
            &document(),
            "authorization_response_iss_parameter_supported",
            Some(json!(true)),
        );
        assert!(
            parse(&promised)
                .unwrap()
                .authorization_response_iss_parameter_supported
        );
    }

    #[test]
    fn parse_requires_the_exact_issuer() {
        for (found, hint) in [
            ("https://login.example.com/", "slash"),
            ("https://LOGIN.example.com", "case"),
            ("http://login.example.com", "scheme"),
            ("https://login.example.com:8443", "host"),
            ("https://login.example.net", "host"),
            ("https://login.example.com/realms/x", "path"),
            ("http://login.example.net", "`https://login.example.com`"),
            ("urn:x", "`https://login.example.com`"),
        ] {
            let error = parse(&with(&document(), "issuer", Some(json!(found)))).unwrap_err();
            assert_eq!(error.code(), "discovery_issuer_mismatch");
            assert!(
                error.to_string().contains(hint) && error.to_string().contains(found),
                "{error}"
            );
            let has_hint = error.to_string().ends_with("provider's)")
                || error.to_string().ends_with("spelling)");
            assert_eq!(has_hint, !hint.starts_with('`'), "{error}");
        }
        let with_escapes =
            parse(&with(&document(), "issuer", Some(json!("\u{1b}[31m\n")))).unwrap_err();
        assert!(!with_escapes.to_string().contains('\u{1b}'));
    }

    #[test]
    fn parse_error_names_the_member() {
        let cases = [
            ("issuer", None, "discovery_member_missing"),
            ("issuer", Some(json!(7)), "discovery_member_malformed"),
            ("token_endpoint", None, "discovery_member_missing"),
            (
                "token_endpoint",
                Some(Value::Null),
                "discovery_member_missing",
            ),
            (
                "token_endpoint",
                Some(json!("/token")),
                "discovery_member_malformed",
            ),
            (
                "token_endpoint",
                Some(json!(["https://login.example.com"])),
                "discovery_member_malformed",
            ),
            (
                "token_endpoint",
                Some(json!("https://u:p@login.example.com/token")),
                "discovery_member_malformed",
            ),
            (
                "authorization_endpoint",
                Some(json!("https://login.example.com/a#b")),
                "discovery_member_malformed",
            ),
            (
                "jwks_uri",
                Some(json!("http://login.example.com/jwks")),
                "discovery_endpoint_insecure",
            ),
            (
                "jwks_uri",
                Some(json!("http://127.0.0.1/jwks")),
                "discovery_endpoint_insecure",
            ),
            (
                "jwks_uri",
                Some(json!("file:///etc/passwd")),
                "discovery_endpoint_insecure",
            ),
        ];
        for (name, value, code) in cases {
            let error = parse(&with(&document(), name, value.clone())).unwrap_err();
            assert_eq!(error.code(), code, "{name} {value:?}");
            assert!(error.to_string().contains(name), "{error}");
        }
        let issuer = Issuer::new("x");
        for text in ["", "<html>", "[]", r#"{"issuer":"x","issuer":"y"}"#] {
            let result = Metadata::parse(text.as_bytes(), &issuer, PlainHttp::Never);
            assert_eq!(result.unwrap_err(), MetadataError::NotJson, "{text}");
        }
    }

    #[test]
    fn unusable_optional_member_counts_as_not_offered() {
        let endpoints = [
            "userinfo_endpoint",
            "revocation_endpoint",
            "introspection_endpoint",
            "end_session_endpoint",
        ];
        for name in endpoints {
            for (value, code) in [
                (json!(""), "discovery_member_malformed"),
                (json!("/logout"), "discovery_member_malformed"),
                (json!(7), "discovery_member_malformed"),
                (
                    json!(["https://login.example.com/x"]),
                    "discovery_member_malformed",
                ),
                (
                    json!("https://u:p@login.example.com/x"),
                    "discovery_member_malformed",
                ),
                (
                    json!("http://login.example.com/x"),
                    "discovery_endpoint_insecure",
                ),
                (json!("javascript:alert(1)"), "discovery_endpoint_insecure"),
            ] {
                let metadata = parse(&with(&document(), name, Some(value.clone()))).unwrap();
                let offered = [
                    &metadata.userinfo_endpoint,
                    &metadata.revocation_endpoint,
                    &metadata.introspection_endpoint,
                    &metadata.end_session_endpoint,
                ];
                assert!(offered.iter().all(|url| url.is_none()), "{name} {value}");
                let unusable: Vec<&str> =
                    metadata.unusable.iter().map(MetadataError::code).collect();
                assert_eq!(unusable, [code], "{name} {value}");
                let error = metadata.unusable.first().unwrap().to_string();
                assert!(error.contains(name), "{error}");
            }
            let null = parse(&with(&document(), name, Some(Value::Null))).unwrap();
            assert!(null.unusable.is_empty(), "{name}");
        }
        let flag = "authorization_response_iss_parameter_supported";
        for text in ["true", "false"] {
            let metadata = parse(&with(&document(), flag, Some(json!(text)))).unwrap();
            assert_eq!(
                metadata.authorization_response_iss_parameter_supported,
                text == "true"
            );
            assert!(metadata.unusable.is_empty(), "{text}");
        }
        for value in [json!("yes"), json!(1), json!([true])] {
            let metadata = parse(&with(&document(), flag, Some(value.clone()))).unwrap();
            assert!(!metadata.authorization_response_iss_parameter_supported);
            assert_eq!(
                metadata.unusable,
                [MetadataError::Malformed(flag)],
                "{value}"
            );
        }
        for unread in ["scopes_supported", "code_challenge_methods_supported"] {
            let metadata = parse(&with(&document(), unread, Some(json!("openid")))).unwrap();
            assert!(metadata.unusable.is_empty(), "{unread}");
        }
    }

    #[test]
    fn plain_http_is_limited_to_loopback_unless_allowed() {
        let url = |text| Url::parse(text).unwrap();
        let plain = |discovery, allow| PlainHttp::for_provider(&url(discovery), allow);
        assert_eq!(plain("https://login.example.com", false), PlainHttp::Never);
        assert_eq!(
            plain("http://login.localhost:8090", false),
            PlainHttp::Loopback
        );
        assert_eq!(plain("http://login.example.com", true), PlainHttp::Anywhere);
        assert!(PlainHttp::Loopback.permits(&url("http://login.localhost:8090/token")));
        assert!(!PlainHttp::Loopback.permits(&url("http://login.example.com/token")));
        assert!(!PlainHttp::Anywhere.permits(&url("ftp://login.example.com/token")));
    }

    #[test]
    fn default_discovery_url_appends_the_well_known_path() {
        for (issuer, place) in [
            (
                "https://a.example",
                Some("https://a.example/.well-known/openid-configuration"),
            ),
            (
                "https://a.example/",
                Some("https://a.example/.well-known/openid-configuration"),
            ),
            (
                "https://a.example/realms/x",
                Some("https://a.example/realms/x/.well-known/openid-configuration"),
            ),
            ("piedpiper.fusionauth.io", None),
            ("urn:issuer", None),
        ] {
            let found = default_discovery_url(&Issuer::new(issuer)).ok();
            assert_eq!(found.as_ref().map(Url::as_str), place, "{issuer}");
        }
    }
}
