//! What an operator says about a provider and about an app's registration there.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use url::Url;

use super::dialect::Dialect;
use super::discovery::default_discovery_url;
use super::jws::Algorithm;
use crate::types::oauth::{ClientId, ClientSecret, Issuer, ProviderName};

/// One identity provider.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The name in the configuration file.
    pub name: ProviderName,
    /// What it speaks.
    pub dialect: Dialect,
    /// The expected `iss`; not always an URL (FusionAuth), hence apart from [`Self::discovery_url`].
    pub issuer: Issuer,
    /// Where the discovery document is.
    pub discovery_url: Url,
    /// Where opaque tokens are asked about, if not where the metadata say.
    pub introspection_endpoint: Option<Url>,
    /// If any: the only certificate authorities to trust; else the system's.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// The signature algorithms that may be accepted, narrowed further by each key's own family.
    pub algorithms: Vec<Algorithm>,
    /// How long resolving, dialling and the TLS handshake may take. Should be below [`Self::request_timeout`]:
    /// a call that ends here is known not to have been sent.
    pub connect_timeout: Duration,
    /// How long any call but a refresh may take as a whole.
    pub request_timeout: Duration,
    /// How long a refresh may take as a whole.
    pub refresh_timeout: Duration,
    /// The most bytes of an answer's body that are read.
    pub body_limit: usize,
    /// By how much the provider's clock may differ when `exp`, `nbf` and `iat` are judged.
    pub leeway: Duration,
    /// The least time between two fetches of the keys because of an unknown `kid`.
    pub keys_min_refetch: Duration,
    /// After this the background loop fetches metadata and keys anew.
    pub keys_max_age: Duration,
    /// What becomes of refreshes while the store that replicas share is away.
    pub on_store_outage: OnStoreOutage,
    /// Dangerous: lets the provider be asked over plain http on hosts other than this machine.
    pub allow_insecure_http: bool,
}

/// What becomes of a refresh while nobody can say whether another replica is at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreOutage {
    /// It waits: whose JWT has expired gets 503.
    Refuse,
    /// It goes on, for a provider that takes the same refresh token more than once.
    LocalLease,
}

impl ProviderSettings {
    /// Settings with every default, for a provider whose issuer is an URL.
    ///
    /// # Errors
    /// The issuer is not an http(s) URL: then the discovery URL has to be given ([`Self::at`]).
    pub fn new(name: ProviderName, issuer: Issuer) -> Result<Self, url::ParseError> {
        let discovery_url = default_discovery_url(&issuer)?;
        Ok(Self::at(name, issuer, discovery_url))
    }

    /// Settings with every default, for a provider whose discovery document is at `discovery_url`.
    pub fn at(name: ProviderName, issuer: Issuer, discovery_url: Url) -> Self {
        Self {
            name,
            dialect: Dialect::Standard,
            issuer,
            discovery_url,
            introspection_endpoint: None,
            ca_certificates: Vec::new(),
            algorithms: Algorithm::ALL.to_vec(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            refresh_timeout: Duration::from_secs(30),
            body_limit: 1024 * 1024,
            leeway: Duration::from_secs(30),
            keys_min_refetch: Duration::from_secs(10),
            keys_max_age: Duration::from_secs(15 * 60),
            on_store_outage: OnStoreOutage::Refuse,
            allow_insecure_http: false,
        }
    }
}

/// One app's registration at its provider.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `client_id`.
    pub client_id: ClientId,
    /// How the app proves at the token endpoint that it is itself, with the secret where there is one.
    pub token_auth: ClientAuth,
    /// The scopes to ask for; without `openid` there is no ID token.
    pub scopes: Vec<String>,
    /// Where the browser comes back to: the app's callback, as registered.
    pub redirect_uri: Url,
    /// More parameters for the authorize endpoint; reserved ones are ignored ([`super::authorize::is_reserved`]).
    pub extra_authorization_params: Vec<(String, String)>,
    /// The `aud` values of which an access token must carry one.
    pub audiences: Vec<String>,
    /// Which of the provider's tokens is the session's JWT.
    pub session_jwt: SessionTokenSource,
}

impl ClientSettings {
    /// A registration with every default: `openid`, the client itself as audience, the access token as session JWT.
    pub fn new(client_id: ClientId, token_auth: ClientAuth, redirect_uri: Url) -> Self {
        Self {
            audiences: vec![client_id.as_str().to_owned()],
            client_id,
            token_auth,
            scopes: vec![String::from("openid")],
            redirect_uri,
            extra_authorization_params: Vec::new(),
            session_jwt: SessionTokenSource::Access,
        }
    }
}

/// `token_endpoint_auth_method` (OpenID Connect Core section 9), with what it needs.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// `client_secret_basic`: in the `Authorization` field.
    Basic(ClientSecret),
    /// `client_secret_post`: in the form.
    Post(ClientSecret),
    /// `none`: a public client, which has PKCE only.
    None,
}

/// Which JWT a session rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTokenSource {
    /// The access token, where the provider issues JWTs as such.
    Access,
    /// The ID token.
    Id,
}
