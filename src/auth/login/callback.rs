//! The end of a login: the callback (RFC 6749 section 4.1.2). The code is redeemed once, and only
//! for the browser that started the login (protection against login CSRF).

use std::ops::ControlFlow;
use std::sync::Arc;

use super::failure::{LoginFailure, is_cured_by_new_attempt};
use super::loop_guard;
use super::redeem::{CodeResponse, required_by};
use super::start::{LoginContext, LoginStart};
use super::{Login, last_choice, response, user_switch};
use crate::auth::app::AppAuth;
use crate::auth::events::{Event, EventSession};
use crate::auth::session::cookies::{SessionCookies, SetCookieHeaders, reset_login_loop};
use crate::auth::session_validity::key_of_jwt;
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::oidc::callback::Outcome;
use crate::policy::app::App;
use crate::policy::decide::Caller;
use crate::policy::login_providers::LoginSite;
use crate::policy::route::AppRef;
use crate::session::attempt::{AttemptState, BrowserHash, LoginAttempt, MAX_RESTARTS};
use crate::session::client_continuity::PresentedClient;
use crate::session::cookie::RequestCookies;
use crate::session::grant::Grant;
use crate::session::login_loop::{SentBackBy, TransportHints};

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
        user_switched: bool,
        /// The session.
        session: Box<EventSession>,
    },
    /// This browser has a session already: to the requested page.
    AlreadySignedIn {
        /// The requested page.
        return_to: ReturnTo,
        /// The login loop counter.
        set_cookies: SetCookieHeaders,
    },
    /// Back to the provider, because the attempt was lost.
    Restarted(LoginStart),
    /// To an error page, which links to a new login for the requested page.
    Failed(FailedLogin),
}

/// A login without a session.
#[derive(Debug)]
pub struct FailedLogin {
    /// Why it failed.
    pub failure: LoginFailure,
    /// The headers that clear the attempt.
    pub set_cookies: SetCookieHeaders,
    /// The requested page, and how to log in for it.
    pub link: Box<LoginLink>,
    /// The session that was not started, if the provider named its user.
    session: Box<EventSession>,
}

impl LoginOutcome {
    /// Adds headers.
    fn with_cookies(mut self, more: SetCookieHeaders) -> Self {
        match &mut self {
            Self::SignedIn { set_cookies, .. } | Self::AlreadySignedIn { set_cookies, .. } => {
                set_cookies.extend(more);
            }
            Self::Restarted(start) => start.set_cookies.extend(more),
            Self::Failed(failed) => failed.set_cookies.extend(more),
        }
        self
    }

    /// Whether a different user was logged in before and may have left state of the app.
    pub const fn user_switched(&self) -> bool {
        match self {
            Self::SignedIn { user_switched, .. } => *user_switched,
            Self::AlreadySignedIn { .. } | Self::Restarted(_) | Self::Failed(_) => false,
        }
    }
}

/// A callback request.
#[derive(Clone, Copy)]
pub struct CallbackRequest<'r> {
    /// The authorization response.
    pub query: &'r str,
    /// The cookies of the request.
    pub cookies: &'r RequestCookies<'r>,
    /// The caller by the session of the request.
    pub caller: &'r Caller,
    /// The transport of the request.
    pub hints: TransportHints,
    /// The client that sends it.
    pub client: PresentedClient<'r>,
}

impl Login {
    /// A query for the callback that stands for the form of an authorization response.
    pub fn sealed_response(&self, app_ref: AppRef<'_>, form: String) -> Option<String> {
        self.context.sealed_response(app_ref, form)
    }

    /// Finishes the login of a callback.
    pub async fn finish(&self, app_ref: AppRef<'_>, request: CallbackRequest<'_>) -> LoginOutcome {
        let Some(app) = &self.context.app(app_ref) else {
            return LoginOutcome::Failed(FailedLogin::early(
                app_ref.app,
                LoginFailure::StateInvalid,
            ));
        };
        let outcome = match app.login_provider().site {
            LoginSite::Through(_) => self.handle_handover(app, request).await,
            LoginSite::Own | LoginSite::Host => self.handle_callback(app, request).await,
        };
        let outcome = outcome.unwrap_or_else(LoginOutcome::Failed);
        let current = EventSession::from(request.caller);
        let (code, about) = match &outcome {
            LoginOutcome::SignedIn { session, .. } => ("signed_in", &**session),
            LoginOutcome::AlreadySignedIn { .. } => ("already_signed_in", &current),
            LoginOutcome::Restarted(_) => ("restarted", &EventSession::default()),
            LoginOutcome::Failed(FailedLogin {
                failure, session, ..
            }) => (failure.logged(&app.app.name), &**session),
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::LoginFinished, code, about);
        outcome
    }

