//! The provider that claims come from.

use super::{Claims, UnverifiedClaims};
use crate::types::oauth::ProviderName;

/// Where claims come from.
#[derive(Clone, Copy, Debug)]
pub struct ClaimSource<'p> {
    /// The provider that issued or confirmed them.
    pub provider: Option<&'p ProviderName>,
    /// The treatment of claims that it marks as not verified.
    pub unverified: UnverifiedClaims,
}

impl Claims {
    /// The claim with the name of the provider in the configuration. No provider can set it.
    pub const PROVIDER: &str = "doorward-provider";

    /// The claims as this source may make them.
    #[must_use]
    pub fn from_source(mut self, source: ClaimSource<'_>) -> Self {
        self.claims.remove(Self::PROVIDER);
        if let Some(provider) = source.provider {
            let name = provider.as_str().into();
            self.claims.insert(Self::PROVIDER.to_owned(), name);
        }
        self.checked(source.unverified)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claims(value: Value) -> Claims {
        Claims::new(value.as_object().unwrap().clone(), serde_json::Map::new())
    }

    #[test]
    fn provider_cannot_pose_as_another() {
        let forged = json!({ "doorward-provider": "staff", "doorward-provider.x": "staff" });
        let members = ProviderName::new("members");
        let source = |provider| ClaimSource {
            provider,
            unverified: UnverifiedClaims::Absent,
        };
        let named = claims(forged.clone()).from_source(source(Some(&members)));
        assert_eq!(named.texts(Claims::PROVIDER), ["members"]);
        assert_eq!(
            claims(forged)
                .from_source(source(None))
                .get(Claims::PROVIDER),
            None
        );
    }
}
