//! Random bytes and identifiers, from the operating system by way of aws-lc-rs.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The operating system returned no random bytes. The request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct RandomError;

/// `N` random bytes.
pub(in crate::auth) fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// An identifier of 128 random bits, base64url.
pub(in crate::auth) fn random_id() -> Result<String, RandomError> {
    bytes::<16>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}
