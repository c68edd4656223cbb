//! Explanations of refusals: the rule that applied, and what was missing. Made after a refusal, so
//! that permitted requests do not pay for them.

use super::condition::{CheckedCondition, Subjects};
use super::decide::{AccessContext, Decision, Reason};
use super::request_info::RequestInfo;
use super::route::AppRef;
use super::rules::AppliedRule;
use crate::identity::claims::Claims;

/// The rule of a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// See [`AppliedRule::label`].
    pub rule: String,
    /// The missing conditions, with the values that were found. `None` if nothing could have helped, or
    /// the reason says it all.
    pub missing: Option<String>,
    /// Whether the response only asks for credentials, because the client has sent none.
    pub asks_for_credentials: bool,
}

impl Denial {
    /// Explains what was decided about a request to the backend of `app_ref`. `None` if it is not
    /// refused, or not because of a rule.
    pub fn of(
        decision: &Decision<'_>,
        info: &RequestInfo,
        app_ref: AppRef<'_>,
        context: &AccessContext<'_>,
    ) -> Option<Self> {
        let Decision::Refuse(refusal) = decision else {
            return None;
        };
        if !is_by_rule(refusal.reason) {
            return None;
        }
        let method = refusal.preflight_method.as_ref().unwrap_or(&info.method);
        let rule = app_ref.app.rules.applied(method, &info.target);
        let anonymous = Claims::default();
        let identity = refusal.user.as_deref();
        let subjects = Subjects {
            claims: identity.map_or(&anonymous, |identity| &identity.claims),
            is_user: refusal.is_user,
            client: info.address.end_client,
            lists: context.lists,
        };
        let checked = RuleCheck {
            app_ref,
            rule,
            subjects,
            is_anonymous: identity.is_none(),
        };
        Some(Self {
            rule: rule.label(),
            missing: checked.missing(refusal.reason),
            asks_for_credentials: asks_for_credentials(refusal.reason),
        })
    }
}

/// Whether another rule could have permitted the request.
const fn is_by_rule(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Denied
            | Reason::Forbidden
            | Reason::UserRequired
            | Reason::LoginRequired(_)
            | Reason::PostNotPreserved(..)
            | Reason::LoginBlockedInFrame(_)
            | Reason::TokenRequired
            | Reason::TokenRefused(_)
            | Reason::PasswordRequired
            | Reason::PasswordRefused(_)
            | Reason::PasswordOverHttp
    )
}

/// Whether the client has to authenticate for the first time. A login that a rule requires of a user who
/// has a session is a refusal.
const fn asks_for_credentials(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::LoginRequired(_)
            | Reason::PostNotPreserved(..)
            | Reason::LoginBlockedInFrame(_)
            | Reason::TokenRequired
            | Reason::PasswordRequired
    ) && !reason.is_insufficient_authentication()
}

/// A rule with what it is checked against.
#[derive(Clone, Copy, Debug)]
pub struct RuleCheck<'r> {
    /// The app.
    pub app_ref: AppRef<'r>,
    /// The rule.
    pub rule: AppliedRule<'r>,
    /// The facts that conditions are checked against.
    pub subjects: Subjects<'r>,
    /// Whether the request has no caller.
    pub is_anonymous: bool,
}

impl RuleCheck<'_> {
    /// The condition of the rule with its result.
    pub fn condition(&self) -> Option<CheckedCondition> {
        let requirement = self.app_ref.app.rules.required_by(self.rule);
        let condition = requirement.access.condition()?;
        Some(condition.explain(&self.subjects, self.is_anonymous))
    }

    fn missing(&self, reason: Reason) -> Option<String> {
        if reason == Reason::Forbidden {
            // See `Condition::holds` for a condition that holds and still grants nothing.
            let without_grant = || "a grant, got an OAuth client that has none".to_owned();
            Some(self.condition()?.failure().unwrap_or_else(without_grant))
        } else if reason == Reason::UserRequired {
            Some("a user, got an OAuth client".to_owned())
        } else if reason.is_insufficient_authentication() {
            let required = self.app_ref.app.rules.required_by(self.rule);
            let required = required.authentication.parameters();
            let required: Vec<String> = required
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Some(format!("a login with {}", required.join(" ")))
        } else {
            None
        }
    }
}
