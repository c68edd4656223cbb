//! Logout token validation (OpenID Connect Back-Channel Logout section 2.6): the claims of a token
//! whose signature was verified. PURE.

use std::time::Duration;

use serde_json::Value;

use super::claims::{Claim, ClaimError, Claims, media_subtype};
use super::jws::Signed;
use crate::types::oauth::{ClientId, Issuer, ProviderSid, Subject};
use crate::types::time::Timestamp;

/// The event of a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A token that identifies sessions that ended at the provider, by session, by user, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// `sid`: the session that ended.
    pub sid: Option<ProviderSid>,
    /// `sub`. Without `sid`, all sessions of this user ended.
    pub subject: Option<Subject>,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `jti`, for replay detection.
    pub id: String,
}

/// The accepted issuer and client, and the time limits.
#[derive(Clone, Copy, Debug)]
pub struct LogoutTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// The app's registration.
    pub client_id: &'p ClientId,
    /// Accepted clock difference.
    pub leeway: Duration,
    /// Maximum age of a token without `exp`, which drafts of the standard did not require.
    pub max_age: Duration,
}

/// Checks the claims of a logout token.
///
/// # Errors
/// The first claim that is not acceptable.
pub fn check(
    signed: &Signed,
    profile: LogoutTokenProfile<'_>,
    now: Timestamp,
) -> Result<LogoutToken, ClaimError> {
    let claims = Claims::new(&signed.claims);
    let kind = media_subtype(signed.typ.as_deref());
    if kind.is_some_and(|kind| kind != "logout+jwt" && kind != "jwt") || claims.has("nonce") {
        return Err(ClaimError::WrongKind);
    }
    claims.check_issuer(profile.issuer)?;
    if !claims.audiences()?.contains(&profile.client_id.as_str()) {
        return Err(ClaimError::AudienceMismatch);
    }
    let issued_at = claims.required_date(Claim::Iat)?;
    if issued_at > now.plus(profile.leeway) {
        return Err(ClaimError::IssuedInFuture);
    }
    let until = claims
        .date(Claim::Exp)?
        .unwrap_or(issued_at.plus(profile.max_age));
    if now >= until.plus(profile.leeway) {
        return Err(ClaimError::Expired);
    }
    check_event(claims)?;
    let sid = claims.text(Claim::Sid)?.map(ProviderSid::new);
    let subject = if claims.has("sub") {
        Some(Subject::new(claims.subject()?))
    } else {
        None
    };
    if sid.is_none() && subject.is_none() {
        return Err(ClaimError::Missing(Claim::Sub));
    }
    Ok(LogoutToken {
        sid,
        subject,
        issued_at,
        id: claims.required_text(Claim::Jti)?.to_owned(),
    })
}

fn check_event(claims: Claims<'_>) -> Result<(), ClaimError> {
    let events = claims
        .get("events")
        .ok_or(ClaimError::Missing(Claim::Events))?;
    let events = events
        .as_object()
        .ok_or(ClaimError::Malformed(Claim::Events))?;
    match events.get(EVENT) {
        Some(Value::Object(_)) => Ok(()),
        Some(_) => Err(ClaimError::Malformed(Claim::Events)),
        None => Err(ClaimError::WrongKind),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oidc::testing::{signed, with};

    const NOW: u64 = 1_800_000_000;

    fn base() -> Value {
        json!({
            "iss": "https://login.example.com", "sub": "alice", "aud": ["store"], "iat": NOW, "exp": NOW + 120,
            "jti": "j-1", "sid": "s-1", "events": { EVENT: {} },
        })
    }

    fn validate(claims: Value, typ: Option<&str>) -> Result<LogoutToken, ClaimError> {
        let issuer = Issuer::new("https://login.example.com");
        let client_id = ClientId::new("store");
        let leeway = Duration::from_secs(30);
        let max_age = Duration::from_secs(300);
        let profile = LogoutTokenProfile {
            issuer: &issuer,
            client_id: &client_id,
            leeway,
            max_age,
        };
        check(&signed(&claims, typ), profile, Timestamp::from_secs(NOW))
    }

    #[test]
    fn check_returns_session_and_user() {
        for typ in [
            None,
            Some("JWT"),
            Some("logout+jwt"),
            Some("application/logout+jwt"),
        ] {
            let token = validate(base(), typ).unwrap();
            assert_eq!(
                (token.sid.unwrap().as_str(), token.subject.unwrap().as_str()),
                ("s-1", "alice")
            );
        }
    }

    #[test]
    fn check_requires_session_or_user() {
        assert!(
            validate(with(&base(), "sid", None), None)
                .unwrap()
                .sid
                .is_none()
        );
        assert!(
            validate(with(&base(), "sub", None), None)
                .unwrap()
                .subject
                .is_none()
        );
        let neither = with(&with(&base(), "sub", None), "sid", None);
        assert_eq!(
            validate(neither, None),
            Err(ClaimError::Missing(Claim::Sub))
        );
    }

    #[test]
    fn check_rejects_missing_and_mistyped_required_claims() {
        for (name, claim) in [
            ("iss", Claim::Iss),
            ("aud", Claim::Aud),
            ("iat", Claim::Iat),
            ("jti", Claim::Jti),
            ("events", Claim::Events),
        ] {
            assert_eq!(
                validate(with(&base(), name, None), None),
                Err(ClaimError::Missing(claim)),
                "{name}"
            );
            for wrong in [json!(null), json!(true), json!([1])] {
                assert_eq!(
                    validate(with(&base(), name, Some(wrong)), None),
                    Err(ClaimError::Malformed(claim)),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn check_rejects_other_kinds_of_tokens() {
        for (name, value, error) in [
            ("nonce", json!("n"), ClaimError::WrongKind),
            ("events", json!({"other": {}}), ClaimError::WrongKind),
            (
                "events",
                json!({ EVENT: true }),
                ClaimError::Malformed(Claim::Events),
            ),
            ("aud", json!("forum"), ClaimError::AudienceMismatch),
            (
                "iss",
                json!("https://login.example.com/"),
                ClaimError::IssuerMismatch,
            ),
            ("iat", json!(NOW + 31), ClaimError::IssuedInFuture),
            ("exp", json!(NOW - 30), ClaimError::Expired),
            ("sub", json!(7), ClaimError::Malformed(Claim::Sub)),
        ] {
            assert_eq!(
                validate(with(&base(), name, Some(value)), None),
                Err(error),
                "{name}"
            );
        }
        for typ in ["at+jwt", "dpop+jwt", "secevent+jwt"] {
            assert_eq!(validate(base(), Some(typ)), Err(ClaimError::WrongKind));
        }
    }

    #[test]
    fn check_limits_the_age_of_tokens_without_exp() {
        let old = with(&with(&base(), "exp", None), "iat", Some(json!(NOW - 330)));
        assert_eq!(validate(old, None), Err(ClaimError::Expired));
        assert!(validate(with(&base(), "exp", None), None).is_ok());
    }
}
