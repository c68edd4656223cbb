//! HMAC-signed JWTs, for webhook signatures only. Tokens of users are never accepted with HMAC
//! ([`crate::oidc::jws`]). PURE.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::oidc::json;
use crate::oidc::jws::MAX_TOKEN_BYTES;

/// Returns the claims of `token` if it is signed with `secret` by HS256, HS384 or HS512.
pub(super) fn verify(token: &str, secret: &[u8]) -> Option<Map<String, Value>> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header = json::object(&URL_SAFE_NO_PAD.decode(header).ok()?)?;
    let has_extension = ["crit", "zip", "b64"]
        .iter()
        .any(|name| header.contains_key(*name));
    let algorithm = match header.get("alg").and_then(Value::as_str) {
        Some("HS256") => hmac::HMAC_SHA256,
        Some("HS384") => hmac::HMAC_SHA384,
        Some("HS512") => hmac::HMAC_SHA512,
        _ => return None,
    };
    let key = hmac::Key::new(algorithm, secret);
    // In constant time.
    hmac::verify(
        &key,
        signed.as_bytes(),
        &URL_SAFE_NO_PAD.decode(signature).ok()?,
    )
    .ok()?;
    if has_extension {
        return None;
    }
    json::object(&URL_SAFE_NO_PAD.decode(payload).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oidc::testing::b64;

    const SECRET: &[u8] = b"a shared secret of some length";

    fn token(header: &str, payload: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
        format!("{signed}.{}", b64(tag))
    }

    #[test]
    fn verify_accepts_hmac_algorithms_only() {
        for (name, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let header = format!(r#"{{"alg":"{name}","kid":"k","typ":"JWT"}}"#);
            assert_eq!(
                verify(&token(&header, r#"{"a":1}"#, algorithm, SECRET), SECRET).unwrap()["a"],
                1
            );
            assert!(verify(&token(&header, "{}", algorithm, b"another secret"), SECRET).is_none());
        }
        for header in [
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"none"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS256","crit":["x"]}"#,
            r#"{"alg":"HS256","b64":false}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            "{}",
        ] {
            assert!(
                verify(&token(header, "{}", hmac::HMAC_SHA256, SECRET), SECRET).is_none(),
                "{header}"
            );
        }
    }

    #[test]
    fn verify_rejects_malformed_tokens() {
        let good = token(r#"{"alg":"HS256"}"#, "{}", hmac::HMAC_SHA256, SECRET);
        let (signed, _) = good.rsplit_once('.').unwrap();
        for bad in [
            "",
            ".",
            "..",
            "a.b",
            signed,
            &format!("{signed}."),
            &format!("{good}.x"),
            &"x".repeat(20_000),
        ] {
            assert!(verify(bad, SECRET).is_none(), "{bad}");
        }
    }
}
