//! The callback of a login.

use std::sync::Arc;
use std::time::Duration;

use super::browser::{Browser, Started};
use super::provider::{Scripted, ScriptedProvider, Tokens};
use super::{START, Setup};
use crate::auth::login::callback::LoginOutcome;
use crate::auth::session::open::{open_jwt, session_key};
use crate::auth::session_validity::key_of_jwt;
use crate::identity::claims::{ClaimSource, UnverifiedClaims};
use crate::policy::decide::Caller;
use crate::session::attempt::ATTEMPT_LIFETIME;
use crate::session::cookie::RequestCookies;
use crate::session::validity::{LiveSession, NoSessionReason, Session};

const SOURCE: ClaimSource<'static> = ClaimSource {
    provider: None,
    unverified: UnverifiedClaims::Absent,
};

/// A stable name of the outcome.
fn code(outcome: &LoginOutcome) -> &'static str {
    match outcome {
        LoginOutcome::SignedIn { .. } => "signed_in",
        LoginOutcome::AlreadySignedIn { .. } => "already_signed_in",
        LoginOutcome::Restarted(_) => "restarted",
        LoginOutcome::Failed(failed) => failed.failure.code(),
    }
}

fn restarted(outcome: LoginOutcome) -> Started {
    let LoginOutcome::Restarted(start) = outcome else {
        panic!("not restarted: {outcome:?}");
    };
    Started::read(&start.location)
}

#[tokio::test]
async fn callback_sets_the_session_and_clears_the_attempt() {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    browser.log_in(&setup, &provider, 300).await;
    assert!(
        browser.has("_jwt") && browser.has("_refresh"),
        "{browser:?}"
    );
    let attempts = browser
        .cookies
        .keys()
        .filter(|name| name.contains("login_"));
    let is_attempt = |name: &&String| !name.ends_with("login_loop");
    assert_eq!(attempts.filter(is_attempt).count(), 0, "{browser:?}");
}

#[tokio::test]
async fn lost_attempt_is_restarted_once() {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    let Started { state, .. } = browser.start_login(&setup).await;
    browser.cookies.clear();
    let Started { state, .. } = restarted(browser.callback(&setup, &state).await);
    browser.cookies.clear();
    let outcome = browser.callback(&setup, &state).await;
    assert_eq!(code(&outcome), "login_cookie_missing");
    assert_eq!(provider.token_calls(), 0);
}

/// Protection against login CSRF.
#[tokio::test]
async fn attempt_of_another_browser_redeems_no_code() {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let (mut attacker, mut victim) = (Browser::default(), Browser::default());
    victim.start_login(&setup).await;
    let Started { state, .. } = attacker.start_login(&setup).await;
    for (name, value) in &attacker.cookies {
        victim
            .cookies
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    let outcome = victim.callback(&setup, &state).await;
    assert_eq!(code(&outcome), "restarted");
    assert_eq!(provider.token_calls(), 0);
}

#[tokio::test]
async fn expired_attempt_is_restarted() {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    let Started { state, .. } = browser.start_login(&setup).await;
    setup
        .clock
        .advance(ATTEMPT_LIFETIME + Duration::from_secs(1));
    assert_eq!(code(&browser.callback(&setup, &state).await), "restarted");
    assert_eq!(provider.token_calls(), 0);
}

#[tokio::test]
async fn invalid_state_and_provider_errors_fail_the_login() {
    let provider = ScriptedProvider::start([Scripted::Refused]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    let outcome = browser.callback(&setup, "forged").await;
    assert_eq!(code(&outcome), "state_invalid");

    let Started { state, .. } = browser.start_login(&setup).await;
    let query = format!("error=access_denied&state={state}");
    let caller = Caller::Anonymous(NoSessionReason::NoCookie);
    let outcome = browser.callback_with(&setup, &query, &caller).await;
    assert_eq!(code(&outcome), "declined_by_provider");

    let Started { state, .. } = browser.start_login(&setup).await;
    let outcome = browser.callback(&setup, &state).await;
    assert_eq!(code(&outcome), "code_rejected");
    assert!(!browser.has("_jwt"));
}

#[tokio::test]
async fn second_callback_of_a_signed_in_browser_returns_to_the_page() {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    let Started { state, nonce } = browser.start_login(&setup).await;
    provider.respond(Scripted::Tokens(Tokens {
        nonce: Some(nonce),
        ..Tokens::default()
    }));
    assert_eq!(code(&browser.callback(&setup, &state).await), "signed_in");

    let header = browser.header();
    let cookies = RequestCookies::read(&header);
    let jwt = open_jwt(&setup.app, &cookies).unwrap();
    let session = Arc::new(Session::of(&jwt, &[], SOURCE).unwrap());
    let caller = Caller::Authenticated(LiveSession::just_verified(
        session,
        START,
        setup.app.app.limits,
    ));
    let query = format!("code=code&state={state}");
    let outcome = browser.callback_with(&setup, &query, &caller).await;
    assert_eq!(code(&outcome), "already_signed_in");
    assert_eq!(provider.token_calls(), 1);
}

/// Protection against session fixation.
#[tokio::test]
async fn login_revokes_the_previous_session_of_the_browser() {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    browser.log_in(&setup, &provider, 300).await;
    let previous = browser.clone();
    browser.log_in(&setup, &provider, 300).await;
    let is_revoked = |browser: &Browser| {
        let header = browser.header();
        let cookies = RequestCookies::read(&header);
        let jwt = open_jwt(&setup.app, &cookies).unwrap();
        assert_eq!(session_key(&setup.app, &cookies).unwrap().sid, jwt.sid);
        setup.app.revocations.snapshot().contains(key_of_jwt(&jwt))
    };
    assert!(is_revoked(&previous));
    assert!(!is_revoked(&browser));
}
