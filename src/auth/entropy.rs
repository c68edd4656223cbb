//! Randomness for nonces and names, from the operating system through aws-lc-rs.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The system gives no randomness. Nothing safe can be done then: the request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct NoEntropy;

/// `N` random bytes.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

/// A name of 128 random bits.
pub(super) fn name() -> Result<String, NoEntropy> {
    bytes::<16>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}
