//! Authorization: decides what is done with a request. A pure, total function. Only it makes a
//! [`Permit`], the right to forward a request.

mod caller;
mod credential;
mod decision;
mod device;
mod endpoint;
mod login;
mod login_host;
mod reason;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method, header};

use super::basic;
use super::client_kind::{ClientKind, is_cross_origin_websocket};
use super::condition::Subjects;
use super::cors::{AllowedPreflight, PreflightRequest};
use super::path_routes::{MatchedRoute, OwnResponse};
use super::request_info::RequestInfo;
use super::route::{AppRef, AppRoute, Route};
use super::rule_lists::RuleLists;
use super::rules::{Access, AccessRequirement};
use crate::identity::header_edits::RequestFacts;
use crate::identity::identity::Identity;
use crate::identity::login_link::{LoginLink, LoginParameters};
use crate::identity::return_to::ReturnTo;
use crate::session::token::LiveToken;
use crate::session::validity::{LiveSession, NoSessionReason};
use crate::types::request_id::RequestId;
use crate::types::time::Timestamp;

use credential::Credential;
use endpoint::EndpointRequest;

pub use caller::Caller;
pub use decision::{Decision, Refusal};
pub use reason::Reason;

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
    path_route: Option<MatchedRoute<'a>>,
    /// Whether its rule requires a credential.
    is_protected: bool,
    /// Path and query for the backend.
    target: Cow<'a, str>,
}

impl<'a> Permit<'a> {
    fn new(request: AppRequest<'a, '_>, credential: Option<Credential>) -> Self {
        let AppRequest {
            info, path_route, ..
        } = request;
        let target = path_route.map_or(Cow::Borrowed(info.target.as_str()), |matched| {
            matched.forwarded(&info.target)
        });
        Self {
            app_ref: request.app_ref,
            info,
            credential,
            path_route,
            is_protected: request.requirement.access != Access::Public,
            target,
        }
    }

    /// The app.
    pub const fn app_ref(&self) -> AppRef<'a> {
        self.app_ref
    }

    /// The request as it was authorized.
    pub const fn info(&self) -> &'a RequestInfo {
        self.info
    }

    /// The route of the path, if it has one of its own.
    pub const fn path_route(&self) -> Option<MatchedRoute<'a>> {
        self.path_route
    }

    /// Whether its rule requires a credential. On a public path the request may be anonymous.
    pub const fn is_protected(&self) -> bool {
        self.is_protected
    }

    /// The stable code for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self.path_route {
            Some(matched) => matched.route.code(),
            None => "forward",
        }
    }

    /// Doorward's own response, if the route has no backend.
    pub fn own_response(&self) -> Option<OwnResponse<'a>> {
        let origin = &self.app_ref.app.origin;
        self.path_route?.own_response(&self.info.target, origin)
    }

    /// Path and query for the backend: those that were authorized, with the prefix of the route.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The variables of header templates.
    pub fn facts(&self, request_id: RequestId) -> RequestFacts<'_> {
        RequestFacts {
            request_id,
            client: self.info.address.client,
            host: &self.info.authority,
            label: self.app_ref.app.hosts.label(),
            claims: self.identity().map(|identity| &identity.claims),
        }
    }

    /// Whether data that the client sends after the head of the request resets the idle timeout.
    pub fn is_stream_activity(&self) -> bool {
        let app = self.app_ref.app;
        app.stream_activity && !app.background_paths.contains(&self.info.target)
    }

    /// The caller's session, if the credential is one.
    pub const fn session(&self) -> Option<&LiveSession> {
        match &self.credential {
            Some(
                Credential::Session(live)
                | Credential::NativeSession(live)
                | Credential::Password(live),
            ) => Some(live),
            Some(Credential::Token(_)) | None => None,
        }
    }

    /// The caller's access token, if the credential is one.
    pub const fn token(&self) -> Option<&LiveToken> {
        match &self.credential {
            Some(Credential::Token(live)) => Some(live),
            Some(
                Credential::Session(_) | Credential::NativeSession(_) | Credential::Password(_),
            )
            | None => None,
        }
    }

    /// The name of the caller's session or access token. `None` for an anonymous request.
    pub fn caller_name(&self) -> Option<&str> {
        self.credential.as_ref().map(|credential| match credential {
            Credential::Session(live)
            | Credential::NativeSession(live)
            | Credential::Password(live) => live.session().sid.as_str(),
            Credential::Token(live) => live.token().name.as_str(),
        })
    }

    /// The caller's identity. `None` for an anonymous request to a public path.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.credential.as_ref().map(Credential::identity)
    }
}

