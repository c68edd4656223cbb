//! Session validation: decides from the opened cookies whether there is a live session, a session
//! that needs a refresh, or no session and why. Checks the JWT's validity, the idle and absolute
//! timeouts, and revocation.

use std::sync::Arc;
use std::time::Duration;

use super::grant::{LastActivity, RefreshGrant};
use super::jwt::SessionJwt;
use super::token::TokenRefusal;
use crate::identity::identity::{HeaderTemplate, Identity};
use crate::types::oauth::{
    Generation, JwkThumbprint, KeyFingerprint, ProviderSid, SessionId, Subject,
};
use crate::types::time::Timestamp;

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Without a request; noticed between 0.9 and 1.0 of it.
    pub idle: Duration,
    /// In all, counted from the login.
    pub absolute: Duration,
}

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
}

impl Session {
    /// The session of an opened JWT cookie. `None` if its claims cannot be parsed, which the
    /// verification of the JWT rules out.
    pub fn of(jwt: &SessionJwt, templates: &[HeaderTemplate]) -> Option<Self> {
        Some(Self {
            identity: Arc::new(Identity::new(jwt.subject.clone(), jwt.claims()?, templates)),
            key: jwt.key,
            valid_until: jwt.valid_until,
            provider_sid: jwt.provider_sid.clone(),
            sid: jwt.sid.clone(),
            generation: jwt.generation,
            started_at: jwt.started_at,
            sealed_at: jwt.sealed_at,
            active_at: jwt.active_at,
            bound_to: jwt.bound_to.clone(),
        })
    }

    /// Whether the JWT is in the last fifth of its lifetime.
    fn is_ageing(&self, now: Timestamp) -> bool {
        let life = self.valid_until.since(self.sealed_at);
        self.valid_until.since(now) * 5 <= life
    }
}

/// A session that may be used now. Created by [`validate`], by [`NeedsRefresh::within`], and by a
/// login or refresh that has just succeeded.
#[derive(Clone, Debug)]
pub struct LiveSession {
    session: Arc<Session>,
    last_activity: Timestamp,
    in_grace: bool,
}

impl LiveSession {
    /// A session with tokens that were verified just now. `last_activity` is its last use.
    pub const fn just_verified(session: Arc<Session>, last_activity: Timestamp) -> Self {
        Self {
            session,
            last_activity,
            in_grace: false,
        }
    }

    /// The session.
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The last activity according to the cookies.
    pub const fn last_activity(&self) -> Timestamp {
        self.last_activity
    }

    /// Whether its JWT has expired and it continues because the provider is unavailable.
    pub const fn is_in_grace(&self) -> bool {
        self.in_grace
    }

    /// Whether a refresh should start in the background, without delaying the request.
    pub fn is_ageing(&self, now: Timestamp) -> bool {
        self.session.is_ageing(now)
    }

    /// Whether the activity cookie is due for an update: at most once per tenth of the idle
    /// timeout.
    pub fn activity_due(&self, now: Timestamp, limits: &Limits) -> bool {
        now.since(self.last_activity) * 10 >= limits.idle
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
    /// The refresh token was used again after its rotation.
    RefreshTokenReused,
    /// The request has an access token instead of session cookies, and the token was rejected.
    TokenRefused(TokenRefusal),
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
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::TokenRefused(refusal) => refusal.code,
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
    /// The last activity.
    pub activity: Option<LastActivity>,
    /// Whether a session cookie was present and could not be opened.
    pub unreadable: bool,
}

impl PresentedSession {
    /// The ID of the session that the cookies belong to.
    pub fn sid(&self) -> Option<&SessionId> {
        let jwt = self.jwt.as_ref().map(|session| &session.sid);
        jwt.or(self.refresh.as_ref().map(|refresh| &refresh.sid))
    }
}

/// What the outside knows about a session.
pub trait ValidityContext {
    /// Whether the session was ended by a logout or revocation: by our name of it, by its person,
    /// or by the provider's name of its own session, which is known if the JWT cookie is there.
    fn is_revoked(
        &self,
        sid: &SessionId,
        subject: &Subject,
        provider_sid: Option<&ProviderSid>,
        started_at: Timestamp,
    ) -> bool;

