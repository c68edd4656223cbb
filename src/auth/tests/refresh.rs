//! One refresh: the state of its rotation, and every kind of response.

use std::sync::Arc;
use std::time::Duration;

use super::provider::{Scripted, ScriptedProvider, Tokens};
use super::{Options, START, Setup, closed_port, used};
use crate::auth::app::OnReuse;
use crate::auth::refresh::Refreshed;
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::refresh::rotation::{GRACE, Rotation};
use crate::oidc::SessionTokenSource;
use crate::session::grant::Grant;
use crate::session::jwt::{PackedJwt, SessionJwt};
use crate::session::validity::NoSessionReason;
use crate::store::{Memory, SessionKeyRef};
use crate::types::oauth::{Generation, SessionId, Subject};

const FIRST: Generation = Generation::FIRST;

fn sid() -> SessionId {
    SessionId::new("sid")
}

fn old_jwt() -> SessionJwt {
    let grant = used(FIRST);
    SessionJwt {
        jwt: PackedJwt::pack("a.b.c"),
        kept_claims: String::new(),
        key: None,
        valid_until: START.plus(Duration::from_secs(300)),
        subject: grant.subject,
        provider_sid: None,
        sid: grant.sid,
        generation: FIRST,
        started_at: START,
        sealed_at: START,
        active_at: START,
        bound_to: None,
        identity_due: None,
        identity_failing_since: None,
        authentication: Default::default(),
        device: Default::default(),
        client: None,
    }
}

/// A stable name of the result.
fn code(refreshed: &Refreshed) -> &'static str {
    match refreshed {
        Refreshed::Renewed(_) => "renewed",
        Refreshed::SessionOver(why) => why.code(),
        Refreshed::Unavailable(outage) => outage.code,
        Refreshed::LoginRequired(_) => "login_required",
    }
}

impl Setup {
    async fn refreshed(&self, generation: Generation) -> Refreshed {
        self.refresh(generation).wait().await
    }

    async fn refreshed_with_jwt(&self) -> Refreshed {
        let refresh = self
            .refresher
            .refresh(&self.app, used(FIRST), Some(old_jwt()));
        refresh.wait().await
    }

    fn is_revoked(&self) -> bool {
        self.app.revocations.snapshot().contains(SessionKeyRef {
            issuer: None,
            order: None,
            sid: &sid(),
            provider_sid: None,
            subject: &Subject::new("alice"),
            started_at: START,
            is_access_token: false,
        })
    }

    /// Records a request with this generation.
    async fn confirm(&self, generation: Generation) {
        let (sid, now) = (sid(), self.context.now());
        let rotations = self.rotations();
        let confirmed = rotations.confirm(&sid, generation, START, now).await;
        confirmed.unwrap();
    }

    async fn stored_successor(&self) -> Option<Grant> {
        let now = self.context.now();
        let stored = self.rotations().stored_successor(&sid(), now).await;
        Some(stored.unwrap()?.grant)
    }
}

#[tokio::test]
async fn refreshed_tokens_are_stored_and_returned_to_the_superseded_token() {
    let provider = ScriptedProvider::start([Scripted::Tokens(Tokens::default())]).await;
    let setup = Setup::new(provider.address());
    let Refreshed::Renewed(grant) = setup.refreshed(FIRST).await else {
        panic!("not renewed");
    };
    assert_eq!(grant.jwt.generation, FIRST.next());
    assert_eq!(grant.refresh.as_ref().unwrap().token.expose(), "next");
    let successor = setup.stored_successor().await.unwrap();
    assert_eq!(successor.jwt.generation, FIRST.next());
    let Refreshed::Renewed(again) = setup.refreshed(FIRST).await else {
        panic!("not renewed");
    };
    assert_eq!(again.jwt.generation, FIRST.next());
    assert_eq!(provider.token_calls(), 1, "a consumed token is never sent");
}

#[tokio::test]
async fn invalid_grant_ends_the_session() {
    let provider = ScriptedProvider::start([Scripted::Refused]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed(FIRST).await), "refresh_rejected");
    assert!(setup.is_revoked());
    assert_eq!(code(&setup.refreshed(FIRST).await), "session_revoked");
    assert_eq!(provider.token_calls(), 1);
}

