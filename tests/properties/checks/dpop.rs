//! DPoP: an accepted proof is valid for its request only, and not for another method, URL, token or
//! time.

use std::time::Duration;

use doorward::oidc::dpop::{
    Freshness, LEEWAY, MAX_AGE, MAX_ID_BYTES, MAX_PROOF_BYTES, ProofExpectation, verify,
};
use doorward::oidc::install_crypto;
use doorward::types::net::Origin;
use doorward::types::time::Timestamp;

/// The request of the example proof in RFC 9449 section 7.1.
const NOW: Timestamp = Timestamp::from_secs(1_562_262_618);
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

/// Panics if `text` is accepted for another request.
pub(crate) fn check(text: &str) {
    install_crypto();
    let origin = |text| Origin::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let (here, elsewhere) = (
        origin("https://resource.example.org"),
        origin("https://other.example.org"),
    );
    let expected = ProofExpectation {
        method: "GET",
        origin: &here,
        path: "/protectedresource",
        access_token: Some(TOKEN),
        freshness: Freshness::IssuedAt,
    };
    let nobodys = |_: &str| None;
    assert!(
        verify(
            text,
            ProofExpectation {
                freshness: Freshness::Nonce(&nobodys),
                ..expected
            },
            NOW
        )
        .is_err()
    );
    let Ok(proof) = verify(text, expected, NOW) else {
        return;
    };
    assert!(text.len() <= MAX_PROOF_BYTES && text.split('.').count() == 3);
    assert!(
        !proof.id.is_empty() && proof.id.len() <= MAX_ID_BYTES && proof.key.as_str().len() == 43
    );
    assert!(NOW < proof.counts_until && proof.counts_until <= NOW.plus(LEEWAY + MAX_AGE));
    let others = [
        ProofExpectation {
            method: "POST",
            ..expected
        },
        ProofExpectation {
            origin: &elsewhere,
            ..expected
        },
        ProofExpectation {
            path: "/protectedresource/",
            ..expected
        },
        ProofExpectation {
            access_token: Some("another"),
            ..expected
        },
    ];
    assert!(
        others
            .into_iter()
            .all(|other| verify(text, other, NOW).is_err()),
        "{text}"
    );
    assert_eq!(
        verify(
            text,
            expected,
            proof.counts_until.minus(Duration::from_secs(1))
        ),
        Ok(proof.clone())
    );
    assert!(
        verify(text, expected, proof.counts_until).is_err(),
        "{text}"
    );
}
