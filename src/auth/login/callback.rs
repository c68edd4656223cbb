//! The end of a login: the callback (RFC 6749 section 4.1.2). The code is redeemed once, and only
//! for the browser that started the login (protection against login CSRF).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::login::start::{LoginContext, LoginStart};
use crate::auth::refresh::tokens::{self, GrantError};
use crate::auth::session::authenticate::{session_key, session_key_ref};
use crate::auth::session::cookies::{CookieWriteError, SessionCookies, SetCookieHeaders};
use crate::auth::{Auth, Event, Unavailable, login::loop_guard, login::user_switch};
use crate::identity::return_to::ReturnTo;
use crate::oidc::callback::{Callback, CallbackError, Outcome};
use crate::oidc::token::TokenError;
use crate::policy::decide::Caller;
use crate::policy::route::AppRef;
use crate::session::attempt::{
    ATTEMPT_LIFETIME, AttemptState, BrowserHash, LoginAttempt, MAX_RESTARTS,
};
use crate::session::cookie::RequestCookies;
use crate::session::grant::Grant;
use crate::session::jwt::SessionJwt;
use crate::session::login_loop::{LoginLoopCause, SentBackBy, TransportHints};
use crate::types::oauth::{AuthorizationCode, PkceVerifier, ProviderSid};

/// How long a callback waits for its code to be redeemed.
const REDEEM_TIMEOUT: Duration = Duration::from_secs(30);

/// The entry of an attempt while its code is redeemed, and after a failure. Neither is a valid
/// seal.
const UNDER_WAY: Bytes = Bytes::new();
const NOTHING: Bytes = Bytes::from_static(b"-");

/// The result of a callback.
#[derive(Debug)]
pub enum LoginOutcome {
    /// Logged in.
    SignedIn {
        /// The requested page.
        return_to: ReturnTo,
        /// The cookies of the session.
        set_cookies: SetCookieHeaders,
        /// Whether a different user was logged in on this browser before, without a logout.
        after_another: bool,
    },
    /// This browser has a session already: to the requested page.
    AlreadySignedIn(ReturnTo, SetCookieHeaders),
    /// Back to the provider, because the attempt was lost.
    Restarted(LoginStart),
    /// To an error page, which links to a new login for the requested page.
    Failed(LoginFailure, SetCookieHeaders, ReturnTo),
}

impl LoginOutcome {
    /// Whether a different user was logged in before and may have left state of the app.
    pub const fn is_of_another_person(&self) -> bool {
        match self {
            Self::SignedIn { after_another, .. } => *after_another,
            Self::AlreadySignedIn(..) | Self::Restarted(_) | Self::Failed(..) => false,
        }
    }
}

