//! The provider's signing key (ES256, generated at start), its JWK, and random tokens.

use aws_lc_rs::digest;
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::InternalError;

/// The key that signs all tokens of a provider.
pub(super) struct SigningKey {
    kid: String,
    jwk: Value,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl SigningKey {
    /// Generates a key.
    pub(super) fn generate() -> Option<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
        let private = pair.to_pkcs8v1().ok()?;
        // An uncompressed point: 0x04 and both coordinates (SEC 1 section 2.3.3).
        let (x, y) = pair
            .public_key()
            .as_ref()
            .strip_prefix(&[4])?
            .split_at_checked(32)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638 section 3: the thumbprint is the hash of exactly this text.
        let thumbprint =
            sha256(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": "ES256" });
        let decoding = DecodingKey::from_ec_components(&x, &y).ok()?;
        Some(Self {
            kid,
            jwk,
            encoding: EncodingKey::from_ec_der(private.as_ref()),
            decoding,
        })
    }

    /// The published key set (RFC 7517 section 5).
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// Signs a JWT with this `typ`.
    pub(super) fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, InternalError> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|_| InternalError::Signing)
    }

    /// Verifies signature and `typ` of a JWT, but not its times. Returns the claims.
    pub(super) fn verify(&self, typ: &str, token: &str) -> Option<Value> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let token = jsonwebtoken::decode::<Value>(token, &self.decoding, &validation).ok()?;
        (token.header.typ.as_deref() == Some(typ)).then_some(token.claims)
    }
}

/// `at_hash` of an access token under ES256: the left half of its SHA-256 (OpenID Connect Core
/// section 3.1.3.6).
pub(super) fn at_hash(access_token: &str) -> String {
    let hash = sha256(access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.get(..16).unwrap_or_default())
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// A random token of 192 bits.
pub(super) fn random_token() -> Result<String, InternalError> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<24>()?))
}

/// Random bytes.
pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], InternalError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| InternalError::Entropy)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_rejects_other_keys_and_types() {
        let (ours, other) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let token = ours.sign("JWT", &json!({ "sub": "a" })).unwrap();
        assert_eq!(ours.verify("JWT", &token).unwrap()["sub"], "a");
        assert!(ours.verify("at+jwt", &token).is_none());
        assert!(other.verify("JWT", &token).is_none());
        assert!(ours.verify("JWT", "a.b.c").is_none());
    }

    #[test]
    fn at_hash_is_the_left_half_of_sha_256() {
        // `echo -n abc | sha256sum` begins with ba7816bf 8f01cfea 414140de 5dae2223.
        assert_eq!(at_hash("abc"), "ungWv48Bz-pBQUDeXa4iIw");
    }
}
