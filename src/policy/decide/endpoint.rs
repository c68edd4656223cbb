//! Decisions about requests to Doorward's own endpoints.

use http::{HeaderMap, Method};

use super::caller::Caller;
use super::decision::Decision;
use super::login::{LoginRequest, require_login};
use super::login_host::decide_login_host;
use super::reason::Reason;
use super::refuse;
use crate::identity::post_id::PostId;
use crate::identity::return_to::ReturnTo;
use crate::policy::client_kind::{ClientKind, is_same_origin, is_same_site};
use crate::policy::native::{NativeCall, RequestOrigin};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Endpoint};
use crate::session::validity::NoSessionReason;

/// Decides about a request to `endpoint`.
pub(super) fn decide_endpoint<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    endpoint: Endpoint,
    caller: Caller,
) -> Decision<'a> {
    if app_ref.app.is_login_host() {
        return decide_login_host(info, headers, app_ref, endpoint);
    }
    let refuse = |reason| refuse(info, Some(app_ref), reason);
    let login = |return_to, reason| {
        let login = LoginRequest {
            return_to,
            reason,
            requirement: None,
        };
        require_login(info, headers, app_ref, login)
    };
    let is_get = matches!(info.method, Method::GET | Method::HEAD);
    match (endpoint, caller) {
        (Endpoint::Unknown, _) => refuse(Reason::NoSuchEndpoint),
        (Endpoint::Native(call), _) => decide_native(info, headers, app_ref, call),
        (Endpoint::Logout, _) if info.method == Method::POST => {
            if is_same_origin(headers, &app_ref.app.origin.to_string()) {
                Decision::Logout { app_ref }
            } else {
                refuse(Reason::CrossSite)
            }
        }
        (Endpoint::BackchannelLogout, _) if info.method == Method::POST => {
            Decision::BackchannelLogout { app_ref }
        }
        (Endpoint::FusionAuthWebhook, _) if info.method == Method::POST => {
            Decision::ReceiveWebhook { app_ref }
        }
        (Endpoint::BackchannelLogout | Endpoint::FusionAuthWebhook, _) => {
            refuse(Reason::MethodNotAllowed("POST"))
        }
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
        (Endpoint::Logout, Caller::Anonymous(_) | Caller::Bearer(_)) => Decision::ConfirmLogout {
            app_ref,
            user: None,
        },
        (Endpoint::Logout, Caller::Authenticated(live) | Caller::NativeSession(live)) => {
            Decision::ConfirmLogout {
                app_ref,
                user: Some(live.session().identity.clone()),
            }
        }
        (Endpoint::SignedOut, _) => Decision::ShowSignedOut { app_ref },
        (Endpoint::Callback, _) if info.method == Method::HEAD => {
            refuse(Reason::MethodNotAllowed("GET"))
        }
        (Endpoint::Callback, caller) => Decision::FinishLogin { app_ref, caller },
        (Endpoint::Login, caller) => {
            let return_to = requested_return_to(info, app_ref);
            match caller {
                Caller::Authenticated(_) | Caller::NativeSession(_) => {
                    Decision::AlreadySignedIn { app_ref, return_to }
                }
                Caller::Anonymous(reason) => login(return_to, reason),
                Caller::Bearer(_) => login(return_to, NoSessionReason::NoCookie),
            }
        }
        (Endpoint::PostReplay, caller) => {
            let Some(post_id) = PostId::in_query(info.target.query().unwrap_or_default()) else {
                return refuse(Reason::NoPreservedPost);
            };
            let page = ReturnTo::post_replay_page(&app_ref.app.prefix, &post_id);
            match caller {
                Caller::Authenticated(live) | Caller::NativeSession(live) => {
                    Decision::ConfirmPostReplay {
                        app_ref,
                        live,
                        post_id,
                    }
                }
                Caller::Anonymous(reason) => login(page, reason),
                Caller::Bearer(_) => login(page, NoSessionReason::NoCookie),
            }
        }
        (Endpoint::Session, Caller::Authenticated(live) | Caller::NativeSession(live)) => {
            Decision::ShowSession { app_ref, live }
        }
        (Endpoint::Session, Caller::Anonymous(NoSessionReason::TokenRefused(refusal))) => {
            refuse(Reason::TokenRefused(refusal))
        }
        (Endpoint::Session, Caller::Anonymous(reason)) => refuse(Reason::LoginRequired(reason)),
        (Endpoint::Session, Caller::Bearer(_)) => {
            refuse(Reason::LoginRequired(NoSessionReason::NoCookie))
        }
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
        (RequestOrigin::Allowed(origin), &Method::OPTIONS) => {
            Decision::CorsPreflight { app_ref, origin }
        }
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

fn requested_return_to(info: &RequestInfo, app_ref: AppRef<'_>) -> ReturnTo {
    let query = info.target.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "return_to")
        .and_then(|(_, return_to)| ReturnTo::parse(&return_to, &app_ref.app.prefix))
        .unwrap_or_else(ReturnTo::root)
}
