//! Decisions about requests of device-bound sessions that do not prove that they come from the device.

use http::{HeaderMap, HeaderName, header};

use super::decision::{Decision, Refusal};
use super::login;
use super::reason::Reason;
use crate::identity::login_link::LoginLink;
use crate::policy::client_kind::{ClientKind, comes_from_other_origin};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, AppRoute, Endpoint, Route};
use crate::policy::rules::Access;
use crate::session::device_binding::Unproven;

/// Browsers name the reason here if they could not renew a proof.
const SKIPPED: HeaderName = HeaderName::from_static("secure-session-skipped");

/// Decides about a request without a valid proof. `None`: as one without a session, because it needs
/// none, or because the browser no longer has the key and only a login helps.
pub(super) fn decide_unproven<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    route: &Route<'a>,
    unproven: Unproven,
) -> Option<Decision<'a>> {
    let Session { app_ref, is_needed } = session_of(route)?;
    let refuse = |reason| {
        let refusal = Refusal {
            login: info
                .client_kind
                .reads_pages()
                .then(|| LoginLink::to(login::requesting_page(info, headers, app_ref))),
            ..Refusal::new(reason, Some(app_ref), info.client_kind)
        };
        Some(Decision::Refuse(refusal))
    };
    match unproven {
        Unproven::Stale | Unproven::OtherNetwork | Unproven::OtherAgent | Unproven::Invalid => {
            Some(Decision::RequireDeviceProof {
                app_ref,
                unproven,
                by_redirect: !headers.contains_key(header::UPGRADE),
            })
        }
        // A browser renews no proof for a link of another site.
        Unproven::Missing
            if info.client_kind == ClientKind::Navigation && comes_from_other_origin(headers) =>
        {
            Some(Decision::ReloadFromApp { app_ref })
        }
        // Anybody can send this header: it decides about the response only.
        Unproven::Missing if is_needed && headers.contains_key(SKIPPED) => {
            refuse(Reason::DeviceProofUnavailable)
        }
        Unproven::NotBound if is_needed => refuse(Reason::DeviceNotBound),
        Unproven::Missing | Unproven::NotBound => None,
    }
}

/// The session of a request.
struct Session<'a> {
    app_ref: AppRef<'a>,
    /// Whether the request is refused without it.
    is_needed: bool,
}

/// `None`: the request uses no session.
fn session_of<'a>(route: &Route<'a>) -> Option<Session<'a>> {
    match route {
        Route::App(AppRoute {
            app_ref,
            requirement,
            ..
        }) => {
            let is_used = requirement.auth_methods.session && requirement.access != Access::Denied;
            is_used.then_some(Session {
                app_ref: *app_ref,
                is_needed: requirement.access != Access::Public,
            })
        }
        Route::Endpoint(app_ref, Endpoint::Session | Endpoint::Sessions | Endpoint::PostReplay) => {
            Some(Session {
                app_ref: *app_ref,
                is_needed: true,
            })
        }
        // A login repairs any session.
        Route::Endpoint(app_ref, Endpoint::Login) => Some(Session {
            app_ref: *app_ref,
            is_needed: false,
        }),
        Route::Endpoint(..)
        | Route::Alias(_)
        | Route::PlainHttp(_)
        | Route::UnsupportedPath(_)
        | Route::Misdirected
        | Route::NoAppAtPath => None,
    }
}
