//! Authorization: decides what is done with a request. A pure, total function. Only it makes a
//! [`Permit`], the right to forward a request.

mod caller;
mod decision;
mod endpoint;
mod login;
mod login_host;
mod reason;

use std::sync::Arc;

use http::{HeaderMap, Method, header};

use super::client_kind::{ClientKind, is_cross_origin_websocket};
use super::condition::Subjects;
use super::request_info::RequestInfo;
use super::route::{AppRef, Route};
use super::rule_lists::RuleLists;
use super::rules::{Access, AccessRequirement};
use crate::identity::identity::Identity;
use crate::identity::return_to::ReturnTo;
use crate::session::token::LiveToken;
use crate::session::validity::{LiveSession, NoSessionReason};

pub use caller::Caller;
pub use decision::{Decision, Refusal};
pub use reason::Reason;

/// The credential that a permit is based on.
#[derive(Clone, Debug)]
enum Credential {
    Session(LiveSession),
    Token(LiveToken),
}

/// The right to forward one request to one app. Only [`decide`] makes one, and forwarding requires
/// one.
///
/// ```compile_fail
/// use doorward::policy::decide::Permit;
/// fn forge<'a>(seen: Permit<'a>) -> Permit<'a> {
///     Permit { ..seen }
/// }
/// ```
#[derive(Debug)]
pub struct Permit<'a> {
    app_ref: AppRef<'a>,
    info: &'a RequestInfo,
    credential: Option<Credential>,
}

impl<'a> Permit<'a> {
    /// The app.
    pub const fn app_ref(&self) -> AppRef<'a> {
        self.app_ref
    }

    /// The request as it was authorized.
    pub const fn info(&self) -> &'a RequestInfo {
        self.info
    }

    /// Whether data that the client sends after the head of the request resets the idle timeout.
    pub fn is_stream_activity(&self) -> bool {
        let app = self.app_ref.app;
        app.stream_activity && !app.background_paths.contains(&self.info.target)
    }

    /// The caller's session, if the credential is one.
    pub const fn session(&self) -> Option<&LiveSession> {
        match &self.credential {
            Some(Credential::Session(live)) => Some(live),
            Some(Credential::Token(_)) | None => None,
        }
    }

    /// The caller's access token, if the credential is one.
    pub const fn token(&self) -> Option<&LiveToken> {
        match &self.credential {
            Some(Credential::Token(live)) => Some(live),
            Some(Credential::Session(_)) | None => None,
        }
    }

    /// The name of the caller's session or access token. `None` for an anonymous request.
    pub fn caller_name(&self) -> Option<&str> {
        self.credential.as_ref().map(|credential| match credential {
            Credential::Session(live) => live.session().sid.as_str(),
            Credential::Token(live) => live.token().name.as_str(),
        })
    }

    /// The caller's identity. `None` for an anonymous request to a public path.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.credential.as_ref().map(Credential::identity)
    }
}

impl Credential {
    fn identity(&self) -> &Arc<Identity> {
        match self {
            Self::Session(live) => &live.session().identity,
            Self::Token(live) => &live.token().identity,
        }
    }

    const fn token(&self) -> Option<&LiveToken> {
        match self {
            Self::Session(_) => None,
            Self::Token(live) => Some(live),
        }
    }
}

/// What a decision depends on besides the request, its route and its caller.
#[derive(Clone, Copy, Debug)]
pub struct AccessContext<'c> {
    /// The lists in files that conditions use.
    pub lists: &'c RuleLists,
}

/// Decides about a request. Of `headers`, only those that identify the requesting page are used.
pub fn decide<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    route: Route<'a>,
    caller: Caller,
    context: &AccessContext<'_>,
) -> Decision<'a> {
    match route {
        Route::App(app_ref, requirement) => {
            let app_request = AppRequest {
                info,
                headers,
                app_ref,
                requirement,
            };
            decide_app(app_request, caller, context)
        }
        Route::Endpoint(app_ref, endpoint) => {
            endpoint::decide_endpoint(info, headers, app_ref, endpoint, caller)
        }
        Route::Alias(app_ref) if matches!(info.client_kind, ClientKind::Navigation) => {
            Decision::RedirectToCanonicalOrigin { app_ref }
        }
        // A body has already been sent in plain text.
        Route::PlainHttp(app_ref) if matches!(info.method, Method::GET | Method::HEAD) => {
            Decision::RedirectToCanonicalOrigin { app_ref }
        }
        Route::PlainHttp(app_ref) => refuse(info, Some(app_ref), Reason::Misdirected),
        Route::Alias(app_ref) => refuse(info, Some(app_ref), Reason::Misdirected),
        Route::UnsupportedPath(app_ref) => refuse(info, Some(app_ref), Reason::UnsupportedPath),
        Route::Misdirected => refuse(info, None, Reason::Misdirected),
    }
}

