//! Browser login: redirects to the provider, the callback, and the page about a login loop.

use std::time::Duration;

use http::StatusCode;

use super::Proxy;
use super::context::RequestContext;
use super::logout::is_form;
use super::messages::Operation;
use super::request_body::{BodyLimits, ReadBodyError};
use super::responder::TaggedResponse;
use crate::auth::login::callback::{CallbackRequest, FailedLogin, LoginOutcome};
use crate::auth::login::{LoginFailure, LoginLoop};
use crate::auth::session::cookies::SetCookieHeaders;
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::policy::decide::Caller;
use crate::policy::route::AppRef;
use crate::session::validity::NoSessionReason;
use crate::types::request_id::RequestId;

/// It becomes a part of a URL.
const RESPONSE_LIMITS: BodyLimits = BodyLimits {
    max_bytes: 8 * 1024,
    timeout: Duration::from_secs(5),
};

impl Proxy {
    /// Redirects to the provider, or shows the error page if logins loop.
    pub(super) async fn start_login(
        &self,
        app_ref: AppRef<'_>,
        link: &LoginLink,
        reason: NoSessionReason,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let hints = context.transport_hints(app_ref);
        let cookies = context.cookies;
        let request_id = context.request_id();
        let login = &self.auth.login;
        if let Some(login_loop) = login.detect_loop(app_ref, cookies, reason, hints) {
            return self.login_loop_page(app_ref, login_loop, link, request_id);
        }
        match login.start(app_ref, cookies, link, reason, hints).await {
            Ok(start) => self
                .responder
                .redirect(StatusCode::FOUND, &start.location, "start_login")
                .with_cookies(start.set_cookies),
            Err(unavailable) => self.responder.unavailable(
                context.info,
                Some(app_ref),
                unavailable,
                Operation::Login,
                request_id,
            ),
        }
    }

    /// The page on which the user chooses a provider.
    pub(super) fn choose_provider(
        &self,
        app_ref: AppRef<'_>,
        link: &LoginLink,
        code: &'static str,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let app = app_ref.app;
        let last = context.cookies.get(&app.cookies.provider);
        let last = last.and_then(|name| app.providers.named(name));
        self.responder.provider_choice(app, link, last, code)
    }

    /// Handles the form with the provider's authorization response.
    pub(super) async fn relay_login_response(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        mut context: RequestContext<'_>,
    ) -> TaggedResponse {
        let is_form = is_form(&context.parts.headers);
        let form = match context.read_body(RESPONSE_LIMITS).await {
            Err(ReadBodyError::Busy) => return self.server_busy(app_ref, &context),
            form => form.ok().filter(|_| is_form),
        };
        let form = form.and_then(|form| String::from_utf8(form.to_vec()).ok());
        // A form that cannot be read is answered as an empty one is: by the page of a failed login.
        let form = form.unwrap_or_default();
        let path = context.info.target.path();
        let location = self.auth.login.sealed_response(app_ref, form);
        let location = location.map(|query| format!("{path}?{query}"));
        let location = location.as_deref().unwrap_or(path);
        self.responder
            .redirect(StatusCode::SEE_OTHER, location, code)
    }

    /// Handles the provider's redirect to the callback endpoint.
    pub(super) async fn finish_login(
        &self,
        app_ref: AppRef<'_>,
        caller: &Caller,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let request = CallbackRequest {
            query: context.info.target.query().unwrap_or_default(),
            cookies: context.cookies,
            caller,
            hints: context.transport_hints(app_ref),
            client: context.info.presented_client(&context.parts.headers),
        };
        let outcome = self.auth.login.finish(app_ref, request).await;
        let app_cookies = if outcome.user_switched() {
            self.logout_app(app_ref, context.logging_out()).await
        } else {
            SetCookieHeaders::new()
        };
        self.login_finished(app_ref, outcome, context.request_id())
            .with_cookies(app_cookies)
    }

    /// Responds to a login request of a browser that has a session.
    pub(super) fn already_signed_in(
        &self,
        app_ref: AppRef<'_>,
        return_to: &ReturnTo,
        code: &'static str,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let login = &self.auth.login;
        match login.send_back(app_ref, context.cookies, return_to) {
            Ok(set_cookies) => self
                .redirect_back(app_ref, return_to, code)
                .with_cookies(set_cookies),
            Err(login_loop) => {
                let link = LoginLink::to(return_to.clone());
                self.login_loop_page(app_ref, login_loop, &link, context.request_id())
            }
        }
    }

    pub(super) fn login_loop_page(
        &self,
        app_ref: AppRef<'_>,
        login_loop: LoginLoop,
        link: &LoginLink,
        request_id: RequestId,
    ) -> TaggedResponse {
        let failure = LoginFailure::Loop(login_loop.cause);
        self.responder
            .login_failed(app_ref.app, &failure, link, request_id)
            .with_cookies(login_loop.set_cookies)
    }

    fn login_finished(
        &self,
        app_ref: AppRef<'_>,
        outcome: LoginOutcome,
        request_id: RequestId,
    ) -> TaggedResponse {
        match outcome {
            LoginOutcome::SignedIn {
                return_to,
                set_cookies,
                ..
            } => self
                .redirect_back(app_ref, &return_to, "signed_in")
                .with_cookies(set_cookies),
            LoginOutcome::AlreadySignedIn {
                return_to,
                set_cookies,
            } => self
                .redirect_back(app_ref, &return_to, "already_signed_in")
                .with_cookies(set_cookies),
            LoginOutcome::Restarted(start) => self
                .responder
                .redirect(StatusCode::FOUND, &start.location, "login_restarted")
                .with_cookies(start.set_cookies),
            LoginOutcome::Failed(FailedLogin {
                failure,
                set_cookies,
                link,
                ..
            }) => {
                tracing::debug!(app = %app_ref.app.name, code = failure.code(), "login_page_shown");
                self.responder
                    .login_failed(app_ref.app, &failure, &link, request_id)
                    .with_cookies(set_cookies)
            }
        }
    }

    fn redirect_back(
        &self,
        app_ref: AppRef<'_>,
        return_to: &ReturnTo,
        code: &'static str,
    ) -> TaggedResponse {
        let location = format!("{}{return_to}", app_ref.app.origin);
        self.responder.redirect(StatusCode::FOUND, &location, code)
    }
}
