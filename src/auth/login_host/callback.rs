//! The callback of a login host (RFC 6749 section 4.1.2): the code is redeemed once, for the browser
//! that came from the app, and the session is handed over to the app's host.

use std::sync::Arc;

use super::start::{AuthorizationStep, HostRedirect, link_of};
use super::{FailedHostLogin, LoginHost};
use crate::auth::app::AppAuth;
use crate::auth::events::{Event, EventSession};
use crate::auth::login::redeem::{CodeResponse, required_by};
use crate::auth::login::{LoginFailure, is_cured_by_new_attempt, response};
use crate::oidc::callback::Outcome;
use crate::policy::app::App;
use crate::policy::route::AppRef;
use crate::session::attempt::{ATTEMPT_LIFETIME, BrowserHash, LoginAttempt, MAX_RESTARTS};
use crate::session::cookie::RequestCookies;
use crate::session::login_host::HostState;
use crate::session::login_loop::TransportHints;
use crate::types::oauth::AuthorizationCode;

/// A callback request to a login host.
#[derive(Clone, Copy)]
pub struct HostCallback<'r> {
    /// The authorization response.
    pub query: &'r str,
    /// The cookies of the request.
    pub cookies: &'r RequestCookies<'r>,
    /// The transport of the request.
    pub hints: TransportHints,
}

/// The result of a callback.
#[derive(Debug)]
pub enum HostLoginOutcome {
    /// To the app's host, with the hand-over code.
    HandedOver {
        /// The app.
        app: Arc<App>,
        /// The browser's next request.
        redirect: HostRedirect,
    },
    /// Back to the provider, because the request was lost.
    Restarted(HostRedirect),
    /// To an error page.
    Failed(FailedHostLogin),
}

impl LoginHost {
    /// Finishes the authorization request of a callback.
    pub async fn finish(
        &self,
        host_ref: AppRef<'_>,
        request: HostCallback<'_>,
    ) -> HostLoginOutcome {
        let Some(host) = &self.context.app(host_ref) else {
            return HostLoginOutcome::Failed(FailedHostLogin::early(LoginFailure::StateInvalid));
        };
        let outcome = self.handle_callback(host, request).await;
        let outcome = outcome.unwrap_or_else(HostLoginOutcome::Failed);
        let code = match &outcome {
            HostLoginOutcome::HandedOver { .. } => "handed_over",
            HostLoginOutcome::Restarted(_) => "restarted",
            HostLoginOutcome::Failed(failed) => {
                let target = failed.target.as_ref();
                let app = target.map_or(&host.app, |target| &target.app);
                failed.failure.logged(&app.name)
            }
        };
        let observer = &self.context.observer;
        observer.record_event(host, Event::LoginFinished, code, &EventSession::default());
        outcome
    }

    async fn handle_callback(
        &self,
        host: &Arc<AppAuth>,
        request: HostCallback<'_>,
    ) -> Result<HostLoginOutcome, FailedHostLogin> {
        let early = FailedHostLogin::early;
        let callback = response::of_callback(&self.context, host, request.query).await;
        let callback = callback.map_err(early)?;
        let state = host.seals.host_state.open(callback.state.expose());
        let state = state.ok_or_else(|| early(LoginFailure::StateInvalid))?;
        let app = self.app_named(host, &state.request.app);
        let app = &app.ok_or_else(|| early(LoginFailure::StateInvalid))?;
        let outcome = callback.outcome(&app.client);
        let outcome = outcome.map_err(|error| early(error.into()))?;
        if let Err(failure) = self.check_browser(host, &state, request.cookies) {
            return self.restart(host, app, state, failure, request).await;
        }
        match outcome {
            Outcome::Code(code) => self.hand_over(host, app, state, code, request).await,
            Outcome::Refused(_) if state.request.attempt.parameters.is_silent() => {
                self.ask_user(host, app, state, request).await
            }
            Outcome::Refused(error) => {
                let is_curable = is_cured_by_new_attempt(app, &error);
                let failure = LoginFailure::declined(app, error);
                if is_curable {
                    self.restart(host, app, state, failure, request).await
                } else {
                    let link = link_of(app, &state.request.attempt);
                    Err(FailedHostLogin::of(app, link, failure))
                }
            }
        }
    }