/// Why a login did not create a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// The query is not an authorization response.
    #[error(transparent)]
    Malformed(#[from] CallbackError),
    /// `state` does not decrypt.
    #[error("the state parameter was not sealed by this app")]
    ForeignState,
    /// The cookie of the attempt is missing, for the second time.
    #[error("the login attempt's cookie did not come back from the browser")]
    AttemptLost,
    /// A different browser started the attempt, for the second time: possibly login CSRF.
    #[error("the login was begun by another browser")]
    OtherBrowser,
    /// The attempt expired, for the second time.
    #[error("the login took longer than {} minutes", ATTEMPT_LIFETIME.as_secs() / 60)]
    AttemptExpired,
    /// The provider returned an error.
    #[error("the provider declined: `{error}`")]
    Declined {
        /// `error`.
        error: String,
        /// `error_description`.
        description: Option<String>,
        /// A known reason in `error_reason`, as a stable code.
        reason: Option<&'static str>,
    },
    /// The code was redeemed before, and its result is gone.
    #[error("the code was redeemed before")]
    Replayed,
    /// The provider rejected the code: it expired, or was never issued.
    #[error("the code is not, or no longer, one of the provider's")]
    CodeUnknown,
    /// The provider rejected the client or returned an invalid response.
    #[error("the provider did not accept the code: {0}")]
    CodeRefused(&'static str),
    /// The user is not registered for this app at the provider.
    #[error("the person is not registered for this app at the provider")]
    NotRegistered,
    /// The tokens were rejected.
    #[error("the provider's tokens were not accepted: {0}")]
    TokensRefused(&'static str),
    /// The session was revoked at the moment of its login.
    #[error("the person's sessions were ended at the moment of this login")]
    EndedAtOnce,
    /// The session does not fit into cookies.
    #[error(transparent)]
    TooLarge(#[from] CookieWriteError),
    /// A clock is wrong: the tokens are expired or not yet valid.
    #[error("the provider's tokens are not of this time: {0}; compare the clocks")]
    ClockOff(&'static str),
    /// A login loop.
    #[error("logins go in circles: {}", .0.code())]
    Loop(LoginLoopCause),
    /// The provider or the store is unavailable.
    #[error("the provider could not be asked: {}", .0.code)]
    Unavailable(Unavailable),
}

impl LoginFailure {
    /// The stable code for logs, metrics and pages.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(error) => error.code(),
            Self::ForeignState => "state_invalid",
            Self::AttemptLost => "login_cookie_missing",
            Self::OtherBrowser => "login_browser_mismatch",
            Self::AttemptExpired => "login_attempt_expired",
            Self::Declined { reason, .. } => match reason {
                Some(reason) => reason,
                None => "declined_by_provider",
            },
            Self::Replayed => "code_replayed",
            Self::CodeUnknown => "code_rejected",
            Self::NotRegistered => "not_registered",
            Self::CodeRefused(code) | Self::TokensRefused(code) | Self::ClockOff(code) => code,
            Self::EndedAtOnce => "session_revoked",
            Self::Loop(cause) => cause.code(),
            Self::TooLarge(CookieWriteError::TooLarge { .. }) => "session_too_large",
            Self::TooLarge(CookieWriteError::Unsealed) => "internal_error",
            Self::Unavailable(outage) => outage.code,
        }
    }
}

impl Auth {
    /// Finishes the login of this callback query.
    pub async fn finish_login(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        query: &str,
        request_cookies: &RequestCookies<'_>,
        caller: &Caller,
        signs: TransportHints,
    ) -> LoginOutcome {
        let Some(app) = self.app(app_ref.index) else {
            return LoginOutcome::Failed(
                LoginFailure::ForeignState,
                SetCookieHeaders::new(),
                ReturnTo::root(),
            );
        };
        let end = self
            .finish(app, query, request_cookies, caller, signs)
            .await;
        let outcome = match &end {
            LoginOutcome::SignedIn { .. } => "signed_in",
            LoginOutcome::AlreadySignedIn(..) => "already_signed_in",
            LoginOutcome::Restarted(_) => "restarted",
            LoginOutcome::Failed(failure, ..) => {
                tracing::warn!(app = %app.app.name, code = failure.code(), %failure, "login_failed");
                failure.code()
            }
        };
        self.observer
            .record_event(app, Event::LoginFinished, outcome);
        end
    }

    async fn finish(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        query: &str,
        request_cookies: &RequestCookies<'_>,
        caller: &Caller,
        signs: TransportHints,
    ) -> LoginOutcome {
        let failed =
            |failure| LoginOutcome::Failed(failure, SetCookieHeaders::new(), ReturnTo::root());
        let metadata = match self.metadata(app).await {
            Ok(metadata) => metadata,
            Err(outage) => return failed(LoginFailure::Unavailable(outage)),
        };
        let promised = metadata.authorization_response_iss_parameter_supported;
        let callback = match Callback::parse(query, &app.provider.settings().issuer, promised) {
            Ok(callback) => callback,
            Err(error) => return failed(error.into()),
        };
        let Some(state) = app.seals.state.open(callback.state.expose()) else {
            return failed(LoginFailure::ForeignState);
        };
        let return_to =
            ReturnTo::parse(&state.return_to, &app.app.prefix).unwrap_or_else(ReturnTo::root);
        let attempt = match self.attempt_of(app, &state, request_cookies) {
            Ok(attempt) => attempt,
            // A second callback after the first finished: the attempt's cookie was cleared with the
            // login.
            Err(_) if matches!(caller, Caller::Authenticated(_)) => {
                return match self.count_sent_back(
                    app,
                    request_cookies,
                    &return_to,
                    SentBackBy::Callback,
                ) {
                    Ok(set_cookies) => LoginOutcome::AlreadySignedIn(return_to, set_cookies),
                    Err((cause, set_cookies)) => {
                        LoginOutcome::Failed(LoginFailure::Loop(cause), set_cookies, return_to)
                    }
                };
            }
            Err(failure) => {
                return self
                    .restart(app, request_cookies, &state, &return_to, signs, failure)
                    .await;
            }
        };
        let used_up = self.clear_attempt(app, &attempt);
        if let Some(cause) = loop_guard::loop_detected(app, request_cookies, signs) {
            let mut set_cookies = used_up;
            set_cookies.extend(loop_guard::session_confirmed(app, request_cookies));
            return LoginOutcome::Failed(LoginFailure::Loop(cause), set_cookies, return_to);
        }
        let code = match callback.outcome {
            Outcome::Code(code) => code,
            Outcome::Refused {
                error,
                description,
                reason,
            } => {
                let reason = app.provider.settings().dialect.reason(reason.as_deref());
                return LoginOutcome::Failed(
                    LoginFailure::Declined {
                        error,
                        description,
                        reason,
                    },
                    used_up,
                    return_to,
                );
            }
        };
        let grant = match self.redeem(app, attempt, code).await {
            Ok(grant) => grant,
            Err(failure) => return LoginOutcome::Failed(failure, used_up, return_to),
        };
        match self.written(app, &grant, request_cookies) {
            Ok(SessionCookies {
                mut set_cookies,
                total,
            }) => {
                set_cookies.extend(used_up);
                set_cookies.extend(loop_guard::finished(
                    app,
                    request_cookies,
                    state.logins,
                    total,
                ));
                let after_another = user_switch::was_here(app, request_cookies, &grant.jwt.subject);
                set_cookies.extend(user_switch::remember(app, &grant.jwt.subject));
                LoginOutcome::SignedIn {
                    return_to,
                    set_cookies,
                    after_another,
                }
            }
            Err(failure) => LoginOutcome::Failed(failure, used_up, return_to),
        }
    }

    /// The attempt that `state` names, if this browser started it.
    fn attempt_of(
        &self,
        app: &AppAuth,
        state: &AttemptState,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<LoginAttempt, LoginFailure> {
        let name = format!("{}{}", app.app.cookies.login, state.id);
        let attempt = request_cookies
            .get(&name)
            .and_then(|value| app.seals.attempt.open(value));
        let attempt = attempt
            .filter(|attempt| attempt.id == state.id)
            .ok_or(LoginFailure::AttemptLost)?;
        let browser = request_cookies
            .get(&app.app.cookies.browser)
            .map(BrowserHash::of);
        if !browser.is_some_and(|browser| browser.is(&attempt.browser)) {
            return Err(LoginFailure::OtherBrowser);
        }
        if state.is_expired(self.now()) {
            return Err(LoginFailure::AttemptExpired);
        }
        Ok(attempt)
    }

    /// Restarts a lost attempt once. The provider's own session usually completes it without a
    /// form.
    async fn restart(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        request_cookies: &RequestCookies<'_>,
        state: &AttemptState,
        return_to: &ReturnTo,
        signs: TransportHints,
        failure: LoginFailure,
    ) -> LoginOutcome {
        if state.restarts >= MAX_RESTARTS {
            let is_lost = failure == LoginFailure::AttemptLost;
            let cause = state
                .signs
                .or(signs)
                .cause()
                .filter(|_| is_lost)
                .map(LoginFailure::Loop);
            return LoginOutcome::Failed(
                cause.unwrap_or(failure),
                SetCookieHeaders::new(),
                return_to.clone(),
            );
        }
        let before = LoginContext {
            restarts: state.restarts + 1,
            logins: state.logins,
            signs,
        };
        match self
            .start_login_after(app, request_cookies, return_to, before)
            .await
        {
            Ok(start) => LoginOutcome::Restarted(start),
            Err(outage) => LoginOutcome::Failed(
                LoginFailure::Unavailable(outage),
                SetCookieHeaders::new(),
                return_to.clone(),
            ),
        }
    }

    fn clear_attempt(&self, app: &AppAuth, attempt: &LoginAttempt) -> SetCookieHeaders {
        self.attempts.remove(attempt.browser, &attempt.id);
        let name = format!("{}{}", app.app.cookies.login, attempt.id);
        app.app
            .cookies
            .expire(&name, &app.app.endpoint_path("callback"))
            .into_iter()
            .collect()
    }

    /// Redeems the code on the background runtime, which continues if the browser disconnects. A
    /// second callback gets the result of the first.
    async fn redeem(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        attempt: LoginAttempt,
        code: AuthorizationCode,
    ) -> Result<Grant, LoginFailure> {
        let (auth, app) = (Arc::clone(self), Arc::clone(app));
        let task = async move { auth.redeem_once(&app, attempt, code).await };
        self.anonymous_tasks
            .run(REDEEM_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| Err(LoginFailure::Unavailable(error.into())))
    }

    pub(in crate::auth) async fn redeem_once(
        &self,
        app: &AppAuth,
        attempt: LoginAttempt,
        code: AuthorizationCode,
    ) -> Result<Grant, LoginFailure> {
        let now = self.now();
        let claim = format!("attempt/{}/{}", app.app.name, attempt.id);
        let until = now.plus(ATTEMPT_LIFETIME * 2);
        match self
            .stores
            .anonymous
            .put_if_absent(&claim, UNDER_WAY, until, now)
            .await
        {
            Ok(None) => {}
            Ok(Some(_)) => return self.first_result(app, &claim).await,
            Err(error) => return Err(LoginFailure::Unavailable(Unavailable::new(error.code()))),
        }
        let redeemed = self.exchange(app, attempt, code).await;
        // What a second callback gets: the same grant, sealed, or a marker for failure. The marker
        // expires as soon as no callback can wait for it, because anybody can send invalid codes.
        let sealed = redeemed.as_ref().ok().and_then(|grant| {
            crate::auth::random::bytes()
                .ok()
                .and_then(|nonce| app.seals.stored.seal_at(&claim, grant, nonce))
        });
        let now = self.now();
        let (result, until) = match sealed {
            Some(sealed) => (Bytes::from(sealed), until),
            None => (NOTHING, now.plus(REDEEM_TIMEOUT)),
        };
        // The entry exists, so the store has space for it.
        let _ = self.stores.anonymous.put(&claim, result, until, now).await;
        redeemed
    }

    async fn exchange(
        &self,
        app: &AppAuth,
        attempt: LoginAttempt,
        code: AuthorizationCode,
    ) -> Result<Grant, LoginFailure> {
        let verifier = PkceVerifier::from_sealed(attempt.verifier.0);
        let answer = app.provider.exchange_code(&app.client, code, verifier).await.map_err(|error| {
            tracing::warn!(app = %app.app.name, code = error.code(), %error, "code_exchange_failed");
            match error {
                TokenError::Refused { .. } => LoginFailure::CodeUnknown,
                TokenError::ClientRejected { .. } | TokenError::BadResponse(_) => LoginFailure::CodeRefused(error.code()),
                TokenError::Unavailable { .. } | TokenError::Unreachable(_) | TokenError::TargetError(_) => {
                    LoginFailure::Unavailable(Unavailable::new(error.code()))
                }
            }
        })?;
        tokens::of_login(app, answer, Some(&attempt.nonce), self.now()).await.map_err(|error| {
            tracing::warn!(app = %app.app.name, code = error.code(), %error, "login_tokens_rejected");
            tokens_rejected(&error)
        })
    }

    async fn first_result(&self, app: &AppAuth, key: &str) -> Result<Grant, LoginFailure> {
        const STEP: Duration = Duration::from_millis(50);
        for _ in 0..REDEEM_TIMEOUT.as_millis() / STEP.as_millis() {
            let kept = self.stores.anonymous.get(key, self.now()).await;
            let kept =
                kept.map_err(|error| LoginFailure::Unavailable(Unavailable::new(error.code())))?;
            let sealed = kept.ok_or(LoginFailure::Replayed)?;
            if sealed != UNDER_WAY {
                let opened = app
                    .seals
                    .stored
                    .open_at(key, &sealed)
                    .map(|(grant, _)| grant);
                return opened.ok_or(LoginFailure::Replayed);
            }
            tokio::time::sleep(STEP).await;
        }
        Err(LoginFailure::Replayed)
    }

    /// The cookies of the new session.
    fn written(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        grant: &Grant,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<SessionCookies, LoginFailure> {
        // Otherwise the browser would be redirected in a loop until the moment has passed.
        if app
            .revocations
            .snapshot()
            .contains(session_key_ref(&grant.jwt))
        {
            return Err(LoginFailure::EndedAtOnce);
        }
        Ok(self.replace_session(app, grant, request_cookies)?)
    }

    /// Writes the cookies of a new session and revokes the session of the request: no session ID
    /// survives a login (protection against session fixation).
    pub(in crate::auth) fn replace_session(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        grant: &Grant,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<SessionCookies, CookieWriteError> {
        let written =
            self.write_grant(app, grant, request_cookies, Some(self.now()), self.now())?;
        log_session_start(app, grant);
        if let Some(before) =
            session_key(app, request_cookies).filter(|before| before.sid != grant.jwt.sid)
        {
            self.revoke_session(app, &before.sid, &before.subject, before.started_at);
            self.superseded.insert(before.sid.clone(), ());
            let (auth, app) = (Arc::clone(self), Arc::clone(app));
            let begun = self.runtime.spawn(async move {
                auth.revoke_session_and_rotation(
                    &app,
                    &before.sid,
                    &before.subject,
                    before.started_at,
                )
                .await;
            });
            if begun.is_err() {
                tracing::warn!("revocation_write_failed");
            }
        }
        Ok(written)
    }
}

/// Logs the start of a session.
pub(in crate::auth) fn log_session_start(app: &AppAuth, grant: &Grant) {
    let SessionJwt {
        sid,
        subject,
        provider_sid,
        ..
    } = &grant.jwt;
    let provider_sid = provider_sid.as_ref().map(ProviderSid::as_str);
    tracing::info!(app = %app.app.name, %sid, sub = %subject, provider_sid, "session_started");
}

fn tokens_rejected(error: &GrantError) -> LoginFailure {
    if matches!(error, GrantError::NotRegistered) {
        LoginFailure::NotRegistered
    } else if error.is_outage() {
        LoginFailure::Unavailable(Unavailable::new(error.code()))
    } else if error.is_about_time() {
        LoginFailure::ClockOff(error.code())
    } else {
        LoginFailure::TokensRefused(error.code())
    }
}
