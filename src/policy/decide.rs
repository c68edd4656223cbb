//! Stage 4: what to do, and why. A pure, total function; the right to forward a request exists only as the
//! [`Permit`] that it hands out.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};

use super::client_kind::{ClientKind, is_cross_origin_websocket, is_same_origin, is_same_site};
use super::native::{Native, NativeCall, RequestOrigin};
use super::post_replay::{PreservePostError, check_preservable};
use super::request_info::{InvalidRequest, RequestInfo};
use super::route::{AppRef, Endpoint, Route};
use super::rules::{Access, AccessRequirement};
use crate::identity::identity::Identity;
use crate::identity::post_id::PostId;
use crate::identity::return_to::ReturnTo;
use crate::session::token::{LiveToken, TokenRefusal};
use crate::session::validity::{LiveSession, NoSessionReason};
use crate::types::target::TargetError;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody that we know, and why.
    Anonymous(NoSessionReason),
    /// Somebody with a living session.
    Authenticated(LiveSession),
    /// Somebody with a living session whose access token is one of ours.
    NativeSession(LiveSession),
    /// A program with a good access token. Only pages of the app are ever asked for with one.
    Bearer(LiveToken),
}

/// What a permit rests on.
#[derive(Clone, Debug)]
enum Credential {
    Session(LiveSession),
    Token(LiveToken),
}

/// The right to forward one request to one app. Only [`decide`] makes one; whoever forwards must be given it.
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
    shown: Option<Credential>,
}

impl<'a> Permit<'a> {
    /// The app.
    pub const fn app_ref(&self) -> AppRef<'a> {
        self.app_ref
    }

    /// What was asked, in the form in which it was judged.
    pub const fn info(&self) -> &'a RequestInfo {
        self.info
    }

    /// The session of who asked, if it is one.
    pub const fn session(&self) -> Option<&LiveSession> {
        match &self.shown {
            Some(Credential::Session(live)) => Some(live),
            Some(Credential::Token(_)) | None => None,
        }
    }

    /// The access token of who asked, if it is one.
    pub const fn token(&self) -> Option<&LiveToken> {
        match &self.shown {
            Some(Credential::Token(live)) => Some(live),
            Some(Credential::Session(_)) | None => None,
        }
    }

    /// Who asked; on pages that are everyone's it may be nobody that is known.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.shown.as_ref().map(|shown| match shown {
            Credential::Session(live) => &live.session().identity,
            Credential::Token(live) => &live.token().identity,
        })
    }
}

