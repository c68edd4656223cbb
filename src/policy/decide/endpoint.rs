//! Decisions about requests to Doorward's own endpoints.

use http::{HeaderMap, Method};

use super::caller::Caller;
use super::decision::Decision;
use super::login::{LoginRequest, require_login};
use super::login_host::decide_login_host;
use super::reason::Reason;
use super::refuse;
use crate::identity::login_link::LoginLink;
use crate::identity::post_id::PostId;
use crate::identity::return_to::ReturnTo;
use crate::policy::client_kind::{ClientKind, is_same_origin, is_same_site, may_be_cross_site};
use crate::policy::cors::{AllowedOrigin, AllowedPreflight, PreflightRequest};
use crate::policy::login_link::ParameterNotAllowed;
use crate::policy::native::{NativeCall, RequestOrigin};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Endpoint};
use crate::session::validity::NoSessionReason;
use crate::types::time::Timestamp;

/// A request to an endpoint.
#[derive(Clone, Copy)]
pub(super) struct EndpointRequest<'a, 'h> {
    pub(super) info: &'a RequestInfo,
    pub(super) headers: &'h HeaderMap,
    pub(super) app_ref: AppRef<'a>,
    pub(super) endpoint: Endpoint,
}

impl<'a> EndpointRequest<'a, '_> {
    /// Requires a login.
    fn login(&self, link: LoginLink, reason: NoSessionReason) -> Decision<'a> {
        let login = LoginRequest {
            link,
            reason,
            requirement: None,
        };
        require_login(self.info, self.headers, self.app_ref, login)
    }
}

