//! Session validation: decides from the opened cookies whether there is a live session, a session
//! that needs a refresh, or no session and why. Checks the JWT's validity, the idle and absolute
//! timeouts, and revocation.

use std::sync::Arc;
use std::time::Duration;

use super::client_continuity::{ClientChange, KnownClient};
pub use super::context::{Limits, ValidityContext};
use super::device_binding::{BindingState, BoundSession, Unproven};
use super::grant::{LastActivity, RefreshGrant};
use super::jwt::{PackedJwt, SessionJwt};
use super::token::TokenRefusal;
use crate::identity::authentication::UserAuthentication;
use crate::identity::claims::ClaimSource;
use crate::identity::identity::{HeaderTemplate, Identity};
use crate::types::oauth::{
    Generation, JwkThumbprint, KeyFingerprint, ProviderSid, SessionId, Subject,
};
use crate::types::secret::Secret;
use crate::types::time::Timestamp;

/// A session from its JWT cookie, with the identity headers for the app already rendered.
#[derive(Debug)]
pub struct Session {
    /// The user's identity.
    pub identity: Arc<Identity>,
    /// The key that signed the JWT; `None` if the provider vouched for the session without a new
    /// JWT.
    pub key: Option<KeyFingerprint>,
    /// When the JWT must be refreshed.
    pub valid_until: Timestamp,
    /// The provider's session ID (`sid`).
    pub provider_sid: Option<ProviderSid>,
    /// Doorward's session ID.
    pub sid: SessionId,
    /// The number of refreshes so far.
    pub generation: Generation,
    /// When the user logged in.
    pub started_at: Timestamp,
    /// When the cookie was sealed.
    pub sealed_at: Timestamp,
    /// The last activity that was known when the cookie was sealed.
    pub active_at: Timestamp,
    /// The thumbprint of the key that a client must prove possession of (RFC 9449 section 6).
    pub bound_to: Option<JwkThumbprint>,
    /// When the UserInfo request is repeated, after it failed.
    pub identity_due: Option<Timestamp>,
    /// How and when the user authenticated.
    pub authentication: UserAuthentication,
    /// The device that the session is bound to.
    pub device: BindingState,
    /// The client that it began with. `None`: it is not compared with those of requests.
    pub client: Option<Box<KnownClient>>,
    /// Its JWT, if the app gets it.
    pub passed_jwt: Option<Secret<String>>,
}

impl Session {
    /// The session of an opened JWT cookie. `None` if its claims cannot be parsed, which the
    /// verification of the JWT rules out.
    pub fn of(
        jwt: &SessionJwt,
        templates: &[HeaderTemplate],
        source: ClaimSource<'_>,
    ) -> Option<Self> {
        let claims = jwt.claims()?.from_source(source);
        Some(Self {
            identity: Arc::new(Identity::new(jwt.subject.clone(), claims, templates)),
            key: jwt.key,
            valid_until: jwt.valid_until,
            provider_sid: jwt.provider_sid.clone(),
            sid: jwt.sid.clone(),
            generation: jwt.generation,
            started_at: jwt.started_at,
            sealed_at: jwt.sealed_at,
            active_at: jwt.active_at,
            bound_to: jwt.bound_to.clone(),
            identity_due: jwt.identity_due,
            authentication: jwt.authentication.clone(),
            device: jwt.device.state(),
            client: jwt.client.clone(),
            passed_jwt: None,
        })
    }

    /// The session with its JWT, for an app that gets it.
    #[must_use]
    pub fn passing(self, jwt: &PackedJwt) -> Self {
        Self {
            passed_jwt: (!jwt.is_unknown()).then(|| Secret::new(jwt.unpack())),
            ..self
        }
    }

    /// The inputs of the check of its binding.
    pub const fn bound(&self) -> BoundSession<'_> {
        BoundSession {
            sid: &self.sid,
            started_at: self.started_at,
            device: self.device,
        }
    }

    /// Whether the JWT is in the last fifth of its lifetime, or claims are to be asked for again.
    fn is_ageing(&self, now: Timestamp) -> bool {
        let life = self.valid_until.since(self.sealed_at);
        let is_identity_due = self.identity_due.is_some_and(|due| due <= now);
        self.valid_until.since(now) * 5 <= life || is_identity_due
    }
}