    /// Whether this browser made the authorization request, and not too long ago.
    fn check_browser(
        &self,
        host: &AppAuth,
        state: &HostState,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<(), LoginFailure> {
        let browser = request_cookies.get(&host.app.cookies.browser);
        let browser = browser.map(BrowserHash::of);
        let browser = browser.ok_or(LoginFailure::CookieMissing)?;
        if !browser.is(&state.browser) {
            return Err(LoginFailure::BrowserMismatch);
        }
        if self.context.now().since(state.began_at) > ATTEMPT_LIFETIME {
            return Err(LoginFailure::AttemptExpired);
        }
        Ok(())
    }

    /// Redeems the code and stores the grant for the app's host.
    async fn hand_over(
        &self,
        host: &Arc<AppAuth>,
        app: &Arc<AppAuth>,
        state: HostState,
        code: AuthorizationCode,
        request: HostCallback<'_>,
    ) -> Result<HostLoginOutcome, FailedHostLogin> {
        let attempt = state.request.attempt;
        let link = link_of(app, &attempt);
        let response = CodeResponse {
            attempt: LoginAttempt {
                id: state.id,
                nonce: state.nonce,
                verifier: state.verifier,
                browser: state.browser,
            },
            code,
            requested_at: state.began_at,
            required: required_by(app, &attempt.parameters),
        };
        let redeemed = self.redeemer.redeem(app, response).await;
        let grant = redeemed.map_err(|failure| FailedHostLogin::of(app, link.clone(), failure))?;
        // Listed before it is handed over, so that a logout misses no session.
        let set_cookies = self.signed_in.add(host, app, request.cookies, &grant).await;
        let code = self.handovers.store(app, attempt, &grant).await;
        let code = code
            .map_err(|outage| FailedHostLogin::of(app, link, LoginFailure::Unavailable(outage)))?;
        let callback = app.callback_url();
        Ok(HostLoginOutcome::HandedOver {
            app: Arc::clone(&app.app),
            redirect: HostRedirect {
                location: format!("{callback}?handover={code}"),
                set_cookies,
            },
        })
    }

    /// Repeats a silent authorization request with the pages of the provider.
    async fn ask_user(
        &self,
        host: &Arc<AppAuth>,
        app: &Arc<AppAuth>,
        state: HostState,
        request: HostCallback<'_>,
    ) -> Result<HostLoginOutcome, FailedHostLogin> {
        let mut step = AuthorizationStep {
            request: state.request,
            restarts: state.restarts,
            hints: request.hints,
        };
        let attempt = &mut step.request.attempt;
        attempt.parameters = std::mem::take(&mut attempt.parameters).with_pages();
        let link = link_of(app, attempt);
        self.authorize(host, app, request.cookies, step)
            .await
            .map(HostLoginOutcome::Restarted)
            .map_err(|outage| FailedHostLogin::of(app, link, LoginFailure::Unavailable(outage)))
    }

    /// Repeats an authorization request once. The provider's own session usually completes it without
    /// a form.
    async fn restart(
        &self,
        host: &Arc<AppAuth>,
        app: &Arc<AppAuth>,
        state: HostState,
        failure: LoginFailure,
        request: HostCallback<'_>,
    ) -> Result<HostLoginOutcome, FailedHostLogin> {
        let link = link_of(app, &state.request.attempt);
        if state.restarts >= MAX_RESTARTS {
            let cause = state.hints.or(request.hints).cause();
            let is_lost = failure == LoginFailure::CookieMissing;
            let by_transport = cause.filter(|_| is_lost).map(LoginFailure::Loop);
            return Err(FailedHostLogin::of(
                app,
                link,
                by_transport.unwrap_or(failure),
            ));
        }
        tracing::info!(app = %app.app.name, code = failure.code(), error = %failure, "login_restarted");
        let step = AuthorizationStep {
            request: state.request,
            restarts: state.restarts + 1,
            hints: request.hints,
        };
        self.authorize(host, app, request.cookies, step)
            .await
            .map(HostLoginOutcome::Restarted)
            .map_err(|outage| FailedHostLogin::of(app, link, LoginFailure::Unavailable(outage)))
    }
}
