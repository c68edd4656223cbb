//! Client authentication (OpenID Connect Core section 9, RFC 6749 section 2.3, RFC 7523, RFC 8705): what
//! a request to the token, revocation, introspection or PAR endpoint has of it. PURE.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use super::client_key::{ClientKey, RsaPadding, SigningError};
use crate::types::oauth::{ClientId, ClientSecret};
use crate::types::secret::Secret;
use crate::types::time::Timestamp;

/// The lifetime of an assertion.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

/// Client authentication, with its secret.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// `client_secret_basic`, or `client_secret_post` if the provider announces only that.
    Secret(ClientSecret),
    /// `client_secret_basic`: in the `Authorization` header.
    Basic(ClientSecret),
    /// `client_secret_post`: in the form.
    Post(ClientSecret),
    /// `private_key_jwt`: an assertion that Doorward signs.
    SignedAssertion(SignedAssertion),
    /// `private_key_jwt`, or a method of its own: an assertion in a file.
    AssertionFile(AssertionFile),
    /// `tls_client_auth` or `self_signed_tls_client_auth`: a certificate.
    Tls(TlsClient),
    /// `none`: a public client, with PKCE only.
    None,
}

/// An assertion that Doorward signs.
#[derive(Clone, Debug)]
pub struct SignedAssertion {
    /// The key.
    pub key: Arc<ClientKey>,
    /// `aud`.
    pub audience: AssertionAudience,
}

/// `aud` of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer (draft-ietf-oauth-rfc7523bis).
    Issuer,
    /// The token endpoint (RFC 7523 section 3), which some providers require.
    TokenEndpoint,
}

/// An assertion that another program writes into a file, and replaces before it expires.
#[derive(Clone, Debug)]
pub struct AssertionFile {
    /// The path. It is read for each request.
    pub path: PathBuf,
    /// `client_assertion_type`.
    pub kind: AssertionType,
}

/// `client_assertion_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionType {
    /// A JWT (RFC 7523), such as a projected service account token of Kubernetes.
    JwtBearer,
    /// A SPIFFE JWT-SVID (draft-ietf-oauth-spiffe-client-auth).
    JwtSpiffe,
}

/// A client that is authenticated by its certificate (RFC 8705).
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// Certificate and key.
    pub identity: Arc<TlsIdentity>,
    /// Whether the provider knows the certificate itself, not its authority.
    pub is_self_signed: bool,
}

/// A certificate chain with its private key.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// Both in PEM.
    pub pem: Secret<Vec<u8>>,
}

impl ClientAuth {
    /// `token_endpoint_auth_method`. `announced` are the methods of the provider, if it announces any.
    pub fn method(&self, announced: Option<&[String]>) -> &'static str {
        let offers = |method: &str| {
            announced.is_none_or(|methods| methods.iter().any(|offered| offered == method))
        };
        match self {
            Self::Secret(_) if !offers("client_secret_basic") && offers("client_secret_post") => {
                "client_secret_post"
            }
            Self::Secret(_) | Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::AssertionFile(file) if file.kind == AssertionType::JwtSpiffe => "spiffe_jwt",
            Self::SignedAssertion(_) | Self::AssertionFile(_) => "private_key_jwt",
            Self::Tls(tls) if tls.is_self_signed => "self_signed_tls_client_auth",
            Self::Tls(_) => "tls_client_auth",
            Self::None => "none",
        }
    }

    /// Whether the form of a request does not name the client.
    pub(super) fn is_by_header(&self, announced: Option<&[String]>) -> bool {
        self.method(announced) == "client_secret_basic"
    }

    /// The certificate of requests to the provider.
    pub(super) const fn identity(&self) -> Option<&Arc<TlsIdentity>> {
        match self {
            Self::Tls(tls) => Some(&tls.identity),
            Self::Secret(_)
            | Self::Basic(_)
            | Self::Post(_)
            | Self::SignedAssertion(_)
            | Self::AssertionFile(_)
            | Self::None => None,
        }
    }
}

impl AssertionType {
    const fn urn(self) -> &'static str {
        match self {
            Self::JwtBearer => "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            Self::JwtSpiffe => "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
        }
    }
}

/// What a request has: form parameters, or an `Authorization` header.
#[derive(Default)]
pub(super) struct ClientCredentials {
    pub(super) parameters: Vec<FormParameter>,
    pub(super) authorization: Option<Zeroizing<String>>,
}

/// A parameter of a form.
pub(super) struct FormParameter {
    pub(super) name: &'static str,
    pub(super) value: Zeroizing<String>,
}

impl ClientCredentials {
    /// The client's ID only.
    pub(super) fn public(client_id: &ClientId) -> Self {
        Self::default().with("client_id", client_id.as_str())
    }

    /// `client_secret_post`.
    pub(super) fn post(client_id: &ClientId, secret: &ClientSecret) -> Self {
        Self::public(client_id).with("client_secret", secret.expose())
    }