    async fn handle_callback(
        &self,
        app: &Arc<AppAuth>,
        request: CallbackRequest<'_>,
    ) -> Result<LoginOutcome, FailedLogin> {
        let early = |failure| FailedLogin::early(&app.app, failure);
        let callback = response::of_callback(&self.context, app, request.query).await;
        let callback = callback.map_err(early)?;
        let state = app.seals.state.open(callback.state.expose());
        let state = state.ok_or_else(|| early(LoginFailure::StateInvalid))?;
        let outcome = callback.outcome(&app.client);
        let outcome = outcome.map_err(|error| early(error.into()))?;
        let link = self.link_of(app, &state).await;
        let attempt = match self.own_attempt(app, request, &state, &link).await? {
            ControlFlow::Continue(attempt) => attempt,
            ControlFlow::Break(outcome) => return Ok(outcome),
        };
        let cleared = self.clear_attempt(app, &attempt);
        let failed = |failure, set_cookies| FailedLogin::new(failure, set_cookies, link.clone());
        let code = match outcome {
            Outcome::Code(code) => code,
            Outcome::Refused(_) if link.parameters.is_silent() => {
                return self.ask_user(app, request, &state, link, cleared).await;
            }
            Outcome::Refused(error) => {
                let is_curable = is_cured_by_new_attempt(app, &error);
                let failure = LoginFailure::declined(app, error);
                if !is_curable {
                    return Err(failed(failure, cleared));
                }
                if self.is_signed_in(app, request, &link) {
                    let outcome = self.already_signed_in(app, request.cookies, link)?;
                    return Ok(outcome.with_cookies(cleared));
                }
                return self
                    .restart(app, request, &state, link, failure, cleared)
                    .await;
            }
        };
        let response = CodeResponse {
            attempt,
            code,
            requested_at: state.began_at,
            required: required_by(app, &state.parameters),
        };
        let redeemed = self.redeemer.redeem(app, response).await;
        let grant = redeemed.map_err(|failure| failed(failure, cleared.clone()))?;
        self.sign_in(app, request, &state, &grant, link, cleared)
    }

    /// Completes a login by the hand-over code of the app's login host.
    async fn handle_handover(
        &self,
        app: &Arc<AppAuth>,
        request: CallbackRequest<'_>,
    ) -> Result<LoginOutcome, FailedLogin> {
        let code = handover_code(request.query);
        let code = code.and_then(|code| app.seals.handover.open(&code));
        let code =
            code.ok_or_else(|| FailedLogin::early(&app.app, LoginFailure::HandoverInvalid))?;
        // First: a code that another browser presents is of no use to anybody after that.
        let claimed = self.handovers.claim(app, &code).await;
        let state = code.attempt;
        let link = self.link_of(app, &state).await;
        let attempt = match self.own_attempt(app, request, &state, &link).await? {
            ControlFlow::Continue(attempt) => attempt,
            ControlFlow::Break(outcome) => return Ok(outcome),
        };
        let cleared = self.clear_attempt(app, &attempt);
        match claimed {
            Ok(grant) => self.sign_in(app, request, &state, &grant, link, cleared),
            Err(LoginFailure::HandoverGone) if self.is_signed_in(app, request, &link) => {
                let outcome = self.already_signed_in(app, request.cookies, link)?;
                Ok(outcome.with_cookies(cleared))
            }
            Err(failure @ LoginFailure::HandoverGone) => {
                self.restart(app, request, &state, link, failure, cleared)
                    .await
            }
            Err(failure) => Err(FailedLogin::new(failure, cleared, link)),
        }
    }

