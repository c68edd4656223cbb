//! The redemption of authorization codes.

use std::time::Duration;

use super::provider::{Scripted, ScriptedProvider, Tokens};
use super::{START, Setup, closed_port};
use crate::auth::login::LoginFailure;
use crate::auth::login::redeem::{CodeRedeemer, CodeResponse};
use crate::session::attempt::{BrowserHash, LoginAttempt, SealedVerifier};
use crate::session::grant::Grant;
use crate::types::oauth::{AuthorizationCode, Nonce};

fn attempt(id: usize) -> LoginAttempt {
    LoginAttempt {
        id: id.to_string(),
        nonce: Nonce::new("nonce"),
        verifier: SealedVerifier("verifier".to_owned()),
        browser: BrowserHash::of("browser"),
    }
}

impl Setup {
    async fn redeem(&self, id: usize) -> Result<Grant, LoginFailure> {
        let redeemer = CodeRedeemer::new(self.context.clone());
        let code = AuthorizationCode::new("code");
        let response = CodeResponse {
            attempt: attempt(id),
            code,
            requested_at: START,
            required: Default::default(),
        };
        redeemer.redeem(&self.app, response).await
    }
}

fn login_tokens() -> Scripted {
    Scripted::Tokens(Tokens {
        nonce: Some("nonce".to_owned()),
        ..Tokens::default()
    })
}

#[tokio::test]
async fn code_is_redeemed_once_and_second_callback_gets_the_same_session() {
    let provider = ScriptedProvider::start([login_tokens()]).await;
    let setup = Setup::new(provider.address());
    let (first, second) = tokio::join!(setup.redeem(1), setup.redeem(1));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.jwt.sid, second.jwt.sid);
    assert_eq!(first.jwt.subject.as_str(), "alice");
    assert_eq!(first.refresh.unwrap().token.expose(), "next");
    let late = setup.redeem(1).await.unwrap();
    assert_eq!(late.jwt.sid, second.jwt.sid);
    assert_eq!(provider.token_calls(), 1);
    let body = provider.last_body("/token");
    assert!(body.contains("code_verifier=verifier"), "{body}");
}

#[tokio::test]
async fn rejected_code_stays_rejected_without_another_call() {
    let provider = ScriptedProvider::start([Scripted::Refused, login_tokens()]).await;
    let setup = Setup::new(provider.address());
    assert_eq!(setup.redeem(1).await.unwrap_err().code(), "code_rejected");
    assert_eq!(setup.redeem(1).await.unwrap_err().code(), "code_replayed");
    assert_eq!(provider.token_calls(), 1);
    assert!(setup.redeem(2).await.is_ok());
}

#[tokio::test]
async fn unacceptable_tokens_fail_the_login_with_their_code() {
    let with = |tokens| Scripted::Tokens(tokens);
    for (scripted, code) in [
        (with(Tokens::default()), "token_nonce_missing"),
        (
            with(Tokens {
                nonce: Some("other".to_owned()),
                ..Tokens::default()
            }),
            "token_nonce_mismatch",
        ),
        (
            with(Tokens {
                with_id_token: false,
                ..Tokens::default()
            }),
            "no_id_token",
        ),
        (
            with(Tokens {
                nonce: Some("nonce".to_owned()),
                expires_in: -3600,
                ..Tokens::default()
            }),
            "token_expired",
        ),
        (Scripted::Unavailable, "provider_unavailable"),
    ] {
        let provider = ScriptedProvider::start([scripted]).await;
        let setup = Setup::new(provider.address());
        assert_eq!(setup.redeem(1).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn failed_attempts_do_not_use_session_entries_and_expire_soon() {
    let setup = Setup::new(closed_port().await);
    for id in 0..100 {
        assert!(setup.redeem(id).await.is_err());
    }
    let stores = &setup.context.stores;
    assert_eq!(stores.sessions.held(), Some(0));
    assert_eq!(stores.anonymous.held(), Some(10));
    setup.clock.advance(Duration::from_secs(30));
    stores.anonymous.sweep(setup.context.now());
    assert_eq!(stores.anonymous.held(), Some(0));
}
