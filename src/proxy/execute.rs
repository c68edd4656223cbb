//! Stage 5: do what was decided. One match; each arm is one call down. The rare ones are boxed, so that a connection
//! at rest does not carry the room for them.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::Proxy;
use super::native::Call;
use super::request_id::RequestId;
use super::request_telemetry::{RequestRecord, StreamLimits};
use super::responder::TaggedResponse;
use crate::auth::login::callback::{LoginFailure, LoginOutcome};
use crate::auth::logout::back_channel::BackchannelLogoutError;
use crate::auth::logout::front_channel::FRONT_CHANNEL;
use crate::auth::logout::rp_initiated::NOT_TOLD;
use crate::auth::logout::webhook::{Received, WebhookError};
use crate::auth::session::cookies::SetCookieHeaders;
use crate::identity::post_id::PostId;
use crate::identity::return_to::ReturnTo;
use crate::policy::decide::{Decision, Permit, Reason};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::{LoginLoopCause, TransportHints};
use crate::session::validity::LiveSession;
use crate::types::body::Body;
use crate::upstream::{self, UpstreamError};

/// Most bytes of a form that is sent to one of our own endpoints, and of an event, which has the person in it.
const MAX_FORM: usize = 32 * 1024;
const MAX_EVENT: usize = 512 * 1024;
/// How long either may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

/// The request, as far as acting needs it.
pub(super) struct RequestContext<'r> {
    pub(super) info: &'r RequestInfo,
    pub(super) cookies: &'r RequestCookies<'r>,
    pub(super) parts: &'r mut Parts,
    pub(super) body: Body,
    /// The kept form that it calls for.
    pub(super) form: Option<PostId>,
}

