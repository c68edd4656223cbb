//! Session lifetimes: `validate` against a specification with one condition for each rule.

use std::sync::Arc;
use std::time::Duration;

use doorward::identity::claims::Claims;
use doorward::identity::identity::Identity;
use doorward::session::grant::{LastActivity, LoginClaims, RefreshGrant};
use doorward::session::validity::{
    Limits, LiveSession, NoSessionReason, PresentedSession, Session, SessionStatus,
    ValidityContext, validate,
};
use doorward::types::oauth::{
    Generation, KeyFingerprint, ProviderSid, RefreshToken, SessionId, Subject,
};
use doorward::types::time::Timestamp;
use proptest::option;
use proptest::prelude::*;

/// The external validity inputs.
#[derive(Clone, Copy, Debug)]
struct Context {
    revoked_up_to: u64,
    is_known_key: bool,
}

impl ValidityContext for Context {
    fn is_revoked(
        &self,
        _: &SessionId,
        _: &Subject,
        _: Option<&ProviderSid>,
        started_at: Timestamp,
    ) -> bool {
        started_at.secs() <= self.revoked_up_to
    }

    fn is_known_key(&self, _: &KeyFingerprint) -> bool {
        self.is_known_key
    }
}

/// A cookie with tokens, in seconds since the start. Small numbers make edge cases likely.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    sid: u8,
    generation: u8,
    started: u64,
    sealed: u64,
    valid_until: u64,
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (0..2_u8, 0..2_u8, 0..12_u64, 0..12_u64, 0..24_u64).prop_map(
        |(sid, generation, started, later, life)| {
            let sealed = started + later;
            Tokens {
                sid,
                generation,
                started,
                sealed,
                valid_until: sealed + life,
            }
        },
    )
}

fn sid(number: u8) -> SessionId {
    SessionId::new(number.to_string())
}

fn generation(number: u8) -> Generation {
    (0..number).fold(Generation::FIRST, |generation, _| generation.next())
}

fn session(tokens: Tokens) -> Arc<Session> {
    Arc::new(Session {
        identity: Arc::new(Identity::new(Subject::new("alice"), Claims::default(), &[])),
        key: Some(KeyFingerprint::new([0; 16])),
        valid_until: Timestamp::from_secs(tokens.valid_until),
        provider_sid: None,
        sid: sid(tokens.sid),
        generation: generation(tokens.generation),
        started_at: Timestamp::from_secs(tokens.started),
        sealed_at: Timestamp::from_secs(tokens.sealed),
        active_at: Timestamp::from_secs(tokens.sealed),
        bound_to: None,
        identity_due: None,
        authentication: Default::default(),
        device: Default::default(),
        client: None,
        passed_jwt: None,
    })
}