/// What to do with a request.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Forward it.
    Forward(Permit<'a>),
    /// Send the browser to log in, and why it has no session.
    StartLogin(AppRef<'a>, ReturnTo, NoSessionReason),
    /// Keep the form that was sent, and send the browser to log in; the page it is on, and why there is no session.
    PreservePost(AppRef<'a>, ReturnTo, NoSessionReason),
    /// Show the form that waits to be sent.
    ConfirmPostReplay(AppRef<'a>, LiveSession, PostId),
    /// The browser comes back from the provider.
    FinishLogin(AppRef<'a>, Caller),
    /// Ask whether to log out.
    ConfirmLogout(AppRef<'a>, Option<Arc<Identity>>),
    /// Log out.
    Logout(AppRef<'a>),
    /// The provider says that sessions have ended.
    BackchannelLogout(AppRef<'a>),
    /// A native app asks for something; its body says what. A listed web origin is told that it may read the answer.
    Native(AppRef<'a>, &'a Native, NativeCall, Option<String>),
    /// A listed web origin asks whether it may call.
    CorsPreflight(AppRef<'a>, String),
    /// A page of the provider's ends the session of the browser it is shown in.
    FrontchannelLogout(AppRef<'a>),
    /// FusionAuth says what has happened.
    ReceiveWebhook(AppRef<'a>),
    /// Say that the person is signed out.
    ShowSignedOut(AppRef<'a>),
    /// Tell who is signed in.
    ShowSession(AppRef<'a>, LiveSession),
    /// A login was asked for, and there is a session already.
    AlreadySignedIn(AppRef<'a>, ReturnTo),
    /// Send the browser to the app's canonical origin.
    RedirectToCanonicalOrigin(AppRef<'a>),
    /// Refuse it.
    Refuse(Refusal<'a>),
}

/// A refusal: the reason, and what is needed to word it.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: Reason,
    /// At which app, where that is known.
    pub app_ref: Option<AppRef<'a>>,
    /// Who asked, and so in which form the answer comes.
    pub client_kind: ClientKind,
    /// Who is known but may not.
    pub user: Option<Arc<Identity>>,
    /// Where a login would lead.
    pub return_to: Option<ReturnTo>,
    /// Who would be let in.
    pub requirement: Option<&'a AccessRequirement>,
    /// The access token of who may not.
    pub token: Option<LiveToken>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It could not be read in one way only.
    InvalidRequest(InvalidRequest),
    /// Its path has a spelling that this app does not tolerate.
    UnsupportedPath,
    /// No app has this host.
    Misdirected,
    /// Nobody is signed in.
    LoginRequired(NoSessionReason),
    /// Nobody is signed in, and a login would lose the form that was sent, since it is not kept.
    PostNotPreserved(NoSessionReason, PreservePostError),
    /// No form waits to be sent, or none for this browser.
    NoPreservedPost,
    /// The form was sent by another person than who has logged in.
    PostOfAnotherUser,
    /// Nobody is signed in, and a login cannot happen within a frame.
    LoginBlockedInFrame(NoSessionReason),
    /// Nobody shows an access token, and nothing else counts here.
    TokenRequired,
    /// What was presented as an access token opens nothing.
    TokenRefused(TokenRefusal),
    /// The claims do not fulfil the rule.
    Forbidden,
    /// It takes a person, and behind the token there is none.
    UserRequired,
    /// Nobody may.
    Denied,
    /// There is no such endpoint of ours.
    NoSuchEndpoint,
    /// Our endpoint takes these methods only.
    MethodNotAllowed(&'static str),
    /// A state-changing request that did not come from our own origin.
    CrossSite,
}

impl Reason {
    /// The stable word for logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(why) => why.code(),
            Self::UnsupportedPath => "unsupported_path",
            Self::Misdirected => "misdirected",
            Self::LoginRequired(why) => why.code(),
            Self::PostNotPreserved(..) => "post_not_preserved",
            Self::NoPreservedPost => "no_preserved_post",
            Self::PostOfAnotherUser => "post_of_another_user",
            Self::LoginBlockedInFrame(_) => "login_blocked_in_frame",
            Self::TokenRequired => "token_missing",
            Self::TokenRefused(refusal) => refusal.code,
            Self::Forbidden => "forbidden",
            Self::UserRequired => "user_required",
            Self::Denied => "denied",
            Self::NoSuchEndpoint => "no_such_endpoint",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::CrossSite => "cross_site",
        }
    }

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest(InvalidRequest::Method) => StatusCode::NOT_IMPLEMENTED,
            Self::InvalidRequest(InvalidRequest::Target(TargetError::TooLong)) => {
                StatusCode::URI_TOO_LONG
            }
            Self::InvalidRequest(InvalidRequest::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::InvalidRequest(_) | Self::UnsupportedPath => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::LoginRequired(_)
            | Self::PostNotPreserved(..)
            | Self::LoginBlockedInFrame(_)
            | Self::TokenRequired
            | Self::TokenRefused(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden
            | Self::UserRequired
            | Self::Denied
            | Self::CrossSite
            | Self::PostOfAnotherUser => StatusCode::FORBIDDEN,
            Self::NoSuchEndpoint | Self::NoPreservedPost => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

impl Decision<'_> {
    /// The stable word for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Forward(_) => "forward",
            Self::StartLogin(..) => "start_login",
            Self::PreservePost(..) => "post_preserved",
            Self::ConfirmPostReplay(..) => "post_replay_confirm",
            Self::FinishLogin(..) => "finish_login",
            Self::ConfirmLogout(..) => "confirm_logout",
            Self::Logout(_) => "logout",
            Self::BackchannelLogout(_) => "backchannel_logout",
            Self::Native(_, _, call, _) => call.code(),
            Self::CorsPreflight(..) => "cors_preflight",
            Self::FrontchannelLogout(_) => "frontchannel_logout",
            Self::ReceiveWebhook(_) => "fusionauth_webhook",
            Self::ShowSignedOut(_) => "signed_out",
            Self::ShowSession(..) => "session",
            Self::AlreadySignedIn(..) => "already_signed_in",
            Self::RedirectToCanonicalOrigin(_) => "redirect_to_canonical_origin",
            Self::Refuse(refusal) => refusal.reason.code(),
        }
    }
}

/// Decides about a request that was read. Of `headers` only those count that tell which page a request comes from.
pub fn decide<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    route: Route<'a>,
    caller: Caller,
) -> Decision<'a> {
    match route {
        Route::App(app_ref, requirement) => {
            decide_page(info, headers, app_ref, requirement, caller)
        }
        Route::Endpoint(app_ref, endpoint) => decide_own(info, headers, app_ref, endpoint, caller),
        Route::Alias(app_ref) if matches!(info.client_kind, ClientKind::Navigation) => {
            Decision::RedirectToCanonicalOrigin(app_ref)
        }
        Route::Alias(app_ref) => refuse(info, Some(app_ref), Reason::Misdirected),
        Route::UnsupportedPath(app_ref) => refuse(info, Some(app_ref), Reason::UnsupportedPath),
        Route::Misdirected => refuse(info, None, Reason::Misdirected),
    }
}

fn decide_page<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    requirement: &'a AccessRequirement,
    caller: Caller,
) -> Decision<'a> {
    if headers.contains_key(header::UPGRADE)
        && is_cross_origin_websocket(
            headers,
            &app_ref.app.origin.to_string(),
            &app_ref.app.websocket_origins,
        )
    {
        return refuse(info, Some(app_ref), Reason::CrossSite);
    }
    let shown = match caller {
        Caller::Authenticated(live) if requirement.auth_methods.session => {
            Ok(Credential::Session(live))
        }
        // A session of an app's own making, brought as a token: it is both.
        Caller::NativeSession(live) => Ok(Credential::Session(live)),
        Caller::Bearer(live) if requirement.auth_methods.bearer => Ok(Credential::Token(live)),
        Caller::Authenticated(_) | Caller::Bearer(_) => Err(NoSessionReason::NoCookie),
        Caller::Anonymous(why) => Err(why),
    };
    let shown = match shown {
        Ok(shown) => shown,
        Err(why) => {
            return match requirement.access {
                Access::Denied => refuse(info, Some(app_ref), Reason::Denied),
                Access::Public => Decision::Forward(Permit {
                    app_ref,
                    info,
                    shown: None,
                }),
                Access::Authenticated | Access::Claims(_) => {
                    admit_nobody(info, headers, app_ref, requirement, why)
                }
            };
        }
    };
    let (identity, token) = match &shown {
        Credential::Session(live) => (&live.session().identity, None),
        Credential::Token(live) => (&live.token().identity, Some(live)),
    };
    let reason = match &requirement.access {
        Access::Denied => return refuse(info, Some(app_ref), Reason::Denied),
        Access::Authenticated if token.is_some_and(|live| !live.token().is_user) => {
            Reason::UserRequired
        }
        Access::Claims(conditions)
            if !conditions
                .iter()
                .all(|condition| condition.holds(&identity.claims)) =>
        {
            Reason::Forbidden
        }
        Access::Public | Access::Authenticated | Access::Claims(_) => {
            return Decision::Forward(Permit {
                app_ref,
                info,
                shown: Some(shown),
            });
        }
    };
    // Who sends a token is a program, whatever else it says of itself.
    let client_kind = if token.is_some() {
        info.client_kind.as_non_browser()
    } else {
        info.client_kind
    };
    let (user, token) = (Some(Arc::clone(identity)), token.cloned());
    let (app_ref, requirement) = (Some(app_ref), Some(requirement));
    Decision::Refuse(Refusal {
        reason,
        app_ref,
        client_kind,
        user,
        return_to: None,
        requirement,
        token,
    })
}

/// Nobody is known where somebody must be.
fn admit_nobody<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    requirement: &'a AccessRequirement,
    why: NoSessionReason,
) -> Decision<'a> {
    let (reason, client_kind) = if let NoSessionReason::TokenRefused(refusal) = why {
        (
            Reason::TokenRefused(refusal),
            info.client_kind.as_non_browser(),
        )
    } else if requirement.auth_methods.session {
        return sign_in(info, headers, app_ref, Some(requirement), why);
    } else {
        (Reason::TokenRequired, info.client_kind)
    };
    // An app of native make may open a browser.
    let return_to =
        (app_ref.app.native.is_some() && requirement.auth_methods.session).then(ReturnTo::root);
    let (app_ref, requirement) = (Some(app_ref), Some(requirement));
    Decision::Refuse(Refusal {
        reason,
        app_ref,
        client_kind,
        user: None,
        return_to,
        requirement,
        token: None,
    })
}

fn decide_own<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    endpoint: Endpoint,
    caller: Caller,
) -> Decision<'a> {
    let get = matches!(info.method, Method::GET | Method::HEAD);
    match (endpoint, caller) {
        (Endpoint::Unknown, _) => refuse(info, Some(app_ref), Reason::NoSuchEndpoint),
        (Endpoint::Native(call), _) => decide_native(info, headers, app_ref, call),
        (Endpoint::Logout, _) if info.method == Method::POST => {
            if is_same_origin(headers, &app_ref.app.origin.to_string()) {
                Decision::Logout(app_ref)
            } else {
                refuse(info, Some(app_ref), Reason::CrossSite)
            }
        }
        (Endpoint::BackchannelLogout, _) if info.method == Method::POST => {
            Decision::BackchannelLogout(app_ref)
        }
        (Endpoint::BackchannelLogout, _) => {
            refuse(info, Some(app_ref), Reason::MethodNotAllowed("POST"))
        }
        (Endpoint::FusionAuthWebhook, _) if info.method == Method::POST => {
            Decision::ReceiveWebhook(app_ref)
        }
        (Endpoint::FusionAuthWebhook, _) => {
            refuse(info, Some(app_ref), Reason::MethodNotAllowed("POST"))
        }
        (Endpoint::FrontchannelLogout, _) if info.method != Method::GET => {
            refuse(info, Some(app_ref), Reason::MethodNotAllowed("GET"))
        }
        // Only in a frame of the same site: a link that anybody can send ends nothing.
        (Endpoint::FrontchannelLogout, _)
            if info.client_kind == ClientKind::EmbeddedFrame && is_same_site(headers) =>
        {
            Decision::FrontchannelLogout(app_ref)
        }
        (Endpoint::FrontchannelLogout, _) => refuse(info, Some(app_ref), Reason::CrossSite),
        (Endpoint::Logout, _) if !get => refuse(
            info,
            Some(app_ref),
            Reason::MethodNotAllowed("GET, HEAD, POST"),
        ),
        (_, _) if !get => refuse(info, Some(app_ref), Reason::MethodNotAllowed("GET, HEAD")),
        (Endpoint::Logout, Caller::Anonymous(_) | Caller::Bearer(_)) => {
            Decision::ConfirmLogout(app_ref, None)
        }
        (Endpoint::Logout, Caller::Authenticated(live) | Caller::NativeSession(live)) => {
            Decision::ConfirmLogout(app_ref, Some(live.session().identity.clone()))
        }
        (Endpoint::SignedOut, _) => Decision::ShowSignedOut(app_ref),
        (Endpoint::Callback, _) if info.method == Method::HEAD => {
            refuse(info, Some(app_ref), Reason::MethodNotAllowed("GET"))
        }
        (Endpoint::Callback, caller) => Decision::FinishLogin(app_ref, caller),
        (Endpoint::Login, Caller::Authenticated(_) | Caller::NativeSession(_)) => {
            Decision::AlreadySignedIn(app_ref, asked_return_to(info, app_ref))
        }
        (Endpoint::Login, Caller::Anonymous(why)) => sign_in_to(
            (info, headers),
            app_ref,
            None,
            why,
            asked_return_to(info, app_ref),
        ),
        (Endpoint::Login, Caller::Bearer(_)) => sign_in_to(
            (info, headers),
            app_ref,
            None,
            NoSessionReason::NoCookie,
            asked_return_to(info, app_ref),
        ),
        (Endpoint::PostReplay, caller) => match (
            PostId::in_query(info.target.query().unwrap_or_default()),
            caller,
        ) {
            (None, _) => refuse(info, Some(app_ref), Reason::NoPreservedPost),
            (Some(id), Caller::Authenticated(live) | Caller::NativeSession(live)) => {
                Decision::ConfirmPostReplay(app_ref, live, id)
            }
            (Some(id), Caller::Anonymous(why)) => sign_in_to(
                (info, headers),
                app_ref,
                None,
                why,
                ReturnTo::post_replay_page(&app_ref.app.prefix, &id),
            ),
            (Some(id), Caller::Bearer(_)) => sign_in_to(
                (info, headers),
                app_ref,
                None,
                NoSessionReason::NoCookie,
                ReturnTo::post_replay_page(&app_ref.app.prefix, &id),
            ),
        },
        (Endpoint::Session, Caller::Authenticated(live) | Caller::NativeSession(live)) => {
            Decision::ShowSession(app_ref, live)
        }
        (Endpoint::Session, Caller::Anonymous(NoSessionReason::TokenRefused(refusal))) => {
            refuse(info, Some(app_ref), Reason::TokenRefused(refusal))
        }
        (Endpoint::Session, Caller::Anonymous(why)) => {
            refuse(info, Some(app_ref), Reason::LoginRequired(why))
        }
        (Endpoint::Session, Caller::Bearer(_)) => refuse(
            info,
            Some(app_ref),
            Reason::LoginRequired(NoSessionReason::NoCookie),
        ),
    }
}

/// Credentials in the body are the caller's own, so nobody has to be known; but no page elsewhere may try passwords in
/// its visitors' names, nor log a web view in as somebody else.
fn decide_native<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    call: NativeCall,
) -> Decision<'a> {
    let Some(native) = &app_ref.app.native else {
        return refuse(info, Some(app_ref), Reason::NoSuchEndpoint);
    };
    match (
        native.caller(headers, &app_ref.app.origin.to_string()),
        &info.method,
    ) {
        (RequestOrigin::CrossOrigin, _) => refuse(info, Some(app_ref), Reason::CrossSite),
        (RequestOrigin::Allowed(origin), &Method::OPTIONS) => {
            Decision::CorsPreflight(app_ref, origin)
        }
        (RequestOrigin::Allowed(origin), &Method::POST) => {
            Decision::Native(app_ref, native, call, Some(origin))
        }
        (RequestOrigin::NonBrowser | RequestOrigin::SameOrigin, &Method::POST) => {
            Decision::Native(app_ref, native, call, None)
        }
        (RequestOrigin::Allowed(_) | RequestOrigin::NonBrowser | RequestOrigin::SameOrigin, _) => {
            refuse(info, Some(app_ref), Reason::MethodNotAllowed("POST"))
        }
    }
}

fn asked_return_to(info: &RequestInfo, app_ref: AppRef<'_>) -> ReturnTo {
    let query = info.target.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "return_to")
        .and_then(|(_, wanted)| ReturnTo::parse(&wanted, &app_ref.app.prefix))
        .unwrap_or_else(ReturnTo::root)
}

/// After the login the person gets the page that was asked for; where a script or form asked, the page it is on.
fn sign_in<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    requirement: Option<&'a AccessRequirement>,
    why: NoSessionReason,
) -> Decision<'a> {
    let page = match info.client_kind {
        ClientKind::Navigation | ClientKind::EmbeddedFrame => Some(info.target.as_str()),
        ClientKind::FormSubmission | ClientKind::NonBrowser | ClientKind::Grpc => {
            page_of_origin(headers, app_ref)
        }
    };
    let return_to = page
        .and_then(|page| ReturnTo::parse(page, &app_ref.app.prefix))
        .unwrap_or_else(ReturnTo::root);
    if info.client_kind == ClientKind::FormSubmission
        && check_preservable(info, headers, app_ref.app).is_ok()
    {
        return Decision::PreservePost(app_ref, return_to, why);
    }
    sign_in_to((info, headers), app_ref, requirement, why, return_to)
}

