//! FusionAuth's tokens: what they say of a person, and of the application that the person is registered for.

use serde_json::{Map, Value, json};

use super::{FusionAuth, uuid};
use crate::demo::provider::keys::at_hash;
use crate::demo::provider::settings::User;
use crate::demo::provider::state::Grant;
use crate::demo::provider::{Failure, Provider};
use crate::types::time::Timestamp;

/// `typ` of both tokens.
const JWT: &str = "JWT";

/// `authenticationType`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Password,
    RefreshToken,
}

/// What tokens are about.
#[derive(Clone, Copy)]
pub(super) struct Issue<'a> {
    pub(super) own: &'a FusionAuth,
    pub(super) grant: &'a Grant,
    pub(super) user: &'a User,
    pub(super) by: By,
    pub(super) now: Timestamp,
}

impl Provider {
    /// The access token. `sid` is the refresh token's id, where there is one.
    pub(super) fn fusionauth_access_token(&self, issue: Issue<'_>) -> Result<String, Failure> {
        let Issue {
            own, grant, user, ..
        } = issue;
        let mut claims = self.fusionauth_claims(issue)?;
        if own.is_registered(user) {
            claims.insert("applicationId".into(), json!(grant.client));
            claims.insert("roles".into(), json!(user.roles));
        }
        if grant.scope.iter().any(|word| word == "offline_access") {
            claims.insert("sid".into(), json!(grant.id));
        }
        self.key.sign(JWT, &claims)
    }

    /// The ID token. Its `sid` is the session at the provider: another thing than the access token's.
    pub(super) fn fusionauth_id_token(
        &self,
        issue: Issue<'_>,
        nonce: Option<&str>,
        access_token: &str,
    ) -> Result<String, Failure> {
        let Issue { grant, user, .. } = issue;
        let mut claims = self.fusionauth_claims(issue)?;
        claims.insert("at_hash".into(), json!(at_hash(access_token)));
        claims.insert("sid".into(), json!(grant.sid));
        if grant.scope.iter().any(|word| word == "profile") {
            claims.insert("name".into(), json!(user.name));
        }
        if let Some(nonce) = nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        self.key.sign(JWT, &claims)
    }

    /// The claims of an access token that is ours and alive. Whether it was revoked is not asked: FusionAuth does not.
    pub(super) fn fusionauth_live(&self, token: &str, now: Timestamp) -> Option<Value> {
        let claims = self.key.verify(JWT, token)?;
        let lives = claims
            .get("exp")?
            .as_u64()
            .is_some_and(|end| now.secs() < end);
        (lives && claims.get("at_hash").is_none()).then_some(claims)
    }

    fn fusionauth_claims(&self, issue: Issue<'_>) -> Result<Map<String, Value>, Failure> {
        let Issue {
            own,
            grant,
            user,
            by,
            now,
        } = issue;
        let by = match by {
            By::Password => "PASSWORD",
            By::RefreshToken => "REFRESH_TOKEN",
        };
        Ok(Map::from_iter([
            ("aud".into(), json!(grant.client)),
            ("iss".into(), json!(own.issuer)),
            ("sub".into(), json!(grant.subject)),
            ("iat".into(), json!(now)),
            ("exp".into(), json!(now.plus(self.settings.jwt_lifetime))),
            ("jti".into(), json!(uuid()?)),
            ("authenticationType".into(), json!(by)),
            ("auth_time".into(), json!(grant.auth_time)),
            ("email".into(), json!(user.email)),
            ("email_verified".into(), json!(true)),
            ("preferred_username".into(), json!(user.username)),
            ("scope".into(), json!(grant.scope.join(" "))),
            ("tid".into(), json!(own.tenant_id)),
        ]))
    }
}
