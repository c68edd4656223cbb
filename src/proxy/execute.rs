//! Execution of decisions: one match, one call for each variant.

use std::pin::pin;

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};

use super::Proxy;
use super::concurrency::{AppLimit, ServerSlot, acquire};
use super::context::RequestContext;
use super::messages::Operation;
use super::native::NativeEndpoint;
use super::request_telemetry::RequestRecord;
use super::responder::TaggedResponse;
use super::stream_limits::StreamLimits;
use crate::auth::Unavailable;
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::policy::client_kind::ClientKind;
use crate::policy::decide::{Decision, Permit, Reason, Refusal};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::AppRef;
use crate::session::validity::LiveSession;
use crate::types::body::{Body, StreamSession};
use crate::types::net::ConnectionId;
use crate::types::request_id::RequestId;
use crate::types::secret::Secret;
use crate::upstream::{self, AppCredentials, ClientPin, ForwardLimits, UpstreamError};

impl Proxy {
    pub(super) async fn execute(
        &self,
        decision: Decision<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        if let Some(dialect) = context.dialect {
            Box::pin(self.answer_check(dialect, decision, context)).await
        } else if context.replayed_post.is_none()
            && let Decision::Forward(permit) = decision
        {
            self.forward(permit, context).await
        } else {
            // Boxed, so that the future of a forwarded request has no space for all the others.
            Box::pin(self.execute_other(decision, context)).await
        }
    }

    async fn execute_other(
        &self,
        decision: Decision<'_>,
        mut context: RequestContext<'_>,
    ) -> TaggedResponse {
        let code = decision.code();
        let responder = &self.responder;
        match decision {
            Decision::Forward(permit) => match context.replayed_post.take() {
                Some(post_id) if permit.own_response().is_none() => {
                    self.replay_post(permit, &post_id, context).await
                }
                Some(_) | None => self.forward(permit, context).await,
            },
            Decision::PreservePost {
                app_ref,
                link,
                reason,
                requirement,
            } => {
                self.preserve_post(app_ref, link, reason, requirement, context)
                    .await
            }
            Decision::ConfirmPostReplay {
                app_ref,
                live,
                post_id,
            } => {
                self.confirm_post_replay(app_ref, &live, &post_id, context)
                    .await
            }
            Decision::StartLogin {
                app_ref,
                link,
                reason,
            } => self.start_login(app_ref, &link, reason, context).await,
            Decision::ChooseProvider {
                app_ref,
                link,
                is_login_endpoint: true,
            } => self.choose_provider(app_ref, &link, code, &context),
            Decision::ChooseProvider { app_ref, link, .. } => {
                responder.redirect_to_login(app_ref.app, &link, code)
            }
            Decision::FinishLogin { app_ref, caller } => {
                self.finish_login(app_ref, &caller, context).await
            }
            Decision::AlreadySignedIn { app_ref, return_to } => {
                self.already_signed_in(app_ref, &return_to, code, &context)
            }
            Decision::StartHostLogin { app_ref } => {
                self.start_host_login(app_ref, code, context).await
            }
            Decision::FinishHostLogin { app_ref } => self.finish_host_login(app_ref, context).await,
            Decision::ListSignedInApps { app_ref } => {
                self.list_signed_in_apps(app_ref, code, context).await
            }
            Decision::LogoutEverywhere { app_ref } => {
                self.logout_everywhere(app_ref, code, context).await
            }
            Decision::ConfirmLogout {
                app_ref,
                user,
                target,
            } => responder.logout_confirm(app_ref.app, user.as_deref(), target.as_ref(), code),
            Decision::Logout { app_ref, target } => {
                self.logout(app_ref, target, code, context).await
            }
            Decision::ReturnFromLogout { app_ref, target } => {
                responder.return_from_logout(app_ref.app, &target, code)
            }
            Decision::RelayLoginResponse { app_ref } => {
                self.relay_login_response(app_ref, code, context).await
            }
            Decision::BackchannelLogout { app_ref } => {
                self.backchannel_logout(app_ref, code, context).await
            }
            Decision::FrontchannelLogout { app_ref } => {
                self.frontchannel_logout(app_ref, context).await
            }
            Decision::ReceiveWebhook { app_ref } => {
                self.receive_webhook(app_ref, code, context).await
            }
            Decision::Native {
                app_ref,
                native,
                call,
                origin,
            } => {
                let endpoint = NativeEndpoint {
                    app_ref,
                    native,
                    call,
                    origin,
                };
                self.native(endpoint, context).await
            }
            Decision::CorsPreflight { allowed, .. } => responder.preflight(&allowed, code),
            Decision::RegisterDevice { app_ref } => {
                self.register_device(app_ref, code, context).await
            }
            Decision::RenewDeviceProof { app_ref } => self.renew_device_proof(app_ref, &context),
            Decision::RequireDeviceProof {
                app_ref,
                unproven,
                by_redirect,
            } => self.require_device_proof(app_ref, unproven, by_redirect, &context),
            Decision::ReloadFromApp { app_ref } => {
                responder.reload_from_app(app_ref.app, context.info, code)
            }
            Decision::ShowAssertionKeys { .. } => {
                responder.assertion_keys(self.assertions.jwks(), code)
            }
            Decision::ShowSignedOut { app_ref } => self.show_signed_out(app_ref, code, &context),
            Decision::ShowSession { app_ref, live } => {
                responder.session(app_ref.app, &live, self.auth.now(), code)
            }
            Decision::ShowSessions { app_ref, live } => {
                self.show_sessions(app_ref, &live, code, &context)
            }
            Decision::EndSessions { app_ref, live } => {
                self.end_sessions(app_ref, &live, code, context).await
            }
            Decision::RedirectToCanonicalOrigin { app_ref } => {
                let location = format!("{}{}", app_ref.app.origin, context.info.target.as_str());
                responder.redirect(StatusCode::PERMANENT_REDIRECT, &location, code)
            }
            Decision::Refuse(refusal) => self.refuse(&refusal, context.request_id()),
        }
    }

