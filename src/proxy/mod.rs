//! Request pipeline: parse, route, authenticate, authorize, execute, respond.

mod affinity;
mod app_logout;
mod authenticate;
mod challenge;
mod client_limits;
mod concurrency;
mod context;
mod decision;
mod device_binding;
mod event_stream;
mod execute;
pub mod log_names;
mod login;
mod login_host;
mod logout;
mod maintenance;
mod messages;
mod native;
pub mod pages;
mod passed_token;
mod post_replay;
mod presented;
mod request_body;
mod request_logs;
mod request_spans;
mod request_telemetry;
mod responder;
mod route_response;
mod sessions;
mod stream_limits;
mod upload_observer;

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, header};

use crate::auth::Auth;
use crate::auth::assertion::{AssertionCache, AssertionSigner};
use crate::auth::bearer::authenticate::TokenCache;
use crate::auth::session::authentication::Authentication;
use crate::auth::session::cache::SessionCache;
use crate::auth::session::writer::UpdateTarget;
use crate::auth::session_list::ClientOfRequest;
use crate::limits::{ClientKey, on_behalf_of};
use crate::policy::canonical::{canonical, is_http2_websocket};
use crate::policy::client_address::TrustedProxies;
use crate::policy::client_kind::ClientKind;
use crate::policy::cors::CorsPolicy;
use crate::policy::decide::{AccessContext, Caller, decide};
use crate::policy::described_request::Dialect;
use crate::policy::explanation::Denial;
use crate::policy::forwarded_origin::Scheme;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Endpoint, HostRouter, Route};
use crate::policy::rule_lists::RuleLists;
use crate::session::cookie::RequestCookies;
use crate::session::validity::NoSessionReason;
use crate::static_files::StaticFiles;
use crate::telemetry::request_scope::{RequestTag, enter_span, in_request};
use crate::types::body::Body;
use crate::types::net::{ConnectionId, ConnectionInfo, ListenerKind};
use crate::types::request_id::RequestId;
use crate::upstream::{UpstreamError, Upstreams};
use client_limits::LimitedClient;
pub use concurrency::{AppLimiters, Limiters};
use concurrency::{ServerSlot, request_bytes};
use context::RequestContext;
pub use maintenance::{Maintenance, MaintenanceSettings, MaintenanceState, NamedMaintenance};
use messages::Operation;
use post_replay::ReplayBody;
use request_body::ReadBodyError;
pub use request_logs::RequestLogs;
use request_telemetry::RequestRecord;
pub use request_telemetry::{ConfiguredTelemetry, RequestTelemetry};
pub use responder::Responder;
use responder::{ResponseUpdate, TaggedResponse};

/// Handles the requests of one worker in one configuration. A request uses one of these until its end.
pub struct Proxy {
    /// The apps by host.
    pub router: Arc<HostRouter>,
    /// The peers whose forwarding headers are trusted.
    pub trusted: Arc<TrustedProxies>,
    /// The same for requests that they describe. The description names host and scheme: other fields
    /// with such a name may be the client's.
    pub trusted_edges: Arc<TrustedProxies>,
    /// The authentication flows.
    pub auth: Arc<Auth>,
    /// The lists in files that access rules use.
    pub rule_lists: Arc<RuleLists>,
    /// The app backends, by app index.
    pub upstreams: Upstreams,
    /// Decrypted sessions of this worker.
    pub sessions: SessionCache,
    /// Verified access tokens of this worker.
    pub tokens: TokenCache,
    /// The concurrency limits, shared by all workers.
    pub limiters: Arc<Limiters>,
    /// Serves files of routes, with one limit for all workers.
    pub static_files: StaticFiles,
    /// The maintenance of the apps, shared by all workers.
    pub maintenance: Arc<Maintenance>,
    /// Makes assertions about users for apps.
    pub assertions: Arc<AssertionSigner>,
    /// Assertions of this worker.
    pub assertion_cache: AssertionCache,
    /// The factory of Doorward's own responses.
    pub responder: Arc<Responder>,
    /// The access log and metrics.
    pub telemetry: RequestTelemetry,
}

