//! FusionAuth webhook events that end sessions. Nothing else of an event is kept, since events
//! contain personal data and valid tokens. PURE.

use serde_json::{Map, Value};

use crate::oidc::json;
use crate::types::oauth::{ClientId, ProviderSid, Subject};
use crate::types::time::Timestamp;

/// Maximum length of an event id; FusionAuth's have 36 characters.
const MAX_ID_LEN: usize = 64;
/// The last millisecond of the year 9999.
const MAX_INSTANT: u64 = 253_402_300_799_999;

/// An event that ends sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `id`, which is the same in every delivery.
    pub id: String,
    /// `createInstant`, rounded down.
    pub created_at: Timestamp,
    /// `tenantId`.
    pub tenant_id: Option<String>,
    /// The stable code of what happened.
    pub code: &'static str,
    /// The sessions that end.
    pub affected: AffectedSessions,
}

/// The sessions that an event ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffectedSessions {
    /// The session of one refresh token, of one application if it is known.
    RefreshToken {
        /// The refresh token's id.
        sid: ProviderSid,
        /// The application.
        application: Option<ClientId>,
    },
    /// All sessions of a user, at one application or at all.
    User {
        /// The user.
        subject: Subject,
        /// The application; `None` for all.
        application: Option<ClientId>,
    },
    /// All sessions at one application.
    Application(ClientId),
}

/// Why a webhook body is not a valid event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not a JSON object with an `event` that has a `type`.
    #[error("the webhook's body is not an event")]
    Malformed,
    /// A member that this type of event requires is missing or has the wrong type.
    #[error("`{0}` of the event is missing or malformed")]
    Member(&'static str),
}

impl EventError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "webhook_malformed",
            Self::Member(_) => "webhook_member_malformed",
        }
    }
}

/// Parses a webhook body. Returns `None` for an event type that ends no session.
///
/// # Errors
/// [`EventError`].
pub fn read(body: &[u8]) -> Result<Option<Event>, EventError> {
    let body = json::object(body).ok_or(EventError::Malformed)?;
    let event = body
        .get("event")
        .and_then(Value::as_object)
        .ok_or(EventError::Malformed)?;
    let (code, affected) = match event
        .get("type")
        .and_then(Value::as_str)
        .ok_or(EventError::Malformed)?
    {
        "jwt.refresh-token.revoke" => ("refresh_token_revoked", affected_by_revocation(event)?),
        "user.deactivate" => ("user_deactivated", all_of_user(event)?),
        "user.delete" => ("user_deleted", all_of_user(event)?),
        "user.password.update" => ("password_updated", all_of_user(event)?),
        _ => return Ok(None),
    };
    let id = text(event, "id")?
        .filter(|id| id.len() <= MAX_ID_LEN && id.bytes().all(|byte| byte.is_ascii_graphic()));
    let created = event
        .get("createInstant")
        .and_then(Value::as_u64)
        .filter(|millis| *millis <= MAX_INSTANT);
    Ok(Some(Event {
        id: id.ok_or(EventError::Member("id"))?.to_owned(),
        created_at: Timestamp::from_secs(
            created.ok_or(EventError::Member("createInstant"))? / 1000,
        ),
        tenant_id: text(event, "tenantId")?.map(str::to_owned),
        code,
        affected,
    }))
}

/// One refresh token, all of a user (at one application or at all), or all of an application.
fn affected_by_revocation(event: &Map<String, Value>) -> Result<AffectedSessions, EventError> {
    let application = text(event, "applicationId")?.map(ClientId::new);
    if let Some(token) = object(event, "refreshToken")? {
        let id = text(token, "id")?.ok_or(EventError::Member("refreshToken.id"))?;
        return Ok(AffectedSessions::RefreshToken {
            sid: ProviderSid::new(id),
            application,
        });
    }
    match (subject(event)?, application) {
        (Some(subject), application) => Ok(AffectedSessions::User {
            subject,
            application,
        }),
        (None, Some(application)) => Ok(AffectedSessions::Application(application)),
        (None, None) => Err(EventError::Member("userId")),
    }
}

fn all_of_user(event: &Map<String, Value>) -> Result<AffectedSessions, EventError> {
    Ok(AffectedSessions::User {
        subject: subject(event)?.ok_or(EventError::Member("user.id"))?,
        application: None,
    })
}

/// `userId` or `user.id`, which must not differ.
fn subject(event: &Map<String, Value>) -> Result<Option<Subject>, EventError> {
    let nested = match object(event, "user")? {
        Some(user) => text(user, "id")?,
        None => None,
    };
    match (text(event, "userId")?, nested) {
        (Some(id), Some(nested)) if id != nested => Err(EventError::Member("userId")),
        (id, nested) => Ok(id.or(nested).map(Subject::new)),
    }
}

fn text<'e>(
    object: &'e Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'e str>, EventError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(EventError::Member(name)),
    }
}