    /// Whether the key is still one of the provider's; yes while no key set was fetched yet.
    fn is_known_key(&self, key: &KeyFingerprint) -> bool;
}

/// The result of validating the session cookies.
#[derive(Debug)]
pub enum SessionStatus {
    /// No session.
    None(NoSessionReason),
    /// A session that may be used.
    Live(LiveSession),
    /// A session whose JWT must be refreshed first.
    NeedsRefresh(NeedsRefresh),
}

/// A session whose JWT must be refreshed before it may be used.
#[derive(Debug)]
pub struct NeedsRefresh {
    /// The refresh token and its session.
    pub refresh: RefreshGrant,
    /// The last activity that the cookies know of.
    pub last_activity: Timestamp,
    session: Option<Arc<Session>>,
}

impl NeedsRefresh {
    /// The session, if its JWT expired less than `grace` ago. To be used only while the provider is
    /// unavailable. All other checks apply as usual, as of `now`.
    pub fn within(
        &self,
        grace: Duration,
        now: Timestamp,
        limits: &Limits,
        outside: &impl ValidityContext,
    ) -> Option<LiveSession> {
        let (session, last_activity) = (self.session.as_ref()?, self.last_activity);
        let is_over =
            why_over(&Known::by_jwt(session), last_activity, now, limits, outside).is_some();
        let key_counts = session.key.is_none_or(|key| outside.is_known_key(&key));
        let is_within = now < session.valid_until.plus(grace);
        (is_within && key_counts && !is_over).then(|| LiveSession {
            session: Arc::clone(session),
            last_activity,
            in_grace: true,
        })
    }
}

/// The session data that the JWT and refresh cookies have in common.
struct Known<'a> {
    sid: &'a SessionId,
    subject: &'a Subject,
    provider_sid: Option<&'a ProviderSid>,
    started_at: Timestamp,
    active_at: Timestamp,
}

impl<'a> Known<'a> {
    fn by_jwt(jwt: &'a Session) -> Self {
        Self {
            sid: &jwt.sid,
            subject: &jwt.identity.subject,
            provider_sid: jwt.provider_sid.as_ref(),
            started_at: jwt.started_at,
            active_at: jwt.active_at,
        }
    }