    /// `client_secret_basic`. ID and secret are form-encoded first (RFC 6749 section 2.3.1), so they may
    /// contain `:` and `%`.
    pub(super) fn basic(client_id: &ClientId, secret: &ClientSecret) -> Self {
        let encode =
            |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let (id, secret) = (encode(client_id.as_str()), encode(secret.expose()));
        let pair = Zeroizing::new(format!("{id}:{secret}"));
        let value = format!("Basic {}", STANDARD.encode(pair.as_bytes()));
        Self {
            parameters: Vec::new(),
            authorization: Some(Zeroizing::new(value)),
        }
    }

    /// A client assertion (RFC 7521 section 4.2).
    pub(super) fn assertion(client_id: &ClientId, kind: AssertionType, assertion: &str) -> Self {
        Self::public(client_id)
            .with("client_assertion_type", kind.urn())
            .with("client_assertion", assertion)
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = Zeroizing::new(value.to_owned());
        self.parameters.push(FormParameter { name, value });
        self
    }

    /// The form of a request with these parameters.
    pub(super) fn form<'f>(&'f self, parameters: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
        let own = self.parameters.iter();
        let own = own.map(|parameter| (parameter.name, parameter.value.as_str()));
        parameters.iter().copied().chain(own).collect()
    }
}

/// The claims of an assertion.
pub(super) struct AssertionClaims<'c> {
    pub(super) client_id: &'c ClientId,
    /// The only audience.
    pub(super) audience: &'c str,
    /// By the clock of the provider.
    pub(super) now: Timestamp,
    /// Unique.
    pub(super) jti: &'c str,
}

impl SignedAssertion {
    /// An assertion with these claims.
    pub(super) fn sign(
        &self,
        claims: &AssertionClaims<'_>,
        padding: RsaPadding,
    ) -> Result<Zeroizing<String>, SigningError> {
        let id = claims.client_id.as_str();
        let members = json!({
            "iss": id,
            "sub": id,
            "aud": claims.audience,
            "iat": claims.now.secs(),
            "exp": claims.now.plus(ASSERTION_LIFETIME).secs(),
            "jti": claims.jti,
        });
        // Providers that require the older audience may not know the newer type.
        let typ = match self.audience {
            AssertionAudience::Issuer => "client-authentication+jwt",
            AssertionAudience::TokenEndpoint => "JWT",
        };
        self.key.sign(typ, &members, padding).map(Zeroizing::new)
    }
}

/// Whether the text has the form of a signed JWT.
pub fn is_jwt(text: &str) -> bool {
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> ClientSecret {
        ClientSecret::new("p%s w\u{f6}rd")
    }

    fn id() -> ClientId {
        ClientId::new("a:b")
    }

    #[test]
    fn method_of_a_secret_is_chosen_from_the_metadata() {
        let auth = ClientAuth::Secret(secret());
        for (announced, method) in [
            (None, "client_secret_basic"),
            (Some(vec![]), "client_secret_basic"),
            (Some(vec!["client_secret_post"]), "client_secret_post"),
            (
                Some(vec!["client_secret_post", "client_secret_basic"]),
                "client_secret_basic",
            ),
            (Some(vec!["private_key_jwt"]), "client_secret_basic"),
        ] {
            let announced: Option<Vec<String>> =
                announced.map(|methods| methods.into_iter().map(str::to_owned).collect());
            assert_eq!(auth.method(announced.as_deref()), method, "{announced:?}");
            let fixed = ClientAuth::Post(secret());
            assert_eq!(fixed.method(announced.as_deref()), "client_secret_post");
        }
    }

    #[test]
    fn secrets_are_sent_as_the_method_says_and_redacted() {
        let basic = ClientCredentials::basic(&id(), &secret());
        let encoded = STANDARD.encode("a%3Ab:p%25s+w%C3%B6rd");
        let expected = format!("Basic {encoded}");
        assert_eq!(basic.authorization.as_ref().unwrap().as_str(), expected);
        assert!(basic.form(&[]).is_empty());
        let post = ClientCredentials::post(&id(), &secret());
        let form = post.form(&[("grant_type", "password")]);
        let expected = [
            ("grant_type", "password"),
            ("client_id", "a:b"),
            ("client_secret", "p%s w\u{f6}rd"),
        ];
        assert_eq!(form, expected);
        let public = ClientCredentials::public(&id());
        assert_eq!(public.form(&[]), [("client_id", "a:b")]);
        assert!(!format!("{:?}", ClientAuth::Basic(secret())).contains("p%s"));
    }

    #[test]
    fn jwts_are_recognized_by_their_form() {
        for (text, expected) in [
            ("a.b.c-_", true),
            ("a.b", false),
            ("a..c", false),
            ("a.b.c.d", false),
            ("a.b.c\n", false),
            ("", false),
        ] {
            assert_eq!(is_jwt(text), expected, "{text}");
        }
    }
}
