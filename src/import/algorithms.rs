//! Signature algorithms that a provider may use.

const KNOWN: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// Whether `algorithms` of a provider may have this name.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}
