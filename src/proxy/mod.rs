//! One request in six stages, a straight line: facts, route, who asks, decision, act, answer.

mod app_logout;
mod challenge;
mod concurrency;
mod execute;
mod messages;
mod native;
pub mod pages;
mod post_replay;
mod request_id;
mod request_telemetry;
mod responder;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;

use crate::auth::Auth;
use crate::auth::bearer::{PresentedBearer, TokenCache};
use crate::auth::native::Proving;
use crate::auth::session::authenticate::{Authentication, ResumeMode, SessionCache};
use crate::identity::credentials::Credentials;
use crate::policy::canonical::canonical;
use crate::policy::client_address::TrustedProxies;
use crate::policy::decide::{Caller, decide};
use crate::policy::native::NativeCredentials;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Endpoint, HostRouter, Route};
use crate::policy::rules::Access;
use crate::session::cookie::RequestCookies;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;
use crate::upstream::Upstream;

pub use concurrency::{ConcurrencyLimiter, LimiterSettings, Limiters};
pub use request_telemetry::RequestTelemetry;
pub use responder::Responder;

/// What one worker needs to answer requests.
pub struct Proxy {
    /// The apps by host.
    pub sites: Arc<HostRouter>,
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
    pub limiters: Arc<Limiters>,
    /// Our own answers.
    pub responder: Arc<Responder>,
    /// The access log and the metrics.
    pub telemetry: RequestTelemetry,
}

