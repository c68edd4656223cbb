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
    /// Further accepted `aud` values, by which another provider knows the app.
    pub audiences: &'p [String],
    /// Accepted clock difference.
    pub leeway: Duration,
    /// Dangerous: accepts tokens without `exp`, up to this age. Drafts of the standard did not require
    /// it. `None`: they are rejected.
    pub max_age_without_exp: Option<Duration>,
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
    let audiences = claims.audiences()?;
    let is_accepted = |accepted: &str| audiences.contains(&accepted);
    if !is_accepted(profile.client_id.as_str())
        && !profile
            .audiences
            .iter()
            .any(|audience| is_accepted(audience))
    {
        return Err(ClaimError::AudienceMismatch);
    }
    let issued_at = claims.required_date(Claim::Iat)?;
    if let Some(max_age) = profile.max_age_without_exp
        && !claims.has(Claim::Exp.name())
        && now >= issued_at.plus(max_age).plus(profile.leeway)
    {
        return Err(ClaimError::Expired);
    }
    match profile.max_age_without_exp {
        Some(_) => claims.check_times_if_present(now, profile.leeway)?,
        None => claims.check_times(now, profile.leeway)?,
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
        .ok_or_else(|| claims.absent(Claim::Events))?;
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
        validate_up_to(claims, typ, None)
    }

    fn validate_up_to(
        claims: Value,
        typ: Option<&str>,
        max_age: Option<u64>,
    ) -> Result<LogoutToken, ClaimError> {
        let issuer = Issuer::new("https://login.example.com");
        let client_id = ClientId::new("store");
        let leeway = Duration::from_secs(30);
        let audiences = [String::from("api")];
        let profile = LogoutTokenProfile {
            issuer: &issuer,
            client_id: &client_id,
            audiences: &audiences,
            leeway,
            max_age_without_exp: max_age.map(Duration::from_secs),
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
            ("exp", Claim::Exp),
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
            ("nbf", json!(NOW + 31), ClaimError::NotYetValid),
            ("nbf", json!("now"), ClaimError::Malformed(Claim::Nbf)),
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
        let without = with(&base(), "exp", None);
        let missing = Err(ClaimError::Missing(Claim::Exp));
        assert_eq!(validate(without.clone(), None), missing);
        let allowed = |claims| validate_up_to(claims, None, Some(300));
        assert!(allowed(without.clone()).is_ok());
        let old = with(&without, "iat", Some(json!(NOW - 330)));
        assert_eq!(allowed(old), Err(ClaimError::Expired));
        let expired = with(&base(), "exp", Some(json!(NOW - 30)));
        assert_eq!(allowed(expired), Err(ClaimError::Expired));
        assert!(allowed(base()).is_ok());
    }

    #[test]
    fn null_optional_claim_is_absent() {
        for name in ["nbf", "nonce", "sid", "sub"] {
            let token = validate(with(&base(), name, Some(Value::Null)), None).unwrap();
            assert_eq!(token.sid.is_none(), name == "sid");
            assert_eq!(token.subject.is_none(), name == "sub");
        }
    }

    #[test]
    fn check_accepts_further_audiences() {
        for (audience, is_accepted) in [
            (json!("api"), true),
            (json!(["x", "api"]), true),
            (json!("x"), false),
        ] {
            let result = validate(with(&base(), "aud", Some(audience.clone())), None);
            assert_eq!(result.is_ok(), is_accepted, "{audience}");
        }
    }
}
