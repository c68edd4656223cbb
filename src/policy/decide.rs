//! Stage 4: what to do, and why. A pure, total function; the right to forward a request exists only as the
//! [`Permit`] that it hands out.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};

use super::asker::{Asker, is_same_origin, is_same_site, is_strangers_socket};
use super::facts::{Facts, Unreadable};
use super::form::{FormId, NotKept, may_be_kept};
use super::identity::Identity;
use super::native::{From, Native, NativeCall};
use super::return_to::ReturnTo;
use super::route::{Endpoint, Place, Route};
use super::rules::{Access, Admission};
use super::target::Ambiguous;
use crate::session::assess::{LiveSession, Why};
use crate::session::token::{LiveToken, TokenRefusal};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody that we know, and why.
    Anonymous(Why),
    /// Somebody with a living session.
    Authenticated(LiveSession),
    /// Somebody with a living session whose access token is one of ours.
    WithNativeToken(LiveSession),
    /// A program with a good access token. Only pages of the app are ever asked for with one.
    WithToken(LiveToken),
}

/// What a permit rests on.
#[derive(Clone, Debug)]
enum Shown {
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
    place: Place<'a>,
    facts: &'a Facts,
    shown: Option<Shown>,
}

impl<'a> Permit<'a> {
    /// The app.
    pub const fn place(&self) -> Place<'a> {
        self.place
    }

    /// What was asked, in the form in which it was judged.
    pub const fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// The session of who asked, if it is one.
    pub const fn session(&self) -> Option<&LiveSession> {
        match &self.shown {
            Some(Shown::Session(live)) => Some(live),
            Some(Shown::Token(_)) | None => None,
        }
    }

    /// The access token of who asked, if it is one.
    pub const fn token(&self) -> Option<&LiveToken> {
        match &self.shown {
            Some(Shown::Token(live)) => Some(live),
            Some(Shown::Session(_)) | None => None,
        }
    }

    /// Who asked; on pages that are everyone's it may be nobody that is known.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.shown.as_ref().map(|shown| match shown {
            Shown::Session(live) => &live.session().identity,
            Shown::Token(live) => &live.token().identity,
        })
    }
}

