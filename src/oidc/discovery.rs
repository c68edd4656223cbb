//! What the provider says about itself (OpenID Connect Discovery 1.0 section 3, RFC 8414). PURE.

use serde_json::{Map, Value};
use url::Url;

use super::json;
use crate::types::net::is_loopback_host;
use crate::types::oauth::Issuer;

/// The discovery document, as far as Doorward needs it.
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
    /// Whether every authorization answer carries `iss` (RFC 9207).
    pub authorization_response_iss_parameter_supported: bool,
    /// Whether the provider can notify of a logout (OpenID Connect Back-Channel Logout 1.0).
    pub backchannel_logout_supported: bool,
    /// `token_endpoint_auth_methods_supported`; `client_secret_basic` where the document does not say.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// `code_challenge_methods_supported`; empty where the document does not say.
    pub code_challenge_methods_supported: Vec<String>,
    /// `id_token_signing_alg_values_supported`.
    pub id_token_signing_alg_values_supported: Vec<String>,
    /// `scopes_supported`; empty where the document does not say.
    pub scopes_supported: Vec<String>,
}

/// Why a discovery document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not one JSON object with unique members.
    #[error("the provider's discovery document is not a JSON object")]
    NotJson,
    /// It is the document of another issuer.
    #[error("the provider's discovery document is of issuer `{found}`, not of `{expected}`{hint}")]
    IssuerMismatch {
        /// What was configured.
        expected: String,
        /// What the document says.
        found: String,
        /// What may be wrong, as a clause to append; or nothing.
        hint: &'static str,
    },
    /// A member that is needed is absent.
    #[error("the provider's discovery document has no `{0}`")]
    Missing(&'static str),
    /// A member has the wrong type, or is not an URL where it should be one.
    #[error("`{0}` in the provider's discovery document is malformed")]
    Malformed(&'static str),
    /// An endpoint is not https; http is for a provider that is itself configured as http on this machine.
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

/// Which addresses may be asked without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// None: the discovery document comes over https, so everything it names has to.
    Never,
    /// This machine only: the discovery document is on this machine and comes over http.
    Loopback,
    /// Any: the operator's dangerous setting.
    Anywhere,
}

impl PlainHttp {
    /// What follows from the configured discovery URL.
    pub fn for_provider(discovery_url: &Url, allow_insecure_http: bool) -> Self {
        match (allow_insecure_http, discovery_url.scheme()) {
            (true, _) => Self::Anywhere,
            (false, "http") => Self::Loopback,
            (false, _) => Self::Never,
        }
    }

    /// Whether `url` may be asked.
    pub fn permits(self, url: &Url) -> bool {
        match (url.scheme(), self) {
            ("https", _) | ("http", Self::Anywhere) => true,
            ("http", Self::Loopback) => url.host_str().is_some_and(is_loopback_host),
            _ => false,
        }
    }
}

/// `issuer` with `/.well-known/openid-configuration` behind it (section 4.1).
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
    /// Reads a discovery document.
    ///
    /// # Errors
    /// It is of another issuer, incomplete, malformed, or names an endpoint without TLS.
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
        let needed = |name| endpoint(name)?.ok_or(MetadataError::Missing(name));
        Ok(Self {
            issuer: issuer.clone(),
            authorization_endpoint: needed("authorization_endpoint")?,
            token_endpoint: needed("token_endpoint")?,
            jwks_uri: needed("jwks_uri")?,
            userinfo_endpoint: endpoint("userinfo_endpoint")?,
            revocation_endpoint: endpoint("revocation_endpoint")?,
            introspection_endpoint: endpoint("introspection_endpoint")?,
            end_session_endpoint: endpoint("end_session_endpoint")?,
            authorization_response_iss_parameter_supported: flag(
                &document,
                "authorization_response_iss_parameter_supported",
            )?,
            backchannel_logout_supported: flag(&document, "backchannel_logout_supported")?,
            token_endpoint_auth_methods_supported: words(
                &document,
                "token_endpoint_auth_methods_supported",
            )?
            .unwrap_or_else(|| vec![String::from("client_secret_basic")]),
            code_challenge_methods_supported: words(&document, "code_challenge_methods_supported")?
                .unwrap_or_default(),
            id_token_signing_alg_values_supported: words(
                &document,
                "id_token_signing_alg_values_supported",
            )?
            .unwrap_or_default(),
            scopes_supported: words(&document, "scopes_supported")?.unwrap_or_default(),
        })
    }
}

fn issuer_mismatch(expected: &Issuer, found: &str) -> MetadataError {
    let expected = expected.as_str();
    let differs_by_slash =
        expected.strip_suffix('/') == Some(found) || found.strip_suffix('/') == Some(expected);
    let hint = if differs_by_slash {
        " (they differ by a slash at the end; write it as the provider does)"
    } else if expected.eq_ignore_ascii_case(found) {
        " (they differ by case; write it as the provider does)"
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

fn words(
    document: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Vec<String>>, MetadataError> {
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let words = value.as_array().ok_or(MetadataError::Malformed(name))?;
    let words: Option<Vec<String>> = words
        .iter()
        .map(|word| word.as_str().map(str::to_owned))
        .collect();
    words.ok_or(MetadataError::Malformed(name)).map(Some)
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
    fn a_minimal_document_has_the_standards_defaults() {
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
    fn the_issuer_has_to_be_the_same_string() {
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
        let shouting =
            parse(&with(&document(), "issuer", Some(json!("\u{1b}[31m\n")))).unwrap_err();
        assert!(!shouting.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_bad_member_is_named() {
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
            let verdict = Metadata::parse(text.as_bytes(), &issuer, PlainHttp::Never);
            assert_eq!(verdict.unwrap_err(), MetadataError::NotJson, "{text}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_or_for_those_who_insist() {
        let url = |text| Url::parse(text).unwrap();
        let plain = |discovery, insist| PlainHttp::for_provider(&url(discovery), insist);
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
    fn the_usual_place_of_the_document() {
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
