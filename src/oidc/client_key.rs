//! Private key of an OAuth client that signs assertions (`private_key_jwt`, OpenID Connect Core section
//! 9), authorization requests (RFC 9101) or proofs of possession (RFC 9449).

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::algorithm::Algorithm;
use super::dpop::thumbprint;
use super::error::ProviderError;
use crate::types::oauth::{JwkThumbprint, KeyFingerprint};

/// A private key with the names by which the provider finds the public one.
pub struct ClientKey {
    kid: String,
    thumbprint: JwkThumbprint,
    /// `x5t#S256`: the SHA-256 of the certificate, in base64url.
    certificate_thumbprint: Option<String>,
    pair: KeyPair,
}

enum KeyPair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// How an RSA key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RsaPadding {
    /// RS256, which every provider knows.
    Pkcs1,
    /// PS256.
    Pss,
}

impl RsaPadding {
    /// PS256 if it is one of the algorithms that a provider announces.
    pub(super) fn announced(algorithms: Option<&[String]>) -> Self {
        let offers_pss = algorithms.is_some_and(|names| names.iter().any(|name| name == "PS256"));
        if offers_pss { Self::Pss } else { Self::Pkcs1 }
    }
}

/// Why a file holds no usable private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseClientKeyError {
    /// It is not a private key in PEM.
    #[error("it holds no valid private key in PEM")]
    NotPem,
    /// Its type or size is not supported.
    #[error("its key is not RSA with 2048 to 8192 bits, P-256, P-384 or Ed25519")]
    Unsupported,
}

/// The key could not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SigningError;

impl From<SigningError> for ProviderError {
    fn from(SigningError: SigningError) -> Self {
        Self::ClientKey("no signature")
    }
}

