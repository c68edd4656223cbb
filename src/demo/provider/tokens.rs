//! Token claims: ID token (OpenID Connect Core section 2), JWT access token (RFC 9068) and
//! userinfo, by granted scope.

use serde_json::{Map, Value, json};

use crate::types::time::Timestamp;

use super::core::Provider;
use super::error::InternalError;
use super::keys::{at_hash, random_token};
use super::settings::{Settings, User};
use super::state::Grant;

/// `typ` of access tokens (RFC 9068 section 2.1).
pub(super) const ACCESS_TOKEN: &str = "at+jwt";
/// `typ` of ID tokens.
pub(super) const ID_TOKEN: &str = "JWT";

impl Provider {
    /// A new access token for `scope`. Its `jti` begins with the grant's id, so that revoking the
    /// grant revokes it.
    pub(super) fn access_token(
        &self,
        grant: &Grant,
        user: &User,
        scope: &[String],
        now: Timestamp,
    ) -> Result<String, InternalError> {
        let mut claims = common_claims(&self.settings, grant, now);
        claims.extend(user_claims(user, scope));
        claims.insert(
            "jti".into(),
            json!(format!("{}.{}", grant.id, random_token()?)),
        );
        claims.insert("client_id".into(), json!(grant.client));
        claims.insert("scope".into(), json!(scope.join(" ")));
        self.key.sign(ACCESS_TOKEN, &claims)
    }

    /// The ID token for an access token. `nonce` is present only at the code exchange (section
    /// 12.2).
    pub(super) fn id_token(
        &self,
        grant: &Grant,
        user: &User,
        scope: &[String],
        nonce: Option<&str>,
        access_token: &str,
        now: Timestamp,
    ) -> Result<String, InternalError> {
        let mut claims = common_claims(&self.settings, grant, now);
        claims.extend(user_claims(user, scope));
        claims.insert("auth_time".into(), json!(grant.auth_time));
        claims.insert("at_hash".into(), json!(at_hash(access_token)));
        claims.insert("azp".into(), json!(grant.client));
        if let Some(nonce) = nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        self.key.sign(ID_TOKEN, &claims)
    }

    /// The grant and scope of a valid access token that is not revoked.
    pub(super) fn active_access_token(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<(Grant, Vec<String>)> {
        let claims = self.key.verify(ACCESS_TOKEN, token)?;
        let expires = claims.get("exp")?.as_u64()?;
        if now.secs() >= expires {
            return None;
        }
        let scope = claims
            .get("scope")?
            .as_str()?
            .split(' ')
            .map(str::to_owned)
            .collect();
        Some((
            self.state().active_grant(grant_id(&claims)?)?.clone(),
            scope,
        ))
    }
}

/// The id of an access token's grant.
pub(super) fn grant_id(claims: &Value) -> Option<&str> {
    claims
        .get("jti")?
        .as_str()?
        .split_once('.')
        .map(|(id, _)| id)
}

fn common_claims(settings: &Settings, grant: &Grant, now: Timestamp) -> Map<String, Value> {
    Map::from_iter([
        ("iss".into(), json!(settings.issuer.to_string())),
        ("sub".into(), json!(grant.subject)),
        ("aud".into(), json!(grant.client)),
        ("iat".into(), json!(now)),
        ("exp".into(), json!(now.plus(settings.jwt_lifetime))),
        ("sid".into(), json!(grant.sid)),
    ])
}

/// The user claims of `scope` (OpenID Connect Core section 5.4), and `roles` always.
pub(super) fn user_claims(user: &User, scope: &[String]) -> Map<String, Value> {
    let mut claims = Map::from_iter([("roles".into(), json!(user.roles))]);
    if scope.iter().any(|item| item == "email") {
        claims.insert("email".into(), json!(user.email));
        claims.insert("email_verified".into(), json!(true));
    }
    if scope.iter().any(|item| item == "profile") {
        claims.insert("preferred_username".into(), json!(user.username));
        claims.insert("name".into(), json!(user.name));
    }
    claims
}