impl Proxy {
    /// Handles one request.
    pub async fn handle(
        &self,
        request: Request<Body>,
        connection: ConnectionInfo,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let mut record = self.telemetry.begin(Some(&parts.method), connection);
        let body = record.watch_request(body, self.limiters.min_upload_rate);

        let peer = connection.peer.map(|peer| peer.ip());
        let is_proxied = self.trusted.contain_peer(peer);
        if is_proxied && let Some(request_id) = RequestId::read(&parts.headers) {
            record.set_request_id(request_id);
        }
        // A proxy sends the requests of many clients on one connection.
        let is_shared = parts.version >= Version::HTTP_2
            || peer.is_none()
            || is_proxied
            || is_forwarded_with_credentials(&parts.headers);
        let received = ReceivedRequest {
            parts,
            body,
            record,
            peer,
            own_connection: (!is_shared).then_some(connection.id),
            listener: connection.listener,
            dialect: None,
        };
        let Answered { record, response } = self.handle_received(received).await;
        record.close(response)
    }

    /// Handles a request that was received or described.
    async fn handle_received(&self, received: ReceivedRequest) -> Answered {
        let ReceivedRequest {
            mut parts,
            body,
            mut record,
            peer,
            own_connection,
            listener,
            dialect,
        } = received;
        let request_id = record.request_id();
        let trusted = match dialect {
            None => &self.trusted,
            Some(_) => &self.trusted_edges,
        };
        record.set_fields(&parts.headers, trusted.contain_peer(peer));
        let language = parts.headers.get(header::ACCEPT_LANGUAGE).cloned();
        let parsed = canonical(&mut parts).and_then(|()| RequestInfo::read(&parts, peer, trusted));
        let mut info = match parsed {
            Ok(info) => info.arriving_at(listener),
            Err(error) => {
                record.set_unparsed_path(&parts);
                let response = self.responder.invalid_request(&parts, error, request_id);
                let response = self
                    .responder
                    .render_page(response, None, language.as_ref());
                return Answered { record, response };
            }
        };
        if dialect.is_some() && info.client_kind == ClientKind::Grpc {
            // The proxy that asks makes gRPC responses itself.
            info.client_kind = ClientKind::NonBrowser;
        }

        let found = self.router.find(&info);
        let route = Route::of(found.as_ref(), &info);
        record.set_route(&info, &route);
        let is_https = info.scheme == Some(Scheme::Https);
        let has_hsts = |app_ref: AppRef<'_>| app_ref.app.hsts && is_https;
        let needs_hsts = route.app_ref().is_some_and(has_hsts);
        let app = route.app_ref().map(|app_ref| app_ref.app.as_ref());
        let cors = cors_policy(&route, &info);
        let cors = cors.filter(|cors| !cors.origins.is_empty());
        let reader = cors.map(|cors| cors.allowed(&parts.headers));
        let client = info.address.limited_client.map(ClientKey::of_address);
        let Some(memory) = self.limiters.bytes.reserve(client, request_bytes(&parts)) else {
            let code = "too_many_bytes_in_flight";
            let response = self
                .responder
                .busy(info.client_kind, None, code, request_id);
            let response = self
                .responder
                .render_page(response, None, language.as_ref());
            return Answered { record, response };
        };
        record.hold(memory);
        let is_http2_websocket = is_http2_websocket(&parts);
        let tag = RequestTag {
            id: request_id,
            client: info.address.client,
            trace: record.trace().map(|trace| trace.context.trace_id),
        };
        let span = record.span();
        let request = RoutedRequest {
            info,
            parts,
            body,
            record,
            own_connection,
            dialect,
        };
        let handled = on_behalf_of(client, self.handle_routed(request, route, client));
        let mut answered = in_request(Some(tag), span, handled).await;
        // To the client of an HTTP/2 WebSocket, any success is an open one.
        if is_http2_websocket && answered.response.response.status().is_success() {
            answered.response = self.responder.no_websocket(request_id);
        }
        answered.response = self
            .responder
            .render_page(answered.response, app, language.as_ref());
        if let Some(reader) = reader {
            answered.response = answered.response.for_scripts(reader.as_ref());
        }
        if let Some(client) = client
            && trusted.contain_peer(peer)
        {
            // The connection is the proxy's. See `Handler::handle`.
            answered.response.response.extensions_mut().insert(client);
        }
        if needs_hsts {
            responder::require_https(answered.response.response.headers_mut());
        }
        answered
    }

