//! Provider errors. Each has a stable code, which the log, the metric and the error page share.

use std::fmt;

use url::Url;

use super::claims::ClaimError;
use super::discovery::MetadataError;
use super::introspection::NoVerdict;
use super::json;
use super::jwks::KeysError;
use super::jws::JwsError;

/// An endpoint of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The discovery document.
    Discovery,
    /// The key set at `jwks_uri`.
    Keys,
    /// `authorization_endpoint`, which only a diagnosis calls.
    Authorization,
    /// `token_endpoint`.
    Token,
    /// `userinfo_endpoint`.
    UserInfo,
    /// `revocation_endpoint`.
    Revocation,
    /// `introspection_endpoint`.
    Introspection,
    /// `pushed_authorization_request_endpoint`.
    PushedAuthorization,
    /// FusionAuth's `/api/jwt/refresh`.
    JwtRefresh,
    /// FusionAuth's `/api/system/version`, which only a diagnosis calls.
    Version,
}

impl Endpoint {
    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Keys => "jwks",
            Self::Authorization => "authorization",
            Self::Token => "token",
            Self::UserInfo => "userinfo",
            Self::Revocation => "revocation",
            Self::Introspection => "introspection",
            Self::PushedAuthorization => "par",
            Self::JwtRefresh => "jwt_refresh",
            Self::Version => "version",
        }
    }

    /// Its name in the metadata, if it gets requests with client authentication.
    pub(super) const fn client_member(self) -> Option<&'static str> {
        match self {
            Self::Token => Some("token_endpoint"),
            Self::Revocation => Some("revocation_endpoint"),
            Self::Introspection => Some("introspection_endpoint"),
            Self::PushedAuthorization => Some("pushed_authorization_request_endpoint"),
            Self::Discovery
            | Self::Keys
            | Self::Authorization
            | Self::UserInfo
            | Self::JwtRefresh
            | Self::Version => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The longest URL in an error, in characters.
const MAX_URL: usize = 300;

/// A URL for messages and logs: without credentials, query and fragment, which may hold secrets.
pub fn displayed_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // They fail for URLs that have no host, and so no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    json::printable(url.as_str(), MAX_URL)
}

/// Why a request to the provider failed. `url` is the URL of the request ([`displayed_url`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The HTTP client could not be built: an invalid CA certificate, or no trust store on this
    /// system.
    #[error("the HTTP client for the provider could not be set up: {0}")]
    Setup(String),
    /// The assertion that authenticates the client cannot be read or signed, so nothing was sent.
    #[error("there is no client assertion: {0}")]
    ClientAssertion(String),
    /// A key of the client cannot sign, so nothing was sent.
    #[error("a key of the client cannot sign: {0}")]
    ClientKey(&'static str),
    /// The URL is neither https nor allowed plain http.
    #[error("the provider's {endpoint} endpoint is not at an https address: {url}")]
    Insecure {
        /// The endpoint.
        endpoint: Endpoint,
        /// The URL.
        url: String,
    },
    /// The connection failed, so nothing was sent.
    #[error("the provider's {endpoint} endpoint {url} cannot be reached: {cause}")]
    Unreachable {
        /// The endpoint.
        endpoint: Endpoint,
        /// The URL.
        url: String,
        /// The underlying error.
        cause: String,
    },
    /// The circuit breaker is open, so nothing was sent.
    #[error("the circuit breaker is open: refreshes of several sessions failed in a row")]
    CircuitOpen,
    /// A timeout or a closed connection after the request may have been sent. It may have had an
    /// effect.
    #[error("the provider's {endpoint} endpoint {url} did not send a complete response: {cause}")]
    OutcomeUnknown {
        /// The endpoint.
        endpoint: Endpoint,
        /// The URL.
        url: String,
        /// The underlying error.
        cause: String,
    },
    /// An unexpected status; redirects are not followed and count as one.
    #[error(
        "the provider's {endpoint} endpoint {url} responded with status {status}{}",
        error.as_deref().map_or_else(String::new, |error| format!(": {error}"))
    )]
    Status {
        /// The endpoint.
        endpoint: Endpoint,
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// `error` and `error_description` (RFC 6749 section 5.2), safe to display.
        error: Option<String>,
    },
    /// The body is larger than the limit.
    #[error(
        "the response of the provider's {endpoint} endpoint {url} is larger than {limit} bytes"
    )]
    TooLarge {
        /// The endpoint.
        endpoint: Endpoint,
        /// The URL.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is not a JSON object with unique members.
    #[error("the response of the provider's {endpoint} endpoint {url} is not a JSON object")]
    NotJson {
        /// The endpoint.
        endpoint: Endpoint,
        /// The URL.
        url: String,
    },
    /// The discovery document cannot be used.
    #[error("{error} ({url})")]
    Metadata {
        /// The URL.
        url: String,
        /// Why.
        error: MetadataError,
    },
    /// The key set cannot be used.
    #[error("{error} ({url})")]
    Keys {
        /// The URL.
        url: String,
        /// Why.
        error: KeysError,
    },
    /// The provider's metadata has no such endpoint.
    #[error("the provider offers no {endpoint} endpoint")]
    NotOffered {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The userinfo response is about another user (OpenID Connect Core section 5.3.2), or has no
    /// `sub`.
    #[error("the provider's userinfo response is not about the signed-in user ({url})")]
    OtherSubject {
        /// The URL.
        url: String,
    },
    /// The response to a pushed authorization request has no usable `request_uri`.
    #[error(
        "the provider's response to a pushed authorization request has no usable `request_uri` ({url})"
    )]
    NoRequestUri {
        /// The URL.
        url: String,
    },
    /// The introspection response is invalid.
    #[error("{error} ({url})")]
    NoVerdict {
        /// The URL.
        url: String,
        /// Why.
        error: NoVerdict,
    },
}

impl ProviderError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Setup(_) => "provider_client_setup",
            Self::ClientAssertion(_) => "client_assertion_missing",
            Self::ClientKey(_) => "client_key_failing",
            Self::Insecure { .. } => "provider_insecure",
            Self::Unreachable { .. } => "provider_unreachable",
            Self::CircuitOpen => "provider_circuit_open",
            Self::OutcomeUnknown { .. } => "provider_no_response",
            Self::Status { .. } => "provider_status",
            Self::TooLarge { .. } => "provider_response_too_large",
            Self::NotJson { .. } => "provider_response_not_json",
            Self::Metadata { error, .. } => error.code(),
            Self::Keys { error, .. } => error.code(),
            Self::NotOffered { .. } => "provider_endpoint_missing",
            Self::OtherSubject { .. } => "userinfo_subject_mismatch",
            Self::NoRequestUri { .. } => "par_response_malformed",
            Self::NoVerdict { .. } => "introspection_malformed",
        }
    }
}

/// Why a token was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejected {
    /// The token could not be verified, because the provider's keys could not be fetched.
    #[error("the provider's keys could not be fetched: {0}")]
    KeysUnavailable(ProviderError),
    /// It is not a JWT signed by the provider.
    #[error(transparent)]
    Signature(#[from] JwsError),
    /// The provider signed it, but its claims are not acceptable.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl TokenRejected {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeysUnavailable(_) => "provider_keys_unavailable",
            Self::Signature(error) => error.code(),
            Self::Claim(error) => error.code(),
        }
    }

    /// Whether the provider is unavailable and the token may be valid.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::KeysUnavailable(_))
    }
}
