//! Input from the provider: any JSON or text is accepted or rejected, and no unsigned token is
//! accepted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::oidc::discovery::{Metadata, PlainHttp};
use doorward::oidc::jwks::KeySet;
use doorward::oidc::token::{Grant, TokenError, parse_response};
use doorward::types::oauth::Issuer;
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::checks;

const ISSUER: &str = "https://login.example.com";

/// Arbitrary JSON with known member names.
fn values() -> impl Strategy<Value = Value> {
    let words = select(vec![
        ISSUER,
        "https://login.example.com/token",
        "http://login.example.com/",
        "Bearer",
        "dpop",
        "RS256",
        "ES256",
        "EdDSA",
        "none",
        "HS256",
        "RSA",
        "EC",
        "OKP",
        "oct",
        "P-256",
        "Ed25519",
        "sig",
        "enc",
        "AQAB",
        "AAAA",
        "invalid_grant",
        "invalid_client",
        "ed",
        "ec",
        "rsa",
        "JWT",
        "",
    ]);
    let leaf = prop_oneof![
        6 => words.prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner).prop_map(Value::from)
        ]
    })
}

fn members(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let names = select(vec![
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "end_session_endpoint",
        "scopes_supported",
        "keys",
        "kty",
        "kid",
        "use",
        "key_ops",
        "alg",
        "crv",
        "x",
        "y",
        "n",
        "e",
        "d",
        "k",
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "id_token",
        "scope",
        "error",
        "error_description",
        "error_reason",
        "typ",
        "crit",
        "b64",
        "zip",
    ]);
    hash_map(names.prop_map(str::to_owned), inner, 0..8).prop_map(Map::from_iter)
}

/// `document` with some members replaced by `changes`.
fn with(document: Value, changes: Map<String, Value>) -> Value {
    let mut members = document.as_object().unwrap().clone();
    members.extend(changes);
    Value::from(members)
}

fn discovery() -> Value {
    let at = |path: &str| format!("{ISSUER}{path}");
    json!({"issuer": ISSUER, "authorization_endpoint": at("/a"), "token_endpoint": at("/t"), "jwks_uri": at("/k")})
}

fn response() -> Value {
    json!({"access_token": "a", "token_type": "Bearer", "expires_in": 300, "refresh_token": "r", "id_token": "i"})
}

/// Values for an endpoint.
fn endpoints() -> impl Strategy<Value = Map<String, Value>> {
    let names = select(vec![
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "end_session_endpoint",
    ]);
    let said = select(vec![
        json!(ISSUER),
        json!("https://login.example.com/x?tenant=1"),
        json!("http://login.example.com/x"),
        json!("http://127.0.0.1/x"),
        json!("https://u:p@login.example.com/x"),
        json!("javascript:alert(1)"),
        json!("/x"),
        json!(""),
        Value::Null,
    ]);
    hash_map(
        names.prop_map(str::to_owned),
        prop_oneof![3 => said, 1 => values()],
        0..3,
    )
    .prop_map(Map::from_iter)
}

/// A valid key with changed members, or anything else.
fn keys() -> impl Strategy<Value = Value> {
    let good = select(vec![
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        json!({"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
               "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}),
    ]);
    let changed = (good.clone(), members(values())).prop_map(|(good, changes)| with(good, changes));
    prop_oneof![2 => good, 1 => changed, 1 => values()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn discovery_requires_issuer_match_and_tls(changes in endpoints()) {
        let document = with(discovery(), changes);
        let text = document.to_string();
        let Ok(metadata) = Metadata::parse(text.as_bytes(), &Issuer::new(ISSUER), PlainHttp::Never) else {
            return Ok(());
        };
        prop_assert_eq!(document["issuer"].as_str(), Some(ISSUER));
        let needed = [&metadata.authorization_endpoint, &metadata.token_endpoint];
        for url in needed.into_iter().chain(&metadata.end_session_endpoint) {
            prop_assert_eq!(url.scheme(), "https");
        }
    }

    #[test]
    fn every_key_counts_as_usable_or_skipped(keys in vec(keys(), 0..6)) {
        let Ok(set) = KeySet::parse(json!({"keys": keys.clone()}).to_string().as_bytes()) else { return Ok(()) };
        prop_assert_eq!(set.usable() + set.skipped().len(), keys.len());
        prop_assert!(set.usable() > 0);
    }

    #[test]
    fn token_response_has_a_token_or_an_error(
        changes in members(values()), status in prop_oneof![select(vec![200, 400, 401, 404, 429, 500, 503]), any::<u16>()],
        (refresh, refused) in any::<(bool, bool)>(),
    ) {
        let grant = if refresh { Grant::Refresh } else { Grant::Code };
        let response = if refused { json!({"error": "invalid_grant", "error_description": "gone"}) } else { response() };
        let text = with(response, changes).to_string();
        match parse_response(grant, status, text.as_bytes()) {
            Ok(response) => {
                prop_assert!((200..300).contains(&status), "{}", status);
                prop_assert!(!response.access_token.expose().is_empty());
                prop_assert!(response.refresh_token.is_none_or(|token| !token.expose().is_empty()));
            }
            Err(TokenError::GrantRejected { .. }) => {
                // Some providers report errors with status 200.
                prop_assert!((200..300).contains(&status) || ((400..500).contains(&status) && status != 429), "{}", status);
            }
            Err(error) => prop_assert!(!error.code().is_empty()),
        }
    }

    #[test]
    fn arbitrary_response_does_not_panic(bytes in vec(any::<u8>(), 0..200), text in any::<String>(), status: u16) {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = parse_response(Grant::Refresh, status, bytes);
            prop_assert!(KeySet::parse(bytes).is_err());
            prop_assert!(Metadata::parse(bytes, &Issuer::new(ISSUER), PlainHttp::Anywhere).is_err());
        }
    }

    #[test]
    fn unsigned_token_is_rejected(
        header in members(values()),
        named in select(vec![("EdDSA", "ed"), ("Ed25519", "ed"), ("ES256", "ec"), ("RS256", "rsa"), ("PS512", "rsa"), ("RS256", "ec")]),
        (keeps_names, claims) in (prop::bool::weighted(0.8), members(values())),
        signature in prop_oneof![vec(any::<u8>(), 0..80), Just(vec![0; 64]), Just(vec![0; 256])],
    ) {
        let mut header = header;
        if keeps_names {
            header.extend([("alg".to_owned(), json!(named.0)), ("kid".to_owned(), json!(named.1))]);
            header.retain(|name, _| !["crit", "b64", "zip", "typ"].contains(&name.as_str()));
        }
        let parts = [Value::from(header).to_string().into_bytes(), Value::from(claims).to_string().into_bytes(), signature];
        checks::jws::check(&parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."));
    }

    #[test]
    fn arbitrary_token_text_does_not_panic(text in prop_oneof![any::<String>(), "[A-Za-z0-9_=-]{0,20}(\\.[A-Za-z0-9_-]{0,20}){0,5}"]) {
        checks::jws::check(&text);
    }

    #[test]
    fn authorization_response_matches_its_query(
        pairs in vec((
            select(vec!["code", "state", "iss", "error", "error_description", "Code", "c%6fde", "x", ""]),
            prop_oneof![
                select(vec!["a", "", "https%3A%2F%2Flogin.example.com", "https://login.example.com", "%00%1b", "%ff", "%"])
                    .prop_map(str::to_owned),
                any::<String>(),
            ],
        ), 0..6),
        glue in select(vec!["&", "&&", ";"]),
    ) {
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        checks::callback::check(&pairs.join(glue));
    }
}
