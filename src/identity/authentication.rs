//! How and when a user authenticated (OpenID Connect Core section 2), and what a route or a login
//! requires of it (RFC 9470).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::Claims;
use crate::types::time::Timestamp;

/// Maximum length of an `acr` in bytes. A longer one counts as absent.
pub const MAX_ACR: usize = 255;

/// How and when a user authenticated, by a verified token. What is absent is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAuthentication {
    /// `auth_time`.
    pub time: Option<Timestamp>,
    /// `acr`: the authentication context class.
    pub acr: Option<String>,
}

impl UserAuthentication {
    /// By the claims of an access token (RFC 9068 section 2.2.1, RFC 9470 section 6).
    pub fn of_claims(claims: &Claims) -> Self {
        Self {
            time: claims.get("auth_time").and_then(date),
            acr: None,
        }
        .with_acr(claims.get("acr").and_then(Value::as_str))
    }

    /// The same with this `acr`, unless it is too long.
    #[must_use]
    pub fn with_acr(self, acr: Option<&str>) -> Self {
        let acr = acr.filter(|acr| acr.len() <= MAX_ACR);
        Self {
            acr: acr.map(str::to_owned),
            ..self
        }
    }
}

/// A NumericDate, rounded down.
fn date(value: &Value) -> Option<Timestamp> {
    const MAX: f64 = 9_007_199_254_740_992.0;
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..MAX).contains(seconds))?;
    // The conversion is exact: the range is non-negative and below 2^53.
    Some(Timestamp::from_secs(seconds as u64))
}

/// Requirements on an authentication. The default requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthenticationRequirement {
    /// The accepted values of `acr`, in order of preference. If empty, every value and none.
    pub acr_values: Vec<String>,
    /// The maximum time since the user authenticated.
    pub max_age: Option<Duration>,
}

/// Why an authentication does not fulfil a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsufficientAuthentication {
    /// It was too long ago, or its time is not known.
    TooOld,
    /// `acr` is not an accepted value.
    AcrMismatch,
}

impl AuthenticationRequirement {
    /// Whether nothing is required.
    pub const fn is_empty(&self) -> bool {
        self.acr_values.is_empty() && self.max_age.is_none()
    }

    /// Checks an authentication at `now`. `leeway` is the accepted clock difference.
    ///
    /// # Errors
    /// The first reason why it is insufficient.
    pub fn check(
        &self,
        found: &UserAuthentication,
        now: Timestamp,
        leeway: Duration,
    ) -> Result<(), InsufficientAuthentication> {
        if let Some(max_age) = self.max_age
            && found
                .time
                .is_none_or(|time| time.plus(max_age).plus(leeway) < now)
        {
            return Err(InsufficientAuthentication::TooOld);
        }
        let is_accepted = |acr: &String| self.acr_values.contains(acr);
        if !self.acr_values.is_empty() && !found.acr.as_ref().is_some_and(is_accepted) {
            return Err(InsufficientAuthentication::AcrMismatch);
        }
        Ok(())
    }

    /// The combination of both. `None`: no `acr` fulfils both.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let acr_values = if self.acr_values.is_empty() || other.acr_values.is_empty() {
            [self.acr_values.as_slice(), &other.acr_values].concat()
        } else {
            let ours = self.acr_values.iter();
            let both: Vec<String> = ours
                .filter(|acr| other.acr_values.contains(acr))
                .cloned()
                .collect();
            if both.is_empty() {
                return None;
            }
            both
        };
        let max_ages = self.max_age.into_iter().chain(other.max_age);
        Some(Self {
            acr_values,
            max_age: max_ages.min(),
        })
    }

    /// The parameters of an authorization request, and of the challenge (RFC 9470 section 3).
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, String)> {
        let acr_values = (!self.acr_values.is_empty()).then(|| self.acr_values.join(" "));
        let max_age = self.max_age.map(|max_age| max_age.as_secs().to_string());
        let acr_values = acr_values.map(|values| ("acr_values", values));
        let max_age = max_age.map(|max_age| ("max_age", max_age));
        acr_values.into_iter().chain(max_age)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LEEWAY: Duration = Duration::from_secs(30);

    fn requirement(acr_values: &[&str], max_age: Option<u64>) -> AuthenticationRequirement {
        AuthenticationRequirement {
            acr_values: acr_values.iter().map(|acr| (*acr).to_owned()).collect(),
            max_age: max_age.map(Duration::from_secs),
        }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn unknown_time_or_acr_is_insufficient() {
        let unknown = UserAuthentication::default();
        let check = |required: AuthenticationRequirement| required.check(&unknown, at(0), LEEWAY);
        assert_eq!(check(requirement(&[], None)), Ok(()));
        assert_eq!(
            check(requirement(&[], Some(60))),
            Err(InsufficientAuthentication::TooOld)
        );
        assert_eq!(
            check(requirement(&["gold"], None)),
            Err(InsufficientAuthentication::AcrMismatch)
        );
    }

    #[test]
    fn age_may_exceed_the_limit_by_the_leeway() {
        let found = UserAuthentication {
            time: Some(at(1000)),
            acr: Some("gold".to_owned()),
        };
        let check = |now| requirement(&["silver", "gold"], Some(60)).check(&found, at(now), LEEWAY);
        assert_eq!(check(1090), Ok(()));
        assert_eq!(check(1091), Err(InsufficientAuthentication::TooOld));
    }

    #[test]
    fn combination_fulfils_both() {
        let gold = requirement(&["gold", "silver"], Some(60));
        assert_eq!(gold.and(&requirement(&[], None)), Some(gold.clone()));
        assert_eq!(requirement(&[], None).and(&gold), Some(gold.clone()));
        assert_eq!(
            gold.and(&requirement(&["silver", "bronze"], Some(30))),
            Some(requirement(&["silver"], Some(30)))
        );
        assert_eq!(gold.and(&requirement(&["bronze"], None)), None);
    }

    #[test]
    fn claims_of_wrong_types_are_unknown() {
        let claims = |claims: Value| {
            let claims = claims.as_object().cloned().unwrap_or_default();
            UserAuthentication::of_claims(&Claims::new(claims, serde_json::Map::new()))
        };
        let found = claims(json!({"auth_time": 1000, "acr": "gold"}));
        assert_eq!(
            (found.time, found.acr.as_deref()),
            (Some(at(1000)), Some("gold"))
        );
        for unknown in [
            json!({"auth_time": "1000", "acr": 2}),
            json!({"auth_time": -1, "acr": ["gold"]}),
            json!({"acr": "x".repeat(MAX_ACR + 1)}),
        ] {
            assert_eq!(claims(unknown), UserAuthentication::default());
        }
    }
}