    /// Handles a request whose route and client are known.
    async fn handle_routed(
        &self,
        request: RoutedRequest,
        route: Route<'_>,
        client: Option<ClientKey>,
    ) -> Answered {
        let RoutedRequest {
            info,
            mut parts,
            body,
            mut record,
            own_connection,
            dialect,
        } = request;
        let request_id = record.request_id();
        let app = route.app_ref().map(|app_ref| app_ref.app.as_ref());
        if let Some(retry_after) = self.maintenance.retry_after(&route, &info) {
            let response =
                self.responder
                    .maintenance(info.client_kind, app, retry_after, request_id);
            return Answered { record, response };
        }
        let limited_client = |limited: LimitedClient| {
            self.responder
                .limited_client(info.client_kind, app, limited, request_id)
        };
        let _address_slot = match self.limiters.admit_address(&route, client) {
            Ok(slot) => slot,
            Err(limited) => {
                let response = limited_client(limited);
                return Answered { record, response };
            }
        };
        let server_busy = || {
            self.responder
                .busy(info.client_kind, None, "server_busy", request_id)
        };
        let mut server_slot = ServerSlot::new(&self.limiters, client, record.upload());
        // Before the request takes a slot, since the client may be slow.
        let replay_app = match dialect {
            None => post_replay::replay_app(&info, &route, &parts.headers),
            // Another proxy has the body.
            Some(_) => None,
        };
        let replay_body = match replay_app {
            None => Ok(ReplayBody {
                post_id: None,
                body,
            }),
            Some(app_ref) => Box::pin(post_replay::read_replay_request(&mut server_slot, body))
                .await
                .map_err(|error| (error, app_ref)),
        };
        let ReplayBody { post_id, body } = match replay_body {
            Ok(replay_body) => replay_body,
            Err((ReadBodyError::Busy, _)) => {
                let response = server_busy();
                return Answered { record, response };
            }
            Err((ReadBodyError::TooLarge | ReadBodyError::Incomplete, app_ref)) => {
                let error = UpstreamError::RequestBodyAborted;
                let response =
                    self.responder
                        .upstream_failed(&info, app_ref.app, &error, request_id);
                return Answered { record, response };
            }
        };
        if server_slot.acquire().await.is_err() {
            let response = server_busy();
            return Answered { record, response };
        }

        let cookie_fields: Vec<HeaderValue> = parts
            .headers
            .get_all(header::COOKIE)
            .iter()
            .cloned()
            .collect();
        let cookies = RequestCookies::read(&cookie_fields);
        let counts_as_activity = route.counts_as_activity(&info.target);
        let span = enter_span("authentication");
        let authentication = self
            .authenticate(&info, &route, &parts.headers, &cookies)
            .await;
        drop(span);
        record.set_caller(&authentication.caller);
        // From here on the request belongs to the provider of its caller.
        let route = match route.session_app() {
            Some(_) => route.at_provider(authentication.provider),
            None => route,
        };
        let app_ref = route.session_app();
        let client = ClientOfRequest {
            address: info.address.client,
            headers: &parts.headers,
        };
        let session_list = &self.auth.session_list;
        session_list.observe(app_ref, &authentication, counts_as_activity, client);
        if let Some(app_ref) = app_ref {
            record.set_provider(app_ref);
        }
        let device_offer =
            device_binding::offer(&self.auth, &route, &parts.headers, &authentication);
        let Authentication {
            caller,
            update,
            at,
            nonce,
            provider: _,
            is_first_use: _,
        } = authentication;

        let caller = match caller {
            // A login repairs a session that cannot be refreshed.
            Err(_) if route.is_login() => Ok(Caller::Anonymous(NoSessionReason::NotRefreshed)),
            caller => caller,
        };
        let response = match caller {
            Ok(caller) => {
                let context = AccessContext {
                    lists: &self.rule_lists,
                    now: self.auth.now(),
                };
                let backend_app = route.backend_app();
                let decision = decide(&info, &parts.headers, route, caller, &context);
                if let Some(app_ref) = backend_app {
                    record.set_denial(Denial::of(&decision, &info, app_ref, &context));
                }
                let context = RequestContext {
                    info: &info,
                    cookies: &cookies,
                    parts: &mut parts,
                    body,
                    replayed_post: post_id,
                    record: &mut record,
                    server_slot,
                    own_connection,
                    dialect,
                };
                match self.limiters.admit_session(&decision, &self.auth) {
                    Ok(_session_slot) => self.execute(decision, context).await,
                    Err(limited) => limited_client(limited),
                }
            }
            Err(unavailable) => {
                let operation = attempted_check(app_ref, &cookies);
                self.responder
                    .unavailable(&info, app_ref, unavailable, operation, request_id)
            }
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
                    device_offer,
                }
            }
        };
        let response = response.apply(response_update);
        record.calls_finished();
        Answered { record, response }
    }
}

