//! Whatever is presented as a token, nothing passes that the provider's key did not sign: no text at all, since the
//! private half of the key below is used nowhere.

use doorward::oidc::install_crypto;
use doorward::oidc::jwks::KeySet;
use doorward::oidc::jws::{Algorithm, Jws, MAX_TOKEN_BYTES};

/// One key of each common family, public halves only: RFC 8037 appendix A.2, RFC 7517 appendix A.1.
const KEYS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"EC","crv":"P-256","kid":"ec","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
     "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
    {"kty":"RSA","kid":"rsa","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}
]}"#;

/// Fails if `text` is taken for a token that the provider signed, or one of its demands is passed over.
pub(crate) fn check(text: &str) {
    let Ok(jws) = Jws::parse(text, &Algorithm::ALL) else {
        return;
    };
    assert!(text.len() <= MAX_TOKEN_BYTES && text.split('.').count() == 3);
    assert!(
        Jws::parse(text, &[]).is_err(),
        "an algorithm that nobody allowed"
    );
    install_crypto();
    let keys = KeySet::parse(KEYS.as_bytes())
        .unwrap_or_else(|error| panic!("the keys of the standards: {error}"));
    assert_eq!(keys.usable(), 3, "{:?}", keys.skipped());
    assert!(jws.verify(&keys).is_err(), "nobody signed {text:?}");
}