/// A session that may be used now. Created by [`validate`], by [`NeedsRefresh::within`], and by a
/// login or refresh that has just succeeded.
#[derive(Clone, Debug)]
pub struct LiveSession {
    session: Arc<Session>,
    activity: Activity,
    limits: Limits,
    in_grace: bool,
}

/// When a session was last used.
#[derive(Clone, Copy, Debug)]
struct Activity {
    /// According to the cookies.
    recorded: Timestamp,
    /// On streams too, which no cookie records.
    last: Timestamp,
}

impl LiveSession {
    /// A session with tokens that were verified just now. `last_activity` is its last use.
    pub const fn just_verified(
        session: Arc<Session>,
        last_activity: Timestamp,
        limits: Limits,
    ) -> Self {
        Self {
            session,
            activity: Activity {
                recorded: last_activity,
                last: last_activity,
            },
            limits,
            in_grace: false,
        }
    }

    /// The session.
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The timeouts that apply to it.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The last activity, on streams too.
    pub const fn last_activity(&self) -> Timestamp {
        self.activity.last
    }

    /// The session as one whose JWT must be refreshed, with its refresh token.
    pub fn to_refresh(&self, refresh: RefreshGrant) -> NeedsRefresh {
        NeedsRefresh {
            refresh,
            activity: self.activity,
            session: Some(Arc::clone(&self.session)),
        }
    }

    /// Whether its JWT has expired and it continues because the provider is unavailable.
    pub const fn is_in_grace(&self) -> bool {
        self.in_grace
    }

    /// Whether a refresh should start in the background, without delaying the request.
    pub fn is_ageing(&self, now: Timestamp) -> bool {
        self.session.is_ageing(now)
    }

    /// Whether the activity cookie is due for an update with activity at this time: at most once
    /// per tenth of the idle timeout.
    pub fn activity_due(&self, at: Timestamp) -> bool {
        self.limits.activity_due(self.activity.recorded, at)
    }
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSessionReason {
    /// The request brought no session cookie.
    NoCookie,
    /// It brought one that cannot be opened.
    UnreadableCookie,
    /// Its cookies belong to different sessions or generations.
    CookieMismatch,
    /// The session was idle for longer than the idle timeout.
    Idle,
    /// The session reached its absolute timeout.
    AbsoluteTimeout,
    /// The session was revoked.
    Revoked,
    /// It is unknown whether the session was revoked, because revocations are not synchronized.
    RevocationsUnknown,
    /// The JWT expired and there is no refresh token.
    Expired,
    /// The provider rejected the refresh token.
    RefreshRefused,
    /// The provider refused to refresh the session, twice in a row and for a reason that does not
    /// end it. A later refresh may succeed.
    NotRefreshed,
    /// The refresh token was used again after its rotation.
    RefreshTokenReused,
    /// There is a session, and its user has to authenticate again: not as a rule requires, or too
    /// long ago (RFC 9470).
    InsufficientAuthentication,
    /// There is a session, and the request does not prove that it comes from its device.
    DeviceUnproven(Unproven),
    /// There is a session, and the request comes from another client.
    ClientChanged(ClientChange),
    /// The request has an access token instead of session cookies, and the token was rejected.
    TokenRefused(TokenRefusal),
    /// The request has a user name and a password instead, and they were rejected.
    PasswordRefused(PasswordRefusal),
}

/// Why a user name and a password were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordRefusal {
    /// The stable code in logs, metrics and responses.
    pub code: &'static str,
    /// How long the client must wait, if there were too many attempts.
    pub retry_after: Option<Duration>,
}

impl NoSessionReason {
    /// The stable code in logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCookie => "no_session",
            Self::UnreadableCookie => "cookie_unreadable",
            Self::CookieMismatch => "session_cookie_mismatch",
            Self::Idle => "idle_timeout",
            Self::AbsoluteTimeout => "absolute_timeout",
            Self::Revoked => "session_revoked",
            Self::RevocationsUnknown => "revocations_not_synced",
            Self::Expired => "jwt_expired",
            Self::RefreshRefused => "refresh_rejected",
            Self::NotRefreshed => "session_not_refreshed",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::InsufficientAuthentication => "insufficient_user_authentication",
            Self::DeviceUnproven(unproven) => unproven.code(),
            Self::ClientChanged(change) => change.code(),
            Self::TokenRefused(refusal) => refusal.code,
            Self::PasswordRefused(refusal) => refusal.code,
        }
    }
}

