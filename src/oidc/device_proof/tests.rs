//! Device proof tests: what Chromium sends, and forged proofs.

use serde_json::json;

use super::*;
use crate::oidc::testing::{Signer, b64};

const URL: &str = "https://store.example.com/.doorward/device-binding/refresh";

fn signed(signer: &Signer, header: &Value, claims: &Value) -> String {
    signer.sign_raw(&header.to_string(), &claims.to_string())
}

fn registration(signer: &Signer) -> Value {
    json!({ "alg": signer.algorithm.name(), "jwk": signer.jwk(), "typ": "dbsc+jwt" })
}

fn key_of(signer: &Signer) -> DeviceKey {
    DeviceKey::from_jwk(&signer.jwk()).unwrap()
}

/// The result of a registration with this header and these claims.
fn registered(
    signer: &Signer,
    header: &Value,
    claims: &Value,
) -> Result<DeviceKey, DeviceProofError> {
    let proof = signed(signer, header, claims);
    UnverifiedProof::parse(&proof)?.verify_registration(URL)
}

#[test]
fn proof_is_verified_bare_and_quoted() {
    for algorithm in ALGORITHMS {
        let signer = Signer::new("k", algorithm);
        let claims = json!({ "jti": "challenge", "authorization": "copied" });
        let bare = signed(&signer, &registration(&signer), &claims);
        for value in [bare.clone(), format!("\"{bare}\""), format!(" {bare} ")] {
            let proof = UnverifiedProof::parse(&value).unwrap();
            assert_eq!(proof.challenge(), "challenge");
            assert_eq!(proof.verify_registration(URL), Ok(key_of(&signer)));
        }
        let header = json!({ "alg": algorithm.name(), "typ": "dbsc+jwt" });
        let refresh = signed(&signer, &header, &json!({ "jti": "c" }));
        let proof = UnverifiedProof::parse(&refresh).unwrap();
        assert_eq!(proof.verify(&key_of(&signer), URL), Ok(()));
        assert_eq!(
            proof.verify_registration(URL),
            Err(DeviceProofError::KeyUnusable)
        );
    }
}

#[test]
fn proof_of_other_key_is_refused() {
    let (own, other) = (Signer::es256("k"), Signer::new("o", Algorithm::Rs256));
    for signer in [&other, &Signer::new("p", Algorithm::Es384)] {
        let header = json!({ "alg": signer.algorithm.name(), "typ": "dbsc+jwt" });
        let proof = signed(signer, &header, &json!({ "jti": "c" }));
        let refused = UnverifiedProof::parse(&proof).map(|proof| proof.verify(&key_of(&own), URL));
        assert!(!matches!(refused, Ok(Ok(()))), "{refused:?}");
    }
    // A key in the header counts for nothing after the registration.
    let proof = signed(&other, &registration(&other), &json!({ "jti": "c" }));
    let proof = UnverifiedProof::parse(&proof).unwrap();
    assert_eq!(
        proof.verify(&key_of(&own), URL),
        Err(DeviceProofError::KeyMismatch)
    );
    // Signed by another key than the one that it contains.
    let mut header = registration(&own);
    header["jwk"]["x"] = b64([7; 32]).into();
    assert!(registered(&own, &header, &json!({ "jti": "c" })).is_err());
}

#[test]
fn tampered_proof_is_refused() {
    let signer = Signer::es256("k");
    let proof = signed(&signer, &registration(&signer), &json!({ "jti": "c" }));
    let (head, signature) = proof.rsplit_once('.').unwrap();
    let other = signed(&signer, &registration(&signer), &json!({ "jti": "d" }));
    let (_, of_other) = other.rsplit_once('.').unwrap();
    let tampered = format!("{head}.{of_other}");
    assert_eq!(
        UnverifiedProof::parse(&tampered)
            .unwrap()
            .verify_registration(URL),
        Err(DeviceProofError::BadSignature)
    );
    let zero = format!("{head}.{}", "A".repeat(signature.len()));
    assert!(
        UnverifiedProof::parse(&zero)
            .unwrap()
            .verify_registration(URL)
            .is_err()
    );
}

#[test]
fn malformed_header_or_claims_are_refused() {
    use DeviceProofError::{AlgorithmNotAllowed, KeyUnusable, Malformed};
    let signer = Signer::es256("k");
    let claims = json!({ "jti": "c" });
    let with = |name: &str, value: Value| {
        let mut header = registration(&signer);
        header[name] = value;
        registered(&signer, &header, &claims)
    };
    for typ in ["jwt", "dpop+jwt", "application/dbsc+jwt", "DBSC+JWT", ""] {
        assert_eq!(with("typ", typ.into()), Err(Malformed), "{typ}");
    }
    for alg in ["none", "HS256", "ES384", "PS256", "RS512", "EdDSA"] {
        assert_eq!(with("alg", alg.into()), Err(AlgorithmNotAllowed), "{alg}");
    }
    assert_eq!(with("alg", "RS256".into()), Err(AlgorithmNotAllowed));
    assert_eq!(with("crit", json!(["x"])), Err(Malformed));
    let mut private = signer.jwk();
    private["d"] = "AAAA".into();
    for jwk in [private, Value::Null, json!({}), "key".into()] {
        assert_eq!(with("jwk", jwk.clone()), Err(KeyUnusable), "{jwk}");
    }
    for claims in [json!({}), json!({ "jti": 7 }), json!({ "jti": null })] {
        let refused = registered(&signer, &registration(&signer), &claims);
        assert_eq!(refused, Err(Malformed), "{claims}");
    }
    for value in ["", "\"\"", "a.b", "a.b.c", "....", &"a".repeat(5_000)] {
        assert!(UnverifiedProof::parse(value).is_err(), "{value}");
    }
}

#[test]
fn audience_is_compared_if_there_is_one() {
    let signer = Signer::es256("k");
    for (audience, is_accepted) in [
        (json!(URL), true),
        (json!("https://store.example.com/"), false),
        (json!([URL]), false),
        (Value::Null, false),
    ] {
        let claims = json!({ "jti": "c", "aud": audience });
        let result = registered(&signer, &registration(&signer), &claims);
        assert_eq!(result.is_ok(), is_accepted, "{claims}: {result:?}");
    }
}
