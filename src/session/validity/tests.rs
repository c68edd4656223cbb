//! Tests of session validation.

use super::*;
use crate::identity::claims::Claims;
use crate::session::grant::LoginClaims;
use crate::types::oauth::RefreshToken;

struct TestContext {
    revoked: bool,
    revoked_provider_sid: Option<&'static str>,
    is_known_key: bool,
}

impl ValidityContext for TestContext {
    fn is_revoked(
        &self,
        _: &SessionId,
        _: &Subject,
        provider_sid: Option<&ProviderSid>,
        _: Timestamp,
    ) -> bool {
        let is_named = |revoked| provider_sid.is_some_and(|sid| sid.as_str() == revoked);
        self.revoked || self.revoked_provider_sid.is_some_and(is_named)
    }
    fn is_known_key(&self, _: &KeyFingerprint) -> bool {
        self.is_known_key
    }
}

const CONTEXT: TestContext = TestContext {
    revoked: false,
    revoked_provider_sid: None,
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
        identity_due: None,
        authentication: Default::default(),
        device: Default::default(),
        client: None,
        passed_jwt: None,
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
        provider_sid: None,
        login: LoginClaims::default(),
        device: Default::default(),
        dpop_key: None,
        client: None,
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

fn reason(presented: PresentedSession, now: u64, context: &TestContext) -> Option<NoSessionReason> {
    match validate(presented, at(now), &LIMITS, context) {
        SessionStatus::None(reason) => Some(reason),
        SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..) => None,
    }
}

#[test]
fn validate_each_of_three_timeouts_ends_session() {
    assert!(matches!(
        validate(all(), at(299), &LIMITS, &CONTEXT),
        SessionStatus::Live(_)
    ));
    assert!(matches!(
        validate(all(), at(300), &LIMITS, &CONTEXT),
        SessionStatus::NeedsRefresh(..)
    ));
    assert_eq!(reason(all(), 999, &CONTEXT), None);
    assert_eq!(reason(all(), 1000, &CONTEXT), Some(NoSessionReason::Idle));
    let busy = || PresentedSession {
        activity: Some(activity("s1", 9500)),
        ..all()
    };
    assert_eq!(reason(busy(), 9999, &CONTEXT), None);
    assert_eq!(
        reason(busy(), 10_000, &CONTEXT),
        Some(NoSessionReason::AbsoluteTimeout)
    );
}

#[test]
fn validate_without_refresh_token_ends_with_jwt() {
    let presented = || PresentedSession {
        jwt: Some(session()),
        ..PresentedSession::default()
    };
    assert!(matches!(
        validate(presented(), at(299), &LIMITS, &CONTEXT),
        SessionStatus::Live(_)
    ));
    assert_eq!(
        reason(presented(), 300, &CONTEXT),
        Some(NoSessionReason::Expired)
    );
}

#[test]
fn validate_refresh_token_only_needs_refresh() {
    let presented = PresentedSession {
        refresh: Some(refresh("s1", Generation::FIRST)),
        ..PresentedSession::default()
    };
    assert!(matches!(
        validate(presented, at(1), &LIMITS, &CONTEXT),
        SessionStatus::NeedsRefresh(stale) if stale.session.is_none()
    ));
}

#[test]
fn validate_refresh_token_only_ends_with_its_provider_session() {
    let presented = |provider_sid: Option<&str>| PresentedSession {
        refresh: Some(RefreshGrant {
            provider_sid: provider_sid.map(ProviderSid::new),
            ..refresh("s1", Generation::FIRST)
        }),
        ..PresentedSession::default()
    };
    let context = TestContext {
        revoked_provider_sid: Some("p"),
        ..CONTEXT
    };
    let over = Some(NoSessionReason::Revoked);
    assert_eq!(reason(presented(Some("p")), 1, &context), over);
    assert_eq!(reason(presented(Some("q")), 1, &context), None);
    assert_eq!(reason(presented(None), 1, &context), None);
}

#[test]
fn validate_mixed_sessions_or_generations_mismatch() {
    let other_sid = PresentedSession {
        refresh: Some(refresh("s2", Generation::FIRST)),
        ..all()
    };
    let other_generation = PresentedSession {
        refresh: Some(refresh("s1", Generation::FIRST.next())),
        ..all()
    };
    assert_eq!(
        reason(other_sid, 1, &CONTEXT),
        Some(NoSessionReason::CookieMismatch)
    );
    assert_eq!(
        reason(other_generation, 1, &CONTEXT),
        Some(NoSessionReason::CookieMismatch)
    );
}