/// The opened session cookies of a request.
#[derive(Debug, Default)]
pub struct PresentedSession {
    /// The JWT cookie.
    pub jwt: Option<Arc<Session>>,
    /// The refresh cookie. It need not be opened while the JWT is valid.
    pub refresh: Option<RefreshGrant>,
    /// The activity cookie.
    pub activity: Option<LastActivity>,
    /// The last activity on streams of the session.
    pub streamed: Option<Timestamp>,
    /// Whether a session cookie was present and could not be opened.
    pub unreadable: bool,
}

impl PresentedSession {
    /// The session of a client that keeps no cookies: each request is its last activity.
    pub fn used_now(session: Arc<Session>, now: Timestamp) -> Self {
        Self {
            activity: Some(LastActivity {
                sid: session.sid.clone(),
                generation: session.generation,
                last_activity: now,
            }),
            jwt: Some(session),
            ..Self::default()
        }
    }

    /// The ID of the session that the cookies belong to.
    pub fn sid(&self) -> Option<&SessionId> {
        let jwt = self.jwt.as_ref().map(|session| &session.sid);
        jwt.or(self.refresh.as_ref().map(|refresh| &refresh.sid))
    }

    /// The inputs of the check of its binding.
    pub fn bound(&self) -> Option<BoundSession<'_>> {
        let by_refresh = self.refresh.as_ref().map(|refresh| BoundSession {
            sid: &refresh.sid,
            started_at: refresh.started_at,
            device: refresh.device.state(),
        });
        self.jwt.as_ref().map(|jwt| jwt.bound()).or(by_refresh)
    }

    /// The client that the session began with.
    pub fn client(&self) -> Option<&KnownClient> {
        match (&self.jwt, &self.refresh) {
            (Some(jwt), _) => jwt.client.as_deref(),
            (None, Some(refresh)) => refresh.client.as_deref(),
            (None, None) => None,
        }
    }

    /// Whether the session was idle for too long.
    pub fn is_idle(&self, now: Timestamp, limits: &Limits) -> bool {
        let activity = self.data().map(|data| self.activity_of(&data));
        activity.is_some_and(|activity| now.since(activity.last) >= limits.idle)
    }

    /// Whether the last activity that the cookies record is so long ago that activity on streams
    /// matters.
    pub fn is_activity_due(&self, now: Timestamp, limits: &Limits) -> bool {
        let activity = self.data().map(|data| self.activity_of(&data));
        activity.is_some_and(|activity| limits.activity_due(activity.recorded, now))
    }

    fn data(&self) -> Option<SessionData<'_>> {
        let jwt = self.jwt.as_deref().map(SessionData::of_jwt);
        jwt.or_else(|| self.refresh.as_ref().map(SessionData::of_refresh))
    }

    /// An activity cookie of another session was set by a late response. Ignoring it can only
    /// shorten the session: `active_at` in the tokens is never later than the activity cookie.
    fn activity_of(&self, data: &SessionData<'_>) -> Activity {
        let cookie = self.activity.as_ref();
        let cookie = cookie.filter(|activity| activity.sid == *data.sid);
        let recorded = cookie.map_or(data.active_at, |activity| activity.last_activity);
        Activity {
            recorded,
            last: self
                .streamed
                .map_or(recorded, |streamed| streamed.max(recorded)),
        }
    }
}

/// The result of validating the session cookies.
#[derive(Debug)]
pub enum SessionStatus {
    /// No session.
    None(NoSessionReason),
    /// A session that may be used.
    Live(LiveSession),
    /// A session whose JWT must be refreshed first.
    NeedsRefresh(Box<NeedsRefresh>),
}

