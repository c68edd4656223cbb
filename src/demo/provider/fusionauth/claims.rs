//! Claims of FusionAuth's tokens: the user, and the application that the user is registered for.

use serde_json::{Map, Value, json};

use super::uuid;
use crate::demo::provider::core::Provider;
use crate::demo::provider::error::InternalError;
use crate::demo::provider::keys::at_hash;
use crate::demo::provider::settings::{FusionAuth, User};
use crate::demo::provider::state::Grant;
use crate::types::time::Timestamp;

/// `typ` of access tokens and ID tokens.
const JWT: &str = "JWT";

/// The claim `authenticationType`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthenticationType {
    Password,
    RefreshToken,
}

/// The data that tokens are issued from.
#[derive(Clone, Copy)]
pub(super) struct TokenContext<'a> {
    pub(super) fusionauth: &'a FusionAuth,
    pub(super) grant: &'a Grant,
    pub(super) user: &'a User,
    pub(super) by: AuthenticationType,
    pub(super) now: Timestamp,
}

impl Provider {
    /// The access token. Its `sid` is the id of the refresh token, if any.
    pub(super) fn fusionauth_access_token(
        &self,
        issue: TokenContext<'_>,
    ) -> Result<String, InternalError> {
        let TokenContext {
            fusionauth,
            grant,
            user,
            ..
        } = issue;
        let mut claims = self.fusionauth_claims(issue)?;
        if fusionauth.is_registered(user) {
            claims.insert("applicationId".into(), json!(grant.client));
            claims.insert("roles".into(), json!(user.roles));
        }
        if grant.scope.iter().any(|item| item == "offline_access") {
            claims.insert("sid".into(), json!(grant.id));
        }
        self.key.sign(JWT, &claims)
    }

    /// The ID token. Its `sid` is the provider session, unlike the access token's `sid`.
    pub(super) fn fusionauth_id_token(
        &self,
        issue: TokenContext<'_>,
        nonce: Option<&str>,
        access_token: &str,
    ) -> Result<String, InternalError> {
        let TokenContext { grant, user, .. } = issue;
        let mut claims = self.fusionauth_claims(issue)?;
        claims.insert("at_hash".into(), json!(at_hash(access_token)));
        claims.insert("sid".into(), json!(grant.sid));
        if grant.scope.iter().any(|item| item == "profile") {
            claims.insert("name".into(), json!(user.name));
        }
        if let Some(nonce) = nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        self.key.sign(JWT, &claims)
    }

    /// The claims of a valid access token. As in FusionAuth, revocation is not checked.
    pub(super) fn fusionauth_live(&self, token: &str, now: Timestamp) -> Option<Value> {
        let claims = self.key.verify(JWT, token)?;
        let lives = claims
            .get("exp")?
            .as_u64()
            .is_some_and(|end| now.secs() < end);
        (lives && claims.get("at_hash").is_none()).then_some(claims)
    }

    fn fusionauth_claims(
        &self,
        issue: TokenContext<'_>,
    ) -> Result<Map<String, Value>, InternalError> {
        let TokenContext {
            fusionauth,
            grant,
            user,
            by,
            now,
        } = issue;
        let by = match by {
            AuthenticationType::Password => "PASSWORD",
            AuthenticationType::RefreshToken => "REFRESH_TOKEN",
        };
        Ok(Map::from_iter([
            ("aud".into(), json!(grant.client)),
            ("iss".into(), json!(fusionauth.issuer)),
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
            ("tid".into(), json!(fusionauth.tenant_id)),
        ]))
    }
}