impl Proxy {
    pub(super) async fn execute(
        &self,
        decision: Decision<'_>,
        mut context: RequestContext<'_>,
        record: &mut RequestRecord,
    ) -> TaggedResponse {
        let (code, responder, request_id) = (decision.code(), &self.responder, record.request_id());
        match decision {
            Decision::Forward(permit) => {
                let app_ref = permit.app_ref();
                let _until_the_head = match self.limiters.of_app(app_ref.index) {
                    None => None,
                    Some(concurrency) => match concurrency.acquire().await {
                        Some(stay) => Some(stay),
                        None => {
                            return responder.busy(
                                context.info.client_kind,
                                Some(app_ref.app),
                                "app_busy",
                                request_id,
                            );
                        }
                    },
                };
                match context.form.take() {
                    None => self.forward(permit, context, record).await,
                    Some(id) => Box::pin(self.replay_post(permit, id, context, record)).await,
                }
            }
            Decision::PreservePost(app_ref, page, why) => {
                Box::pin(self.preserve_post(app_ref, (page, why), context, record)).await
            }
            Decision::ConfirmPostReplay(app_ref, live, id) => {
                Box::pin(self.confirm_post_replay(app_ref, (live, id), context, record)).await
            }
            Decision::StartLogin(app_ref, return_to, why) => {
                let signs = TransportHints::read(&context.parts.headers, &app_ref.app.origin);
                match self.auth.login_loop(app_ref, context.cookies, why, signs) {
                    Some(redirect_loop_page) => {
                        self.redirect_loop_page(app_ref, redirect_loop_page, &return_to, request_id)
                    }
                    None => {
                        Box::pin(self.start_login(
                            app_ref,
                            &return_to,
                            signs,
                            context.info,
                            context.cookies,
                            request_id,
                        ))
                        .await
                    }
                }
            }
            Decision::FinishLogin(app_ref, caller) => {
                let query = context.info.target.query().unwrap_or_default();
                let signs = TransportHints::read(&context.parts.headers, &app_ref.app.origin);
                let end = Box::pin(self.auth.finish_login(
                    app_ref,
                    query,
                    context.cookies,
                    &caller,
                    signs,
                ))
                .await;
                let left = if end.is_of_another_person() {
                    Box::pin(self.logout_app(app_ref, context.info, &context.parts.headers)).await
                } else {
                    SetCookieHeaders::new()
                };
                self.login_ended(app_ref, end, record).with_cookies(left)
            }
            Decision::ConfirmLogout(app_ref, user) => {
                responder.logout_confirm(app_ref.app, user.as_deref(), code)
            }
            Decision::Logout(app_ref) => {
                let here = Box::pin(self.auth.logout(app_ref, context.cookies));
                let at_app =
                    Box::pin(self.logout_app(app_ref, context.info, &context.parts.headers));
                let (end, left) = tokio::join!(here, at_app);
                let answer = responder.redirect(StatusCode::SEE_OTHER, &end.location, code);
                answer.with_cookies(left).with_cookies(end.set_cookies)
            }
            Decision::BackchannelLogout(app_ref) => {
                let revoked = match Box::pin(form_field(context.body, "logout_token")).await {
                    Some(token) => Box::pin(self.auth.backchannel_logout(app_ref, token)).await,
                    None => Err(BackchannelLogoutError::Rejected("logout_token_missing")),
                };
                responder.backchannel(revoked, code)
            }
            Decision::Native(app_ref, native, call, origin) => {
                Box::pin(self.native(
                    Call {
                        app_ref,
                        native,
                        call,
                        origin,
                    },
                    context,
                    record,
                ))
                .await
            }
            Decision::CorsPreflight(_, origin) => responder.preflight(&origin, code),
            Decision::FrontchannelLogout(app_ref) => {
                let query = context.info.target.query().unwrap_or_default();
                let end = self
                    .auth
                    .frontchannel_logout(app_ref, query, context.cookies);
                let left = if end.outcome == FRONT_CHANNEL {
                    Box::pin(self.logout_app(app_ref, context.info, &context.parts.headers)).await
                } else {
                    SetCookieHeaders::new()
                };
                responder.frontchannel(end).with_cookies(left)
            }
            Decision::ReceiveWebhook(app_ref) => {
                let received = Box::pin(self.receive_webhook(app_ref, context)).await;
                self.auth.webhook_received(app_ref, &received);
                responder.webhook(&received, code)
            }
            Decision::ShowSignedOut(app_ref) => {
                let not_told = context.info.target.query() == Some(NOT_TOLD);
                responder.signed_out(
                    app_ref.app,
                    not_told || !self.auth.can_end_provider_session(app_ref),
                    code,
                )
            }
            Decision::ShowSession(app_ref, live) => {
                responder.session(app_ref.app, &live, self.auth.now(), code)
            }
            Decision::AlreadySignedIn(app_ref, return_to) => {
                match self.auth.sent_back(app_ref, context.cookies, &return_to) {
                    Ok(set_cookies) => responder
                        .redirect(StatusCode::FOUND, &absolute(app_ref, &return_to), code)
                        .with_cookies(set_cookies),
                    Err(redirect_loop_page) => {
                        self.redirect_loop_page(app_ref, redirect_loop_page, &return_to, request_id)
                    }
                }
            }
            Decision::RedirectToCanonicalOrigin(app_ref) => {
                let location = format!("{}{}", app_ref.app.origin, context.info.target.as_str());
                responder.redirect(StatusCode::PERMANENT_REDIRECT, &location, code)
            }
            Decision::Refuse(refusal) => {
                if let (Reason::PostNotPreserved(_, why), Some(app_ref)) =
                    (refusal.reason, refusal.app_ref)
                {
                    self.auth.post_not_preserved(app_ref, why);
                }
                responder.refusal(&refusal, request_id)
            }
        }
    }

    async fn forward(
        &self,
        permit: Permit<'_>,
        context: RequestContext<'_>,
        record: &mut RequestRecord,
    ) -> TaggedResponse {
        let (app_ref, info) = (permit.app_ref(), permit.info());
        let in_grace = permit.session().is_some_and(LiveSession::is_in_grace);
        let code = if in_grace {
            "forward_in_grace"
        } else {
            "forward"
        };
        match self.pass(permit, context, record).await {
            Ok(response) => TaggedResponse { code, response },
            Err(error) => self.upstream_failed(app_ref, info, &error, record),
        }
    }

    /// Passes the request to the backend.
    pub(super) async fn pass(
        &self,
        permit: Permit<'_>,
        context: RequestContext<'_>,
        record: &mut RequestRecord,
    ) -> Result<Response<Body>, UpstreamError> {
        let app_ref = permit.app_ref();
        let upstream = self
            .upstreams
            .get(app_ref.index)
            .ok_or(UpstreamError::Unforwardable("its app"))?;
        let by_session = permit.session().map(|live| self.auth.holds(app_ref, live));
        let holds = by_session.or_else(|| {
            permit
                .token()
                .map(|live| self.auth.token_holds(app_ref, live))
        });
        record.sent_upstream();
        let answer = upstream::forward(
            upstream,
            &permit,
            context.parts,
            context.body,
            holds.as_ref(),
        )
        .await;
        record.lasts(StreamLimits {
            holds,
            max_age: upstream.stream_max_age(),
        });
        record.answered_by_upstream();
        answer
    }