/// A request that a client sent, or that another proxy describes.
struct ReceivedRequest {
    parts: Parts,
    body: Body,
    record: Box<RequestRecord>,
    /// The peer that sent it. `None` on a Unix domain socket.
    peer: Option<IpAddr>,
    /// See [`RequestContext`].
    own_connection: Option<ConnectionId>,
    /// The kind of the listener.
    listener: ListenerKind,
    /// See [`RequestContext`].
    dialect: Option<Dialect>,
}

/// A request with its response, which is not recorded yet.
struct Answered {
    record: Box<RequestRecord>,
    response: TaggedResponse,
}

/// A request that was parsed and routed.
struct RoutedRequest {
    info: RequestInfo,
    parts: Parts,
    body: Body,
    record: Box<RequestRecord>,
    /// See [`RequestContext`].
    own_connection: Option<ConnectionId>,
    /// See [`RequestContext`].
    dialect: Option<Dialect>,
}

/// The check that failed.
fn attempted_check(app_ref: Option<AppRef<'_>>, cookies: &RequestCookies<'_>) -> Operation {
    let has_session = app_ref.is_some_and(|app_ref| {
        let names = &app_ref.app.cookies;
        cookies.has(&names.jwt) || cookies.has(&names.refresh)
    });
    if has_session {
        Operation::SessionCheck
    } else {
        Operation::TokenCheck
    }
}

/// The origins whose scripts may read the response, if it is Doorward's own. Pages and endpoints that
/// change something are not for scripts of other origins, and native endpoints have origins of their own.
fn cors_policy<'a>(route: &Route<'a>, info: &RequestInfo) -> Option<&'a CorsPolicy> {
    match route {
        Route::App(route) => {
            let app = route.app_ref.app;
            Some(app.cors_for(&info.method, &info.target))
        }
        Route::Endpoint(app_ref, Endpoint::Session) => Some(&app_ref.app.cors),
        Route::Endpoint(..)
        | Route::Alias(_)
        | Route::PlainHttp(_)
        | Route::UnsupportedPath(_)
        | Route::Misdirected
        | Route::NoAppAtPath => None,
    }
}

/// Whether a proxy forwarded credentials in `Authorization`, trusted or not: the connection is not
/// the user's own.
fn is_forwarded_with_credentials(headers: &HeaderMap) -> bool {
    const FORWARDING: [HeaderName; 3] = [
        HeaderName::from_static("x-forwarded-for"),
        header::FORWARDED,
        header::VIA,
    ];
    headers.contains_key(header::AUTHORIZATION)
        && FORWARDING.iter().any(|name| headers.contains_key(name))
}
