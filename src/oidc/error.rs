//! What can go wrong with a provider, each with a stable code for log, metric and page.

use std::fmt;

use super::claims::ClaimError;
use super::discovery::MetadataError;
use super::introspection::NoVerdict;
use super::jwks::KeysError;
use super::jws::JwsError;

/// What was being asked of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The discovery document.
    Discovery,
    /// The key set at `jwks_uri`.
    Keys,
    /// `token_endpoint`.
    Token,
    /// `userinfo_endpoint`.
    UserInfo,
    /// `revocation_endpoint`.
    Revocation,
    /// `introspection_endpoint`.
    Introspection,
    /// FusionAuth's `/api/jwt/refresh`.
    JwtRefresh,
}

impl Endpoint {
    /// A stable word for log lines and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Keys => "jwks",
            Self::Token => "token",
            Self::UserInfo => "userinfo",
            Self::Revocation => "revocation",
            Self::Introspection => "introspection",
            Self::JwtRefresh => "jwt_refresh",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a call to the provider did not end in a usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The HTTP client could not be made: a bad certificate authority, or no trust store on this system.
    #[error("the HTTP client for the provider could not be set up: {0}")]
    Setup(String),
    /// The address is neither https nor http on this machine.
    #[error("the provider's {endpoint} endpoint is not at an https address")]
    Insecure {
        /// What was asked.
        endpoint: Endpoint,
    },
    /// No connection came about, so nothing was sent.
    #[error("the provider's {endpoint} endpoint cannot be reached: {cause}")]
    Unreachable {
        /// What was asked.
        endpoint: Endpoint,
        /// The network's words.
        cause: String,
    },
    /// A timeout or a cut after the request may have been sent: it may have had its effect.
    #[error("the provider's {endpoint} endpoint did not answer to the end: {cause}")]
    TargetError {
        /// What was asked.
        endpoint: Endpoint,
        /// The network's words.
        cause: String,
    },
    /// A status that was not wanted; redirects are never followed and end here too.
    #[error("the provider's {endpoint} endpoint answered with status {status}")]
    Status {
        /// What was asked.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
    },
    /// The body is larger than the limit.
    #[error("the answer of the provider's {endpoint} endpoint is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        endpoint: Endpoint,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is not one JSON object with unique members.
    #[error("the answer of the provider's {endpoint} endpoint is not a JSON object")]
    NotJson {
        /// What was asked.
        endpoint: Endpoint,
    },
    /// The discovery document cannot be used.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The key set cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The provider's metadata has no such endpoint.
    #[error("the provider offers no {endpoint} endpoint")]
    NotOffered {
        /// What was to be asked.
        endpoint: Endpoint,
    },
    /// The userinfo answer is about somebody else (OpenID Connect Core section 5.3.2), or about nobody.
    #[error("the provider's userinfo answer is not about the signed-in person")]
    OtherSubject,
    /// The introspection answer says nothing.
    #[error(transparent)]
    NoVerdict(#[from] NoVerdict),
}

impl ProviderError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Setup(_) => "provider_client_setup",
            Self::Insecure { .. } => "provider_insecure",
            Self::Unreachable { .. } => "provider_unreachable",
            Self::TargetError { .. } => "provider_no_response",
            Self::Status { .. } => "provider_status",
            Self::TooLarge { .. } => "provider_response_too_large",
            Self::NotJson { .. } => "provider_response_not_json",
            Self::Metadata(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::NotOffered { .. } => "provider_endpoint_missing",
            Self::OtherSubject => "userinfo_subject_mismatch",
            Self::NoVerdict(_) => "introspection_malformed",
        }
    }
}

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejected {
    /// Nothing is known about the token: the provider's keys could not be fetched.
    #[error("the provider's keys could not be fetched: {0}")]
    KeysUnavailable(ProviderError),
    /// It is not a JWT that the provider signed.
    #[error(transparent)]
    Signature(#[from] JwsError),
    /// The provider signed it, but not for this, or not for now.
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

    /// Whether the provider is to blame and the token may yet be good.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::KeysUnavailable(_))
    }
}