    /// The backend gave no answer.
    pub(super) fn upstream_failed(
        &self,
        app_ref: AppRef<'_>,
        info: &RequestInfo,
        error: &UpstreamError,
        record: &RequestRecord,
    ) -> TaggedResponse {
        let (cause, request_id) = (
            std::error::Error::source(error).map(ToString::to_string),
            record.request_id(),
        );
        tracing::warn!(app = %app_ref.app.name, %request_id, code = error.code(), %error, cause, "upstream_failed");
        self.responder
            .upstream_failed(info, app_ref.app, error, request_id)
    }

    async fn start_login(
        &self,
        app_ref: AppRef<'_>,
        return_to: &ReturnTo,
        signs: TransportHints,
        info: &RequestInfo,
        cookies: &RequestCookies<'_>,
        request_id: RequestId,
    ) -> TaggedResponse {
        match self
            .auth
            .start_login(app_ref, cookies, return_to, signs)
            .await
        {
            Ok(start) => self
                .responder
                .redirect(StatusCode::FOUND, &start.location, "start_login")
                .with_cookies(start.set_cookies),
            Err(outage) => self
                .responder
                .outage(info, Some(app_ref), outage, request_id),
        }
    }

    /// The body is read of a proven sender only.
    async fn receive_webhook(
        &self,
        app_ref: AppRef<'_>,
        context: RequestContext<'_>,
    ) -> Result<Received, WebhookError> {
        let sender = self
            .auth
            .webhook_sender(app_ref, &context.parts.headers)
            .await?;
        let body = whole(context.body, MAX_EVENT)
            .await
            .ok_or(WebhookError::InvalidRequest)?;
        self.auth.receive_webhook(app_ref, &sender, &body).await
    }

    pub(super) fn redirect_loop_page(
        &self,
        app_ref: AppRef<'_>,
        (cause, set_cookies): (LoginLoopCause, SetCookieHeaders),
        return_to: &ReturnTo,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.responder
            .login_failed(
                app_ref.app,
                &LoginFailure::Loop(cause),
                return_to,
                request_id,
            )
            .with_cookies(set_cookies)
    }

    fn login_ended(
        &self,
        app_ref: AppRef<'_>,
        end: LoginOutcome,
        record: &mut RequestRecord,
    ) -> TaggedResponse {
        let responder = &self.responder;
        match end {
            LoginOutcome::SignedIn {
                return_to,
                set_cookies,
                ..
            } => responder
                .redirect(
                    StatusCode::FOUND,
                    &absolute(app_ref, &return_to),
                    "signed_in",
                )
                .with_cookies(set_cookies),
            LoginOutcome::AlreadySignedIn(return_to, set_cookies) => {
                let location = absolute(app_ref, &return_to);
                responder
                    .redirect(StatusCode::FOUND, &location, "already_signed_in")
                    .with_cookies(set_cookies)
            }
            LoginOutcome::Restarted(start) => responder
                .redirect(StatusCode::FOUND, &start.location, "login_restarted")
                .with_cookies(start.set_cookies),
            LoginOutcome::Failed(failure, set_cookies, return_to) => {
                tracing::warn!(app = %app_ref.app.name, request_id = %record.request_id(), code = failure.code(), "login_page_shown");
                responder
                    .login_failed(app_ref.app, &failure, &return_to, record.request_id())
                    .with_cookies(set_cookies)
            }
        }
    }
}

/// A field of a small form that was sent to one of our own endpoints. `None`: it is not there, or twice, or the form
/// is too large, too slow, or broke off.
async fn form_field(body: Body, name: &str) -> Option<String> {
    let form = whole(body, MAX_FORM).await?;
    let mut values = url::form_urlencoded::parse(&form)
        .filter(|(field, _)| field == name)
        .map(|(_, value)| value);
    let value = values.next()?.into_owned();
    values.next().is_none().then_some(value)
}

/// A small body. `None`: it is too large, too slow, or broke off.
async fn whole(body: Body, limit: usize) -> Option<Bytes> {
    let whole = Limited::new(body, limit).collect();
    Some(
        tokio::time::timeout(FORM_TIMEOUT, whole)
            .await
            .ok()?
            .ok()?
            .to_bytes(),
    )
}

fn absolute(app_ref: AppRef<'_>, return_to: &ReturnTo) -> String {
    format!("{}{return_to}", app_ref.app.origin)
}
