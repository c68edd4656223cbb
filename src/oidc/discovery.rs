//! Provider metadata: the discovery document (OpenID Connect Discovery 1.0 section 3, RFC 8414).
//! PURE.

use serde_json::{Map, Value};
use url::Url;

use super::json;
use crate::types::net::is_loopback_host;
use crate::types::oauth::Issuer;

/// The members of the discovery document that Doorward uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `issuer`, equal to the configured one.
    pub issuer: Issuer,
    /// `authorization_endpoint`.
    pub authorization_endpoint: Url,
    /// `token_endpoint`.
    pub token_endpoint: Url,
    /// `jwks_uri`.
    pub jwks_uri: Url,
    /// `userinfo_endpoint`.
    pub userinfo_endpoint: Option<Url>,
    /// `revocation_endpoint` (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// `introspection_endpoint` (RFC 7662).
    pub introspection_endpoint: Option<Url>,
    /// `end_session_endpoint` (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<Url>,
    /// Whether every authorization response contains `iss` (RFC 9207).
    pub authorization_response_iss_parameter_supported: bool,
    /// Whether the provider supports OpenID Connect Back-Channel Logout 1.0.
    pub backchannel_logout_supported: bool,
    /// `token_endpoint_auth_methods_supported`; `client_secret_basic` by default.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// `code_challenge_methods_supported`; empty by default.
    pub code_challenge_methods_supported: Vec<String>,
    /// `id_token_signing_alg_values_supported`.
    pub id_token_signing_alg_values_supported: Vec<String>,
    /// `scopes_supported`; empty by default.
    pub scopes_supported: Vec<String>,
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
    /// Parses a discovery document.
    ///
    /// # Errors
    /// It belongs to another issuer, is incomplete or malformed, or contains an endpoint without
    /// TLS.
    pub fn parse(
        document: &[u8],
        issuer: &Issuer,
        plain_http: PlainHttp,
    ) -> Result<Self, MetadataError> {
        let document = json::object(document).ok_or(MetadataError::NotJson)?;
        let found = document
            .get("issuer")
            .ok_or(MetadataError::Missing("issuer"))?;
        let found = found.as_str().ok_or(MetadataError::Malformed("issuer"))?;
        if found != issuer.as_str() {
            return Err(issuer_mismatch(issuer, found));
        }
        let endpoint = |name| endpoint(&document, name, plain_http);
        let required = |name| endpoint(name)?.ok_or(MetadataError::Missing(name));
        Ok(Self {
            issuer: issuer.clone(),
            authorization_endpoint: required("authorization_endpoint")?,
            token_endpoint: required("token_endpoint")?,
            jwks_uri: required("jwks_uri")?,
            userinfo_endpoint: endpoint("userinfo_endpoint")?,
            revocation_endpoint: endpoint("revocation_endpoint")?,
            introspection_endpoint: endpoint("introspection_endpoint")?,
            end_session_endpoint: endpoint("end_session_endpoint")?,
            authorization_response_iss_parameter_supported: flag(
                &document,
                "authorization_response_iss_parameter_supported",
            )?,
            backchannel_logout_supported: flag(&document, "backchannel_logout_supported")?,
            token_endpoint_auth_methods_supported: strings(
                &document,
                "token_endpoint_auth_methods_supported",
            )?
            .unwrap_or_else(|| vec![String::from("client_secret_basic")]),
            code_challenge_methods_supported: strings(
                &document,
                "code_challenge_methods_supported",
            )?
            .unwrap_or_default(),
            id_token_signing_alg_values_supported: strings(
                &document,
                "id_token_signing_alg_values_supported",
            )?
            .unwrap_or_default(),
            scopes_supported: strings(&document, "scopes_supported")?.unwrap_or_default(),
        })
    }
}

fn issuer_mismatch(expected: &Issuer, found: &str) -> MetadataError {
    let expected = expected.as_str();
    let differs_by_slash =
        expected.strip_suffix('/') == Some(found) || found.strip_suffix('/') == Some(expected);
    let hint = if differs_by_slash {
        " (they differ by a trailing slash; use the provider's spelling)"
    } else if expected.eq_ignore_ascii_case(found) {
        " (they differ by case; use the provider's spelling)"
    } else {
        ""
    };
    MetadataError::IssuerMismatch {
        expected: expected.to_owned(),
        found: json::printable(found, 200),
        hint,
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
        Some(_) => Err(MetadataError::Malformed(name)),
    }
}

fn strings(
    document: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Vec<String>>, MetadataError> {
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let strings = value.as_array().ok_or(MetadataError::Malformed(name))?;
    let strings: Option<Vec<String>> = strings
        .iter()
        .map(|string| string.as_str().map(str::to_owned))
        .collect();
    strings.ok_or(MetadataError::Malformed(name)).map(Some)
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
        assert_eq!(
            metadata.token_endpoint_auth_methods_supported,
            ["client_secret_basic"]
        );
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
            ("https://evil.example", ""),
        ] {
            let error = parse(&with(&document(), "issuer", Some(json!(found)))).unwrap_err();
            assert_eq!(error.code(), "discovery_issuer_mismatch");
            assert!(
                error.to_string().contains(hint) && error.to_string().contains(found),
                "{error}"
            );
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
            (
                "end_session_endpoint",
                Some(json!("javascript:alert(1)")),
                "discovery_endpoint_insecure",
            ),
            (
                "authorization_response_iss_parameter_supported",
                Some(json!("true")),
                "discovery_member_malformed",
            ),
            (
                "scopes_supported",
                Some(json!("openid")),
                "discovery_member_malformed",
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
