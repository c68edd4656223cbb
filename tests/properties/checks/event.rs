//! Webhook events: accepted data is in the body, and sufficient to revoke sessions.

use doorward::oidc::fusionauth::event::{AffectedSessions, read};
use doorward::types::oauth::ClientId;
use serde_json::Value;

/// Panics if `body` is parsed as an event that it is not.
pub(crate) fn check(body: &[u8]) {
    let Ok(Some(event)) = read(body) else { return };
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = &said["event"];
    assert_eq!(said["id"], event.id);
    assert!(
        !event.id.is_empty()
            && event.id.len() <= 64
            && event.id.bytes().all(|byte| byte.is_ascii_graphic())
    );
    let millis = said["createInstant"].as_u64().unwrap_or(u64::MAX);
    let second = event.created_at.secs();
    assert!(
        second * 1000 <= millis && millis < (second + 1) * 1000,
        "{millis} is not in {second}"
    );
    let is_revocation = said["type"] == "jwt.refresh-token.revoke";
    let application = |id: &Option<ClientId>| match id {
        Some(id) => assert_eq!(said["applicationId"], id.as_str()),
        None => assert!(!is_revocation || said["applicationId"].is_null()),
    };
    match &event.affected {
        AffectedSessions::RefreshToken {
            sid,
            application: id,
        } => {
            assert!(is_revocation && !sid.as_str().is_empty());
            assert_eq!(said["refreshToken"]["id"], sid.as_str());
            application(id);
        }
        AffectedSessions::User {
            subject: user,
            application: id,
        } => {
            assert!(!user.as_str().is_empty());
            assert!(said["userId"] == user.as_str() || said["user"]["id"] == user.as_str());
            application(id);
        }
        AffectedSessions::Application(id) => {
            assert!(is_revocation && said["applicationId"] == id.as_str());
            assert!(
                said["userId"].is_null() && said["user"]["id"].is_null(),
                "the event must name a user"
            );
        }
    }
}