/// A session whose JWT must be refreshed before it may be used.
#[derive(Debug)]
pub struct NeedsRefresh {
    /// The refresh token and its session.
    pub refresh: RefreshGrant,
    activity: Activity,
    session: Option<Arc<Session>>,
}

impl NeedsRefresh {
    /// The last activity, on streams too.
    pub const fn last_activity(&self) -> Timestamp {
        self.activity.last
    }

    /// The session, if its JWT expired less than `grace` ago. To be used only while the provider is
    /// unavailable. All other checks apply as usual, as of `now`.
    pub fn within(
        &self,
        grace: Duration,
        now: Timestamp,
        limits: &Limits,
        context: &impl ValidityContext,
    ) -> Option<LiveSession> {
        let session = self.session.as_ref()?;
        let is_over = end_reason(
            &SessionData::of_jwt(session),
            self.last_activity(),
            now,
            limits,
            context,
        )
        .is_some();
        let is_key_known = session.key.is_none_or(|key| context.is_known_key(&key));
        let is_within = now < session.valid_until.plus(grace);
        (is_within && is_key_known && !is_over).then(|| LiveSession {
            session: Arc::clone(session),
            activity: self.activity,
            limits: *limits,
            in_grace: true,
        })
    }
}

/// The session data that the JWT and refresh cookies have in common.
struct SessionData<'a> {
    sid: &'a SessionId,
    subject: &'a Subject,
    provider_sid: Option<&'a ProviderSid>,
    started_at: Timestamp,
    active_at: Timestamp,
}

impl<'a> SessionData<'a> {
    fn of_jwt(jwt: &'a Session) -> Self {
        Self {
            sid: &jwt.sid,
            subject: &jwt.identity.subject,
            provider_sid: jwt.provider_sid.as_ref(),
            started_at: jwt.started_at,
            active_at: jwt.active_at,
        }
    }

    const fn of_refresh(refresh: &'a RefreshGrant) -> Self {
        Self {
            sid: &refresh.sid,
            subject: &refresh.subject,
            provider_sid: refresh.provider_sid.as_ref(),
            started_at: refresh.started_at,
            active_at: refresh.active_at,
        }
    }
}

/// Validates the session cookies at `now`.
pub fn validate(
    presented: PresentedSession,
    now: Timestamp,
    limits: &Limits,
    context: &impl ValidityContext,
) -> SessionStatus {
    if presented.unreadable {
        return SessionStatus::None(NoSessionReason::UnreadableCookie);
    }
    let Some(data) = presented.data() else {
        return SessionStatus::None(NoSessionReason::NoCookie);
    };
    if let (Some(jwt), Some(refresh)) = (&presented.jwt, &presented.refresh)
        && (jwt.sid != refresh.sid || jwt.generation != refresh.generation)
    {
        return SessionStatus::None(NoSessionReason::CookieMismatch);
    }
    let activity = presented.activity_of(&data);
    if let Some(reason) = end_reason(&data, activity.last, now, limits, context) {
        return SessionStatus::None(reason);
    }
    match (presented.jwt, presented.refresh) {
        (Some(session), _)
            if now < session.valid_until
                && session.key.is_none_or(|key| context.is_known_key(&key)) =>
        {
            SessionStatus::Live(LiveSession {
                session,
                activity,
                limits: *limits,
                in_grace: false,
            })
        }
        (session, Some(refresh)) => SessionStatus::NeedsRefresh(Box::new(NeedsRefresh {
            refresh,
            activity,
            session,
        })),
        (_, None) => SessionStatus::None(NoSessionReason::Expired),
    }
}

/// The checks that do not depend on the JWT: revocation, absolute timeout and idle timeout.
fn end_reason(
    data: &SessionData<'_>,
    last_activity: Timestamp,
    now: Timestamp,
    limits: &Limits,
    context: &impl ValidityContext,
) -> Option<NoSessionReason> {
    if context.is_revoked(data.sid, data.subject, data.provider_sid, data.started_at) {
        return Some(NoSessionReason::Revoked);
    }
    if now.since(data.started_at) >= limits.absolute {
        return Some(NoSessionReason::AbsoluteTimeout);
    }
    (now.since(last_activity) >= limits.idle).then_some(NoSessionReason::Idle)
}

#[cfg(test)]
mod tests;
