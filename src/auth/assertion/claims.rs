//! The claims of an assertion.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Map, Value};

use crate::identity::identity::Identity;
use crate::policy::assertion::AssertionPolicy;
use crate::policy::decide::Permit;
use crate::types::time::Timestamp;

/// The claims of an assertion.
pub(super) struct AssertionClaims(Map<String, Value>);

impl AssertionClaims {
    /// The claims about the caller of a permitted request.
    pub(super) fn of_caller(
        permit: &Permit<'_>,
        policy: &AssertionPolicy,
        identity: &Identity,
        now: Timestamp,
    ) -> Self {
        let mut claims = Map::new();
        for name in &policy.claims {
            if let Some(value) = identity.claims.get(name) {
                claims.insert(name.clone(), value.clone());
            }
        }
        let is_user = permit.token().is_none_or(|live| live.token().is_user);
        // A client that acts on its own behalf may have the ID of a user.
        let subject = if is_user { "sub" } else { "client_id" };
        let issuer = permit.app_ref().app.origin.to_string();
        for (name, value) in [
            ("iss", Value::from(issuer)),
            ("aud", policy.audience.as_str().into()),
            (subject, identity.subject.as_str().into()),
            ("iat", now.secs().into()),
            ("exp", now.plus(policy.lifetime).secs().into()),
        ] {
            claims.insert(name.to_owned(), value);
        }
        Self(claims)
    }

    /// The same for one request.
    pub(super) fn of_request(mut self, method: &Method, target: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, target.as_bytes());
        let hash = URL_SAFE_NO_PAD.encode(hash);
        self.0.insert("htm".to_owned(), method.as_str().into());
        self.0.insert("target_hash".to_owned(), hash.into());
        self
    }

    /// As JSON.
    pub(super) fn into_json(self) -> Value {
        Value::Object(self.0)
    }
}