    /// The attempt that `state` names, if this browser started it and is not in a login loop.
    /// Otherwise the outcome: to the page with an existing session, or a new attempt.
    async fn own_attempt(
        &self,
        app: &Arc<AppAuth>,
        request: CallbackRequest<'_>,
        state: &AttemptState,
        link: &LoginLink,
    ) -> Result<ControlFlow<LoginOutcome, LoginAttempt>, FailedLogin> {
        let attempt = match self.attempt_of(app, state, request.cookies) {
            Ok(attempt) => attempt,
            // A second callback after the first finished: the attempt's cookie was cleared with the
            // login.
            Err(_) if self.is_signed_in(app, request, link) => {
                let outcome = self.already_signed_in(app, request.cookies, link.clone())?;
                return Ok(ControlFlow::Break(outcome));
            }
            Err(failure) => {
                let none = SetCookieHeaders::new();
                let restarted = self.restart(app, request, state, link.clone(), failure, none);
                return restarted.await.map(ControlFlow::Break);
            }
        };
        if let Some(cause) = loop_guard::loop_detected(app, request.cookies, request.hints) {
            let mut set_cookies = self.clear_attempt(app, &attempt);
            set_cookies.extend(reset_login_loop(app, request.cookies));
            let failure = LoginFailure::Loop(cause);
            return Err(FailedLogin::new(failure, set_cookies, link.clone()));
        }
        Ok(ControlFlow::Continue(attempt))
    }

    /// Starts the session of `grant`. `cleared` are the headers that clear the attempt.
    fn sign_in(
        &self,
        app: &Arc<AppAuth>,
        request: CallbackRequest<'_>,
        state: &AttemptState,
        grant: &Grant,
        link: LoginLink,
        cleared: SetCookieHeaders,
    ) -> Result<LoginOutcome, FailedLogin> {
        let session = Box::new(EventSession::from(&grant.jwt));
        let SessionCookies {
            mut set_cookies,
            total,
        } = match self.start_session(app, grant, request) {
            Ok(cookies) => cookies,
            Err(failure) => {
                return Err(FailedLogin {
                    session,
                    ..FailedLogin::new(failure, cleared, link)
                });
            }
        };
        set_cookies.extend(cleared);
        let counter = loop_guard::finished(app, request.cookies, state.logins, total);
        set_cookies.extend(counter);
        let subject = &grant.jwt.subject;
        let others = self.context.at_other_providers(app);
        let user_switched = user_switch::detect(app, others, request.cookies, subject);
        set_cookies.extend(user_switch::remember(app, subject));
        set_cookies.extend(last_choice::remember(app));
        let duration = self.context.now().since(state.began_at);
        self.context.observer.login_took(app, duration);
        Ok(LoginOutcome::SignedIn {
            return_to: link.return_to,
            set_cookies,
            user_switched,
            session,
        })
    }

    /// Where the login leads.
    async fn link_of(&self, app: &Arc<AppAuth>, state: &AttemptState) -> LoginLink {
        let return_to = if state.return_to == AttemptState::STORED {
            self.targets.get(app, &state.id).await
        } else {
            let parsed = ReturnTo::parse(&state.return_to, &app.app.paths);
            parsed.unwrap_or_else(|| ReturnTo::home(&app.app.paths))
        };
        LoginLink {
            parameters: state.parameters.clone(),
            ..LoginLink::to(return_to)
        }
    }

    /// Whether the request has a session that makes this login needless. Otherwise a login that a
    /// rule requires would lead back to the rule without an end.
    fn is_signed_in(&self, app: &AppAuth, request: CallbackRequest<'_>, link: &LoginLink) -> bool {
        let Caller::Authenticated(live) = request.caller else {
            return false;
        };
        let required = &link.parameters.authentication;
        let found = &live.session().authentication;
        let leeway = app.provider.settings().leeway;
        required.check(found, self.context.now(), leeway).is_ok()
    }