/// What to do with a request.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Forward it.
    Forward(Permit<'a>),
    /// Send the browser to log in, and why it has no session.
    StartLogin(Place<'a>, ReturnTo, Why),
    /// Keep the form that was sent, and send the browser to log in; the page it is on, and why there is no session.
    KeepForm(Place<'a>, ReturnTo, Why),
    /// Show the form that waits to be sent.
    ShowForm(Place<'a>, LiveSession, FormId),
    /// The browser comes back from the provider.
    FinishLogin(Place<'a>, Caller),
    /// Ask whether to log out.
    ConfirmLogout(Place<'a>, Option<Arc<Identity>>),
    /// Log out.
    Logout(Place<'a>),
    /// The provider says that sessions have ended.
    EndSessions(Place<'a>),
    /// A native app asks for something; its body says what. A listed web origin is told that it may read the answer.
    Native(Place<'a>, &'a Native, NativeCall, Option<String>),
    /// A listed web origin asks whether it may call.
    AllowOrigin(Place<'a>, String),
    /// A page of the provider's ends the session of the browser it is shown in.
    EndOwnSession(Place<'a>),
    /// FusionAuth says what has happened.
    ReceiveWebhook(Place<'a>),
    /// Say that the person is signed out.
    ShowSignedOut(Place<'a>),
    /// Tell who is signed in.
    ShowSession(Place<'a>, LiveSession),
    /// A login was asked for, and there is a session already.
    AlreadySignedIn(Place<'a>, ReturnTo),
    /// Send the browser to the app's canonical origin.
    MoveToOrigin(Place<'a>),
    /// Refuse it.
    Refuse(Refusal<'a>),
}

/// A refusal: the reason, and what is needed to word it.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: Reason,
    /// At which app, where that is known.
    pub place: Option<Place<'a>>,
    /// Who asked, and so in which form the answer comes.
    pub asker: Asker,
    /// Who is known but may not.
    pub person: Option<Arc<Identity>>,
    /// Where a login would lead.
    pub return_to: Option<ReturnTo>,
    /// Who would be let in.
    pub admission: Option<&'a Admission>,
    /// The access token of who may not.
    pub token: Option<LiveToken>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It could not be read in one way only.
    Unreadable(Unreadable),
    /// Its path has a spelling that this app does not tolerate.
    OddPath,
    /// No app has this host.
    Misdirected,
    /// Nobody is signed in.
    SignInFirst(Why),
    /// Nobody is signed in, and a login would lose the form that was sent, since it is not kept.
    FormNotSent(Why, NotKept),
    /// No form waits to be sent, or none for this browser.
    NoForm,
    /// The form was sent by another person than who has logged in.
    FormOfAnotherPerson,
    /// Nobody is signed in, and a login cannot happen within a frame.
    SignInOutsideFrame(Why),
    /// Nobody shows an access token, and nothing else counts here.
    TokenFirst,
    /// What was presented as an access token opens nothing.
    TokenRefused(TokenRefusal),
    /// The claims do not fulfil the rule.
    Forbidden,
    /// It takes a person, and behind the token there is none.
    PersonRequired,
    /// Nobody may.
    ForNobody,
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
            Self::Unreadable(why) => why.code(),
            Self::OddPath => "odd_path",
            Self::Misdirected => "misdirected",
            Self::SignInFirst(why) => why.code(),
            Self::FormNotSent(..) => "form_not_sent",
            Self::NoForm => "no_form",
            Self::FormOfAnotherPerson => "form_of_another_person",
            Self::SignInOutsideFrame(_) => "sign_in_outside_frame",
            Self::TokenFirst => "token_missing",
            Self::TokenRefused(refusal) => refusal.code,
            Self::Forbidden => "forbidden",
            Self::PersonRequired => "person_required",
            Self::ForNobody => "for_nobody",
            Self::NoSuchEndpoint => "no_such_endpoint",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::CrossSite => "cross_site",
        }
    }

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unreadable(Unreadable::Method) => StatusCode::NOT_IMPLEMENTED,
            Self::Unreadable(Unreadable::Target(Ambiguous::TooLong)) => StatusCode::URI_TOO_LONG,
            Self::Unreadable(Unreadable::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::Unreadable(_) | Self::OddPath => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::SignInFirst(_)
            | Self::FormNotSent(..)
            | Self::SignInOutsideFrame(_)
            | Self::TokenFirst
            | Self::TokenRefused(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden
            | Self::PersonRequired
            | Self::ForNobody
            | Self::CrossSite
            | Self::FormOfAnotherPerson => StatusCode::FORBIDDEN,
            Self::NoSuchEndpoint | Self::NoForm => StatusCode::NOT_FOUND,
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
            Self::KeepForm(..) => "form_kept",
            Self::ShowForm(..) => "form_shown",
            Self::FinishLogin(..) => "finish_login",
            Self::ConfirmLogout(..) => "confirm_logout",
            Self::Logout(_) => "logout",
            Self::EndSessions(_) => "backchannel_logout",
            Self::Native(_, _, call, _) => call.code(),
            Self::AllowOrigin(..) => "preflight",
            Self::EndOwnSession(_) => "frontchannel_logout",
            Self::ReceiveWebhook(_) => "fusionauth_webhook",
            Self::ShowSignedOut(_) => "signed_out",
            Self::ShowSession(..) => "session",
            Self::AlreadySignedIn(..) => "already_signed_in",
            Self::MoveToOrigin(_) => "move_to_origin",
            Self::Refuse(refusal) => refusal.reason.code(),
        }
    }
}

/// Decides about a request that was read. Of `headers` only those count that tell which page a request comes from.
pub fn decide<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    route: Route<'a>,
    caller: Caller,
) -> Decision<'a> {
    match route {
        Route::Page(place, admission) => decide_page(facts, headers, place, admission, caller),
        Route::Own(place, endpoint) => decide_own(facts, headers, place, endpoint, caller),
        Route::Alias(place) if matches!(facts.asker, Asker::Navigation) => {
            Decision::MoveToOrigin(place)
        }
        Route::Alias(place) => refuse(facts, Some(place), Reason::Misdirected),
        Route::Odd(place) => refuse(facts, Some(place), Reason::OddPath),
        Route::Misdirected => refuse(facts, None, Reason::Misdirected),
    }
}

fn decide_page<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    place: Place<'a>,
    admission: &'a Admission,
    caller: Caller,
) -> Decision<'a> {
    if headers.contains_key(header::UPGRADE)
        && is_strangers_socket(
            headers,
            &place.app.origin.to_string(),
            &place.app.websocket_origins,
        )
    {
        return refuse(facts, Some(place), Reason::CrossSite);
    }
    let shown = match caller {
        Caller::Authenticated(live) if admission.via.browser => Ok(Shown::Session(live)),
        // A session of an app's own making, brought as a token: it is both.
        Caller::WithNativeToken(live) => Ok(Shown::Session(live)),
        Caller::WithToken(live) if admission.via.bearer => Ok(Shown::Token(live)),
        Caller::Authenticated(_) | Caller::WithToken(_) => Err(Why::NoCookie),
        Caller::Anonymous(why) => Err(why),
    };
    let shown = match shown {
        Ok(shown) => shown,
        Err(why) => {
            return match admission.access {
                Access::Nobody => refuse(facts, Some(place), Reason::ForNobody),
                Access::Everyone => Decision::Forward(Permit {
                    place,
                    facts,
                    shown: None,
                }),
                Access::SignedIn | Access::Claims(_) => {
                    admit_nobody(facts, headers, place, admission, why)
                }
            };
        }
    };
    let (identity, token) = match &shown {
        Shown::Session(live) => (&live.session().identity, None),
        Shown::Token(live) => (&live.token().identity, Some(live)),
    };
    let reason = match &admission.access {
        Access::Nobody => return refuse(facts, Some(place), Reason::ForNobody),
        Access::SignedIn if token.is_some_and(|live| !live.token().is_persons) => {
            Reason::PersonRequired
        }
        Access::Claims(conditions)
            if !conditions
                .iter()
                .all(|condition| condition.holds(&identity.claims)) =>
        {
            Reason::Forbidden
        }
        Access::Everyone | Access::SignedIn | Access::Claims(_) => {
            return Decision::Forward(Permit {
                place,
                facts,
                shown: Some(shown),
            });
        }
    };
    // Who sends a token is a program, whatever else it says of itself.
    let asker = if token.is_some() {
        facts.asker.as_program()
    } else {
        facts.asker
    };
    let (person, token) = (Some(Arc::clone(identity)), token.cloned());
    let (place, admission) = (Some(place), Some(admission));
    Decision::Refuse(Refusal {
        reason,
        place,
        asker,
        person,
        return_to: None,
        admission,
        token,
    })
}

/// Nobody is known where somebody must be.
fn admit_nobody<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    place: Place<'a>,
    admission: &'a Admission,
    why: Why,
) -> Decision<'a> {
    let (reason, asker) = if let Why::TokenRefused(refusal) = why {
        (Reason::TokenRefused(refusal), facts.asker.as_program())
    } else if admission.via.browser {
        return sign_in(facts, headers, place, Some(admission), why);
    } else {
        (Reason::TokenFirst, facts.asker)
    };
    // An app of native make may open a browser.
    let return_to = (place.app.native.is_some() && admission.via.browser).then(ReturnTo::root);
    let (place, admission) = (Some(place), Some(admission));
    Decision::Refuse(Refusal {
        reason,
        place,
        asker,
        person: None,
        return_to,
        admission,
        token: None,
    })
}

fn decide_own<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    place: Place<'a>,
    endpoint: Endpoint,
    caller: Caller,
) -> Decision<'a> {
    let get = matches!(facts.method, Method::GET | Method::HEAD);
    match (endpoint, caller) {
        (Endpoint::Unknown, _) => refuse(facts, Some(place), Reason::NoSuchEndpoint),
        (Endpoint::Native(call), _) => decide_native(facts, headers, place, call),
        (Endpoint::Logout, _) if facts.method == Method::POST => {
            if is_same_origin(headers, &place.app.origin.to_string()) {
                Decision::Logout(place)
            } else {
                refuse(facts, Some(place), Reason::CrossSite)
            }
        }
        (Endpoint::BackchannelLogout, _) if facts.method == Method::POST => {
            Decision::EndSessions(place)
        }
        (Endpoint::BackchannelLogout, _) => {
            refuse(facts, Some(place), Reason::MethodNotAllowed("POST"))
        }
        (Endpoint::FusionAuthWebhook, _) if facts.method == Method::POST => {
            Decision::ReceiveWebhook(place)
        }
        (Endpoint::FusionAuthWebhook, _) => {
            refuse(facts, Some(place), Reason::MethodNotAllowed("POST"))
        }
        (Endpoint::FrontchannelLogout, _) if facts.method != Method::GET => {
            refuse(facts, Some(place), Reason::MethodNotAllowed("GET"))
        }
        // Only in a frame of the same site: a link that anybody can send ends nothing.
        (Endpoint::FrontchannelLogout, _)
            if facts.asker == Asker::Frame && is_same_site(headers) =>
        {
            Decision::EndOwnSession(place)
        }
        (Endpoint::FrontchannelLogout, _) => refuse(facts, Some(place), Reason::CrossSite),
        (Endpoint::Logout, _) if !get => refuse(
            facts,
            Some(place),
            Reason::MethodNotAllowed("GET, HEAD, POST"),
        ),
        (_, _) if !get => refuse(facts, Some(place), Reason::MethodNotAllowed("GET, HEAD")),
        (Endpoint::Logout, Caller::Anonymous(_) | Caller::WithToken(_)) => {
            Decision::ConfirmLogout(place, None)
        }
        (Endpoint::Logout, Caller::Authenticated(live) | Caller::WithNativeToken(live)) => {
            Decision::ConfirmLogout(place, Some(live.session().identity.clone()))
        }
        (Endpoint::SignedOut, _) => Decision::ShowSignedOut(place),
        (Endpoint::Callback, _) if facts.method == Method::HEAD => {
            refuse(facts, Some(place), Reason::MethodNotAllowed("GET"))
        }
        (Endpoint::Callback, caller) => Decision::FinishLogin(place, caller),
        (Endpoint::Login, Caller::Authenticated(_) | Caller::WithNativeToken(_)) => {
            Decision::AlreadySignedIn(place, asked_return_to(facts, place))
        }
        (Endpoint::Login, Caller::Anonymous(why)) => sign_in_to(
            (facts, headers),
            place,
            None,
            why,
            asked_return_to(facts, place),
        ),
        (Endpoint::Login, Caller::WithToken(_)) => sign_in_to(
            (facts, headers),
            place,
            None,
            Why::NoCookie,
            asked_return_to(facts, place),
        ),
        (Endpoint::Form, caller) => match (
            FormId::in_query(facts.target.query().unwrap_or_default()),
            caller,
        ) {
            (None, _) => refuse(facts, Some(place), Reason::NoForm),
            (Some(id), Caller::Authenticated(live) | Caller::WithNativeToken(live)) => {
                Decision::ShowForm(place, live, id)
            }
            (Some(id), Caller::Anonymous(why)) => sign_in_to(
                (facts, headers),
                place,
                None,
                why,
                ReturnTo::kept_form(&place.app.prefix, &id),
            ),
            (Some(id), Caller::WithToken(_)) => sign_in_to(
                (facts, headers),
                place,
                None,
                Why::NoCookie,
                ReturnTo::kept_form(&place.app.prefix, &id),
            ),
        },
        (Endpoint::Session, Caller::Authenticated(live) | Caller::WithNativeToken(live)) => {
            Decision::ShowSession(place, live)
        }
        (Endpoint::Session, Caller::Anonymous(Why::TokenRefused(refusal))) => {
            refuse(facts, Some(place), Reason::TokenRefused(refusal))
        }
        (Endpoint::Session, Caller::Anonymous(why)) => {
            refuse(facts, Some(place), Reason::SignInFirst(why))
        }
        (Endpoint::Session, Caller::WithToken(_)) => {
            refuse(facts, Some(place), Reason::SignInFirst(Why::NoCookie))
        }
    }
}

/// Credentials in the body are the caller's own, so nobody has to be known; but no page elsewhere may try passwords in
/// its visitors' names, nor log a web view in as somebody else.
fn decide_native<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    place: Place<'a>,
    call: NativeCall,
) -> Decision<'a> {
    let Some(native) = &place.app.native else {
        return refuse(facts, Some(place), Reason::NoSuchEndpoint);
    };
    match (
        native.caller(headers, &place.app.origin.to_string()),
        &facts.method,
    ) {
        (From::Stranger, _) => refuse(facts, Some(place), Reason::CrossSite),
        (From::Listed(origin), &Method::OPTIONS) => Decision::AllowOrigin(place, origin),
        (From::Listed(origin), &Method::POST) => {
            Decision::Native(place, native, call, Some(origin))
        }
        (From::NoPage | From::OwnPage, &Method::POST) => {
            Decision::Native(place, native, call, None)
        }
        (From::Listed(_) | From::NoPage | From::OwnPage, _) => {
            refuse(facts, Some(place), Reason::MethodNotAllowed("POST"))
        }
    }
}

fn asked_return_to(facts: &Facts, place: Place<'_>) -> ReturnTo {
    let query = facts.target.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "return_to")
        .and_then(|(_, wanted)| ReturnTo::parse(&wanted, &place.app.prefix))
        .unwrap_or_else(ReturnTo::root)
}

/// After the login the person gets the page that was asked for; where a script or form asked, the page it is on.
fn sign_in<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    place: Place<'a>,
    admission: Option<&'a Admission>,
    why: Why,
) -> Decision<'a> {
    let page = match facts.asker {
        Asker::Navigation | Asker::Frame => Some(facts.target.as_str()),
        Asker::FormNavigation | Asker::Program | Asker::Grpc => page_of_origin(headers, place),
    };
    let return_to = page
        .and_then(|page| ReturnTo::parse(page, &place.app.prefix))
        .unwrap_or_else(ReturnTo::root);
    if facts.asker == Asker::FormNavigation && may_be_kept(facts, headers, place.app).is_ok() {
        return Decision::KeepForm(place, return_to, why);
    }
    sign_in_to((facts, headers), place, admission, why, return_to)
}