#[test]
fn incomplete_identity_is_refreshed_when_it_is_due() {
    let live = |identity_due| {
        let session = Session {
            identity_due,
            ..Arc::into_inner(session()).unwrap()
        };
        LiveSession::just_verified(Arc::new(session), at(0), LIMITS)
    };
    assert!(!live(None).is_ageing(at(10)) && live(None).is_ageing(at(240)));
    let due = live(Some(at(10)));
    assert!(!due.is_ageing(at(9)) && due.is_ageing(at(10)));
}

#[test]
fn validate_activity_of_other_session_ignored() {
    let presented = PresentedSession {
        activity: Some(activity("s2", 900)),
        ..all()
    };
    assert_eq!(
        reason(presented, 1000, &CONTEXT),
        Some(NoSessionReason::Idle)
    );
}

#[test]
fn validate_refreshed_tokens_do_not_count_as_activity() {
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
        reason(presented(Some(activity("s1", 0))), 1000, &CONTEXT),
        Some(NoSessionReason::Idle)
    );
    assert_eq!(
        reason(presented(Some(activity("s1", 1))), 1000, &CONTEXT),
        None
    );
    assert_eq!(
        reason(presented(None), 1000, &CONTEXT),
        Some(NoSessionReason::Idle),
        "omitting the cookie does not extend the session"
    );
}

#[test]
fn within_grace_ignores_only_jwt_expiry() {
    let needs_refresh = |presented, now, context: &TestContext| match validate(
        presented,
        at(now),
        &LIMITS,
        context,
    ) {
        SessionStatus::NeedsRefresh(needs_refresh) => needs_refresh,
        SessionStatus::Live(_) | SessionStatus::None(_) => {
            panic!("the session needs no refresh")
        }
    };
    let expired = needs_refresh(all(), 300, &CONTEXT);
    let within = |now, grace, context: &TestContext| {
        expired.within(Duration::from_secs(grace), at(now), &LIMITS, context)
    };
    assert!(
        within(399, 100, &CONTEXT)
            .is_some_and(|live| live.is_in_grace() && live.last_activity() == at(0))
    );
    assert!(within(400, 100, &CONTEXT).is_none() && within(300, 0, &CONTEXT).is_none());
    assert!(
        within(
            310,
            100,
            &TestContext {
                revoked: true,
                ..CONTEXT
            }
        )
        .is_none()
    );
    assert!(
        within(
            310,
            100,
            &TestContext {
                is_known_key: false,
                ..CONTEXT
            }
        )
        .is_none()
    );
    assert!(within(1000, 5000, &CONTEXT).is_none(), "idle timeout");
    let busy = needs_refresh(
        PresentedSession {
            activity: Some(activity("s1", 9900)),
            ..all()
        },
        9950,
        &CONTEXT,
    );
    let at_the_end = |now| busy.within(Duration::from_secs(100_000), at(now), &LIMITS, &CONTEXT);
    assert!(at_the_end(9999).is_some() && at_the_end(10_000).is_none());
    let alone = PresentedSession {
        refresh: Some(refresh("s1", Generation::FIRST)),
        ..PresentedSession::default()
    };
    assert!(
        needs_refresh(alone, 1, &CONTEXT)
            .within(Duration::from_secs(1000), at(1), &LIMITS, &CONTEXT)
            .is_none()
    );
}

#[test]
fn validate_revocation_and_unknown_key_apply_immediately() {
    assert_eq!(
        reason(
            all(),
            1,
            &TestContext {
                revoked: true,
                ..CONTEXT
            }
        ),
        Some(NoSessionReason::Revoked)
    );
    let lost_key = TestContext {
        is_known_key: false,
        ..CONTEXT
    };
    assert!(matches!(
        validate(all(), at(1), &LIMITS, &lost_key),
        SessionStatus::NeedsRefresh(..)
    ));
}

#[test]
fn validate_missing_and_unreadable_cookies_differ() {
    assert_eq!(
        reason(PresentedSession::default(), 1, &CONTEXT),
        Some(NoSessionReason::NoCookie)
    );
    assert_eq!(
        reason(
            PresentedSession {
                unreadable: true,
                ..PresentedSession::default()
            },
            1,
            &CONTEXT
        ),
        Some(NoSessionReason::UnreadableCookie)
    );
}

#[test]
fn is_ageing_starts_in_last_fifth_of_jwt() {
    let live = LiveSession::just_verified(session(), at(0), LIMITS);
    assert!(!live.is_ageing(at(239)));
    assert!(live.is_ageing(at(240)));
}
