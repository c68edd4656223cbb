//! Revocation events for the apps' webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::uuid;
use crate::demo::provider::core::Provider;
use crate::demo::provider::error::InternalError;
use crate::demo::provider::event::Event;
use crate::demo::provider::keys::sha256;
use crate::demo::provider::settings::FusionAuth;
use crate::demo::provider::state::Grant;
use crate::demo::provider::webhooks::SignedEvent;
use crate::types::oauth::{ClientId, Subject};

impl Provider {
    /// Reports the revocation of one refresh token.
    pub(super) fn notify_token_revoked(
        &self,
        fusionauth: &FusionAuth,
        grant: &Grant,
    ) -> Result<(), InternalError> {
        let token = json!({
            "id": grant.id, "applicationId": grant.client, "userId": grant.subject, "tenantId": fusionauth.tenant_id,
        });
        self.send_event(
            fusionauth,
            json!({
                "applicationId": grant.client, "userId": grant.subject, "user": { "id": grant.subject },
                "applicationTimeToLiveInSeconds": { grant.client.as_str(): self.settings.jwt_lifetime.as_secs() },
                "refreshToken": token,
            }),
        )
    }

    /// Reports the revocation of a user's refresh tokens, at one application or at all.
    pub(in crate::demo::provider) fn notify_user_revoked(
        &self,
        fusionauth: &FusionAuth,
        subject: &Subject,
        application: Option<&ClientId>,
    ) -> Result<(), InternalError> {
        let mut members = json!({
            "userId": subject, "user": { "id": subject }, "applicationTimeToLiveInSeconds": self.lifetimes(),
        });
        if let (Some(application), Some(members)) = (application, members.as_object_mut()) {
            members.insert("applicationId".into(), json!(application));
        }
        self.send_event(fusionauth, members)
    }

    /// Reports the revocation of an application's refresh tokens.
    pub(super) fn notify_application_revoked(
        &self,
        fusionauth: &FusionAuth,
        application: &ClientId,
    ) -> Result<(), InternalError> {
        let lifetimes = self.lifetimes();
        self.send_event(
            fusionauth,
            json!({ "applicationId": application, "applicationTimeToLiveInSeconds": lifetimes }),
        )
    }

    fn lifetimes(&self) -> Value {
        let lifetime = json!(self.settings.jwt_lifetime.as_secs());
        self.settings
            .clients
            .iter()
            .map(|client| (client.id.to_string(), lifetime.clone()))
            .collect()
    }

    fn send_event(&self, fusionauth: &FusionAuth, members: Value) -> Result<(), InternalError> {
        let Some(webhooks) = &self.webhooks else {
            return Ok(());
        };
        let mut event = json!({
            "type": "jwt.refresh-token.revoke", "id": uuid()?, "tenantId": fusionauth.tenant_id,
            "createInstant": self.now().secs().saturating_mul(1000), "info": {},
        });
        if let (Some(event), Value::Object(members)) = (event.as_object_mut(), members) {
            event.extend(members);
        }
        let body = json!({ "event": event }).to_string();
        let hash = STANDARD.encode(sha256(body.as_bytes()));
        let signature = self
            .key
            .sign("JWT", &json!({ "request_body_sha256": hash }))?;
        let is_sent = webhooks.send(SignedEvent { body, signature });
        self.emit(if is_sent {
            Event::WebhookSent
        } else {
            Event::WebhookLost
        });
        Ok(())
    }
}
