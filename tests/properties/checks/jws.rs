//! JWS: no text is accepted as a token, since the private keys are not used anywhere.

use doorward::oidc::Algorithm;
use doorward::oidc::install_crypto;
use doorward::oidc::jwks::KeySet;
use doorward::oidc::jws::{Jws, MAX_TOKEN_BYTES};

/// One public key of each common family: RFC 8037 appendix A.2, RFC 7517 appendix A.1.
const KEYS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"EC","crv":"P-256","kid":"ec","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
     "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
    {"kty":"RSA","kid":"rsa","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}
]}"#;

/// Panics if `text` is accepted as a signed token, or if a required check is skipped.
pub(crate) fn check(text: &str) {
    let Ok(jws) = Jws::parse(text, &Algorithm::ALL) else {
        return;
    };
    assert!(text.len() <= MAX_TOKEN_BYTES && text.split('.').count() == 3);
    assert!(
        Jws::parse(text, &[]).is_err(),
        "an algorithm that is not allowed"
    );
    install_crypto();
    let keys =
        KeySet::parse(KEYS.as_bytes()).unwrap_or_else(|error| panic!("invalid test keys: {error}"));
    assert_eq!(keys.usable(), 3, "{:?}", keys.skipped());
    assert!(
        jws.verify(&keys).is_err(),
        "accepted without a signature: {text:?}"
    );
}
