//! Stage 4: what to do, and why. A pure, total function; the right to forward a request exists only as the
//! [`Permit`] that it hands out.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};

use super::asker::{Asker, is_same_origin, is_same_site};
use super::facts::{Facts, Unreadable};
use super::form::{FormId, NotKept, may_be_kept};
use super::identity::Identity;
use super::return_to::ReturnTo;
use super::route::{Endpoint, Place, Route};
use super::rules::Access;
use super::target::Ambiguous;
use crate::session::assess::{LiveSession, Why};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody that we know, and why.
    Anonymous(Why),
    /// Somebody with a living session.
    Authenticated(LiveSession),
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
    session: Option<LiveSession>,
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

    /// The session of who asked; on pages that are everyone's there may be none.
    pub const fn session(&self) -> Option<&LiveSession> {
        self.session.as_ref()
    }

    /// Who asked.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.session.as_ref().map(|live| &live.session().identity)
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
    /// The person who is signed in but may not.
    pub person: Option<Arc<Identity>>,
    /// Where a login would lead.
    pub return_to: Option<ReturnTo>,
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
    /// The person's claims do not fulfil the rule.
    Forbidden,
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
            Self::Forbidden => "forbidden",
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
            Self::SignInFirst(_) | Self::FormNotSent(..) | Self::SignInOutsideFrame(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::ForNobody | Self::CrossSite | Self::FormOfAnotherPerson => StatusCode::FORBIDDEN,
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
pub fn decide<'a>(facts: &'a Facts, headers: &HeaderMap, route: Route<'a>, caller: Caller) -> Decision<'a> {
    match route {
        Route::Page(place, access) => decide_page(facts, headers, place, access, caller),
        Route::Own(place, endpoint) => decide_own(facts, headers, place, endpoint, caller),
        Route::Alias(place) if matches!(facts.asker, Asker::Navigation) => Decision::MoveToOrigin(place),
        Route::Alias(place) => refuse(facts, Some(place), Reason::Misdirected),
        Route::Odd(place) => refuse(facts, Some(place), Reason::OddPath),
        Route::Misdirected => refuse(facts, None, Reason::Misdirected),
    }
}

fn decide_page<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    place: Place<'a>,
    access: &Access,
    caller: Caller,
) -> Decision<'a> {
    match (access, caller) {
        (Access::Nobody, _) => refuse(facts, Some(place), Reason::ForNobody),
        (Access::Everyone, Caller::Anonymous(_)) => Decision::Forward(Permit { place, facts, session: None }),
        (Access::SignedIn | Access::Claims(_), Caller::Anonymous(why)) => sign_in(facts, headers, place, why),
        (Access::Everyone | Access::SignedIn, Caller::Authenticated(live)) => {
            Decision::Forward(Permit { place, facts, session: Some(live) })
        }
        (Access::Claims(conditions), Caller::Authenticated(live)) => {
            let identity = live.session().identity.clone();
            if conditions.iter().all(|condition| condition.holds(&identity.claims)) {
                return Decision::Forward(Permit { place, facts, session: Some(live) });
            }
            let asker = facts.asker;
            let reason = Reason::Forbidden;
            Decision::Refuse(Refusal { reason, place: Some(place), asker, person: Some(identity), return_to: None })
        }
    }
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
        (Endpoint::Logout, _) if facts.method == Method::POST => {
            if is_same_origin(headers, &place.app.origin.to_string()) {
                Decision::Logout(place)
            } else {
                refuse(facts, Some(place), Reason::CrossSite)
            }
        }
        (Endpoint::BackchannelLogout, _) if facts.method == Method::POST => Decision::EndSessions(place),
        (Endpoint::BackchannelLogout, _) => refuse(facts, Some(place), Reason::MethodNotAllowed("POST")),
        (Endpoint::FusionAuthWebhook, _) if facts.method == Method::POST => Decision::ReceiveWebhook(place),
        (Endpoint::FusionAuthWebhook, _) => refuse(facts, Some(place), Reason::MethodNotAllowed("POST")),
        (Endpoint::FrontchannelLogout, _) if facts.method != Method::GET => {
            refuse(facts, Some(place), Reason::MethodNotAllowed("GET"))
        }
        // Only in a frame of the same site: a link that anybody can send ends nothing.
        (Endpoint::FrontchannelLogout, _) if facts.asker == Asker::Frame && is_same_site(headers) => {
            Decision::EndOwnSession(place)
        }
        (Endpoint::FrontchannelLogout, _) => refuse(facts, Some(place), Reason::CrossSite),
        (Endpoint::Logout, _) if !get => refuse(facts, Some(place), Reason::MethodNotAllowed("GET, HEAD, POST")),
        (_, _) if !get => refuse(facts, Some(place), Reason::MethodNotAllowed("GET, HEAD")),
        (Endpoint::Logout, Caller::Anonymous(_)) => Decision::ConfirmLogout(place, None),
        (Endpoint::Logout, Caller::Authenticated(live)) => {
            Decision::ConfirmLogout(place, Some(live.session().identity.clone()))
        }
        (Endpoint::SignedOut, _) => Decision::ShowSignedOut(place),
        (Endpoint::Callback, _) if facts.method == Method::HEAD => {
            refuse(facts, Some(place), Reason::MethodNotAllowed("GET"))
        }
        (Endpoint::Callback, caller) => Decision::FinishLogin(place, caller),
        (Endpoint::Login, Caller::Authenticated(_)) => Decision::AlreadySignedIn(place, asked_return_to(facts, place)),
        (Endpoint::Login, Caller::Anonymous(why)) => {
            sign_in_to(facts, headers, place, why, asked_return_to(facts, place))
        }
        (Endpoint::Form, caller) => match (FormId::in_query(facts.target.query().unwrap_or_default()), caller) {
            (None, _) => refuse(facts, Some(place), Reason::NoForm),
            (Some(id), Caller::Authenticated(live)) => Decision::ShowForm(place, live, id),
            (Some(id), Caller::Anonymous(why)) => {
                sign_in_to(facts, headers, place, why, ReturnTo::kept_form(&place.app.prefix, &id))
            }
        },
        (Endpoint::Session, Caller::Authenticated(live)) => Decision::ShowSession(place, live),
        (Endpoint::Session, Caller::Anonymous(why)) => refuse(facts, Some(place), Reason::SignInFirst(why)),
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
fn sign_in<'a>(facts: &'a Facts, headers: &HeaderMap, place: Place<'a>, why: Why) -> Decision<'a> {
    let page = match facts.asker {
        Asker::Navigation | Asker::Frame => Some(facts.target.as_str()),
        Asker::FormNavigation | Asker::Program => page_of_origin(headers, place),
    };
    let return_to = page.and_then(|page| ReturnTo::parse(page, &place.app.prefix)).unwrap_or_else(ReturnTo::root);
    if facts.asker == Asker::FormNavigation && may_be_kept(facts, headers, place.app).is_ok() {
        return Decision::KeepForm(place, return_to, why);
    }
    sign_in_to(facts, headers, place, why, return_to)
}

fn page_of_origin<'h>(headers: &'h HeaderMap, place: Place<'_>) -> Option<&'h str> {
    let referer = headers.get(header::REFERER)?.to_str().ok()?;
    referer.strip_prefix(place.app.origin.to_string().as_str()).filter(|page| page.starts_with('/'))
}

fn sign_in_to<'a>(
    facts: &'a Facts,
    headers: &HeaderMap,
    place: Place<'a>,
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
        Asker::Program => Reason::SignInFirst(why),
    };
    let asker = facts.asker;
    Decision::Refuse(Refusal { reason, place: Some(place), asker, person: None, return_to: Some(return_to) })
}

fn refuse<'a>(facts: &Facts, place: Option<Place<'a>>, reason: Reason) -> Decision<'a> {
    Decision::Refuse(Refusal { reason, place, asker: facts.asker, person: None, return_to: None })
}
