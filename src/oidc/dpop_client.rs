//! DPoP towards the provider (RFC 9449): the keys that a client's tokens are bound to, and the proofs that
//! they sign. PURE.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use url::Url;

use super::client_key::{ClientKey, RsaPadding, SigningError};
use crate::types::oauth::{AccessToken, KeyFingerprint};
use crate::types::time::Timestamp;

/// The keys that the tokens of a client are bound to.
#[derive(Clone, Debug)]
pub struct DpopKeys {
    current: Arc<ClientKey>,
    previous: Vec<Arc<ClientKey>>,
}

impl DpopKeys {
    /// Sessions that begin are bound to `current`, those that began before possibly to `previous`.
    pub const fn new(current: Arc<ClientKey>, previous: Vec<Arc<ClientKey>>) -> Self {
        Self { current, previous }
    }

    /// The key of sessions that begin.
    pub(super) fn current(&self) -> &ClientKey {
        &self.current
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &ClientKey> {
        let all = std::iter::once(&self.current).chain(&self.previous);
        all.map(|key| &**key)
    }

    /// The key that a session is bound to. If it is not known, the current one: the refresh tokens of
    /// confidential clients are not bound to it (section 5).
    pub(super) fn bound(&self, fingerprint: Option<&KeyFingerprint>) -> &ClientKey {
        let mut previous = self.previous.iter();
        let bound = previous.find(|key| Some(&key.fingerprint()) == fingerprint);
        bound.unwrap_or(&self.current)
    }
}

/// The content of a proof (section 4.2).
pub(super) struct ProofClaims<'p> {
    pub(super) method: &'static str,
    /// The URL as the provider knows it.
    pub(super) url: &'p Url,
    /// By the clock of the provider.
    pub(super) now: Timestamp,
    /// Unique.
    pub(super) jti: &'p str,
    pub(super) nonce: Option<&'p str>,
    /// The token that the request is made with.
    pub(super) access_token: Option<&'p AccessToken>,
}

impl ProofClaims<'_> {
    /// Signs the proof.
    pub(super) fn sign(
        &self,
        key: &ClientKey,
        padding: RsaPadding,
    ) -> Result<String, SigningError> {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        let mut claims = json!({
            "htm": self.method,
            "htu": url.as_str(),
            "iat": self.now.secs(),
            "jti": self.jti,
        });
        if let Some(members) = claims.as_object_mut() {
            members.extend(self.nonce.map(|nonce| ("nonce".to_owned(), nonce.into())));
            members.extend(self.access_token.map(|token| {
                let hash = digest::digest(&digest::SHA256, token.expose().as_bytes());
                ("ath".to_owned(), URL_SAFE_NO_PAD.encode(hash).into())
            }));
        }
        key.sign_proof(&claims, padding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oidc::dpop::{self, Freshness, ProofExpectation};
    use crate::oidc::install_crypto;
    use crate::oidc::testing::client_key;
    use crate::types::net::Origin;

    #[test]
    fn proof_is_one_that_doorward_accepts_from_clients() {
        install_crypto();
        let key = client_key();
        let url = Url::parse("https://api.example.com/me?x=1#y").unwrap();
        let token = AccessToken::new("at");
        let now = Timestamp::from_secs(1_000_000);
        let claims = ProofClaims {
            method: "GET",
            url: &url,
            now,
            jti: "j",
            nonce: Some("n"),
            access_token: Some(&token),
        };
        let proof = claims.sign(&key, RsaPadding::Pkcs1).unwrap();
        let origin = Origin::parse("https://api.example.com").unwrap();
        let is_known =
            |nonce: &str| (nonce == "n").then(|| now.plus(std::time::Duration::from_secs(1)));
        let expected = ProofExpectation {
            method: "GET",
            origin: &origin,
            path: "/me",
            access_token: Some("at"),
            freshness: Freshness::Nonce(&is_known),
        };
        let verified = dpop::verify(&proof, expected, now).unwrap();
        assert_eq!(&verified.key, key.thumbprint());
    }

    #[test]
    fn sessions_keep_the_key_that_they_are_bound_to() {
        install_crypto();
        let [current, previous, removed] = [(); 3].map(|()| Arc::new(client_key()));
        let keys = DpopKeys::new(Arc::clone(&current), vec![Arc::clone(&previous)]);
        for (bound_to, expected) in [
            (None, &current),
            (Some(&current), &current),
            (Some(&previous), &previous),
            (Some(&removed), &current),
        ] {
            let fingerprint = bound_to.map(|key| key.fingerprint());
            let found = keys.bound(fingerprint.as_ref());
            assert_eq!(found.fingerprint(), expected.fingerprint());
        }
    }
}