/// A request to an app, and what its route requires.
#[derive(Clone, Copy)]
struct AppRequest<'a, 'h> {
    info: &'a RequestInfo,
    headers: &'h HeaderMap,
    app_ref: AppRef<'a>,
    requirement: &'a AccessRequirement,
}

fn decide_app<'a>(
    request: AppRequest<'a, '_>,
    caller: Caller,
    context: &AccessContext<'_>,
) -> Decision<'a> {
    let AppRequest {
        info,
        headers,
        app_ref,
        requirement,
    } = request;
    let app = app_ref.app;
    if headers.contains_key(header::UPGRADE)
        && is_cross_origin_websocket(headers, &app.origin.to_string(), &app.websocket_origins)
    {
        return refuse(info, Some(app_ref), Reason::CrossSite);
    }
    match accepted_credential(requirement, caller) {
        Ok(credential) => decide_authenticated(request, credential, context),
        Err(reason) => match &requirement.access {
            Access::Denied => refuse(info, Some(app_ref), Reason::Denied),
            // A login would not help.
            Access::If(condition) if condition.excludes(info.address.end_client, context.lists) => {
                refuse(info, Some(app_ref), Reason::Forbidden)
            }
            Access::Public => Decision::Forward(Permit {
                app_ref,
                info,
                credential: None,
            }),
            Access::Authenticated | Access::If(_) => decide_anonymous(request, reason),
        },
    }
}

/// The caller's credential, if the route accepts its kind.
fn accepted_credential(
    requirement: &AccessRequirement,
    caller: Caller,
) -> Result<Credential, NoSessionReason> {
    let accepted = requirement.auth_methods;
    match caller {
        Caller::Authenticated(live) if accepted.session => Ok(Credential::Session(live)),
        // A session that is presented as a token counts as both.
        Caller::NativeSession(live) => Ok(Credential::Session(live)),
        Caller::Bearer(live) if accepted.bearer => Ok(Credential::Token(live)),
        Caller::Authenticated(_) | Caller::Bearer(_) => Err(NoSessionReason::NoCookie),
        Caller::Anonymous(reason) => Err(reason),
    }
}

/// Decides about an authenticated caller where the route accepts its credential.
fn decide_authenticated<'a>(
    request: AppRequest<'a, '_>,
    credential: Credential,
    context: &AccessContext<'_>,
) -> Decision<'a> {
    let AppRequest {
        info,
        app_ref,
        requirement,
        ..
    } = request;
    let subjects = Subjects {
        claims: &credential.identity().claims,
        is_user: credential.token().is_none_or(|live| live.token().is_user),
        client: info.address.end_client,
        lists: context.lists,
    };
    let reason = match &requirement.access {
        Access::Denied => return refuse(info, Some(app_ref), Reason::Denied),
        Access::Authenticated if !subjects.is_user => Reason::UserRequired,
        Access::If(condition) if !condition.holds(&subjects) => Reason::Forbidden,
        Access::Public | Access::Authenticated | Access::If(_) => {
            return Decision::Forward(Permit {
                app_ref,
                info,
                credential: Some(credential),
            });
        }
    };
    let token = credential.token().cloned();
    // A client that sends an access token is no browser, whatever its headers say.
    let client_kind = if token.is_some() {
        info.client_kind.as_non_browser()
    } else {
        info.client_kind
    };
    Decision::Refuse(Refusal {
        user: Some(Arc::clone(credential.identity())),
        requirement: Some(requirement),
        token,
        ..Refusal::new(reason, Some(app_ref), client_kind)
    })
}

/// Decides about an anonymous caller where the route requires an identity.
fn decide_anonymous<'a>(request: AppRequest<'a, '_>, reason: NoSessionReason) -> Decision<'a> {
    let AppRequest {
        info,
        headers,
        app_ref,
        requirement,
    } = request;
    let accepts_session = requirement.auth_methods.session;
    let refusal = if let NoSessionReason::TokenRefused(refusal) = reason {
        let client_kind = info.client_kind.as_non_browser();
        Refusal::new(Reason::TokenRefused(refusal), Some(app_ref), client_kind)
    } else if accepts_session {
        return login::require_app_login(info, headers, app_ref, requirement, reason);
    } else {
        Refusal::new(Reason::TokenRequired, Some(app_ref), info.client_kind)
    };
    Decision::Refuse(Refusal {
        // A native app can open a browser for the login.
        return_to: (app_ref.app.native.is_some() && accepts_session).then(ReturnTo::root),
        requirement: Some(requirement),
        ..refusal
    })
}

fn refuse<'a>(info: &RequestInfo, app_ref: Option<AppRef<'a>>, reason: Reason) -> Decision<'a> {
    Decision::Refuse(Refusal::new(reason, app_ref, info.client_kind))
}
