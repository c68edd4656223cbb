//! Request pipeline: parse, route, authenticate, authorize, execute, respond.

mod app_logout;
mod challenge;
mod concurrency;
mod context;
mod execute;
mod login;
mod logout;
mod messages;
mod native;
pub mod pages;
mod post_replay;
mod request_body;
mod request_id;
mod request_telemetry;
mod responder;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;

use crate::auth::Auth;
use crate::auth::bearer::authenticate::{PresentedBearer, TokenCache};
use crate::auth::bearer::dpop::DpopTarget;
use crate::auth::session::authentication::Authentication;
use crate::auth::session::open::SessionCache;
use crate::auth::session::writer::UpdateTarget;
use crate::identity::credentials::Credentials;
use crate::policy::canonical::canonical;
use crate::policy::client_address::TrustedProxies;
use crate::policy::decide::{Caller, decide};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{BearerUse, HostRouter, Route};
use crate::session::cookie::RequestCookies;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;
use crate::upstream::Upstream;
use context::RequestContext;
use post_replay::ReplayBody;
use responder::ResponseUpdate;

pub use concurrency::{ConcurrencyLimiter, LimiterSettings, Limiters};
pub use request_telemetry::RequestTelemetry;
pub use responder::Responder;

/// Handles the requests of one worker.
pub struct Proxy {
    /// The apps by host.
    pub router: Arc<HostRouter>,
    /// The peers whose forwarding headers are trusted.
    pub trusted: Arc<TrustedProxies>,
    /// The authentication flows.
    pub auth: Arc<Auth>,
    /// The app backends, by app index.
    pub upstreams: Vec<Upstream>,
    /// Decrypted sessions of this worker.
    pub sessions: SessionCache,
    /// Verified access tokens of this worker.
    pub tokens: TokenCache,
    /// The concurrency limits, shared by all workers.
    pub limiters: Arc<Limiters>,
    /// The factory of Doorward's own responses.
    pub responder: Arc<Responder>,
    /// The access log and metrics.
    pub telemetry: RequestTelemetry,
}

impl Proxy {
    /// Handles one request.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        connection: ConnectionInfo,
    ) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let mut record = self.telemetry.begin(&parts, connection);
        let request_id = record.request_id();
        let body = Body::streamed(body);
        let body = record.watch_request(if parts.version == Version::HTTP_2 {
            body.over_http2()
        } else {
            body
        });

        let parsed = canonical(&mut parts, connection.secure).and_then(|()| {
            RequestInfo::read(&parts, connection.peer.map(|peer| peer.ip()), &self.trusted)
        });
        let info = match parsed {
            Ok(info) => info,
            Err(error) => {
                record.set_unparsed_path(&parts);
                let response = self.responder.invalid_request(&parts, error, request_id);
                return record.close(response);
            }
        };

        let route = self.router.route(&info);
        record.set_route(&info, &route);
        let Ok(_in_flight) = self.limiters.server.acquire().await else {
            let response = self
                .responder
                .busy(info.client_kind, None, "server_busy", request_id);
            return record.close(response);
        };

        let cookie_fields: Vec<HeaderValue> = parts
            .headers
            .get_all(header::COOKIE)
            .iter()
            .cloned()
            .collect();
        let cookies = RequestCookies::read(&cookie_fields);
        let ReplayBody { post_id, body } =
            match post_replay::replay_app(&info, &route, &parts.headers) {
                None => ReplayBody {
                    post_id: None,
                    body,
                },
                Some(app_ref) => {
                    let reads = self.auth.post_replay.replay_checks();
                    match Box::pin(post_replay::read_replay_request(reads, body)).await {
                        Ok(replay_body) => replay_body,
                        Err(error) => {
                            let response = self.responder.upstream_failed(
                                &info,
                                app_ref.app,
                                &error,
                                request_id,
                            );
                            return record.close(response);
                        }
                    }
                }
            };

        let app_ref = route.session_app();
        let counts_as_activity = route.counts_as_activity(&info.target);
        let authentication = self
            .authenticate(&info, &route, &parts.headers, &cookies)
            .await;
        record.set_caller(&authentication.caller);
        let Authentication {
            caller,
            update,
            at,
            nonce,
        } = authentication;

        let response = match caller {
            Ok(caller) => {
                let decision = decide(&info, &parts.headers, route, caller);
                let context = RequestContext {
                    info: &info,
                    cookies: &cookies,
                    parts: &mut parts,
                    body,
                    replayed_post: post_id,
                    record: &mut record,
                };
                self.execute(decision, context).await
            }
            Err(unavailable) => self
                .responder
                .unavailable(&info, app_ref, unavailable, request_id),
        };

        let response_update = match app_ref {
            None => ResponseUpdate {
                dpop_nonce: nonce,
                ..ResponseUpdate::default()
            },
            Some(app_ref) => {
                let native = &self.auth.native.authenticator;
                let target = UpdateTarget {
                    app_ref,
                    request_cookies: &cookies,
                    authenticated_at: at,
                    counts_as_activity,
                };
                ResponseUpdate {
                    tokens: native.token_headers(app_ref, &update, at),
                    set_cookies: self.auth.session_writer.set_cookie_headers(update, target),
                    dpop_nonce: nonce,
                }
            }
        };
        record.close(response.apply(response_update))
    }

    /// Authenticates a request by its session, or by its access token if it has no session.
    async fn authenticate(
        &self,
        info: &RequestInfo,
        route: &Route<'_>,
        headers: &HeaderMap,
        cookies: &RequestCookies<'_>,
    ) -> Authentication {
        let Some(app_ref) = route.session_app() else {
            return Authentication::anonymous();
        };
        let cookies = if route.accepts_session() {
            cookies
        } else {
            const { &RequestCookies::none() }
        };
        let target = dpop_target(info, headers);
        let mode = route.resume_mode(headers);
        let mut authentication = self
            .auth
            .authenticate(app_ref, target, cookies, mode, &self.sessions)
            .await;
        if let Ok(Caller::Anonymous(_)) = authentication.caller
            && let Some(bearer) = presented_bearer(info, route, headers)
        {
            let authenticator = &self.auth.bearer;
            let by_token = authenticator.authenticate(app_ref, bearer, &self.tokens);
            let by_token = Box::pin(by_token).await;
            authentication.caller = by_token.caller;
            authentication.nonce = by_token.nonce;
        }
        authentication
    }
}

/// The access token in the request, if the route uses it.
fn presented_bearer<'r>(
    info: &'r RequestInfo,
    route: &Route<'_>,
    headers: &'r HeaderMap,
) -> Option<PresentedBearer<'r>> {
    let may_wait = match route.bearer_use(headers) {
        BearerUse::Ignored => return None,
        BearerUse::Optional => false,
        BearerUse::Required => true,
    };
    Some(PresentedBearer {
        credentials: Credentials::read(headers)?,
        target: dpop_target(info, headers),
        may_wait,
    })
}

/// The request that a DPoP proof must match.
fn dpop_target<'r>(info: &'r RequestInfo, headers: &'r HeaderMap) -> DpopTarget<'r> {
    DpopTarget {
        method: info.method.as_str(),
        path: info.target.path(),
        headers,
    }
}