fn page_of_origin<'h>(headers: &'h HeaderMap, app_ref: AppRef<'_>) -> Option<&'h str> {
    let referer = headers.get(header::REFERER)?.to_str().ok()?;
    referer
        .strip_prefix(app_ref.app.origin.to_string().as_str())
        .filter(|page| page.starts_with('/'))
}

fn sign_in_to<'a>(
    (info, headers): (&'a RequestInfo, &HeaderMap),
    app_ref: AppRef<'a>,
    requirement: Option<&'a AccessRequirement>,
    why: NoSessionReason,
    return_to: ReturnTo,
) -> Decision<'a> {
    let reason = match info.client_kind {
        ClientKind::Navigation => return Decision::StartLogin(app_ref, return_to, why),
        ClientKind::FormSubmission => {
            let not_kept = check_preservable(info, headers, app_ref.app).err();
            Reason::PostNotPreserved(
                why,
                not_kept.unwrap_or(PreservePostError::UnsupportedContentType),
            )
        }
        ClientKind::EmbeddedFrame => Reason::LoginBlockedInFrame(why),
        ClientKind::NonBrowser | ClientKind::Grpc => Reason::LoginRequired(why),
    };
    let (app_ref, client_kind, return_to) = (Some(app_ref), info.client_kind, Some(return_to));
    Decision::Refuse(Refusal {
        reason,
        app_ref,
        client_kind,
        user: None,
        return_to,
        requirement,
        token: None,
    })
}

fn refuse<'a>(info: &RequestInfo, app_ref: Option<AppRef<'a>>, reason: Reason) -> Decision<'a> {
    let client_kind = info.client_kind;
    Decision::Refuse(Refusal {
        reason,
        app_ref,
        client_kind,
        user: None,
        return_to: None,
        requirement: None,
        token: None,
    })
}
