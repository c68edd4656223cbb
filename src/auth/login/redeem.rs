//! Redeems authorization codes (RFC 6749 section 4.1.3), each once among all replicas.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::failure::LoginFailure;
use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::random;
use crate::auth::refresh::grant_error::GrantError;
use crate::auth::refresh::tokens::{self, LoginRequest};
use crate::identity::authentication::AuthenticationRequirement;
use crate::identity::login_link::LoginParameters;
use crate::oidc::token::TokenError;
use crate::session::attempt::{ATTEMPT_LIFETIME, LoginAttempt};
use crate::session::grant::Grant;
use crate::types::oauth::{AuthorizationCode, PkceVerifier, SessionId};
use crate::types::time::Timestamp;

/// How long a callback waits for its code to be redeemed.
const REDEEM_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a second callback polls for the result of the first.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The entry of an attempt while its code is redeemed, and after a failure. Neither is a valid
/// seal.
const IN_FLIGHT: Bytes = Bytes::new();
const FAILED: Bytes = Bytes::from_static(b"-");

/// An authorization response whose attempt was verified.
#[derive(Debug)]
pub(in crate::auth) struct CodeResponse {
    pub(in crate::auth) attempt: LoginAttempt,
    pub(in crate::auth) code: AuthorizationCode,
    /// When the authorization request was made.
    pub(in crate::auth) requested_at: Timestamp,
    /// Its requirements on the user's authentication.
    pub(in crate::auth) required: AuthenticationRequirement,
}

/// Redeems authorization codes. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct CodeRedeemer {
    context: Arc<Context>,
}

impl CodeRedeemer {
    pub(in crate::auth) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Redeems the code on the background runtime, which continues if the browser disconnects. A
    /// second callback gets the result of the first.
    pub(in crate::auth) async fn redeem(
        &self,
        app: &Arc<AppAuth>,
        response: CodeResponse,
    ) -> Result<Grant, LoginFailure> {
        let (redeemer, app) = (self.clone(), Arc::clone(app));
        let task = async move { redeemer.redeem_once(&app, response).await };
        self.context
            .anonymous_tasks
            .run(REDEEM_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| Err(LoginFailure::Unavailable(self.context.failed_task(error))))
    }

    async fn redeem_once(
        &self,
        app: &AppAuth,
        response: CodeResponse,
    ) -> Result<Grant, LoginFailure> {
        let now = self.context.now();
        let store = &self.context.stores.anonymous;
        let key = format!("attempt/{}/{}", app.app.name, response.attempt.id);
        let ends_at = now.plus(ATTEMPT_LIFETIME * 2);
        let claim = store.put_if_absent(&key, IN_FLIGHT, ends_at, now);
        let sid = match tokio::try_join!(claim, self.context.new_session_id()) {
            Ok((None, sid)) => sid,
            Ok((Some(_), _)) => return self.first_result(app, &key).await,
            Err(error) => {
                return Err(LoginFailure::Unavailable(Unavailable::of_store(
                    error.code(),
                )));
            }
        };
        let redeemed = self.exchange(app, response, sid).await;
        // The result for a second callback: the same grant, sealed, or a marker for failure. The marker
        // expires as soon as no callback can wait for it, because anybody can send invalid codes.
        let sealed = redeemed.as_ref().ok().and_then(|grant| {
            let nonce = random::bytes().ok()?;
            app.seals.stored.seal_at(&key, grant, nonce)
        });
        let now = self.context.now();
        let (result, ends_at) = match sealed {
            Some(sealed) => (Bytes::from(sealed), ends_at),
            None => (FAILED, now.plus(REDEEM_TIMEOUT)),
        };
        // The entry exists, so the store has space for it.
        let _ = store.put(&key, result, ends_at, now).await;
        redeemed
    }

    async fn exchange(
        &self,
        app: &AppAuth,
        response: CodeResponse,
        sid: SessionId,
    ) -> Result<Grant, LoginFailure> {
        let CodeResponse {
            attempt,
            code,
            requested_at,
            required,
        } = response;
        let verifier = PkceVerifier::from_sealed(attempt.verifier.0);
        let response = app
            .provider
            .exchange_code(&app.client, code, verifier)
            .await;
        let response = response.map_err(|error| {
            tracing::debug!(app = %app.app.name, code = error.code(), %error, url = app.provider.token_url(), "code_exchange_failed");
            code_failure(&error)
        })?;
        let now = self.context.now();
        let request = LoginRequest {
            nonce: &attempt.nonce,
            requested_at,
            required: &required,
        };
        let grant = tokens::of_login(app, response, Some(request), sid, now).await;
        grant.map_err(|error| {
            tracing::warn!(app = %app.app.name, code = error.code(), %error, "login_tokens_rejected");
            tokens_failure(&error)
        })
    }

    async fn first_result(&self, app: &AppAuth, key: &str) -> Result<Grant, LoginFailure> {
        for _ in 0..REDEEM_TIMEOUT.as_millis() / POLL_INTERVAL.as_millis() {
            let store = &self.context.stores.anonymous;
            let entry = store.get(key, self.context.now()).await;
            let entry = entry
                .map_err(|error| LoginFailure::Unavailable(Unavailable::of_store(error.code())))?
                .ok_or(LoginFailure::Replayed)?;
            if entry != IN_FLIGHT {
                let opened = app.seals.stored.open_at(key, &entry);
                return opened.map(|(grant, _)| grant).ok_or(LoginFailure::Replayed);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(LoginFailure::Replayed)
    }
}

/// The requirements of a login with these parameters on the user's authentication.
pub(in crate::auth) fn required_by(
    app: &AppAuth,
    parameters: &LoginParameters,
) -> AuthenticationRequirement {
    app.client.login_parameters(parameters).authentication
}

const fn code_failure(error: &TokenError) -> LoginFailure {
    match error {
        TokenError::GrantRejected { .. } => LoginFailure::CodeRejected,
        TokenError::ClientRejected { .. } | TokenError::BadResponse(_) => {
            LoginFailure::CodeNotRedeemed(error.code())
        }
        TokenError::Unavailable { .. }
        | TokenError::Unreachable(_)
        | TokenError::OutcomeUnknown(_) => {
            LoginFailure::Unavailable(Unavailable::of_provider(error.code()))
        }
    }
}

fn tokens_failure(error: &GrantError) -> LoginFailure {
    if matches!(error, GrantError::NotRegistered) {
        LoginFailure::NotRegistered
    } else if error.is_about_authentication() {
        LoginFailure::InsufficientAuthentication(error.code())
    } else if error.is_outage() {
        LoginFailure::Unavailable(Unavailable::of_provider(error.code()))
    } else if error.is_about_time() {
        LoginFailure::ClockSkew(error.code())
    } else {
        LoginFailure::TokensRejected(error.code())
    }
}