/// The inputs of a decision besides the request, its route and its caller.
#[derive(Clone, Copy, Debug)]
pub struct AccessContext<'c> {
    /// The lists in files that conditions use.
    pub lists: &'c RuleLists,
    /// The current time.
    pub now: Timestamp,
}

/// Decides about a request. Of `headers`, only those that identify the requesting page are used.
pub fn decide<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    route: Route<'a>,
    caller: Caller,
    context: &AccessContext<'_>,
) -> Decision<'a> {
    if let Caller::Anonymous(NoSessionReason::DeviceUnproven(unproven)) = caller
        && let Some(decision) = device::decide_unproven(info, headers, &route, unproven)
    {
        return decision;
    }
    match route {
        Route::App(route) => {
            let AppRoute {
                app_ref,
                requirement,
                path_route,
            } = route;
            let app_request = AppRequest {
                info,
                headers,
                app_ref,
                requirement,
                path_route,
            };
            decide_app(app_request, caller, context)
        }
        Route::Endpoint(app_ref, endpoint) => {
            let request = EndpointRequest {
                info,
                headers,
                app_ref,
                endpoint,
            };
            endpoint::decide_endpoint(request, caller, context.now)
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
        Route::NoAppAtPath => refuse(info, None, Reason::NoAppAtPath),
    }
}

/// A request to an app, and what its route requires.
#[derive(Clone, Copy)]
struct AppRequest<'a, 'h> {
    info: &'a RequestInfo,
    headers: &'h HeaderMap,
    app_ref: AppRef<'a>,
    requirement: &'a AccessRequirement,
    path_route: Option<MatchedRoute<'a>>,
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
        ..
    } = request;
    let app = app_ref.app;
    if headers.contains_key(header::UPGRADE)
        && is_cross_origin_websocket(headers, &app.origin.to_string(), &app.websocket_origins)
    {
        return refuse(info, Some(app_ref), Reason::CrossSite);
    }
    let is_cross_site =
        matches!(caller, Caller::Basic(_)) && basic::is_cross_site(info, headers, &app.origin);
    if is_cross_site && requirement.access != Access::Public {
        return refuse(info, Some(app_ref), Reason::CrossSite);
    }
    let caller = if is_cross_site {
        Caller::Anonymous(NoSessionReason::NoCookie)
    } else {
        caller
    };
    match accepted_credential(requirement, caller) {
        Ok(credential) => decide_authenticated(request, credential, context),
        Err(reason) => match &requirement.access {
            Access::Denied => refuse(info, Some(app_ref), Reason::Denied),
            // A login would not help.
            Access::If(condition) if condition.excludes(info.address.end_client, context.lists) => {
                refuse(info, Some(app_ref), Reason::Forbidden)
            }
            Access::Public => Decision::Forward(Permit::new(request, None)),
            Access::Authenticated | Access::If(_) => match preflight(request) {
                Some(preflight) => decide_preflight(request, preflight),
                None => decide_anonymous(request, reason),
            },
        },
    }
}

/// The preflight request that this is, if any.
fn preflight(request: AppRequest<'_, '_>) -> Option<PreflightRequest> {
    let own = request.app_ref.app.origin.to_string();
    PreflightRequest::read(request.info, request.headers, &own)
}