fn object<'e>(
    event: &'e Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'e Map<String, Value>>, EventError> {
    match event.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(EventError::Member(name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const APP: &str = "3c219e58-ed0e-4b18-ad48-f4f92793ae32";

    fn event(kind: &str, members: &Value) -> Value {
        let mut event = json!({
            "id": "e502168a-b469-45d9-a079-fd45f83e0406", "type": kind, "createInstant": 1_505_762_615_956_u64,
            "tenantId": "t", "info": {"ipAddress": "42.42.42.42"},
        });
        event
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        json!({ "event": event })
    }

    fn affected(kind: &str, members: &Value) -> Result<Option<AffectedSessions>, EventError> {
        let read = read(event(kind, members).to_string().as_bytes())?;
        Ok(read.map(|event| event.affected))
    }

    fn refresh_token(sid: &str, application: Option<&str>) -> AffectedSessions {
        AffectedSessions::RefreshToken {
            sid: ProviderSid::new(sid),
            application: application.map(ClientId::new),
        }
    }

    fn user(subject: &str, application: Option<&str>) -> AffectedSessions {
        AffectedSessions::User {
            subject: Subject::new(subject),
            application: application.map(ClientId::new),
        }
    }

    #[test]
    fn read_distinguishes_three_kinds_of_revocation() {
        let secret =
            json!({"id": "rt-1", "applicationId": APP, "userId": "u-1", "token": "living secret"});
        let times = json!({ APP: 600 });
        for (members, expected) in [
            (
                json!({"applicationId": APP, "userId": "u-1", "user": {"id": "u-1"}, "refreshToken": secret}),
                refresh_token("rt-1", Some(APP)),
            ),
            (
                json!({"userId": "u-1", "refreshToken": {"id": "rt-1"}}),
                refresh_token("rt-1", None),
            ),
            (
                json!({"userId": "u-1", "user": {"id": "u-1"}, "applicationTimeToLiveInSeconds": times}),
                user("u-1", None),
            ),
            (
                json!({"user": {"id": "u-1"}, "applicationId": null}),
                user("u-1", None),
            ),
            (
                json!({"applicationId": APP, "userId": "u-1"}),
                user("u-1", Some(APP)),
            ),
            (
                json!({"applicationId": APP, "applicationTimeToLiveInSeconds": times}),
                AffectedSessions::Application(ClientId::new(APP)),
            ),
        ] {
            assert_eq!(
                affected("jwt.refresh-token.revoke", &members),
                Ok(Some(expected)),
                "{members}"
            );
        }
    }

    #[test]
    fn read_user_events_affect_all_applications() {
        for (kind, code) in [
            ("user.deactivate", "user_deactivated"),
            ("user.delete", "user_deleted"),
            ("user.password.update", "password_updated"),
        ] {
            let text = event(
                kind,
                &json!({"user": {"id": "u-1", "email": "a@example.com"}}),
            )
            .to_string();
            let event = read(text.as_bytes()).unwrap().unwrap();
            assert_eq!((event.code, event.created_at.secs()), (code, 1_505_762_615));
            assert_eq!(event.affected, user("u-1", None));
            assert!(!format!("{event:?}").contains("example.com"));
        }
    }

    #[test]
    fn read_keeps_no_tokens() {
        let token = json!({"id": "rt-1", "token": "living secret"});
        let text = event(
            "jwt.refresh-token.revoke",
            &json!({"refreshToken": token, "original": "old.jwt.here"}),
        );
        let event = read(text.to_string().as_bytes()).unwrap().unwrap();
        let kept = format!("{event:?}");
        assert!(
            !kept.contains("living") && !kept.contains("old.jwt"),
            "{kept}"
        );
    }

    #[test]
    fn read_ignores_other_event_types() {
        for kind in ["jwt.refresh", "user.update", "test", "USER.DELETE", ""] {
            assert_eq!(
                affected(kind, &json!({"id": 7, "createInstant": "x"})),
                Ok(None),
                "{kind}"
            );
        }
    }

    #[test]
    fn read_rejects_invalid_events() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"event":[]}"#,
            r#"{"event":{}}"#,
            r#"{"event":{"type":7}}"#,
            r#"{"event":{"type":"a"},"event":{}}"#,
        ] {
            assert_eq!(read(text.as_bytes()), Err(EventError::Malformed), "{text}");
        }
        let good = json!({"user": {"id": "u-1"}});
        for (kind, members, member) in [
            ("user.delete", json!({}), "user.id"),
            ("user.delete", json!({"user": {}}), "user.id"),
            ("user.delete", json!({"user": {"id": 7}}), "id"),
            ("user.delete", json!({"user": "u-1"}), "user"),
            (
                "user.delete",
                json!({"user": {"id": "u-1"}, "userId": "u-2"}),
                "userId",
            ),
            ("jwt.refresh-token.revoke", json!({}), "userId"),
            (
                "jwt.refresh-token.revoke",
                json!({"userId": ["u-1"], "applicationId": APP}),
                "userId",
            ),
            (
                "jwt.refresh-token.revoke",
                json!({"userId": "", "applicationId": APP}),
                "userId",
            ),
            (
                "jwt.refresh-token.revoke",
                json!({"userId": "u-1", "refreshToken": {"id": 7}}),
                "id",
            ),
            (
                "jwt.refresh-token.revoke",
                json!({"userId": "u-1", "refreshToken": {}}),
                "refreshToken.id",
            ),
            (
                "jwt.refresh-token.revoke",
                json!({"userId": "u-1", "refreshToken": "rt"}),
                "refreshToken",
            ),
            (
                "jwt.refresh-token.revoke",
                json!({"userId": "u-1", "applicationId": 7}),
                "applicationId",
            ),
        ] {
            assert_eq!(
                affected(kind, &members),
                Err(EventError::Member(member)),
                "{kind} {members}"
            );
        }
        for (name, value) in [
            ("id", json!(null)),
            ("id", json!("a b")),
            ("id", json!("x".repeat(65))),
            ("createInstant", json!(null)),
            ("createInstant", json!("1505762615956")),
            ("createInstant", json!(-1)),
            ("createInstant", json!(1.5)),
            ("createInstant", json!(u64::MAX)),
            ("tenantId", json!(7)),
        ] {
            let mut members = good.clone();
            members[name] = value.clone();
            assert_eq!(
                affected("user.delete", &members),
                Err(EventError::Member(name)),
                "{name} {value}"
            );
        }
    }
}
