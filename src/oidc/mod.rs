//! The identity provider as Doorward sees it: discovery, keys, tokens, and the URLs a browser is sent to.
//!
//! Everything here is OpenID Connect and OAuth 2, nothing is about sessions or cookies. What talks to
//! the provider goes through `http`; what judges an answer is pure and takes `now` as an argument.

pub mod access_token;
pub mod authorize;
mod cached;
pub mod callback;
pub mod claims;
pub mod crypto;
pub mod dialect;
pub mod discovery;
pub mod dpop;
pub mod error;
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
pub mod settings;
mod skew;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod verified;

pub use crypto::install_crypto;
pub use dialect::Dialect;
pub use error::{ProviderError, TokenRejected};
pub use provider::Provider;
pub use settings::{ClientAuth, ClientSettings, ProviderSettings, SessionTokenSource};
pub use verified::VerifiedToken;
