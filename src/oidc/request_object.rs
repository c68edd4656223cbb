//! Request objects (RFC 9101): the parameters of an authorization request as the claims of a signed JWT.
//! PURE.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::client_key::{ClientKey, RsaPadding, SigningError};
use crate::types::oauth::{ClientId, Issuer};
use crate::types::time::Timestamp;

/// How long a request object is valid. A browser sends it at once, and again if the user goes back.
const LIFETIME: Duration = Duration::from_secs(300);

const TYPE: &str = "oauth-authz-req+jwt";

/// Claims that no parameter can set. With `sub` it could be taken for a client assertion (section 10.8).
const NOT_PARAMETERS: [&str; 9] = [
    "aud",
    "exp",
    "iat",
    "iss",
    "jti",
    "nbf",
    "request",
    "request_uri",
    "sub",
];

/// The claims of a request object.
pub(super) struct RequestObject<'r> {
    pub(super) client_id: &'r ClientId,
    pub(super) issuer: &'r Issuer,
    /// By the clock of the provider.
    pub(super) now: Timestamp,
    /// Unique.
    pub(super) jti: &'r str,
    /// The parameters of the request.
    pub(super) parameters: &'r [(String, String)],
}

impl RequestObject<'_> {
    /// Signs it.
    pub(super) fn sign(
        &self,
        key: &ClientKey,
        padding: RsaPadding,
    ) -> Result<String, SigningError> {
        key.sign(TYPE, &Value::Object(self.claims()), padding)
    }

    fn claims(&self) -> Map<String, Value> {
        let mut parameters: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let own = self.parameters.iter();
        for (name, value) in own.filter(|(name, _)| !NOT_PARAMETERS.contains(&name.as_str())) {
            let values = parameters.entry(name).or_default();
            values.push(claim(name, value));
        }
        let mut claims: Map<String, Value> = parameters
            .into_iter()
            .map(|(name, values)| (name.to_owned(), one_or_many(values)))
            .collect();
        let now = self.now.secs();
        claims.insert("iss".to_owned(), self.client_id.as_str().into());
        claims.insert("aud".to_owned(), self.issuer.as_str().into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("nbf".to_owned(), now.into());
        claims.insert("exp".to_owned(), self.now.plus(LIFETIME).secs().into());
        claims.insert("jti".to_owned(), self.jti.into());
        claims
    }
}

/// The value of a parameter: a number or JSON where the standards say so (section 4), otherwise text.
fn claim(name: &str, value: &str) -> Value {
    let typed = match name {
        "max_age" => value.parse::<u64>().ok().map(Value::from),
        "authorization_details" | "claims" => serde_json::from_str(value).ok(),
        _ => None,
    };
    typed.unwrap_or_else(|| value.into())
}

/// A parameter that occurs several times is an array.
fn one_or_many(mut values: Vec<Value>) -> Value {
    match (values.len(), values.pop()) {
        (1, Some(value)) => value,
        (_, Some(last)) => {
            values.push(last);
            Value::Array(values)
        }
        (_, None) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oidc::algorithm::Algorithm;
    use crate::oidc::install_crypto;
    use crate::oidc::jwks::KeySet;
    use crate::oidc::jws::Jws;
    use crate::oidc::testing::client_key;

    #[test]
    fn parameters_are_claims_and_cannot_replace_the_registered_ones() {
        install_crypto();
        let key = client_key();
        let parameters = [
            ("client_id", "store"),
            ("state", "s s"),
            ("max_age", "60"),
            ("claims", r#"{"id_token":{"acr":null}}"#),
            ("authorization_details", r#"[{"type":"payment"}]"#),
            ("resource", "https://a.example"),
            ("resource", "https://b.example"),
            ("sub", "store"),
            ("aud", "https://evil.example"),
            ("exp", "99999999999"),
            ("request_uri", "urn:x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let object = RequestObject {
            client_id: &ClientId::new("store"),
            issuer: &Issuer::new("https://login.example.com"),
            now: Timestamp::from_secs(1000),
            jti: "j",
            parameters: &parameters,
        };
        let signed = object.sign(&key, RsaPadding::Pkcs1).unwrap();
        let jwks = json!({"keys": [key.public_jwk()]}).to_string();
        let jws = Jws::parse(&signed, &[Algorithm::Es256]).unwrap();
        let verified = jws
            .verify(&KeySet::parse(jwks.as_bytes()).unwrap())
            .unwrap();
        assert_eq!(verified.typ.as_deref(), Some("oauth-authz-req+jwt"));
        let expected = json!({
            "client_id": "store", "state": "s s", "max_age": 60,
            "claims": {"id_token": {"acr": null}},
            "authorization_details": [{"type": "payment"}],
            "resource": ["https://a.example", "https://b.example"],
            "iss": "store", "aud": "https://login.example.com",
            "iat": 1000, "nbf": 1000, "exp": 1300, "jti": "j",
        });
        assert_eq!(Value::Object(verified.claims), expected);
    }
}