fn page_of_origin<'h>(headers: &'h HeaderMap, place: Place<'_>) -> Option<&'h str> {
    let referer = headers.get(header::REFERER)?.to_str().ok()?;
    referer
        .strip_prefix(place.app.origin.to_string().as_str())
        .filter(|page| page.starts_with('/'))
}

fn sign_in_to<'a>(
    (facts, headers): (&'a Facts, &HeaderMap),
    place: Place<'a>,
    admission: Option<&'a Admission>,
    why: Why,
    return_to: ReturnTo,
) -> Decision<'a> {
    let reason = match facts.asker {
        Asker::Navigation => return Decision::StartLogin(place, return_to, why),
        Asker::FormNavigation => {
            let not_kept = may_be_kept(facts, headers, place.app).err();
            Reason::FormNotSent(why, not_kept.unwrap_or(NotKept::OtherKind))
        }
        Asker::Frame => Reason::SignInOutsideFrame(why),
        Asker::Program | Asker::Grpc => Reason::SignInFirst(why),
    };
    let (place, asker, return_to) = (Some(place), facts.asker, Some(return_to));
    Decision::Refuse(Refusal {
        reason,
        place,
        asker,
        person: None,
        return_to,
        admission,
        token: None,
    })
}

fn refuse<'a>(facts: &Facts, place: Option<Place<'a>>, reason: Reason) -> Decision<'a> {
    let asker = facts.asker;
    Decision::Refuse(Refusal {
        reason,
        place,
        asker,
        person: None,
        return_to: None,
        admission: None,
        token: None,
    })
}
