//! OpenID Connect and OAuth 2 client: discovery, keys, token requests, token validation, and the
//! URLs that browsers are redirected to.
//!
//! Sessions and cookies are not part of it. All requests go through `http`; validation is pure and
//! takes `now` as an argument.

pub mod access_token;
mod algorithm;
mod announced;
pub mod authorize;
mod cached;
mod call_metrics;
pub mod callback;
mod circuit_breaker;
pub mod claims;
mod client;
mod client_auth;
mod client_key;
mod clock_skew;
pub mod crypto;
pub mod device_proof;
pub mod dialect;
pub mod discovery;
pub mod document;
pub mod dpop;
mod dpop_client;
mod dpop_nonces;
pub mod endpoints;
pub mod error;
pub mod forward_proxy;
pub mod fusionauth;
mod http;
pub mod id_token;
pub mod introspection;
mod json;
pub mod jwks;
pub mod jws;
pub mod logout;
pub mod logout_token;
pub mod password;
pub mod presented_token;
pub mod provider;
mod request_object;
mod security_profile;
pub mod settings;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
mod token_exchange;
pub mod verified;

pub use algorithm::Algorithm;
pub use announced::Announced;
pub use client::{ClientSettings, PushedAuthorization, ResponseMode, SessionTokenSource};
pub use client_auth::{
    AssertionAudience, AssertionFile, AssertionType, ClientAuth, SignedAssertion, TlsClient,
    TlsIdentity, is_jwt,
};
pub use client_key::{ClientKey, ParseClientKeyError};
pub use crypto::install_crypto;
pub use dialect::Dialect;
pub use dpop_client::DpopKeys;
pub use error::{ProviderError, TokenRejected};
pub use provider::Provider;
pub use security_profile::SecurityProfile;
pub use settings::ProviderSettings;
pub use token_exchange::{SubjectTokenKind, TokenExchangeRequest};
pub use verified::VerifiedToken;