    async fn forward(&self, permit: Permit<'_>, context: RequestContext<'_>) -> TaggedResponse {
        let app_ref = permit.app_ref();
        if let Some(response) = permit.own_response() {
            // Boxed, so that the future of a forwarded request has no space for that of a file.
            return Box::pin(self.respond_by_route(&response, &permit, context)).await;
        }
        let slot = self.app_limit(&permit, &context.server_slot);
        let Ok(_in_flight) = acquire(slot).await else {
            return self.app_busy(app_ref, context.info.client_kind, context.request_id());
        };
        let token = match self.token_for_app(&permit, &context.parts.headers).await {
            Ok(token) => token,
            Err(unavailable) => {
                return self.no_token_for_app(app_ref, unavailable, &context);
            }
        };
        let is_in_grace = permit.session().is_some_and(LiveSession::is_in_grace);
        let code = if is_in_grace {
            "forward_in_grace"
        } else {
            "forward"
        };
        let info = permit.info();
        let RequestContext {
            parts,
            body,
            record,
            server_slot,
            own_connection,
            ..
        } = context;
        let response = {
            let token = token.as_ref();
            let exchange =
                pin!(self.send_upstream(&permit, token, parts, body, record, own_connection));
            server_slot.forwarded(slot, exchange).await
        };
        match response.unwrap_or(Err(UpstreamError::RequestStalled)) {
            Ok(response) => TaggedResponse { code, response },
            Err(_) if record.upload_was_cut() => {
                self.upload_cut(app_ref, info.client_kind, record.request_id())
            }
            Err(error) => self.upstream_failed(app_ref, info, &error, record.request_id()),
        }
    }

    /// The response if the provider gives no token for the app.
    pub(super) fn no_token_for_app(
        &self,
        app_ref: AppRef<'_>,
        unavailable: Unavailable,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        self.responder.unavailable(
            context.info,
            Some(app_ref),
            unavailable,
            Operation::SessionCheck,
            context.request_id(),
        )
    }

