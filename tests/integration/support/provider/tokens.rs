//! Builds JWTs by hand, valid and flawed.

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::super::random_name;
use super::behaviour::Flaw;
use super::keys::SigningKey;
use super::state::{Grant, State};

/// The ID token of a grant (OpenID Connect Core section 2).
pub(super) fn id_token(state: &State, grant: &Grant) -> String {
    let mut claims = common_claims(state, grant);
    claims.insert("aud".to_owned(), json!(grant.client_id));
    claims.insert("auth_time".to_owned(), json!(grant.auth_time.secs()));
    if let Some(nonce) = &grant.nonce {
        claims.insert("nonce".to_owned(), json!(nonce));
    }
    signed(state, "JWT", claims, &state.behaviour.id_token_flaws)
}

/// The access token of a grant as a JWT (RFC 9068).
pub(super) fn access_token(state: &State, grant: &Grant) -> String {
    let mut claims = common_claims(state, grant);
    let audience = state
        .behaviour
        .access_token_audience
        .as_ref()
        .unwrap_or(&grant.client_id);
    claims.insert("aud".to_owned(), json!(audience));
    claims.insert("client_id".to_owned(), json!(grant.client_id));
    claims.insert("scope".to_owned(), json!(grant.scope));
    claims.insert("jti".to_owned(), json!(random_name(9)));
    signed(state, "at+jwt", claims, &state.behaviour.access_token_flaws)
}

/// An access token for the store (RFC 9068), with `more` merged into its claims; `null` omits a
/// claim.
pub(super) fn presented_token(state: &State, more: &Value, flaws: &[Flaw]) -> String {
    signed(state, "at+jwt", presented_claims(state, more), flaws)
}

/// The same without a signature.
pub(super) fn presented_claims(state: &State, more: &Value) -> Map<String, Value> {
    let now = state.clock.now();
    let Value::Object(mut claims) = json!({
        "iss": state.issuer,
        "aud": "store",
        "sub": "alice-id",
        "client_id": "phone",
        "scope": "openid",
        "iat": now.secs(),
        "exp": now.plus(state.behaviour.token_lifetime).secs(),
        "jti": random_name(9),
    }) else {
        panic!("an object")
    };
    claims.extend(more.as_object().cloned().unwrap_or_default());
    claims.retain(|_, value| !value.is_null());
    claims
}

/// A logout token (OpenID Connect Back-Channel Logout section 2.4) with these claims: `sid`, `sub`,
/// or both.
pub(super) fn logout_token(state: &State, client_id: &str, more: &Value, flaws: &[Flaw]) -> String {
    let now = state.clock.now();
    let Value::Object(mut claims) = json!({
        "iss": state.issuer,
        "aud": client_id,
        "iat": now.secs(),
        "exp": now.plus(Duration::from_secs(120)).secs(),
        "jti": random_name(9),
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    }) else {
        panic!("an object")
    };
    claims.extend(more.as_object().cloned().unwrap_or_default());
    signed(state, "logout+jwt", claims, flaws)
}

/// The value of `X-FusionAuth-Signature-JWT` over `body`.
pub(super) fn webhook_signature(state: &State, body: &str, flaws: &[Flaw]) -> String {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, body.as_bytes()));
    let claims = Map::from_iter([("request_body_sha256".to_owned(), json!(hash))]);
    signed(state, "JWT", claims, flaws)
}

fn common_claims(state: &State, grant: &Grant) -> Map<String, Value> {
    let now = state.clock.now();
    let mut claims = grant.user.claims.clone();
    claims.insert("iss".to_owned(), json!(state.issuer));
    claims.insert("sub".to_owned(), json!(grant.user.sub));
    claims.insert("sid".to_owned(), json!(grant.sid));
    claims.insert("iat".to_owned(), json!(now.secs()));
    claims.insert(
        "exp".to_owned(),
        json!(now.plus(state.behaviour.token_lifetime).secs()),
    );
    claims
}

fn signed(state: &State, typ: &str, mut claims: Map<String, Value>, flaws: &[Flaw]) -> String {
    let current = state.keys.current();
    let foreign = SigningKey::new();
    let mut header = json!({ "alg": "ES256", "typ": typ, "kid": current.kid });
    let mut signer = Signer::Key(current);
    let mut broken = false;
    for flaw in flaws {
        match flaw {
            Flaw::WrongIssuer => set(&mut claims, "iss", json!("https://somebody.else.test")),
            Flaw::WrongAudience => set(&mut claims, "aud", json!("somebody-else")),
            Flaw::WrongNonce => set(&mut claims, "nonce", json!(random_name(16))),
            Flaw::WrongSignature => broken = true,
            Flaw::AlgNone => {
                header["alg"] = json!("none");
                signer = Signer::Nobody;
            }
            Flaw::HmacWithPublicKey => {
                header["alg"] = json!("HS256");
                signer = Signer::PublicKeyAsSecret(current);
            }
            Flaw::KeyMissing => {
                header["kid"] = json!(foreign.kid);
                signer = Signer::Key(&foreign);
            }
            Flaw::Expired => {
                let then = state.clock.now().minus(Duration::from_secs(3600));
                set(
                    &mut claims,
                    "iat",
                    json!(then.minus(state.behaviour.token_lifetime).secs()),
                );
                set(&mut claims, "exp", json!(then.secs()));
            }
            Flaw::Claim(name, value) => set(&mut claims, name, value.clone()),
            Flaw::Without(name) => drop(claims.remove(*name)),
            Flaw::Header(name, value) => header[*name] = value.clone(),
        }
    }
    let [header, claims] =
        [header, Value::Object(claims)].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let mut signature = signer.sign(message.as_bytes());
    if let (true, Some(first)) = (broken, signature.first_mut()) {
        *first ^= 1;
    }
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

enum Signer<'a> {
    Key(&'a SigningKey),
    PublicKeyAsSecret(&'a SigningKey),
    Nobody,
}

impl Signer<'_> {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Key(key) => key.sign(message),
            Self::PublicKeyAsSecret(key) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.public()), message)
                    .as_ref()
                    .to_vec()
            }
            Self::Nobody => Vec::new(),
        }
    }
}

fn set(claims: &mut Map<String, Value>, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}
