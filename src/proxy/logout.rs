//! Logout: by the user, and by the provider's back-channel, front-channel and webhook requests.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::Proxy;
use super::context::RequestContext;
use super::request_body::{BodyLimits, ReadBodyError};
use super::responder::{MovingOn, TaggedResponse};
use crate::auth::logout::back_channel::BackchannelLogoutError;
use crate::auth::logout::front_channel::FRONT_CHANNEL;
use crate::auth::logout::rp_initiated::NOT_TOLD;
use crate::auth::logout::webhook::WebhookError;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::policy::logout_target::LogoutTarget;
use crate::policy::route::AppRef;

const FORM_LIMITS: BodyLimits = BodyLimits {
    max_bytes: 32 * 1024,
    timeout: Duration::from_secs(5),
};
/// An event contains the complete user object.
const EVENT_LIMITS: BodyLimits = BodyLimits {
    max_bytes: 512 * 1024,
    timeout: Duration::from_secs(5),
};

impl Proxy {
    /// Ends the session here and at the app, then redirects to the provider's logout.
    pub(super) async fn logout(
        &self,
        app_ref: AppRef<'_>,
        target: Option<LogoutTarget>,
        code: &'static str,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let (outcome, app_cookies) = tokio::join!(
            self.auth
                .logout
                .log_out(app_ref, context.cookies, target.as_ref()),
            self.logout_app(app_ref, context.logging_out())
        );
        self.responder
            .redirect(StatusCode::SEE_OTHER, &outcome.location, code)
            .with_cookies(app_cookies)
            .with_cookies(outcome.set_cookies)
    }

    pub(super) fn show_signed_out(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let query = context.info.target.query().unwrap_or_default();
        if app_ref.app.is_login_host()
            && let Some(page) = self.auth.login_host.page_after_logout(app_ref, query)
        {
            return self.responder.moving_on(&MovingOn {
                from: app_ref.app,
                to: &page.app.site(),
                target: &page.location,
                title: "You are signed out",
                code,
            });
        }
        let provider_may_remember = context.info.target.query() == Some(NOT_TOLD)
            || !self.auth.logout.can_end_provider_session(app_ref);
        self.responder
            .signed_out(app_ref.app, provider_may_remember, code)
    }

    pub(super) async fn backchannel_logout(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        mut context: RequestContext<'_>,
    ) -> TaggedResponse {
        if !is_form(&context.parts.headers) {
            let rejected = BackchannelLogoutError::Rejected("logout_request_not_a_form");
            return self.responder.backchannel(Err(rejected), code);
        }
        let form = match context.read_body(FORM_LIMITS).await {
            Err(ReadBodyError::Busy) => return self.server_busy(app_ref, &context),
            form => form.ok(),
        };
        let revoked = match form.and_then(|form| form_field(&form, "logout_token")) {
            Some(token) => self.auth.backchannel_logout.log_out(app_ref, token).await,
            None => Err(BackchannelLogoutError::Rejected("logout_token_missing")),
        };
        self.responder.backchannel(revoked, code)
    }

    pub(super) async fn frontchannel_logout(
        &self,
        app_ref: AppRef<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let query = context.info.target.query().unwrap_or_default();
        let outcome = self
            .auth
            .frontchannel_logout
            .log_out(app_ref, query, context.cookies);
        let app_cookies = if outcome.outcome == FRONT_CHANNEL {
            self.logout_app(app_ref, context.logging_out()).await
        } else {
            SetCookieHeaders::new()
        };
        self.responder
            .frontchannel(outcome)
            .with_cookies(app_cookies)
    }

    pub(super) async fn receive_webhook(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        mut context: RequestContext<'_>,
    ) -> TaggedResponse {
        let webhooks = &self.auth.webhooks;
        // The body is read only after the sender is verified.
        let sender = webhooks
            .verify_sender(app_ref, &context.parts.headers)
            .await;
        let received = match sender {
            Ok(sender) => match context.read_body(EVENT_LIMITS).await {
                Ok(body) => webhooks.receive(app_ref, &sender, &body).await,
                Err(ReadBodyError::Busy) => return self.server_busy(app_ref, &context),
                Err(ReadBodyError::TooLarge | ReadBodyError::Incomplete) => {
                    Err(WebhookError::Unreadable)
                }
            },
            Err(error) => Err(error),
        };
        webhooks.record(app_ref, &received);
        self.responder.webhook(&received, code)
    }

    pub(super) fn server_busy(
        &self,
        app_ref: AppRef<'_>,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let client_kind = context.info.client_kind;
        let request_id = context.request_id();
        self.responder
            .busy(client_kind, Some(app_ref.app), "server_busy", request_id)
    }
}

/// Whether the body is a form (OpenID Connect Back-Channel Logout section 2.5).
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The value of a field in a form. `None` if the field is missing or repeated.
pub(super) fn form_field(form: &[u8], name: &str) -> Option<String> {
    let mut values = url::form_urlencoded::parse(form)
        .filter(|(field, _)| field == name)
        .map(|(_, value)| value);
    let value = values.next()?.into_owned();
    values.next().is_none().then_some(value)
}
