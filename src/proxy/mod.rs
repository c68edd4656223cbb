//! One request in six stages, a straight line: facts, route, who asks, decision, act, answer.

mod act;
mod challenge;
mod codes;
mod forms;
mod leave;
mod native;
pub mod pages;
mod record;
mod reference;
mod respond;
mod room;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;

use crate::auth::Auth;
use crate::auth::bearer::{ShownToken, TokenCache};
use crate::auth::native::Proving;
use crate::auth::resume::{Effort, Resumed, SessionCache};
use crate::policy::canonical::canonical;
use crate::policy::client_address::TrustedProxies;
use crate::policy::credentials::Credentials;
use crate::policy::decide::{Caller, decide};
use crate::policy::facts::Facts;
use crate::policy::native::Shown;
use crate::policy::route::{Endpoint, Place, Route, Sites};
use crate::policy::rules::Access;
use crate::session::cookie::RequestCookies;
use crate::types::body::Body;
use crate::types::net::Arrival;
use crate::upstream::Upstream;

pub use record::Recorder;
pub use respond::Respond;
pub use room::{Room, RoomSettings, Rooms};

/// What one worker needs to answer requests.
pub struct Proxy {
    /// The apps by host.
    pub sites: Arc<Sites>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted: Arc<TrustedProxies>,
    /// The flows.
    pub auth: Arc<Auth>,
    /// The way to each app's backend, in the order of the apps.
    pub upstreams: Vec<Upstream>,
    /// Sessions that this worker knows.
    pub sessions: SessionCache,
    /// Access tokens that this worker knows.
    pub tokens: TokenCache,
    /// How many requests may be under way.
    pub rooms: Arc<Rooms>,
    /// Our own answers.
    pub respond: Arc<Respond>,
    /// The access log and the metrics.
    pub recorder: Recorder,
}

impl Proxy {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>, arrival: Arrival) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let mut record = self.recorder.begin(&parts, arrival);
        let body = Body::streamed(body);
        let body = record.watch_request(if parts.version == Version::HTTP_2 {
            body.over_http2()
        } else {
            body
        });

        let read = canonical(&mut parts, arrival.secure)
            .and_then(|()| Facts::read(&parts, arrival.peer.map(|peer| peer.ip()), &self.trusted));
        let facts = match read {
            Ok(facts) => facts,
            Err(why) => {
                record.unreadable(&parts);
                let answer = self.respond.unreadable(&parts, why, record.reference());
                return record.close(answer);
            }
        };
        let route = self.sites.route(&facts);
        record.about(&facts, &route);
        let Some(_until_the_head) = self.rooms.all.enter().await else {
            let answer = self
                .respond
                .busy(facts.asker, None, "server_busy", record.reference());
            return record.close(answer);
        };
        let fields: Vec<HeaderValue> = parts
            .headers
            .get_all(header::COOKIE)
            .iter()
            .cloned()
            .collect();
        let cookies = RequestCookies::read(&fields);
        let (place, effort) = effort(&route, &parts.headers);
        let is_activity = is_activity(&route, &facts);
        let (form, body) = match forms::may_be_called_for(&facts, &route, &parts.headers) {
            None => (None, body),
            Some(place) => match Box::pin(forms::called_for(self.auth.form_calls(), body)).await {
                Ok(called_for) => called_for,
                Err(error) => {
                    let answer =
                        self.respond
                            .upstream_failed(&facts, place.app, &error, record.reference());
                    return record.close(answer);
                }
            },
        };
        let mut resumed = match place {
            Some(place) => {
                let cookies = cookies_that_count(&route, &cookies);
                let proving = Proving {
                    method: facts.method.as_str(),
                    path: facts.target.path(),
                    headers: &parts.headers,
                };
                self.auth
                    .resume(place, proving, cookies, effort, &self.sessions)
                    .await
            }
            None => Resumed::nobody_asked(),
        };
        let mut nonce = resumed.nonce.take();
        if let Some((place, token)) = token_that_counts(&route, &facts, &parts.headers, &resumed) {
            let presented = Box::pin(self.auth.by_token(place, token, &self.tokens)).await;
            (resumed.caller, nonce) = (presented.caller, presented.nonce);
        }
        record.session(&resumed);
        let answer = match resumed.caller {
            Ok(caller) => {
                let decision = decide(&facts, &parts.headers, route, caller);
                self.act(
                    decision,
                    act::Asked {
                        facts: &facts,
                        cookies: &cookies,
                        parts: &mut parts,
                        body,
                        form,
                    },
                    &mut record,
                )
                .await
            }
            Err(outage) => self
                .respond
                .outage(&facts, place, outage, record.reference()),
        };
        let tokens = place.and_then(|place| {
            self.auth
                .handed_over(place, (&resumed.afterwards, resumed.at))
        });
        let lines_of = |place| {
            self.auth.lines_of(
                place,
                (resumed.afterwards, resumed.at),
                &cookies,
                is_activity,
            )
        };
        let lines = place.map(lines_of);
        let lines = lines.unwrap_or_default();
        record.close(
            answer
                .with_cookies(lines)
                .with_tokens(tokens)
                .with_nonce(nonce),
        )
    }
}