#[tokio::test]
async fn provider_error_keeps_the_session_and_backs_off() {
    let tokens = Scripted::Tokens(Tokens::default());
    let provider = ScriptedProvider::start([Scripted::Unavailable, tokens]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed(FIRST).await), "provider_unavailable");
    assert!(!setup.is_revoked());
    setup.clock.advance(Duration::from_secs(3));
    let Refreshed::Unavailable(outage) = setup.refreshed(FIRST).await else {
        panic!("not backing off");
    };
    assert_eq!(outage.code, "provider_unavailable");
    assert_eq!(outage.retry_after, Duration::from_secs(2));
    assert_eq!(provider.token_calls(), 1);
    let is_backing_off = || setup.refresher.is_backing_off(&sid(), setup.context.now());
    assert!(is_backing_off());
    setup.clock.advance(Duration::from_secs(2));
    assert!(!is_backing_off());
    assert_eq!(code(&setup.refreshed(FIRST).await), "renewed");
}

/// Two replicas: what one learns is in the store.
#[tokio::test]
async fn second_refusal_in_a_row_requires_a_login() {
    for refusal in [Scripted::ClientRejected, Scripted::NoTokens] {
        let tokens = Scripted::Tokens(Tokens::default());
        let again = refusal.clone();
        let provider = ScriptedProvider::start([refusal, again, tokens]).await;
        let sessions = Arc::new(Memory::new(10));
        let [here, there] = [0; 2].map(|_| Setup::replica(provider.address(), &sessions));
        let Refreshed::Unavailable(outage) = here.refreshed(FIRST).await else {
            panic!("not unavailable");
        };
        assert!(outage.login_helps, "{outage:?}");
        assert_eq!(code(&there.refreshed(FIRST).await), "login_required");
        assert!(!here.is_revoked() && !there.is_revoked());
        here.clock.advance(Duration::from_secs(5));
        assert_eq!(code(&here.refreshed(FIRST).await), "renewed");
    }
}

#[tokio::test]
async fn backoff_after_refusals_doubles_up_to_a_minute() {
    let provider = ScriptedProvider::start(vec![Scripted::ClientRejected; 6]).await;
    let setup = Setup::new(provider.address());
    for (calls, seconds) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60)] {
        setup.refreshed(FIRST).await;
        assert_eq!(provider.token_calls(), calls);
        setup.clock.advance(Duration::from_secs(seconds - 1));
        setup.refreshed(FIRST).await;
        assert_eq!(provider.token_calls(), calls, "after {seconds} s");
        setup.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn backoff_lasts_as_long_as_the_provider_says_up_to_a_minute() {
    for (retry_after, seconds) in [("20", 20), ("0", 5), ("3600", 60), ("soon", 5)] {
        let provider = ScriptedProvider::start([Scripted::UnavailableFor(retry_after)]).await;
        let setup = Setup::new(provider.address());
        let Refreshed::Unavailable(outage) = setup.refreshed(FIRST).await else {
            panic!("not unavailable");
        };
        assert_eq!(outage.retry_after.as_secs(), seconds, "{retry_after}");
        setup.clock.advance(Duration::from_secs(seconds - 1));
        setup.refreshed(FIRST).await;
        assert_eq!(provider.token_calls(), 1, "{retry_after}");
        setup.clock.advance(Duration::from_secs(1));
        setup.refreshed(FIRST).await;
        assert_eq!(provider.token_calls(), 2, "{retry_after}");
    }
}

#[tokio::test]
async fn delivery_of_an_unrenewed_jwt_does_not_reset_the_backoff() {
    let expired = Tokens {
        expires_in: -3600,
        ..Tokens::default()
    };
    let script = [expired.clone(), expired].map(Scripted::Tokens);
    let provider = ScriptedProvider::start(script).await;
    let setup = Setup::new(provider.address());
    setup.clock.advance(Duration::from_secs(1));
    assert_eq!(code(&setup.refreshed_with_jwt().await), "token_expired");
    setup.clock.advance(Duration::from_secs(5));
    let Refreshed::Renewed(stale) = setup.refreshed_with_jwt().await else {
        panic!("the new refresh token is not delivered");
    };
    assert_eq!((stale.jwt.sealed_at, provider.token_calls()), (START, 1));
    let Grant { jwt, refresh, .. } = Grant::clone(&stale);
    let refresh = setup
        .refresher
        .refresh(&setup.app, refresh.unwrap(), Some(jwt));
    let Refreshed::LoginRequired(outage) = refresh.wait().await else {
        panic!("not refused again");
    };
    assert_eq!(outage.retry_after.as_secs(), 10);
}

#[tokio::test]
async fn newer_generation_does_not_wait_for_the_backoff() {
    let tokens = Scripted::Tokens(Tokens::default());
    let provider = ScriptedProvider::start([Scripted::Unavailable, tokens]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed(FIRST).await), "provider_unavailable");
    assert_eq!(code(&setup.refreshed(FIRST.next()).await), "renewed");
}

