//! Decisions about requests to a login host. It has no sessions: each login is bound to the browser
//! by cookies of its own, and to the attempt at the app.

use http::{HeaderMap, Method};

use super::decision::Decision;
use super::reason::Reason;
use super::refuse;
use crate::policy::client_kind::{ClientKind, is_same_origin};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Endpoint};
use crate::session::validity::NoSessionReason;

/// Decides about a request to `endpoint` of a login host.
pub(super) fn decide_login_host<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    endpoint: Endpoint,
) -> Decision<'a> {
    let refuse = |reason| refuse(info, Some(app_ref), reason);
    let is_get = info.method == Method::GET;
    let is_page = is_get || info.method == Method::HEAD;
    let is_post = info.method == Method::POST;
    match endpoint {
        Endpoint::Callback if is_post && app_ref.app.optional_endpoints.posted_callback => {
            Decision::RelayLoginResponse { app_ref }
        }
        Endpoint::Login | Endpoint::Callback if !is_get => refuse(Reason::MethodNotAllowed("GET")),
        Endpoint::Login => match info.client_kind {
            ClientKind::Navigation => Decision::StartHostLogin { app_ref },
            ClientKind::EmbeddedFrame => {
                refuse(Reason::LoginBlockedInFrame(NoSessionReason::NoCookie))
            }
            ClientKind::FormSubmission
            | ClientKind::HtmlFetch
            | ClientKind::NonBrowser
            | ClientKind::Grpc => refuse(Reason::LoginRequired(NoSessionReason::NoCookie)),
        },
        Endpoint::Callback => Decision::FinishHostLogin { app_ref },
        Endpoint::Logout if is_page => Decision::ListSignedInApps { app_ref },
        Endpoint::Logout if !is_post => refuse(Reason::MethodNotAllowed("GET, HEAD, POST")),
        Endpoint::Logout if is_same_origin(headers, &app_ref.app.origin.to_string()) => {
            Decision::LogoutEverywhere { app_ref }
        }
        Endpoint::Logout => refuse(Reason::CrossSite),
        Endpoint::SignedOut if is_page => Decision::ShowSignedOut { app_ref },
        Endpoint::SignedOut => refuse(Reason::MethodNotAllowed("GET, HEAD")),
        Endpoint::BackchannelLogout if is_post => Decision::BackchannelLogout { app_ref },
        Endpoint::BackchannelLogout => refuse(Reason::MethodNotAllowed("POST")),
        Endpoint::Session
        | Endpoint::Sessions
        | Endpoint::Native(_)
        | Endpoint::FrontchannelLogout
        | Endpoint::FusionAuthWebhook
        | Endpoint::PostReplay
        | Endpoint::DeviceRegistration
        | Endpoint::DeviceProof
        | Endpoint::AssertionKeys
        | Endpoint::Unknown => refuse(Reason::NoSuchEndpoint),
    }
}