    /// The limiter of the app or its route, and the user or else the client that the request counts for.
    pub(super) fn app_limit(
        &self,
        permit: &Permit<'_>,
        server_slot: &ServerSlot<'_>,
    ) -> Option<AppLimit<'_>> {
        let app_ref = permit.app_ref();
        let route = permit.path_route().map(|matched| matched.index);
        let limiter = self.limiters.app(app_ref.index, route)?;
        let user = permit.identity().map(|identity| &identity.subject);
        let user = user.and_then(|user| self.auth.client_key(app_ref, user));
        Some(AppLimit {
            limiter,
            client: user.or(server_slot.client()),
        })
    }

    /// Sends the request to the app's backend, with the token for it. `own_connection`: see
    /// [`RequestContext`].
    pub(super) async fn send_upstream(
        &self,
        permit: &Permit<'_>,
        token: Option<&Secret<String>>,
        parts: &Parts,
        body: Body,
        record: &mut RequestRecord,
        own_connection: Option<ConnectionId>,
    ) -> Result<Response<Body>, UpstreamError> {
        let app_ref = permit.app_ref();
        let mut upstream = self
            .upstreams
            .get(app_ref, permit.path_route().map(|matched| matched.index))
            .ok_or(UpstreamError::NotForwardable("its app"))?;
        let session = self.stream_session(permit);
        let body = if http_body::Body::is_end_stream(&body) {
            body
        } else {
            // An upload may last longer than its access token.
            let by_token = permit.token();
            let by_token = by_token.map(|live| self.auth.bearer.upload_session(app_ref, live));
            record.limit_upload(body, by_token.or_else(|| session.clone()))
        };
        let assertion = self.assertion(permit, permit.target());
        let limits = ForwardLimits {
            session: session.as_ref(),
            pin: own_connection.map(|connection| ClientPin {
                connection,
                caller: permit.caller_name(),
            }),
            request_id: record.request_id(),
            trace: record.trace(),
            credentials: AppCredentials {
                assertion: assertion.as_ref(),
                are_sent: permit.is_protected(),
                token,
            },
        };
        let known = self.prefer_known_address(app_ref, &mut upstream, &parts.headers);
        record.upstream_started(upstream.telemetry());
        let mut response = upstream::forward(&mut upstream, permit, parts, body, limits).await;
        if let Ok(response) = &mut response {
            self.remember_address(app_ref, &upstream, known, response);
        }
        record.limit_stream(StreamLimits {
            session,
            max_age: upstream.stream_max_age(),
        });
        record.upstream_finished(upstream.telemetry());
        response
    }

    /// The session or token that permits the streams of a request.
    pub(super) fn stream_session(&self, permit: &Permit<'_>) -> Option<StreamSession> {
        let app_ref = permit.app_ref();
        let is_activity = permit.is_stream_activity();
        let by_session = permit.session();
        let by_session = by_session.map(|live| {
            let sessions = &self.auth.sessions;
            sessions.stream_session(app_ref, live, is_activity)
        });
        by_session.or_else(|| {
            permit
                .token()
                .map(|live| self.auth.bearer.stream_session(app_ref, live))
        })
    }

    /// The assertion for the app, if it wants one. `target` is the path and query that the app gets.
    pub(super) fn assertion(&self, permit: &Permit<'_>, target: &str) -> Option<HeaderValue> {
        let now = self.auth.now();
        self.assertions
            .assertion(permit, target, &self.assertion_cache, now)
    }

    /// Logs a failed upstream request and renders its error.
    pub(super) fn upstream_failed(
        &self,
        app_ref: AppRef<'_>,
        info: &RequestInfo,
        error: &UpstreamError,
        request_id: RequestId,
    ) -> TaggedResponse {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::debug!(app = %app_ref.app.name, code = error.code(), %error, cause, "upstream_failed");
        self.responder
            .upstream_failed(info, app_ref.app, error, request_id)
    }

    /// The response if the session ended within the request body.
    fn upload_cut(
        &self,
        app_ref: AppRef<'_>,
        client_kind: ClientKind,
        request_id: RequestId,
    ) -> TaggedResponse {
        let refusal = Refusal {
            login: Some(LoginLink::to(ReturnTo::home(&app_ref.app.paths))),
            ..Refusal::new(Reason::SessionOver, Some(app_ref), client_kind)
        };
        self.responder.refusal(&refusal, request_id)
    }

    pub(super) fn app_busy(
        &self,
        app_ref: AppRef<'_>,
        client_kind: ClientKind,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.responder
            .busy(client_kind, Some(app_ref.app), "app_busy", request_id)
    }

    pub(super) fn refuse(&self, refusal: &Refusal<'_>, request_id: RequestId) -> TaggedResponse {
        if let Reason::PostNotPreserved(_, error) = refusal.reason
            && let Some(app_ref) = refusal.app_ref
        {
            self.auth.post_replay.record_not_preserved(app_ref, error);
        }
        self.responder.refusal(refusal, request_id)
    }
}