/// Decides about a request to an endpoint.
pub(super) fn decide_endpoint<'a>(
    request: EndpointRequest<'a, '_>,
    caller: Caller,
    now: Timestamp,
) -> Decision<'a> {
    let EndpointRequest {
        info,
        headers,
        app_ref,
        endpoint,
    } = request;
    if app_ref.app.is_login_host() {
        return decide_login_host(info, headers, app_ref, endpoint);
    }
    let refuse = |reason| refuse(info, Some(app_ref), reason);
    let is_get = matches!(info.method, Method::GET | Method::HEAD);
    let query = info.target.query().unwrap_or_default();
    match (endpoint, caller) {
        (Endpoint::Unknown, _) => refuse(Reason::NoSuchEndpoint),
        (Endpoint::Native(call), _) => decide_native(info, headers, app_ref, call),
        (Endpoint::Logout, _) if info.method == Method::POST => {
            if is_same_origin(headers, &app_ref.app.origin.to_string()) {
                let target = app_ref.app.logout_target(query);
                Decision::Logout { app_ref, target }
            } else {
                refuse(Reason::CrossSite)
            }
        }
        (Endpoint::Sessions, caller) => decide_sessions(request, caller),
        (Endpoint::Callback, _)
            if info.method == Method::POST && app_ref.app.optional_endpoints.posted_callback =>
        {
            Decision::RelayLoginResponse { app_ref }
        }
        (Endpoint::BackchannelLogout, _) if info.method == Method::POST => {
            Decision::BackchannelLogout { app_ref }
        }
        (Endpoint::FusionAuthWebhook, _) if info.method == Method::POST => {
            Decision::ReceiveWebhook { app_ref }
        }
        // Browsers send these requests by themselves. No page leads there.
        (Endpoint::DeviceRegistration | Endpoint::DeviceProof, _)
            if info.client_kind.reads_pages() =>
        {
            refuse(Reason::CrossSite)
        }
        (Endpoint::DeviceRegistration, _) if info.method == Method::POST => {
            Decision::RegisterDevice { app_ref }
        }
        (Endpoint::DeviceProof, _) if info.method == Method::POST => {
            Decision::RenewDeviceProof { app_ref }
        }
        (
            Endpoint::BackchannelLogout
            | Endpoint::FusionAuthWebhook
            | Endpoint::DeviceRegistration
            | Endpoint::DeviceProof,
            _,
        ) => refuse(Reason::MethodNotAllowed("POST")),
        (Endpoint::FrontchannelLogout, _) if info.method != Method::GET => {
            refuse(Reason::MethodNotAllowed("GET"))
        }
        // Only in a frame of the same site, so that a link cannot log users out.
        (Endpoint::FrontchannelLogout, _)
            if info.client_kind == ClientKind::EmbeddedFrame && is_same_site(headers) =>
        {
            Decision::FrontchannelLogout { app_ref }
        }
        (Endpoint::FrontchannelLogout, _) => refuse(Reason::CrossSite),
        (Endpoint::Logout, _) if !is_get => refuse(Reason::MethodNotAllowed("GET, HEAD, POST")),
        (_, _) if !is_get => refuse(Reason::MethodNotAllowed("GET, HEAD")),
        (Endpoint::Logout, Caller::Anonymous(_) | Caller::Bearer(_) | Caller::Basic(_)) => {
            Decision::ConfirmLogout {
                app_ref,
                user: None,
                target: app_ref.app.logout_target(query),
            }
        }
        (Endpoint::Logout, Caller::Authenticated(live) | Caller::NativeSession(live)) => {
            Decision::ConfirmLogout {
                app_ref,
                user: Some(live.session().identity.clone()),
                target: app_ref.app.logout_target(query),
            }
        }
        (Endpoint::AssertionKeys, _) => Decision::ShowAssertionKeys { app_ref },
        (Endpoint::SignedOut, _) => match app_ref.app.target_after_logout(query) {
            Some(target) => Decision::ReturnFromLogout { app_ref, target },
            None => Decision::ShowSignedOut { app_ref },
        },
        (Endpoint::Callback, _) if info.method == Method::HEAD => {
            refuse(Reason::MethodNotAllowed("GET"))
        }
        (Endpoint::Callback, caller) => Decision::FinishLogin { app_ref, caller },
        (Endpoint::Login, caller) => decide_login(request, caller, now),
        (Endpoint::PostReplay, caller) => {
            let Some(post_id) = PostId::in_query(query) else {
                return refuse(Reason::NoPreservedPost);
            };
            let page = ReturnTo::post_replay_page(&app_ref.app.paths, &post_id);
            let link = LoginLink::to(page);
            match caller {
                Caller::Authenticated(live) | Caller::NativeSession(live) => {
                    Decision::ConfirmPostReplay {
                        app_ref,
                        live,
                        post_id,
                    }
                }
                Caller::Anonymous(reason) => request.login(link, reason),
                Caller::Bearer(_) | Caller::Basic(_) => {
                    request.login(link, NoSessionReason::NoCookie)
                }
            }
        }
        (Endpoint::Session, Caller::Authenticated(live) | Caller::NativeSession(live)) => {
            Decision::ShowSession { app_ref, live }
        }
        (Endpoint::Session, Caller::Anonymous(NoSessionReason::TokenRefused(refusal))) => {
            refuse(Reason::TokenRefused(refusal))
        }
        (Endpoint::Session, Caller::Anonymous(reason)) => refuse(Reason::LoginRequired(reason)),
        (Endpoint::Session, Caller::Bearer(_) | Caller::Basic(_)) => {
            refuse(Reason::LoginRequired(NoSessionReason::NoCookie))
        }
    }
}

/// Decides about the page of the user's sessions, and its form. A session in cookies is required: an
/// app's token must not list or end the others. The form needs the page's origin, as a logout does.
fn decide_sessions<'a>(request: EndpointRequest<'a, '_>, caller: Caller) -> Decision<'a> {
    let EndpointRequest {
        info,
        headers,
        app_ref,
        ..
    } = request;
    let refuse = |reason| refuse(info, Some(app_ref), reason);
    let is_post = info.method == Method::POST;
    if !is_post && !matches!(info.method, Method::GET | Method::HEAD) {
        return refuse(Reason::MethodNotAllowed("GET, HEAD, POST"));
    }
    if is_post && !is_same_origin(headers, &app_ref.app.origin.to_string()) {
        return refuse(Reason::CrossSite);
    }
    let reason = match caller {
        Caller::Authenticated(live) if is_post => return Decision::EndSessions { app_ref, live },
        Caller::Authenticated(live) => return Decision::ShowSessions { app_ref, live },
        Caller::Anonymous(reason) => reason,
        Caller::NativeSession(_) | Caller::Bearer(_) | Caller::Basic(_) => {
            NoSessionReason::NoCookie
        }
    };
    if is_post {
        return refuse(Reason::LoginRequired(reason));
    }
    let page = ReturnTo::sessions_page(&app_ref.app.paths);
    request.login(LoginLink::to(page), reason)
}

