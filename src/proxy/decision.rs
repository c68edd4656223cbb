//! Decisions for other proxies: authenticates and decides about a request that a trusted proxy
//! describes, and tells it what to do. It is handled like a request that Doorward forwards, up to
//! the decision.

mod envoy;
mod grpc;

use http::{Method, Request, Response, StatusCode};

use super::concurrency::acquire;
use super::context::RequestContext;
use super::responder::{Permitted, TaggedResponse};
use super::{Answered, Proxy, ReceivedRequest};
use crate::policy::canonical::canonical;
use crate::policy::decide::{Decision, Permit, Reason, Refusal};
use crate::policy::described_request::{self, Dialect, InvalidDescription};
use crate::policy::post_replay::{PreservePostError, may_be_replay_request};
use crate::policy::request_info::InvalidRequest;
use crate::policy::route::AppRef;
use crate::session::validity::{LiveSession, NoSessionReason};
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;
use crate::upstream::{self, AppCredentials};

impl Proxy {
    /// Handles a request to the decision listener.
    pub async fn check(
        &self,
        request: Request<Body>,
        connection: ConnectionInfo,
    ) -> Response<Body> {
        let peer = connection.peer.map(|peer| peer.ip());
        let dialect = Dialect::of_path(request.uri().path());
        if dialect == Some(Dialect::ExtAuthzGrpc) && self.trusted.contain_peer(peer) {
            return Box::pin(self.check_by_grpc(request, connection)).await;
        }
        let (mut check, _) = request.into_parts();
        if !self.trusted.contain_peer(peer) {
            self.telemetry.count_check("unknown", "untrusted_peer");
            let mut record = self.telemetry.begin(Some(&check.method), connection);
            record.set_unparsed_path(&check);
            let response = self.responder.untrusted_peer(record.request_id());
            return record.close(response);
        }
        let Some(dialect) = dialect else {
            self.telemetry.count_check("unknown", "invalid");
            let mut record = self.telemetry.begin(Some(&check.method), connection);
            record.set_unparsed_path(&check);
            let response = self.responder.unknown_check(record.request_id());
            return record.close(response);
        };
        let method = check.method.clone();
        let described = canonical(&mut check)
            .map_err(|_| InvalidDescription::Malformed)
            .and_then(|()| described_request::read(dialect, check));
        let parts = match described {
            Ok(parts) => parts,
            Err(error) => return self.invalid_check(dialect, error, Some(&method), connection),
        };
        let received = ReceivedRequest {
            record: self.telemetry.begin(Some(&parts.method), connection),
            parts,
            body: Body::empty(),
            peer,
            own_connection: None,
            listener: connection.listener,
            dialect: Some(dialect),
        };
        self.decide_received(dialect, received).await
    }

    fn invalid_check(
        &self,
        dialect: Dialect,
        error: InvalidDescription,
        method: Option<&Method>,
        connection: ConnectionInfo,
    ) -> Response<Body> {
        self.telemetry.count_check(dialect.name(), "invalid");
        let record = self.telemetry.begin(method, connection);
        let response = self.responder.invalid_check(error, record.request_id());
        record.close(response)
    }

    async fn decide_received(&self, dialect: Dialect, received: ReceivedRequest) -> Response<Body> {
        let Answered { record, response } = self.handle_received(received).await;
        let response = response.for_dialect(dialect);
        self.telemetry
            .count_check(dialect.name(), outcome(response.response.status()));
        record.close(response)
    }

