//! Requests to a login host: redirects to the provider, the hand-over to the apps, and the logout of
//! all apps.

use http::StatusCode;

use super::Proxy;
use super::context::RequestContext;
use super::responder::{MovingOn, TaggedResponse};
use crate::auth::login_host::FailedHostLogin;
use crate::auth::login_host::callback::{HostCallback, HostLoginOutcome};
use crate::auth::login_host::start::{HostLoginStart, HostRedirect};
use crate::policy::route::AppRef;

impl Proxy {
    /// Redirects to the provider, for a login at an app.
    pub(super) async fn start_host_login(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let hints = context.transport_hints(app_ref);
        let query = context.info.target.query().unwrap_or_default();
        let host = &self.auth.login_host;
        match host.start(app_ref, query, context.cookies, hints).await {
            Ok(HostLoginStart::Provider(redirect)) => self.redirect_from_host(redirect, code),
            Ok(HostLoginStart::App(target)) => {
                self.responder
                    .redirect_to_login(&target.app, &target.link, code)
            }
            Err(failed) => self.host_login_failed(app_ref, &failed, &context),
        }
    }

    /// Handles the provider's redirect to the callback of a login host.
    pub(super) async fn finish_host_login(
        &self,
        app_ref: AppRef<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let request = HostCallback {
            query: context.info.target.query().unwrap_or_default(),
            cookies: context.cookies,
            hints: context.transport_hints(app_ref),
        };
        match self.auth.login_host.finish(app_ref, request).await {
            HostLoginOutcome::HandedOver { app, redirect } => self
                .responder
                .moving_on(&MovingOn {
                    from: app_ref.app,
                    to: &app.site(),
                    target: &redirect.location,
                    title: "moving_on.signed_in",
                    code: "handed_over",
                })
                .with_cookies(redirect.set_cookies),
            HostLoginOutcome::Restarted(redirect) => {
                self.redirect_from_host(redirect, "login_restarted")
            }
            HostLoginOutcome::Failed(failed) => self.host_login_failed(app_ref, &failed, &context),
        }
    }

    /// The page that lists the apps of the browser.
    pub(super) async fn list_signed_in_apps(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let host = &self.auth.login_host;
        let apps = host.signed_in_apps(app_ref, context.cookies).await;
        self.responder.signed_in_apps(app_ref.app, &apps, code)
    }

    /// Ends all sessions of the browser, then redirects to the provider's logout.
    pub(super) async fn logout_everywhere(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let host = &self.auth.login_host;
        let outcome = host.log_out(app_ref, context.cookies).await;
        self.responder
            .redirect(StatusCode::SEE_OTHER, &outcome.location, code)
            .with_cookies(outcome.set_cookies)
    }

    fn redirect_from_host(&self, redirect: HostRedirect, code: &'static str) -> TaggedResponse {
        self.responder
            .redirect(StatusCode::FOUND, &redirect.location, code)
            .with_cookies(redirect.set_cookies)
    }

    fn host_login_failed(
        &self,
        app_ref: AppRef<'_>,
        failed: &FailedHostLogin,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let request_id = context.request_id();
        tracing::debug!(app = %app_ref.app.name, code = failed.failure.code(), "login_page_shown");
        self.responder
            .host_login_failed(app_ref.app, failed, request_id)
    }
}
