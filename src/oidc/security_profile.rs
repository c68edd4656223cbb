//! Security profiles of the OpenID Foundation: FAPI 2.0 Security Profile and FAPI 2.0 Message Signing. PURE.

use super::algorithm::Algorithm;

/// A profile that a provider's clients follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProfile {
    /// FAPI 2.0 Security Profile.
    Fapi2,
    /// The same with signed authorization requests and responses (FAPI 2.0 Message Signing).
    Fapi2MessageSigning,
}

impl SecurityProfile {
    /// The permitted signature algorithms (FAPI 2.0 Security Profile section 5.4.1).
    pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

    /// Whether authorization requests and responses are signed.
    pub const fn signs_messages(self) -> bool {
        match self {
            Self::Fapi2 => false,
            Self::Fapi2MessageSigning => true,
        }
    }
}
