//! What a webhook says has happened, as far as it ends sessions. Nothing else of it is kept: events carry people's data
//! and living tokens. PURE.

use serde_json::{Map, Value};

use crate::oidc::json;
use crate::types::oauth::{ClientId, ProviderSid, Subject};
use crate::types::time::Timestamp;

/// The longest event id that is remembered; FusionAuth's have 36 characters.
const MAX_ID: usize = 64;
/// The last millisecond of the year 9999.
const LATEST: u64 = 253_402_300_799_999;

/// An event that ends sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `id`: the same whenever it is delivered again.
    pub id: String,
    /// `createInstant`, rounded down.
    pub created_at: Timestamp,
    /// `tenantId`.
    pub tenant_id: Option<String>,
    /// The stable word for what happened.
    pub word: &'static str,
    /// Whose sessions end.
    pub concerns: AffectedSessions,
}

/// Whose sessions an event ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffectedSessions {
    /// That of one refresh token; with the application, if it belongs to one.
    RefreshToken(ProviderSid, Option<ClientId>),
    /// Those of a person, at one application or at all.
    Person(Subject, Option<ClientId>),
    /// Everybody's at one application.
    Application(ClientId),
}

/// Why a body is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not one JSON object with an object `event` that has a `type`.
    #[error("the webhook's body is not an event")]
    Malformed,
    /// A member that this type of event has to have is missing or of the wrong type.
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

/// Reads a webhook's body. `None`: of a type that ends no session.
///
/// # Errors
/// [`EventError`].
pub fn read(body: &[u8]) -> Result<Option<Event>, EventError> {
    let body = json::object(body).ok_or(EventError::Malformed)?;
    let event = body
        .get("event")
        .and_then(Value::as_object)
        .ok_or(EventError::Malformed)?;
    let (word, concerns) = match event
        .get("type")
        .and_then(Value::as_str)
        .ok_or(EventError::Malformed)?
    {
        "jwt.refresh-token.revoke" => ("refresh_token_revoked", of_revocation(event)?),
        "user.deactivate" => ("user_deactivated", of_person(event)?),
        "user.delete" => ("user_deleted", of_person(event)?),
        "user.password.update" => ("password_updated", of_person(event)?),
        _ => return Ok(None),
    };
    let id = text(event, "id")?
        .filter(|id| id.len() <= MAX_ID && id.bytes().all(|byte| byte.is_ascii_graphic()));
    let created = event
        .get("createInstant")
        .and_then(Value::as_u64)
        .filter(|millis| *millis <= LATEST);
    Ok(Some(Event {
        id: id.ok_or(EventError::Member("id"))?.to_owned(),
        created_at: Timestamp::from_secs(
            created.ok_or(EventError::Member("createInstant"))? / 1000,
        ),
        tenant_id: text(event, "tenantId")?.map(str::to_owned),
        word,
        concerns,
    }))
}

/// One refresh token, all of a person (at one application or at all), or all of an application.
fn of_revocation(event: &Map<String, Value>) -> Result<AffectedSessions, EventError> {
    let application = text(event, "applicationId")?.map(ClientId::new);
    if let Some(token) = object(event, "refreshToken")? {
        let id = text(token, "id")?.ok_or(EventError::Member("refreshToken.id"))?;
        return Ok(AffectedSessions::RefreshToken(
            ProviderSid::new(id),
            application,
        ));
    }
    match (person(event)?, application) {
        (Some(person), application) => Ok(AffectedSessions::Person(person, application)),
        (None, Some(application)) => Ok(AffectedSessions::Application(application)),
        (None, None) => Err(EventError::Member("userId")),
    }
}

fn of_person(event: &Map<String, Value>) -> Result<AffectedSessions, EventError> {
    let person = person(event)?.ok_or(EventError::Member("user.id"))?;
    Ok(AffectedSessions::Person(person, None))
}

/// `userId` or `user.id`, which must not be two people.
fn person(event: &Map<String, Value>) -> Result<Option<Subject>, EventError> {
    let inner = match object(event, "user")? {
        Some(user) => text(user, "id")?,
        None => None,
    };
    match (text(event, "userId")?, inner) {
        (Some(one), Some(other)) if one != other => Err(EventError::Member("userId")),
        (one, other) => Ok(one.or(other).map(Subject::new)),
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

    fn concerns(kind: &str, members: &Value) -> Result<Option<AffectedSessions>, EventError> {
        let read = read(event(kind, members).to_string().as_bytes())?;
        Ok(read.map(|event| event.concerns))
    }

    #[test]
    fn a_revocation_has_three_shapes() {
        let (sid, app, user) = (
            ProviderSid::new("rt-1"),
            ClientId::new(APP),
            Subject::new("u-1"),
        );
        let secret =
            json!({"id": "rt-1", "applicationId": APP, "userId": "u-1", "token": "living secret"});
        let times = json!({ APP: 600 });
        for (members, expected) in [
            (
                json!({"applicationId": APP, "userId": "u-1", "user": {"id": "u-1"}, "refreshToken": secret}),
                AffectedSessions::RefreshToken(sid.clone(), Some(app.clone())),
            ),
            (
                json!({"userId": "u-1", "refreshToken": {"id": "rt-1"}}),
                AffectedSessions::RefreshToken(sid, None),
            ),
            (
                json!({"userId": "u-1", "user": {"id": "u-1"}, "applicationTimeToLiveInSeconds": times}),
                AffectedSessions::Person(user.clone(), None),
            ),
            (
                json!({"user": {"id": "u-1"}, "applicationId": null}),
                AffectedSessions::Person(user.clone(), None),
            ),
            (
                json!({"applicationId": APP, "userId": "u-1"}),
                AffectedSessions::Person(user, Some(app.clone())),
            ),
            (
                json!({"applicationId": APP, "applicationTimeToLiveInSeconds": times}),
                AffectedSessions::Application(app),
            ),
        ] {
            assert_eq!(
                concerns("jwt.refresh-token.revoke", &members),
                Ok(Some(expected)),
                "{members}"
            );
        }
    }

    #[test]
    fn what_happens_to_a_person_concerns_all_applications() {
        for (kind, word) in [
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
            assert_eq!((event.word, event.created_at.secs()), (word, 1_505_762_615));
            assert_eq!(
                event.concerns,
                AffectedSessions::Person(Subject::new("u-1"), None)
            );
            assert!(!format!("{event:?}").contains("example.com"));
        }
    }

    #[test]
    fn nothing_living_is_kept() {
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
    fn other_types_are_of_no_interest_whatever_they_hold() {
        for kind in ["jwt.refresh", "user.update", "test", "USER.DELETE", ""] {
            assert_eq!(
                concerns(kind, &json!({"id": 7, "createInstant": "x"})),
                Ok(None),
                "{kind}"
            );
        }
    }

    #[test]
    fn what_is_no_event_is_refused_and_never_half_believed() {
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
                concerns(kind, &members),
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
                concerns("user.delete", &members),
                Err(EventError::Member(name)),
                "{name} {value}"
            );
        }
    }
}