/// Decides about a login link. One with `prompt`, with another provider than the session's, or with
/// requirements that the session does not fulfil, starts another login.
fn decide_login<'a>(
    request: EndpointRequest<'a, '_>,
    caller: Caller,
    now: Timestamp,
) -> Decision<'a> {
    let EndpointRequest {
        info,
        headers,
        app_ref,
        ..
    } = request;
    let query = info.target.query().unwrap_or_default();
    let link = match app_ref.app.login_link(query) {
        Ok(link) => link,
        Err(ParameterNotAllowed(name)) => {
            return refuse(info, Some(app_ref), Reason::LoginParameterNotAllowed(name));
        }
    };
    let live = match caller {
        Caller::Anonymous(reason) => return request.login(link, reason),
        Caller::Bearer(_) | Caller::Basic(_) => {
            return request.login(link, NoSessionReason::NoCookie);
        }
        Caller::Authenticated(live) | Caller::NativeSession(live) => live,
    };
    let parameters = &link.parameters;
    let found = &live.session().authentication;
    let leeway = app_ref.leeway();
    let is_sufficient = parameters.authentication.check(found, now, leeway).is_ok();
    let is_repeated = parameters.prompt.is_some() && info.client_kind == ClientKind::Navigation;
    let of_session = app_ref.login_provider().map(|provider| &provider.name);
    let is_elsewhere = link.provider.is_some() && link.provider.as_ref() != of_session;
    if is_sufficient && !is_repeated && !is_elsewhere {
        let return_to = link.return_to;
        return Decision::AlreadySignedIn { app_ref, return_to };
    }
    // A login there ends this session, which a link of another site must not do by itself.
    if is_elsewhere && may_be_cross_site(headers) {
        return Decision::ChooseProvider {
            app_ref,
            link,
            is_login_endpoint: true,
        };
    }
    request.login(link, NoSessionReason::InsufficientAuthentication)
}

/// The methods and headers that scripts of an allowed origin may send to native endpoints.
fn native_preflight(origin: &str) -> AllowedPreflight {
    AllowedPreflight {
        origin: AllowedOrigin::without_credentials(origin),
        request: PreflightRequest {
            method: Method::POST,
            headers: "Content-Type, Authorization, DPoP".to_owned(),
        },
    }
}

/// Decides about a native endpoint. No caller is required, because the body contains the
/// credentials. Requests from other origins are refused: such a page could try passwords, or log a
/// web view in as another user.
fn decide_native<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    call: NativeCall,
) -> Decision<'a> {
    let refuse = |reason| refuse(info, Some(app_ref), reason);
    let Some(native) = &app_ref.app.native else {
        return refuse(Reason::NoSuchEndpoint);
    };
    let origin = native.request_origin(headers, &app_ref.app.origin.to_string());
    match (origin, &info.method) {
        (RequestOrigin::CrossOrigin, _) => refuse(Reason::CrossSite),
        (RequestOrigin::Allowed(origin), &Method::OPTIONS) => Decision::CorsPreflight {
            app_ref,
            allowed: native_preflight(&origin),
        },
        (RequestOrigin::Allowed(origin), &Method::POST) => Decision::Native {
            app_ref,
            native,
            call,
            origin: Some(origin),
        },
        (RequestOrigin::NonBrowser | RequestOrigin::SameOrigin, &Method::POST) => {
            Decision::Native {
                app_ref,
                native,
                call,
                origin: None,
            }
        }
        (RequestOrigin::Allowed(_) | RequestOrigin::NonBrowser | RequestOrigin::SameOrigin, _) => {
            refuse(Reason::MethodNotAllowed("POST"))
        }
    }
}