impl ClientKey {
    /// Reads a private key. `kid` is its thumbprint (RFC 7638) unless given.
    ///
    /// # Errors
    /// It is not a supported private key in PEM.
    pub fn from_pem(
        pem: &[u8],
        kid: Option<String>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<Self, ParseClientKeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| ParseClientKeyError::NotPem)?;
        let pair = KeyPair::from_der(&der).ok_or(ParseClientKeyError::Unsupported)?;
        let thumbprint = thumbprint(&pair.public_jwk());
        let thumbprint = thumbprint.ok_or(ParseClientKeyError::Unsupported)?;
        Ok(Self {
            kid: kid.unwrap_or_else(|| thumbprint.as_str().to_owned()),
            thumbprint,
            certificate_thumbprint: certificate.map(|certificate| {
                let hash = digest::digest(&digest::SHA256, certificate);
                URL_SAFE_NO_PAD.encode(hash)
            }),
            pair,
        })
    }

    /// The public key, as the provider needs it.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = self.pair.public_jwk();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), self.kid.as_str().into());
            members.insert("use".to_owned(), "sig".into());
        }
        jwk
    }

    /// The thumbprint of the public key (RFC 7638).
    pub const fn thumbprint(&self) -> &JwkThumbprint {
        &self.thumbprint
    }

    /// Whether the key can sign with one of `algorithms`.
    pub fn fits(&self, algorithms: &[Algorithm]) -> bool {
        let paddings = [RsaPadding::Pkcs1, RsaPadding::Pss];
        let mut own = paddings
            .into_iter()
            .map(|padding| self.pair.algorithm(padding));
        own.any(|algorithm| algorithms.contains(&algorithm))
    }

    /// A short name of the key, for sessions that are bound to it.
    pub fn fingerprint(&self) -> KeyFingerprint {
        let hash = digest::digest(&digest::SHA256, self.thumbprint.as_str().as_bytes());
        let half = hash.as_ref().first_chunk();
        KeyFingerprint::new(half.copied().unwrap_or_default())
    }

    /// The claims as a JWT of the type `dpop+jwt` with the public key in its header (RFC 9449 section
    /// 4.2).
    pub(super) fn sign_proof(
        &self,
        claims: &Value,
        padding: RsaPadding,
    ) -> Result<String, SigningError> {
        let algorithm = self.pair.algorithm(padding);
        let jwk = self.pair.public_jwk();
        let header = json!({"alg": algorithm.name(), "typ": "dpop+jwt", "jwk": jwk});
        self.pair.sign_jwt(algorithm, &header, claims)
    }

    /// Signs `claims` as a JWT of the type `typ`. `padding` is that of an RSA key.
    pub(super) fn sign(
        &self,
        typ: &str,
        claims: &Value,
        padding: RsaPadding,
    ) -> Result<String, SigningError> {
        let algorithm = self.pair.algorithm(padding);
        let mut header = json!({"alg": algorithm.name(), "kid": self.kid, "typ": typ});
        if let (Some(thumbprint), Some(members)) =
            (&self.certificate_thumbprint, header.as_object_mut())
        {
            members.insert("x5t#S256".to_owned(), thumbprint.as_str().into());
        }
        self.pair.sign_jwt(algorithm, &header, claims)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl KeyPair {
    fn from_der(der: &PrivateKeyDer<'_>) -> Option<Self> {
        // Each is read in its own format (PKCS #1, SEC 1) or PKCS #8.
        let bytes = der.secret_der();
        let rsa = RsaKeyPair::from_pkcs8(bytes).or_else(|_| RsaKeyPair::from_der(bytes));
        let ec = |curve: &'static EcdsaSigningAlgorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(curve, bytes);
            pair.or_else(|_| EcdsaKeyPair::from_private_key_der(curve, bytes))
                .ok()
        };
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).ok();
        rsa.ok()
            .map(Self::Rsa)
            .or_else(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::P256))
            .or_else(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Self::P384))
            .or_else(|| ed25519().map(Self::Ed25519))
    }

    const fn algorithm(&self, padding: RsaPadding) -> Algorithm {
        match self {
            Self::Rsa(_) => match padding {
                RsaPadding::Pkcs1 => Algorithm::Rs256,
                RsaPadding::Pss => Algorithm::Ps256,
            },
            Self::P256(_) => Algorithm::Es256,
            Self::P384(_) => Algorithm::Es384,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn sign_jwt(
        &self,
        algorithm: Algorithm,
        header: &Value,
        claims: &Value,
    ) -> Result<String, SigningError> {
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.sign(algorithm, input.as_bytes())?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, algorithm: Algorithm, input: &[u8]) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = if algorithm == Algorithm::Ps256 {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, input, &mut signature)
                    .map_err(|_| SigningError)?;
                Ok(signature)
            }
            Self::P256(pair) | Self::P384(pair) => {
                let signature = pair.sign(&random, input).map_err(|_| SigningError)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed25519(pair) => Ok(pair.sign(input).as_ref().to_vec()),
        }
    }

    fn public_jwk(&self) -> Value {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ec = |crv: &str, pair: &EcdsaKeyPair| {
            // 0x04, then both coordinates (SEC 1 section 2.3.3).
            let point = pair.public_key().as_ref();
            let coordinates = point.split_first().map_or(point, |(_, rest)| rest);
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            json!({"kty": "EC", "crv": crv, "x": encoded(x), "y": encoded(y)})
        };
        match self {
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": encoded(&public.n), "e": encoded(&public.e)})
            }
            Self::P256(pair) => ec("P-256", pair),
            Self::P384(pair) => ec("P-384", pair),
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::oidc::client_auth::{AssertionAudience, AssertionClaims, SignedAssertion};
    use crate::oidc::install_crypto;
    use crate::oidc::jwks::KeySet;
    use crate::oidc::jws::Jws;
    use crate::types::oauth::ClientId;
    use crate::types::time::Timestamp;

    fn pem(der: &[u8]) -> Vec<u8> {
        let text = STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n").into_bytes()
    }

    fn ec(curve: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        pem(pair.to_pkcs8v1().unwrap().as_ref())
    }

    fn assertion(key: ClientKey, announced: Option<&[String]>) -> (String, KeySet) {
        let jwks = json!({"keys": [key.public_jwk()]}).to_string();
        let signed = SignedAssertion {
            key: Arc::new(key),
            audience: AssertionAudience::Issuer,
        };
        let claims = AssertionClaims {
            client_id: &ClientId::new("store"),
            audience: "https://login.example.com",
            now: Timestamp::from_secs(1000),
            jti: "j",
        };
        let padding = RsaPadding::announced(announced);
        let assertion = signed.sign(&claims, padding).unwrap();
        (
            assertion.to_string(),
            KeySet::parse(jwks.as_bytes()).unwrap(),
        )
    }

    #[test]
    fn assertions_verify_with_the_public_key() {
        install_crypto();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
        let ed25519 = Ed25519KeyPair::generate().unwrap();
        let pss = ["RS256", "PS256"].map(str::to_owned);
        for (pem, announced, algorithm) in [
            (pem(rsa.as_ref()), None, Algorithm::Rs256),
            (pem(rsa.as_ref()), Some(pss.as_slice()), Algorithm::Ps256),
            (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), None, Algorithm::Es256),
            (ec(&ECDSA_P384_SHA384_FIXED_SIGNING), None, Algorithm::Es384),
            (
                pem(ed25519.to_pkcs8().unwrap().as_ref()),
                None,
                Algorithm::EdDsa,
            ),
        ] {
            let key = ClientKey::from_pem(&pem, None, None).unwrap();
            let (token, keys) = assertion(key, announced);
            let jws = Jws::parse(&token, &[algorithm]).unwrap();
            let verified = jws.verify(&keys).unwrap();
            let claims = Value::from(verified.claims);
            let expected = json!({
                "iss": "store", "sub": "store", "aud": "https://login.example.com",
                "iat": 1000, "exp": 1060, "jti": "j",
            });
            assert_eq!(claims, expected, "{algorithm:?}");
            assert_eq!(verified.typ.as_deref(), Some("client-authentication+jwt"));
        }
    }

    #[test]
    fn kid_is_the_thumbprint_unless_given() {
        let pem = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = ClientKey::from_pem(&pem, None, None).unwrap();
        let jwk = key.public_jwk();
        assert_eq!(jwk["kid"], thumbprint(&jwk).unwrap().as_str());
        let named = ClientKey::from_pem(&pem, Some("2026".to_owned()), None).unwrap();
        assert_eq!(named.public_jwk()["kid"], "2026");
        let text = format!("{named:?}");
        assert!(
            text.starts_with("ClientKey") && !text.contains("pair"),
            "{text}"
        );
    }

    #[test]
    fn unusable_keys_are_refused() {
        let small = pem(b"no key");
        for (text, error) in [
            (b"".as_slice(), ParseClientKeyError::NotPem),
            (&small, ParseClientKeyError::Unsupported),
        ] {
            let found = ClientKey::from_pem(text, None, None);
            assert_eq!(found.err(), Some(error));
        }
    }
}