    const fn by_refresh(refresh: &'a RefreshGrant) -> Self {
        Self {
            sid: &refresh.sid,
            subject: &refresh.subject,
            provider_sid: None,
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
    outside: &impl ValidityContext,
) -> SessionStatus {
    let PresentedSession {
        jwt,
        refresh,
        activity,
        unreadable,
    } = presented;
    if unreadable {
        return SessionStatus::None(NoSessionReason::UnreadableCookie);
    }
    let known = match (&jwt, &refresh) {
        (Some(jwt), _) => Known::by_jwt(jwt),
        (None, Some(refresh)) => Known::by_refresh(refresh),
        (None, None) => return SessionStatus::None(NoSessionReason::NoCookie),
    };
    if let (Some(jwt), Some(refresh)) = (&jwt, &refresh)
        && (jwt.sid != refresh.sid || jwt.generation != refresh.generation)
    {
        return SessionStatus::None(NoSessionReason::CookieMismatch);
    }
    // An activity cookie of another session was set by a late response. Ignoring it can only
    // shorten the session: `active_at` in the tokens is never later than the activity cookie.
    let activity = activity.filter(|activity| activity.sid == *known.sid);
    let last_activity = activity.map_or(known.active_at, |activity| activity.last_activity);
    if let Some(why) = why_over(&known, last_activity, now, limits, outside) {
        return SessionStatus::None(why);
    }
    match (jwt, refresh) {
        (Some(session), _)
            if now < session.valid_until
                && session.key.is_none_or(|key| outside.is_known_key(&key)) =>
        {
            SessionStatus::Live(LiveSession {
                session,
                last_activity,
                in_grace: false,
            })
        }
        (session, Some(refresh)) => SessionStatus::NeedsRefresh(NeedsRefresh {
            refresh,
            last_activity,
            session,
        }),
        (_, None) => SessionStatus::None(NoSessionReason::Expired),
    }
}

/// The checks that do not depend on the JWT: revocation, absolute timeout and idle timeout.
fn why_over(
    known: &Known<'_>,
    last_activity: Timestamp,
    now: Timestamp,
    limits: &Limits,
    outside: &impl ValidityContext,
) -> Option<NoSessionReason> {
    if outside.is_revoked(
        known.sid,
        known.subject,
        known.provider_sid,
        known.started_at,
    ) {
        return Some(NoSessionReason::Revoked);
    }
    if now.since(known.started_at) >= limits.absolute {
        return Some(NoSessionReason::AbsoluteTimeout);
    }
    (now.since(last_activity) >= limits.idle).then_some(NoSessionReason::Idle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::claims::Claims;
    use crate::types::oauth::RefreshToken;

    struct World {
        revoked: bool,
        is_known_key: bool,
    }

    impl ValidityContext for World {
        fn is_revoked(
            &self,
            _: &SessionId,
            _: &Subject,
            _: Option<&ProviderSid>,
            _: Timestamp,
        ) -> bool {
            self.revoked
        }
        fn is_known_key(&self, _: &KeyFingerprint) -> bool {
            self.is_known_key
        }
    }

    const WORLD: World = World {
        revoked: false,
        is_known_key: true,
    };
    const LIMITS: Limits = Limits {
        idle: Duration::from_secs(1000),
        absolute: Duration::from_secs(10_000),
    };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(100_000 + secs)
    }

    /// Started at 0; its JWT is valid until 300.
    fn session() -> Arc<Session> {
        Arc::new(Session {
            identity: Arc::new(Identity::new(Subject::new("alice"), Claims::default(), &[])),
            key: Some(KeyFingerprint::new([0; 16])),
            valid_until: at(300),
            provider_sid: None,
            sid: SessionId::new("s1"),
            generation: Generation::FIRST,
            started_at: at(0),
            sealed_at: at(0),
            active_at: at(0),
            bound_to: None,
        })
    }

    fn refresh(sid: &str, generation: Generation) -> RefreshGrant {
        let token = RefreshToken::new("r");
        RefreshGrant {
            token,
            sid: SessionId::new(sid),
            generation,
            subject: Subject::new("alice"),
            started_at: at(0),
            sealed_at: at(0),
            active_at: at(0),
        }
    }

    fn activity(sid: &str, secs: u64) -> LastActivity {
        LastActivity {
            sid: SessionId::new(sid),
            generation: Generation::FIRST,
            last_activity: at(secs),
        }
    }

    fn all() -> PresentedSession {
        PresentedSession {
            jwt: Some(session()),
            refresh: Some(refresh("s1", Generation::FIRST)),
            ..PresentedSession::default()
        }
    }

    fn why(presented: PresentedSession, now: u64, world: &World) -> Option<NoSessionReason> {
        match validate(presented, at(now), &LIMITS, world) {
            SessionStatus::None(why) => Some(why),
            SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..) => None,
        }
    }

    #[test]
    fn the_three_clocks_end_a_session_each_on_its_own() {
        assert!(matches!(
            validate(all(), at(299), &LIMITS, &WORLD),
            SessionStatus::Live(_)
        ));
        assert!(matches!(
            validate(all(), at(300), &LIMITS, &WORLD),
            SessionStatus::NeedsRefresh(..)
        ));
        assert_eq!(why(all(), 999, &WORLD), None);
        assert_eq!(why(all(), 1000, &WORLD), Some(NoSessionReason::Idle));
        let busy = || PresentedSession {
            activity: Some(activity("s1", 9500)),
            ..all()
        };
        assert_eq!(why(busy(), 9999, &WORLD), None);
        assert_eq!(
            why(busy(), 10_000, &WORLD),
            Some(NoSessionReason::AbsoluteTimeout)
        );
    }

    #[test]
    fn without_a_refresh_token_the_jwt_is_the_end() {
        let presented = || PresentedSession {
            jwt: Some(session()),
            ..PresentedSession::default()
        };
        assert!(matches!(
            validate(presented(), at(299), &LIMITS, &WORLD),
            SessionStatus::Live(_)
        ));
        assert_eq!(
            why(presented(), 300, &WORLD),
            Some(NoSessionReason::Expired)
        );
    }

    #[test]
    fn a_refresh_token_alone_is_enough() {
        let presented = PresentedSession {
            refresh: Some(refresh("s1", Generation::FIRST)),
            ..PresentedSession::default()
        };
        assert!(matches!(
            validate(presented, at(1), &LIMITS, &WORLD),
            SessionStatus::NeedsRefresh(NeedsRefresh { session: None, .. })
        ));
    }

    #[test]
    fn cookies_of_two_sessions_or_generations_are_no_session() {
        let other_sid = PresentedSession {
            refresh: Some(refresh("s2", Generation::FIRST)),
            ..all()
        };
        let other_generation = PresentedSession {
            refresh: Some(refresh("s1", Generation::FIRST.next())),
            ..all()
        };
        assert_eq!(
            why(other_sid, 1, &WORLD),
            Some(NoSessionReason::CookieMismatch)
        );
        assert_eq!(
            why(other_generation, 1, &WORLD),
            Some(NoSessionReason::CookieMismatch)
        );
    }

    #[test]
    fn activity_of_another_session_does_not_count() {
        let presented = PresentedSession {
            activity: Some(activity("s2", 900)),
            ..all()
        };
        assert_eq!(why(presented, 1000, &WORLD), Some(NoSessionReason::Idle));
    }

    #[test]
    fn tokens_that_were_renewed_are_no_activity_by_themselves() {
        let renewed = || {
            Arc::new(Session {
                sealed_at: at(800),
                valid_until: at(2000),
                ..Arc::into_inner(session()).unwrap()
            })
        };
        let presented = |activity| PresentedSession {
            jwt: Some(renewed()),
            activity,
            ..PresentedSession::default()
        };
        assert_eq!(
            why(presented(Some(activity("s1", 0))), 1000, &WORLD),
            Some(NoSessionReason::Idle)
        );
        assert_eq!(why(presented(Some(activity("s1", 1))), 1000, &WORLD), None);
        assert_eq!(
            why(presented(None), 1000, &WORLD),
            Some(NoSessionReason::Idle),
            "leaving the cookie out gains nothing"
        );
    }

    #[test]
    fn a_grace_overlooks_the_end_of_the_jwt_and_nothing_else() {
        let stale =
            |presented, now, world: &World| match validate(presented, at(now), &LIMITS, world) {
                SessionStatus::NeedsRefresh(stale) => stale,
                SessionStatus::Live(_) | SessionStatus::None(_) => panic!("not stale"),
            };
        let expired = stale(all(), 300, &WORLD);
        let within = |now, grace, world: &World| {
            expired.within(Duration::from_secs(grace), at(now), &LIMITS, world)
        };
        assert!(
            within(399, 100, &WORLD)
                .is_some_and(|live| live.is_in_grace() && live.last_activity() == at(0))
        );
        assert!(within(400, 100, &WORLD).is_none() && within(300, 0, &WORLD).is_none());
        assert!(
            within(
                310,
                100,
                &World {
                    revoked: true,
                    is_known_key: true
                }
            )
            .is_none()
        );
        assert!(
            within(
                310,
                100,
                &World {
                    revoked: false,
                    is_known_key: false
                }
            )
            .is_none()
        );
        assert!(
            within(1000, 5000, &WORLD).is_none(),
            "it was idle for too long"
        );
        let busy = stale(
            PresentedSession {
                activity: Some(activity("s1", 9900)),
                ..all()
            },
            9950,
            &WORLD,
        );
        let at_the_end = |now| busy.within(Duration::from_secs(100_000), at(now), &LIMITS, &WORLD);
        assert!(at_the_end(9999).is_some() && at_the_end(10_000).is_none());
        let alone = PresentedSession {
            refresh: Some(refresh("s1", Generation::FIRST)),
            ..PresentedSession::default()
        };
        assert!(
            stale(alone, 1, &WORLD)
                .within(Duration::from_secs(1000), at(1), &LIMITS, &WORLD)
                .is_none()
        );
    }

    #[test]
    fn revocation_and_a_lost_key_count_at_once() {
        assert_eq!(
            why(
                all(),
                1,
                &World {
                    revoked: true,
                    is_known_key: true
                }
            ),
            Some(NoSessionReason::Revoked)
        );
        let lost_key = World {
            revoked: false,
            is_known_key: false,
        };
        assert!(matches!(
            validate(all(), at(1), &LIMITS, &lost_key),
            SessionStatus::NeedsRefresh(..)
        ));
    }

    #[test]
    fn nothing_and_garbage_are_told_apart() {
        assert_eq!(
            why(PresentedSession::default(), 1, &WORLD),
            Some(NoSessionReason::NoCookie)
        );
        assert_eq!(
            why(
                PresentedSession {
                    unreadable: true,
                    ..PresentedSession::default()
                },
                1,
                &WORLD
            ),
            Some(NoSessionReason::UnreadableCookie)
        );
    }

    #[test]
    fn the_last_fifth_of_a_jwt_is_when_its_refresh_begins() {
        let live = LiveSession::just_verified(session(), at(0));
        assert!(!live.is_ageing(at(239)));
        assert!(live.is_ageing(at(240)));
    }
}
