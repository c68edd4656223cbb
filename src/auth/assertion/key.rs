//! Keys that sign assertions: ES256 on P-256 (RFC 7518 section 3.4) or EdDSA with Ed25519 (RFC 8037), in
//! PKCS#8 PEM files.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The `typ` of an assertion, so that no other JWT passes for one (RFC 8725 section 3.11).
const TYPE: &str = "doorward-assertion+jwt";

/// The width of the lines of a PEM file (RFC 7468 section 2).
const PEM_WIDTH: usize = 64;

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// A key that signs assertions.
pub struct AssertionKey {
    pair: Pair,
    /// The protected header, encoded.
    header: String,
    public_jwk: Value,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// Why a key file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionKeyError {
    /// There is no `PRIVATE KEY` in it.
    #[error("no `BEGIN PRIVATE KEY` in the file")]
    NoKey,
    /// It is of another kind.
    #[error("the key is neither of P-256 nor of Ed25519")]
    Kind,
}

impl AssertionKey {
    /// The text of a new key file. `None`: the random number generator failed.
    pub fn generate(algorithm: AssertionAlgorithm) -> Option<Zeroizing<String>> {
        let der = match algorithm {
            AssertionAlgorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
                pair.to_pkcs8v1().ok()?
            }
            AssertionAlgorithm::EdDsa => Ed25519KeyPair::generate().ok()?.to_pkcs8v1().ok()?,
        };
        Some(pem(der.as_ref()))
    }

    /// Parses the text of a key file.
    ///
    /// # Errors
    /// See [`AssertionKeyError`].
    pub fn parse(text: &str) -> Result<Self, AssertionKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| AssertionKeyError::NoKey)?;
        let der = der.secret_pkcs8_der();
        let es256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        let key = match es256 {
            Ok(pair) => Self::es256(pair),
            Err(_) => Ed25519KeyPair::from_pkcs8(der).ok().map(Self::ed_dsa),
        };
        key.ok_or(AssertionKeyError::Kind)
    }

    fn es256(pair: EcdsaKeyPair) -> Option<Self> {
        // An uncompressed point: 0x04 and both coordinates (SEC 1 section 2.3.3).
        let point = pair.public_key().as_ref().strip_prefix(&[4])?;
        let (x, y) = point.split_at_checked(32)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // The members of RFC 7638 section 3.2, in its order.
        let kid = thumbprint(&format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#
        ));
        Some(Self {
            header: header("ES256", &kid),
            public_jwk: json!({
                "kty": "EC", "crv": "P-256", "x": x, "y": y,
                "kid": kid, "use": "sig", "alg": "ES256",
            }),
            pair: Pair::Es256(pair),
        })
    }

    fn ed_dsa(pair: Ed25519KeyPair) -> Self {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let kid = thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        Self {
            header: header("EdDSA", &kid),
            public_jwk: json!({
                "kty": "OKP", "crv": "Ed25519", "x": x,
                "kid": kid, "use": "sig", "alg": "EdDSA",
            }),
            pair: Pair::EdDsa(pair),
        }
    }

    /// The public key (RFC 7517).
    pub const fn public_jwk(&self) -> &Value {
        &self.public_jwk
    }

    /// The JWT with these claims, in the compact serialization (RFC 7515 section 3.1). `None`: the
    /// cryptographic library failed.
    pub(super) fn sign(&self, claims: &Value) -> Option<String> {
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let signed = format!("{}.{claims}", self.header);
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?,
            Pair::EdDsa(pair) => pair.sign(signed.as_bytes()),
        };
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AssertionKey")
            .field(&self.public_jwk)
            .finish()
    }
}

fn header(algorithm: &str, kid: &str) -> String {
    let header = json!({ "alg": algorithm, "kid": kid, "typ": TYPE });
    URL_SAFE_NO_PAD.encode(header.to_string())
}

fn thumbprint(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}

fn pem(der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for (position, character) in encoded.char_indices() {
        if position > 0 && position % PEM_WIDTH == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

    use super::*;

    fn key(algorithm: AssertionAlgorithm) -> AssertionKey {
        AssertionKey::parse(&AssertionKey::generate(algorithm).unwrap()).unwrap()
    }

    fn decoded(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// Whether the published key verifies the JWT.
    fn verifies(jwk: &Value, jwt: &str) -> bool {
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        let (signed, signature) = (signed.as_bytes(), decoded(signature));
        let member = |name: &str| decoded(jwk[name].as_str().unwrap());
        let verified = if jwk["kty"] == "EC" {
            let point = [vec![4], member("x"), member("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, &signature)
        } else {
            UnparsedPublicKey::new(&ED25519, member("x")).verify(signed, &signature)
        };
        verified.is_ok()
    }

    #[test]
    fn signature_verifies_with_the_published_key() {
        for (algorithm, name) in [
            (AssertionAlgorithm::Es256, "ES256"),
            (AssertionAlgorithm::EdDsa, "EdDSA"),
        ] {
            let signing = key(algorithm);
            let jwt = signing.sign(&json!({ "sub": "anna" })).unwrap();
            let parts: Vec<&str> = jwt.split('.').collect();
            let part =
                |index: usize| -> Value { serde_json::from_slice(&decoded(parts[index])).unwrap() };
            let kid = &signing.public_jwk()["kid"];
            assert_eq!(part(0), json!({ "alg": name, "kid": kid, "typ": TYPE }));
            assert_eq!(part(1), json!({ "sub": "anna" }));
            assert!(verifies(signing.public_jwk(), &jwt));
            assert!(!verifies(key(algorithm).public_jwk(), &jwt));
        }
    }

    #[test]
    fn key_id_is_the_thumbprint() {
        // The example of RFC 8037 appendix A.3.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        assert_eq!(
            thumbprint(&members),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn keys_of_openssl_are_read_and_others_are_refused() {
        // `openssl genpkey -algorithm ed25519`, with the seed of RFC 8037 appendix A.1.
        let text = "-----BEGIN PRIVATE KEY-----\n\
                    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                    -----END PRIVATE KEY-----\n";
        let read = AssertionKey::parse(text).unwrap();
        assert_eq!(
            read.public_jwk()["x"],
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        );
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        for (text, error) in [
            ("hunter2".to_owned(), AssertionKeyError::NoKey),
            (other.serialize_pem(), AssertionKeyError::Kind),
        ] {
            assert_eq!(AssertionKey::parse(&text).unwrap_err(), error);
        }
    }

    #[test]
    fn private_key_is_not_printed() {
        let text = AssertionKey::generate(AssertionAlgorithm::EdDsa).unwrap();
        let printed = format!("{:?}", AssertionKey::parse(&text).unwrap());
        let secret = text.lines().nth(1).unwrap();
        assert!(printed.contains("Ed25519") && !printed.contains(secret));
    }
}