#[tokio::test]
async fn session_refreshed_too_often_gets_its_newest_tokens_again() {
    let tokens = || Scripted::Tokens(Tokens::default());
    let provider = ScriptedProvider::start((0..20).map(|_| tokens())).await;
    let setup = Setup::new(provider.address());
    let mut generation = FIRST;
    for _ in 0..20 {
        let Refreshed::Renewed(grant) = setup.refreshed(generation).await else {
            panic!("not renewed");
        };
        generation = grant.jwt.generation;
    }
    let calls = provider.token_calls();
    assert!(calls < 20, "{calls}");
    setup.clock.advance(GRACE + Duration::from_secs(1));
    setup.refreshed(generation).await;
    assert_eq!(provider.token_calls(), calls + 1);
    assert_eq!(code(&setup.refreshed(FIRST).await), "refresh_token_reused");
}

#[tokio::test]
async fn ambiguous_outcome_is_retried_once() {
    let tokens = Scripted::Tokens(Tokens::default());
    let provider = ScriptedProvider::start([Scripted::NoResponse, tokens]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed(FIRST).await), "renewed");
    assert_eq!(provider.token_calls(), 2);

    let script = [Scripted::NoResponse, Scripted::NoResponse];
    let provider = ScriptedProvider::start(script).await;
    let setup = Setup::new(provider.address());
    let refreshed = setup.refreshed(FIRST).await;
    assert!(matches!(refreshed, Refreshed::Unavailable(outage) if outage.is_provider_outage()));
    assert_eq!(provider.token_calls(), 2);
    assert!(!setup.is_revoked());
}

#[tokio::test]
async fn tokens_of_another_subject_end_the_session_and_are_revoked() {
    let tokens = Tokens {
        subject: "bob",
        ..Tokens::default()
    };
    let provider = ScriptedProvider::start([Scripted::Tokens(tokens)]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed(FIRST).await), "refresh_rejected");
    assert!(setup.is_revoked());
    assert_eq!(provider.revocations(), 1);
    assert!(provider.last_body("/revoke").contains("token=next"));
}

#[tokio::test]
async fn new_refresh_token_survives_an_unusable_jwt() {
    let expired = Tokens {
        expires_in: -3600,
        ..Tokens::default()
    };
    let provider = ScriptedProvider::start([Scripted::Tokens(expired)]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed_with_jwt().await), "token_expired");
    assert!(!setup.is_revoked());
    let successor = setup.stored_successor().await.unwrap();
    assert_eq!(successor.refresh.unwrap().token.expose(), "next");
    assert_eq!(successor.jwt.generation, FIRST.next());
}

/// The refresh cookie alone is a session, too.
#[tokio::test]
async fn new_refresh_token_without_any_jwt_survives_a_key_outage() {
    let tokens = || Scripted::Tokens(Tokens::default());
    let provider = ScriptedProvider::start([tokens(), tokens()]).await;
    let setup = Setup::new(provider.address());
    provider.set_lacks_keys(true);
    let refreshed = setup.refreshed(FIRST).await;
    assert_eq!(code(&refreshed), "provider_keys_unavailable");
    assert!(!setup.is_revoked());
    assert_eq!(provider.revocations(), 0);
    provider.set_lacks_keys(false);
    setup.clock.advance(Duration::from_secs(5));
    let Refreshed::Renewed(grant) = setup.refreshed(FIRST).await else {
        panic!("not renewed");
    };
    assert!(provider.last_body("/token").contains("refresh_token=next"));
    assert_eq!(grant.jwt.generation, FIRST.next().next());
    assert!(!grant.jwt.jwt.is_unknown());
}

/// Without a JWT there is nothing to continue.
#[tokio::test]
async fn session_whose_jwt_was_never_known_ends_without_a_new_one() {
    let without = Tokens {
        with_id_token: false,
        ..Tokens::default()
    };
    let script = [Tokens::default(), without].map(Scripted::Tokens);
    let provider = ScriptedProvider::start(script).await;
    let options = Options {
        session_jwt: SessionTokenSource::Id,
        ..Options::default()
    };
    let setup = Setup::with(provider.address(), options);
    provider.set_lacks_keys(true);
    setup.refreshed(FIRST).await;
    provider.set_lacks_keys(false);
    setup.clock.advance(Duration::from_secs(5));
    assert_eq!(code(&setup.refreshed(FIRST).await), "refresh_rejected");
    assert!(setup.is_revoked());
}

