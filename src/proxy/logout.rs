//! Logout: by the user, and by the provider's back-channel, front-channel and webhook requests.

use std::time::Duration;

use http::StatusCode;

use super::Proxy;
use super::context::RequestContext;
use super::request_body::{BodyLimits, read_body_limited};
use super::responder::TaggedResponse;
use crate::auth::logout::back_channel::BackchannelLogoutError;
use crate::auth::logout::front_channel::FRONT_CHANNEL;
use crate::auth::logout::rp_initiated::NOT_TOLD;
use crate::auth::logout::webhook::{WebhookError, WebhookOutcome};
use crate::auth::session::cookies::SetCookieHeaders;
use crate::policy::route::AppRef;
use crate::types::body::Body;

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
        code: &'static str,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let (outcome, app_cookies) = tokio::join!(
            self.auth.logout.log_out(app_ref, context.cookies),
            self.logout_app(app_ref, context.info, &context.parts.headers)
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
        let provider_may_remember = context.info.target.query() == Some(NOT_TOLD)
            || !self.auth.logout.can_end_provider_session(app_ref);
        self.responder
            .signed_out(app_ref.app, provider_may_remember, code)
    }

    pub(super) async fn backchannel_logout(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        body: Body,
    ) -> TaggedResponse {
        let revoked = match form_field(body, "logout_token").await {
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
            self.logout_app(app_ref, context.info, &context.parts.headers)
                .await
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
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let received = self.verify_webhook(app_ref, context).await;
        self.auth.webhooks.record(app_ref, &received);
        self.responder.webhook(&received, code)
    }

    /// Reads the body only after the sender is verified.
    async fn verify_webhook(
        &self,
        app_ref: AppRef<'_>,
        context: RequestContext<'_>,
    ) -> Result<WebhookOutcome, WebhookError> {
        let headers = &context.parts.headers;
        let webhooks = &self.auth.webhooks;
        let sender = webhooks.verify_sender(app_ref, headers).await?;
        let body = read_body_limited(context.body, EVENT_LIMITS)
            .await
            .map_err(|_| WebhookError::Unreadable)?;
        webhooks.receive(app_ref, &sender, &body).await
    }
}

/// The value of a field in a small form. `None` if the body cannot be read, or if the field is
/// missing or repeated.
async fn form_field(body: Body, name: &str) -> Option<String> {
    let form = read_body_limited(body, FORM_LIMITS).await.ok()?;
    let mut values = url::form_urlencoded::parse(&form)
        .filter(|(field, _)| field == name)
        .map(|(_, value)| value);
    let value = values.next()?.into_owned();
    values.next().is_none().then_some(value)
}