fn refresh(tokens: Tokens) -> RefreshGrant {
    RefreshGrant {
        token: RefreshToken::new("r"),
        sid: sid(tokens.sid),
        generation: generation(tokens.generation),
        subject: Subject::new("alice"),
        started_at: Timestamp::from_secs(tokens.started),
        sealed_at: Timestamp::from_secs(tokens.sealed),
        active_at: Timestamp::from_secs(tokens.sealed),
        provider_sid: None,
        login: LoginClaims::default(),
        device: Default::default(),
        dpop_key: None,
        client: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn session_is_valid_exactly_as_specified(
        jwt in option::weighted(0.8, tokens()),
        refresh_cookie in option::weighted(0.8, tokens()),
        same in prop::bool::weighted(0.7),
        seen in option::of((0..2_u8, 0..60_u64)),
        streamed in option::weighted(0.2, 0..60_u64),
        unreadable in any::<bool>(),
        (now, idle, absolute) in (0..60_u64, 1..30_u64, 1..40_u64),
        world in (0..30_u64, any::<bool>(), any::<bool>()),
    ) {
        let refresh_cookie = if same && jwt.is_some() { refresh_cookie.and(jwt) } else { refresh_cookie };
        let world = Context { revoked_up_to: if world.1 { world.0 } else { 0 }, is_known_key: world.2 };
        let limits = Limits { idle: Duration::from_secs(idle), absolute: Duration::from_secs(absolute) };
        let presented = || PresentedSession {
            jwt: jwt.map(session),
            refresh: refresh_cookie.map(refresh),
            activity: seen.map(|(number, at)| LastActivity {
                sid: sid(number),
                generation: Generation::FIRST,
                last_activity: Timestamp::from_secs(at),
            }),
            streamed: streamed.map(Timestamp::from_secs),
            unreadable,
        };
        let standing = validate(presented(), Timestamp::from_secs(now), &limits, &world);

        if unreadable {
            prop_assert!(matches!(standing, SessionStatus::None(NoSessionReason::UnreadableCookie)), "{:?}", standing);
            return Ok(());
        }
        let Some(tokens) = jwt.or(refresh_cookie) else {
            prop_assert!(matches!(standing, SessionStatus::None(NoSessionReason::NoCookie)), "{:?}", standing);
            return Ok(());
        };
        let is_mixed = jwt.zip(refresh_cookie).is_some_and(|(a, b)| a.sid != b.sid || a.generation != b.generation);
        let is_revoked = tokens.started <= world.revoked_up_to;
        let is_old = now >= tokens.started + absolute;
        let used = seen.filter(|(number, _)| *number == tokens.sid).map_or(tokens.sealed, |(_, at)| at);
        let used = streamed.map_or(used, |streamed| streamed.max(used));
        let is_idle = now >= used + idle;
        let is_over = is_mixed || is_revoked || is_old || is_idle;
        let is_fresh = jwt.is_some_and(|jwt| now < jwt.valid_until) && world.is_known_key;
        match standing {
            SessionStatus::Live(live) => {
                prop_assert!(!is_over && is_fresh);
                prop_assert_eq!(live.last_activity().secs(), used);
            }
            SessionStatus::NeedsRefresh(stale) => {
                prop_assert!(!is_over && !is_fresh && refresh_cookie.is_some());
                prop_assert_eq!(&stale.refresh.sid, &sid(tokens.sid));
                prop_assert_eq!(stale.last_activity().secs(), used);
            }
            SessionStatus::None(why) => {
                let is_spent = !is_fresh && refresh_cookie.is_none();
                prop_assert!(is_over || is_spent);
                let holds = match why {
                    NoSessionReason::CookieMismatch => is_mixed,
                    NoSessionReason::Revoked => is_revoked,
                    NoSessionReason::AbsoluteTimeout => is_old,
                    NoSessionReason::Idle => is_idle,
                    NoSessionReason::Expired => is_spent,
                    NoSessionReason::NoCookie
                    | NoSessionReason::UnreadableCookie
                    | NoSessionReason::RefreshRefused
                    | NoSessionReason::RefreshTokenReused
                    | NoSessionReason::RevocationsUnknown
                    | NoSessionReason::NotRefreshed
                    | NoSessionReason::InsufficientAuthentication
                    | NoSessionReason::DeviceUnproven(_)
                    | NoSessionReason::ClientChanged(_)
                    | NoSessionReason::TokenRefused(_)
                    | NoSessionReason::PasswordRefused(_) => false,
                };
                prop_assert!(holds, "{:?}", why);
            }
        }
    }
}

/// A request, and the time since the previous one. The clock may be set back in between.
#[derive(Clone, Copy, Debug)]
struct Step {
    seconds: i64,
    counts_as_activity: bool,
    renews: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (-120..250_i64, any::<bool>(), any::<bool>());
    prop::collection::vec(
        step.prop_map(|(seconds, counts_as_activity, renews)| Step {
            seconds,
            counts_as_activity,
            renews,
        }),
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn idle_timeout_is_within_bounds_and_activity_is_monotonic(steps in steps()) {
        const START: u64 = 100_000;
        const IDLE: u64 = 300;
        let limits = Limits { idle: Duration::from_secs(IDLE), absolute: Duration::from_secs(4_000) };
        let world = Context { revoked_up_to: 0, is_known_key: true };
        let mut cookie = Tokens { sid: 0, generation: 0, started: START, sealed: START, valid_until: u64::MAX };
        let (mut seen, mut now) = (START, START);
        // The latest activity, and the clock at that time.
        let (mut latest, mut last) = (START, START);
        for Step { seconds, counts_as_activity, renews } in steps {
            now = now.saturating_add_signed(seconds);
            let told = LastActivity { sid: sid(0), generation: Generation::FIRST, last_activity: Timestamp::from_secs(seen) };
            let presented = PresentedSession { jwt: Some(session(cookie)), activity: Some(told), ..PresentedSession::default() };
            let live: LiveSession = match validate(presented, Timestamp::from_secs(now), &limits, &world) {
                SessionStatus::Live(live) => live,
                SessionStatus::None(NoSessionReason::Idle) => {
                    prop_assert!(now >= last + IDLE * 9 / 10, "ended after {} s", now - last);
                    continue;
                }
                SessionStatus::None(NoSessionReason::AbsoluteTimeout) => {
                    prop_assert!(now >= START + 4_000);
                    continue;
                }
                SessionStatus::None(_) | SessionStatus::NeedsRefresh(_) => return Err(TestCaseError::fail("neither valid nor ended")),
            };
            prop_assert!(now < latest + IDLE && now < START + 4_000);
            if renews {
                cookie.sealed = now;
            }
            if counts_as_activity {
                (latest, last) = (latest.max(now), now);
                if live.activity_due(Timestamp::from_secs(now)) {
                    prop_assert!(now > seen, "{} after {}", now, seen);
                    seen = now;
                }
            }
        }
    }
}