impl Proxy {
    /// Answers one request.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        arrival: ConnectionInfo,
    ) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let mut record = self.telemetry.begin(&parts, arrival);
        let body = Body::streamed(body);
        let body = record.watch_request(if parts.version == Version::HTTP_2 {
            body.over_http2()
        } else {
            body
        });

        let read = canonical(&mut parts, arrival.secure).and_then(|()| {
            RequestInfo::read(&parts, arrival.peer.map(|peer| peer.ip()), &self.trusted)
        });
        let info = match read {
            Ok(info) => info,
            Err(why) => {
                record.unreadable(&parts);
                let answer = self.responder.unreadable(&parts, why, record.request_id());
                return record.close(answer);
            }
        };
        let route = self.sites.route(&info);
        record.about(&info, &route);
        let Some(_until_the_head) = self.limiters.all.acquire().await else {
            let answer =
                self.responder
                    .busy(info.client_kind, None, "server_busy", record.request_id());
            return record.close(answer);
        };
        let fields: Vec<HeaderValue> = parts
            .headers
            .get_all(header::COOKIE)
            .iter()
            .cloned()
            .collect();
        let cookies = RequestCookies::read(&fields);
        let (app_ref, resume_mode) = resume_mode(&route, &parts.headers);
        let counts_as_activity = counts_as_activity(&route, &info);
        let (form, body) = match post_replay::may_replay(&info, &route, &parts.headers) {
            None => (None, body),
            Some(app_ref) => match Box::pin(post_replay::read_replay_request(
                self.auth.post_replay_reads(),
                body,
            ))
            .await
            {
                Ok(read_replay_request) => read_replay_request,
                Err(error) => {
                    let answer = self.responder.upstream_failed(
                        &info,
                        app_ref.app,
                        &error,
                        record.request_id(),
                    );
                    return record.close(answer);
                }
            },
        };
        let mut resumed = match app_ref {
            Some(app_ref) => {
                let cookies = session_cookies(&route, &cookies);
                let proving = Proving {
                    method: info.method.as_str(),
                    path: info.target.path(),
                    headers: &parts.headers,
                };
                self.auth
                    .resume(app_ref, proving, cookies, resume_mode, &self.sessions)
                    .await
            }
            None => Authentication::anonymous(),
        };
        let mut nonce = resumed.nonce.take();
        if let Some((app_ref, token)) = bearer_token(&route, &info, &parts.headers, &resumed) {
            let presented = Box::pin(self.auth.by_token(app_ref, token, &self.tokens)).await;
            (resumed.caller, nonce) = (presented.caller, presented.nonce);
        }
        record.session(&resumed);
        let answer = match resumed.caller {
            Ok(caller) => {
                let decision = decide(&info, &parts.headers, route, caller);
                self.execute(
                    decision,
                    execute::RequestContext {
                        info: &info,
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
                .responder
                .outage(&info, app_ref, outage, record.request_id()),
        };
        let tokens = app_ref.and_then(|app_ref| {
            self.auth
                .native_token_headers(app_ref, (&resumed.update, resumed.at))
        });
        let set_cookie_headers = |app_ref| {
            self.auth.set_cookie_headers(
                app_ref,
                (resumed.update, resumed.at),
                &cookies,
                counts_as_activity,
            )
        };
        let set_cookies = app_ref.map(set_cookie_headers);
        let set_cookies = set_cookies.unwrap_or_default();
        record.close(
            answer
                .with_cookies(set_cookies)
                .with_tokens(tokens)
                .with_nonce(nonce),
        )
    }
}

/// Whether a request shows that somebody is there: what pages ask by themselves does not.
fn counts_as_activity(route: &Route<'_>, info: &RequestInfo) -> bool {
    match route {
        Route::App(app_ref, _) => !app_ref.app.background_paths.has(&info.target),
        Route::Endpoint(_, Endpoint::Session) => false,
        Route::Endpoint(
            _,
            Endpoint::Login
            | Endpoint::Callback
            | Endpoint::Logout
            | Endpoint::SignedOut
            | Endpoint::BackchannelLogout
            | Endpoint::Native(_)
            | Endpoint::FrontchannelLogout
            | Endpoint::FusionAuthWebhook
            | Endpoint::PostReplay
            | Endpoint::Unknown,
        )
        | Route::Alias(_)
        | Route::UnsupportedPath(_)
        | Route::Misdirected => true,
    }
}

/// Where a session does not count its cookies are not looked at.
fn session_cookies<'r, 'c>(
    route: &Route<'_>,
    cookies: &'r RequestCookies<'c>,
) -> &'r RequestCookies<'c> {
    match route {
        Route::App(_, requirement) if !requirement.auth_methods.session => {
            const { &RequestCookies::none() }
        }
        Route::App(..)
        | Route::Endpoint(..)
        | Route::Alias(_)
        | Route::UnsupportedPath(_)
        | Route::Misdirected => cookies,
    }
}

/// The access token, where one counts and no session does: that wins, and the token is then not even read.
fn bearer_token<'r>(
    route: &Route<'r>,
    info: &'r RequestInfo,
    headers: &'r HeaderMap,
    resumed: &Authentication,
) -> Option<(AppRef<'r>, PresentedBearer<'r>)> {
    let Route::App(app_ref, requirement) = route else {
        return None;
    };
    let is_ours = app_ref.app.native.is_some() && NativeCredentials::read(headers).is_some();
    let takes_tokens = requirement.auth_methods.bearer
        && app_ref.app.bearer.is_some()
        && requirement.access != Access::Denied
        && !is_ours;
    if !takes_tokens || !matches!(resumed.caller, Ok(Caller::Anonymous(_))) {
        return None;
    }
    let (credentials, may_wait) = (
        Credentials::read(headers)?,
        requirement.access != Access::Public,
    );
    Some((
        *app_ref,
        PresentedBearer {
            credentials,
            headers,
            info,
            may_wait,
        },
    ))
}

/// How much finding out who asks is worth, by what was asked. A switch of protocols delivers no cookie.
fn resume_mode<'a>(route: &Route<'a>, headers: &HeaderMap) -> (Option<AppRef<'a>>, ResumeMode) {
    let switches = headers.contains_key(header::UPGRADE);
    match route {
        Route::App(app_ref, requirement) => match requirement.access {
            Access::Authenticated | Access::Claims(_) if switches => {
                (Some(*app_ref), ResumeMode::NoSetCookie)
            }
            Access::Authenticated | Access::Claims(_) => (Some(*app_ref), ResumeMode::Refresh),
            Access::Public | Access::Denied => (Some(*app_ref), ResumeMode::ReadOnly),
        },
        Route::Endpoint(app_ref, Endpoint::Login | Endpoint::Session | Endpoint::PostReplay) => {
            (Some(*app_ref), ResumeMode::Refresh)
        }
        Route::Endpoint(app_ref, _) => (Some(*app_ref), ResumeMode::ReadOnly),
        Route::Alias(_) | Route::UnsupportedPath(_) | Route::Misdirected => {
            (None, ResumeMode::ReadOnly)
        }
    }
}