    /// The response to a decision. Nothing but a permit may look like a permission.
    pub(super) async fn answer_check(
        &self,
        dialect: Dialect,
        decision: Decision<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let code = decision.code();
        let request_id = context.request_id();
        let client_kind = context.info.client_kind;
        match decision {
            Decision::Forward(permit) => self.permit(dialect, permit, context).await,
            // The login endpoint sets the cookies of the login itself.
            Decision::StartLogin { app_ref, link, .. }
            | Decision::ChooseProvider { app_ref, link, .. } => {
                self.responder.login_at_edge(app_ref.app, &link, code)
            }
            Decision::PreservePost {
                app_ref,
                link,
                reason,
                requirement,
            } => {
                let reason = Reason::PostNotPreserved(reason, PreservePostError::Disabled);
                let refusal = Refusal {
                    login: Some(link),
                    requirement: Some(requirement),
                    ..Refusal::new(reason, Some(app_ref), client_kind)
                };
                self.refuse(&refusal, request_id)
            }
            Decision::RedirectToCanonicalOrigin { app_ref } => {
                let location = format!("{}{}", app_ref.app.origin, context.info.target.as_str());
                self.responder
                    .redirect(StatusCode::PERMANENT_REDIRECT, &location, code)
            }
            Decision::Refuse(refusal) => self.refuse(&refusal, request_id),
            Decision::CorsPreflight { app_ref, allowed } => match dialect {
                Dialect::ExtAuthzGrpc => self.responder.preflight_at_edge(&allowed, code),
                // Doorward's listener for clients answers it.
                Dialect::AuthRequest => {
                    let reason = Reason::LoginRequired(NoSessionReason::NoCookie);
                    self.refuse_check(app_ref, reason, &context)
                }
                // The other proxy would take the status of the response for a permission.
                Dialect::ForwardAuth | Dialect::ExtAuthz => {
                    self.refuse_check(app_ref, Reason::EndpointNotProxied, &context)
                }
            },
            Decision::ConfirmPostReplay { app_ref, .. }
            | Decision::FinishLogin { app_ref, .. }
            | Decision::StartHostLogin { app_ref }
            | Decision::FinishHostLogin { app_ref }
            | Decision::ListSignedInApps { app_ref }
            | Decision::LogoutEverywhere { app_ref }
            | Decision::ConfirmLogout { app_ref, .. }
            | Decision::Logout { app_ref, .. }
            | Decision::ReturnFromLogout { app_ref, .. }
            | Decision::RelayLoginResponse { app_ref }
            | Decision::BackchannelLogout { app_ref }
            | Decision::Native { app_ref, .. }
            | Decision::FrontchannelLogout { app_ref }
            | Decision::ReceiveWebhook { app_ref }
            | Decision::RegisterDevice { app_ref }
            | Decision::RenewDeviceProof { app_ref }
            // The configuration check refuses both together.
            | Decision::RequireDeviceProof { app_ref, .. }
            | Decision::ReloadFromApp { app_ref }
            | Decision::ShowAssertionKeys { app_ref }
            | Decision::ShowSignedOut { app_ref }
            | Decision::ShowSession { app_ref, .. }
            | Decision::ShowSessions { app_ref, .. }
            | Decision::EndSessions { app_ref, .. }
            | Decision::AlreadySignedIn { app_ref, .. } => {
                self.refuse_check(app_ref, Reason::EndpointNotProxied, &context)
            }
        }
    }

    async fn permit(
        &self,
        dialect: Dialect,
        permit: Permit<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let app_ref = permit.app_ref();
        if permit.own_response().is_some() {
            return self.refuse_check(app_ref, Reason::EndpointNotProxied, &context);
        }
        let headers = &context.parts.headers;
        if dialect.passes_refused_requests()
            && may_be_replay_request(context.info, headers, app_ref.app)
        {
            return self.refuse_check(app_ref, Reason::BodyRequired, &context);
        }
        let slot = self.app_limit(&permit, &context.server_slot);
        let Ok(_in_flight) = acquire(slot).await else {
            return self.app_busy(app_ref, context.info.client_kind, context.request_id());
        };
        let request_id = context.request_id();
        // The other proxy forwards the path that the client requested.
        let target = context.info.target.as_str();
        let assertion = self.assertion(&permit, target);
        let credentials = AppCredentials {
            assertion: assertion.as_ref(),
            // The other proxy has its own connection to the app.
            ..AppCredentials::default()
        };
        let changes = self
            .upstreams
            .get(app_ref, permit.path_route().map(|matched| matched.index))
            .and_then(|upstream| {
                upstream::edge_changes(&upstream, &permit, headers, request_id, credentials)
            });
        let Some(mut changes) = changes else {
            let reason = Reason::InvalidRequest(InvalidRequest::Repeated);
            return self.refuse_check(app_ref, reason, &context);
        };
        changes.remove_too(Dialect::DESCRIPTION);
        let is_in_grace = permit.session().is_some_and(LiveSession::is_in_grace);
        let code = if is_in_grace {
            "permit_in_grace"
        } else {
            "permit"
        };
        self.responder.permitted(changes, code)
    }

    fn refuse_check(
        &self,
        app_ref: AppRef<'_>,
        reason: Reason,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let refusal = Refusal::new(reason, Some(app_ref), context.info.client_kind);
        self.refuse(&refusal, context.request_id())
    }
}

/// The outcome of a check in metrics.
fn outcome(status: StatusCode) -> &'static str {
    if status == StatusCode::OK {
        "permitted"
    } else if status.is_redirection() {
        "redirected"
    } else if status.is_server_error() {
        "unavailable"
    } else if status == StatusCode::BAD_REQUEST {
        "invalid"
    } else {
        "refused"
    }
}