/// Whether a request shows that somebody is there: what pages ask by themselves does not.
fn is_activity(route: &Route<'_>, facts: &Facts) -> bool {
    match route {
        Route::Page(place, _) => !place.app.polling.has(&facts.target),
        Route::Own(_, Endpoint::Session) => false,
        Route::Own(
            _,
            Endpoint::Login
            | Endpoint::Callback
            | Endpoint::Logout
            | Endpoint::SignedOut
            | Endpoint::BackchannelLogout
            | Endpoint::Native(_)
            | Endpoint::FrontchannelLogout
            | Endpoint::FusionAuthWebhook
            | Endpoint::Form
            | Endpoint::Unknown,
        )
        | Route::Alias(_)
        | Route::Odd(_)
        | Route::Misdirected => true,
    }
}

/// Where a session does not count its cookies are not looked at.
fn cookies_that_count<'r, 'c>(
    route: &Route<'_>,
    cookies: &'r RequestCookies<'c>,
) -> &'r RequestCookies<'c> {
    match route {
        Route::Page(_, admission) if !admission.via.browser => const { &RequestCookies::none() },
        Route::Page(..) | Route::Own(..) | Route::Alias(_) | Route::Odd(_) | Route::Misdirected => {
            cookies
        }
    }
}

/// The access token, where one counts and no session does: that wins, and the token is then not even read.
fn token_that_counts<'r>(
    route: &Route<'r>,
    facts: &'r Facts,
    headers: &'r HeaderMap,
    resumed: &Resumed,
) -> Option<(Place<'r>, ShownToken<'r>)> {
    let Route::Page(place, admission) = route else {
        return None;
    };
    let is_ours = place.app.native.is_some() && Shown::read(headers).is_some();
    let takes_tokens = admission.via.bearer
        && place.app.bearer.is_some()
        && admission.access != Access::Nobody
        && !is_ours;
    if !takes_tokens || !matches!(resumed.caller, Ok(Caller::Anonymous(_))) {
        return None;
    }
    let (credentials, may_wait) = (
        Credentials::read(headers)?,
        admission.access != Access::Everyone,
    );
    Some((
        *place,
        ShownToken {
            credentials,
            headers,
            facts,
            may_wait,
        },
    ))
}

/// How much finding out who asks is worth, by what was asked. A switch of protocols delivers no cookie.
fn effort<'a>(route: &Route<'a>, headers: &HeaderMap) -> (Option<Place<'a>>, Effort) {
    let switches = headers.contains_key(header::UPGRADE);
    match route {
        Route::Page(place, admission) => match admission.access {
            Access::SignedIn | Access::Claims(_) if switches => (Some(*place), Effort::Know),
            Access::SignedIn | Access::Claims(_) => (Some(*place), Effort::Refresh),
            Access::Everyone | Access::Nobody => (Some(*place), Effort::Look),
        },
        Route::Own(place, Endpoint::Login | Endpoint::Session | Endpoint::Form) => {
            (Some(*place), Effort::Refresh)
        }
        Route::Own(place, _) => (Some(*place), Effort::Look),
        Route::Alias(_) | Route::Odd(_) | Route::Misdirected => (None, Effort::Look),
    }
}