    /// The attempt that `state` names, if this browser started it.
    fn attempt_of(
        &self,
        app: &AppAuth,
        state: &AttemptState,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<LoginAttempt, LoginFailure> {
        let names = &app.app.cookies;
        let name = format!("{}{}", names.login, state.id);
        let attempt = request_cookies.open(&name, |value| app.seals.attempt.open(value));
        let attempt = attempt
            .filter(|attempt| attempt.id == state.id)
            .ok_or(LoginFailure::CookieMissing)?;
        let mut browsers = request_cookies.values(&names.browser).map(BrowserHash::of);
        if !browsers.any(|browser| browser.is(&attempt.browser)) {
            return Err(LoginFailure::BrowserMismatch);
        }
        if state.is_expired(self.context.now()) {
            return Err(LoginFailure::AttemptExpired);
        }
        Ok(attempt)
    }

    fn already_signed_in(
        &self,
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
        link: LoginLink,
    ) -> Result<LoginOutcome, FailedLogin> {
        let by = SentBackBy::Callback;
        match self.count_sent_back(app, request_cookies, &link.return_to, by) {
            Ok(set_cookies) => Ok(LoginOutcome::AlreadySignedIn {
                return_to: link.return_to,
                set_cookies,
            }),
            Err(login_loop) => {
                let failure = LoginFailure::Loop(login_loop.cause);
                Err(FailedLogin::new(failure, login_loop.set_cookies, link))
            }
        }
    }

    /// Restarts an attempt once that was lost, or that the provider could not finish. The
    /// provider's own session usually completes it without a form. `cleared` are the headers that
    /// clear the attempt.
    async fn restart(
        &self,
        app: &Arc<AppAuth>,
        request: CallbackRequest<'_>,
        state: &AttemptState,
        link: LoginLink,
        failure: LoginFailure,
        cleared: SetCookieHeaders,
    ) -> Result<LoginOutcome, FailedLogin> {
        let hints = request.hints;
        let failed = |failure| FailedLogin::new(failure, cleared.clone(), link.clone());
        if state.restarts >= MAX_RESTARTS {
            let cause = state.signs.or(hints).cause();
            let is_lost = failure == LoginFailure::CookieMissing;
            let by_transport = cause.filter(|_| is_lost).map(LoginFailure::Loop);
            return Err(failed(by_transport.unwrap_or(failure)));
        }
        let before = LoginContext {
            is_continued: true,
            restarts: state.restarts + 1,
            logins: state.logins,
            hints,
        };
        tracing::info!(app = %app.app.name, code = failure.code(), error = %failure, "login_restarted");
        self.start_after(app, request.cookies, &link, before)
            .await
            .map(|start| LoginOutcome::Restarted(start).with_cookies(cleared.clone()))
            .map_err(|outage| failed(LoginFailure::Unavailable(outage)))
    }

    /// Repeats a silent login with the pages of the provider, which has no session of its own or needs
    /// the user. `cleared` are the headers that clear the attempt.
    async fn ask_user(
        &self,
        app: &Arc<AppAuth>,
        request: CallbackRequest<'_>,
        state: &AttemptState,
        link: LoginLink,
        cleared: SetCookieHeaders,
    ) -> Result<LoginOutcome, FailedLogin> {
        let link = LoginLink {
            parameters: link.parameters.with_pages(),
            ..link
        };
        let before = LoginContext {
            is_continued: true,
            restarts: state.restarts,
            logins: state.logins,
            hints: request.hints,
        };
        match self.start_after(app, request.cookies, &link, before).await {
            Ok(start) => Ok(LoginOutcome::Restarted(start).with_cookies(cleared)),
            Err(outage) => {
                let failure = LoginFailure::Unavailable(outage);
                Err(FailedLogin::new(failure, cleared, link))
            }
        }
    }

    fn clear_attempt(&self, app: &AppAuth, attempt: &LoginAttempt) -> SetCookieHeaders {
        self.attempts.remove(attempt.browser, &attempt.id);
        let names = &app.app.cookies;
        let name = format!("{}{}", names.login, attempt.id);
        let expired = names.expire(&name, &app.app.endpoint_path("callback"));
        expired.into_iter().collect()
    }

    /// The cookies of the new session.
    fn start_session(
        &self,
        app: &Arc<AppAuth>,
        grant: &Grant,
        request: CallbackRequest<'_>,
    ) -> Result<SessionCookies, LoginFailure> {
        // Otherwise the browser would be redirected in a loop.
        let revoked = app.revocations.snapshot();
        if revoked.blocks(&grant.jwt.subject, grant.jwt.started_at) {
            return Err(LoginFailure::UserBlocked);
        }
        if revoked.contains(key_of_jwt(&grant.jwt)) {
            return Err(LoginFailure::SessionRevoked);
        }
        let CallbackRequest {
            cookies, client, ..
        } = request;
        Ok(self.sessions.replace_session(app, grant, cookies, client)?)
    }
}

/// The hand-over code of a query, if it has exactly one.
fn handover_code(query: &str) -> Option<String> {
    let mut codes = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "handover")
        .map(|(_, code)| code);
    let code = codes.next()?;
    codes.next().is_none().then(|| code.into_owned())
}

impl FailedLogin {
    fn new(failure: LoginFailure, set_cookies: SetCookieHeaders, link: LoginLink) -> Self {
        Self {
            failure,
            set_cookies,
            link: Box::new(link),
            session: Box::default(),
        }
    }

    /// Before the state is decrypted.
    fn early(app: &App, failure: LoginFailure) -> Self {
        let link = LoginLink::to(ReturnTo::home(&app.paths));
        Self::new(failure, SetCookieHeaders::new(), link)
    }
}