#[tokio::test]
async fn unusable_jwt_without_new_refresh_token_keeps_the_old_one() {
    let expired = Tokens {
        expires_in: -3600,
        refresh_token: None,
        ..Tokens::default()
    };
    let script = [expired, Tokens::default()].map(Scripted::Tokens);
    let provider = ScriptedProvider::start(script).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed_with_jwt().await), "token_expired");
    assert!(setup.stored_successor().await.is_none());
    setup.clock.advance(Duration::from_secs(5));
    assert_eq!(code(&setup.refreshed_with_jwt().await), "renewed");
}

#[tokio::test]
async fn session_revoked_before_its_refresh_sends_no_token() {
    let provider = ScriptedProvider::start([Scripted::Tokens(Tokens::default())]).await;
    let setup = Setup::new(provider.address());
    let session = SessionKey::from(&used(FIRST));
    let newest = setup.revoker.revoke_with_rotation(&setup.app, &session);
    assert!(newest.await.is_none());
    assert_eq!(code(&setup.refreshed(FIRST).await), "session_revoked");
    assert_eq!(provider.token_calls(), 0);
}

#[tokio::test]
async fn session_revoked_during_its_refresh_loses_the_new_token_too() {
    let provider = ScriptedProvider::start([Scripted::Tokens(Tokens::default())]).await;
    let setup = Setup::new(provider.address());
    // Only here, as by a logout whose write to the store is still in flight.
    setup
        .revoker
        .revoke(&setup.app, &SessionKey::from(&used(FIRST)));
    assert_eq!(code(&setup.refreshed(FIRST).await), "session_revoked");
    assert_eq!(provider.token_calls(), 1);
    assert!(provider.last_body("/revoke").contains("token=next"));
}

#[tokio::test]
async fn reused_refresh_token_ends_the_session_or_is_refused() {
    for (on_refresh_token_reuse, is_revoked) in
        [(OnReuse::EndSession, true), (OnReuse::Refuse, false)]
    {
        let provider = ScriptedProvider::start([Scripted::Tokens(Tokens::default())]).await;
        let options = Options {
            on_refresh_token_reuse,
            ..Options::default()
        };
        let setup = Setup::with(provider.address(), options);
        assert_eq!(code(&setup.refreshed(FIRST).await), "renewed");
        setup.confirm(FIRST.next()).await;
        setup.clock.advance(GRACE + Duration::from_secs(1));
        assert_eq!(code(&setup.refreshed(FIRST).await), "refresh_token_reused");
        assert_eq!(setup.is_revoked(), is_revoked);
        assert_eq!(provider.revocations(), usize::from(is_revoked));
    }
}

/// A successor that no client received and that is gone must end the session.
#[tokio::test]
async fn lost_successor_ends_the_session_and_confirmed_one_does_not() {
    let setup = Setup::new(closed_port().await);
    let rotation = Rotation {
        newest: FIRST.next(),
        ..Rotation::default()
    };
    let sid = sid();
    let noted = setup.rotations().note(&sid, &rotation, START, START).await;
    noted.unwrap();
    assert_eq!(code(&setup.refreshed(FIRST).await), "jwt_expired");

    setup.confirm(FIRST.next()).await;
    setup.clock.advance(GRACE);
    assert_eq!(code(&setup.refreshed(FIRST).await), "rotated_token_gone");
    setup.clock.advance(Duration::from_secs(1));
    let refreshed = setup.refreshed(FIRST).await;
    let reused = NoSessionReason::RefreshTokenReused;
    assert!(matches!(refreshed, Refreshed::SessionOver(why) if why == reused));
}

#[tokio::test]
async fn memory_store_frees_the_records_of_an_ended_session() {
    let provider = ScriptedProvider::start([Scripted::Tokens(Tokens::default())]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(code(&setup.refreshed(FIRST).await), "renewed");
    let store = &setup.context.stores.sessions;
    assert_eq!(store.held(), Some(2), "the state and the successor");
    let session = SessionKey::from(&used(FIRST));
    let newest = setup.revoker.revoke_with_rotation(&setup.app, &session);
    assert!(newest.await.is_some(), "to revoke it at the provider");
    assert_eq!(
        (store.held(), setup.stored_successor().await),
        (Some(1), None)
    );
    assert_eq!(code(&setup.refreshed(FIRST).await), "session_revoked");
    setup.clock.advance(Duration::from_secs(600));
    store.sweep(setup.context.now());
    assert_eq!(store.held(), Some(0));
    assert!(setup.is_revoked());
}