/// Decides about a preflight request, which never has an identity: by the rule of the request that the
/// browser wants to send.
fn decide_preflight<'a>(request: AppRequest<'a, '_>, preflight: PreflightRequest) -> Decision<'a> {
    let AppRequest {
        info,
        headers,
        app_ref,
        ..
    } = request;
    let app = app_ref.app;
    let cors = app.cors_for(&preflight.method, &info.target);
    let Some(origin) = cors.allowed(headers) else {
        return refuse(info, Some(app_ref), Reason::OriginNotAllowed);
    };
    if app
        .rules
        .requirement(&preflight.method, &info.target)
        .access
        == Access::Denied
    {
        return Decision::Refuse(Refusal {
            preflight_method: Some(preflight.method),
            ..Refusal::new(Reason::Denied, Some(app_ref), info.client_kind)
        });
    }
    Decision::CorsPreflight {
        app_ref,
        allowed: AllowedPreflight {
            origin,
            request: preflight,
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
        Caller::NativeSession(live) if accepted.session || accepted.bearer => {
            Ok(Credential::NativeSession(live))
        }
        Caller::Bearer(live) if accepted.bearer => Ok(Credential::Token(live)),
        Caller::Basic(live) if accepted.basic => Ok(Credential::Password(live)),
        Caller::Authenticated(_)
        | Caller::NativeSession(_)
        | Caller::Bearer(_)
        | Caller::Basic(_) => Err(NoSessionReason::NoCookie),
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
        headers,
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
        Access::Authenticated | Access::If(_)
            if !is_sufficient(requirement, &credential, app_ref, context.now) =>
        {
            return require_new_authentication(request, &credential);
        }
        Access::Public | Access::Authenticated | Access::If(_) => {
            return Decision::Forward(Permit::new(request, Some(credential)));
        }
    };
    let token = credential.token();
    // A client that sends an access token is no browser, whatever its headers say.
    let client_kind = if token.is_some() {
        info.client_kind.as_non_browser()
    } else {
        info.client_kind
    };
    Decision::Refuse(Refusal {
        user: Some(Arc::clone(credential.identity())),
        is_user: subjects.is_user,
        login: login::account_switch(info, headers, app_ref).filter(|_| token.is_none()),
        requirement: Some(requirement),
        scheme: token.map(LiveToken::scheme),
        ..Refusal::new(reason, Some(app_ref), client_kind)
    })
}

/// Whether the user authenticated as the route requires.
fn is_sufficient(
    requirement: &AccessRequirement,
    credential: &Credential,
    app_ref: AppRef<'_>,
    now: Timestamp,
) -> bool {
    let required = &requirement.authentication;
    let leeway = app_ref.leeway();
    required.is_empty()
        || required
            .check(&credential.authentication(), now, leeway)
            .is_ok()
}

/// Decides about an authorized caller that must authenticate again (RFC 9470): a browser logs in, and
/// a client that sends an access token or a password gets a challenge.
fn require_new_authentication<'a>(
    request: AppRequest<'a, '_>,
    credential: &Credential,
) -> Decision<'a> {
    const REASON: NoSessionReason = NoSessionReason::InsufficientAuthentication;
    let AppRequest {
        info,
        headers,
        app_ref,
        requirement,
        ..
    } = request;
    if matches!(credential, Credential::Session(_)) {
        return login::require_app_login(info, headers, app_ref, requirement, REASON);
    }
    let client_kind = info.client_kind.as_non_browser();
    Decision::Refuse(Refusal {
        requirement: Some(requirement),
        scheme: credential.scheme(),
        ..Refusal::new(Reason::LoginRequired(REASON), Some(app_ref), client_kind)
    })
}

/// Decides about an anonymous caller where the route requires an identity.
fn decide_anonymous<'a>(request: AppRequest<'a, '_>, reason: NoSessionReason) -> Decision<'a> {
    let AppRequest {
        info,
        headers,
        app_ref,
        requirement,
        ..
    } = request;
    let accepted = requirement.auth_methods;
    let accepts_session = accepted.session;
    let accepts_password = accepted.basic && basic::is_confidential(info, &app_ref.app.origin);
    let refusal = if let NoSessionReason::TokenRefused(refusal) = reason {
        let client_kind = info.client_kind.as_non_browser();
        Refusal::new(Reason::TokenRefused(refusal), Some(app_ref), client_kind)
    } else if let NoSessionReason::PasswordRefused(refusal) = reason {
        let reason = Reason::PasswordRefused(refusal);
        Refusal::new(reason, Some(app_ref), info.client_kind)
    } else if accepts_session {
        let mut login = login::require_app_login(info, headers, app_ref, requirement, reason);
        if let Decision::Refuse(refusal) = &mut login {
            // A browser would ask its user for the password, in place of the login.
            refusal.asks_for_password = accepts_password && !basic::is_browser(info, headers);
        }
        return login;
    } else {
        let reason = if accepts_password {
            Reason::PasswordRequired
        } else if accepted.bearer {
            Reason::TokenRequired
        } else {
            Reason::PasswordOverHttp
        };
        Refusal::new(reason, Some(app_ref), info.client_kind)
    };
    Decision::Refuse(Refusal {
        asks_for_password: accepts_password,
        // A native app can open a browser for the login.
        login: (app_ref.app.native.is_some() && accepts_session).then(|| LoginLink {
            parameters: LoginParameters::requiring(requirement.authentication.clone()),
            ..LoginLink::to(ReturnTo::home(&app_ref.app.paths))
        }),
        requirement: Some(requirement),
        ..refusal
    })
}

fn refuse<'a>(info: &RequestInfo, app_ref: Option<AppRef<'a>>, reason: Reason) -> Decision<'a> {
    Decision::Refuse(Refusal::new(reason, app_ref, info.client_kind))
}
