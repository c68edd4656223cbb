//! Stage 5: do what was decided. One match; each arm is one call down. The rare ones are boxed, so that a connection
//! at rest does not carry the room for them.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::Proxy;
use super::native::Call;
use super::record::{Lasting, Record};
use super::reference::Reference;
use super::respond::Answer;
use crate::auth::frontchannel::FRONT_CHANNEL;
use crate::auth::login_finish::{LoginEnd, LoginFailure};
use crate::auth::logout::NOT_TOLD;
use crate::auth::revoke::NotRevoked;
use crate::auth::set_cookies::Lines;
use crate::auth::webhook::{Received, WebhookRefused};
use crate::policy::decide::{Decision, Permit, Reason};
use crate::policy::facts::Facts;
use crate::policy::form::FormId;
use crate::policy::return_to::ReturnTo;
use crate::policy::route::Place;
use crate::session::assess::LiveSession;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::{Cause, Signs};
use crate::types::body::Body;
use crate::upstream::{self, UpstreamError};

/// Most bytes of a form that is sent to one of our own endpoints, and of an event, which has the person in it.
const MAX_FORM: usize = 32 * 1024;
const MAX_EVENT: usize = 512 * 1024;
/// How long either may take to arrive.
const FORM_PATIENCE: Duration = Duration::from_secs(5);

/// The request, as far as acting needs it.
pub(super) struct Asked<'r> {
    pub(super) facts: &'r Facts,
    pub(super) cookies: &'r RequestCookies<'r>,
    pub(super) parts: &'r mut Parts,
    pub(super) body: Body,
    /// The kept form that it calls for.
    pub(super) form: Option<FormId>,
}

impl Proxy {
    pub(super) async fn act(
        &self,
        decision: Decision<'_>,
        mut asked: Asked<'_>,
        record: &mut Record,
    ) -> Answer {
        let (code, respond, reference) = (decision.code(), &self.respond, record.reference());
        match decision {
            Decision::Forward(permit) => {
                let place = permit.place();
                let _until_the_head = match self.rooms.of_app(place.index) {
                    None => None,
                    Some(room) => match room.enter().await {
                        Some(stay) => Some(stay),
                        None => {
                            return respond.busy(
                                asked.facts.asker,
                                Some(place.app),
                                "app_busy",
                                reference,
                            );
                        }
                    },
                };
                match asked.form.take() {
                    None => self.forward(permit, asked, record).await,
                    Some(id) => Box::pin(self.send_form(permit, id, asked, record)).await,
                }
            }
            Decision::KeepForm(place, page, why) => {
                Box::pin(self.keep_form(place, (page, why), asked, record)).await
            }
            Decision::ShowForm(place, live, id) => {
                Box::pin(self.show_form(place, (live, id), asked, record)).await
            }
            Decision::StartLogin(place, return_to, why) => {
                let signs = Signs::read(&asked.parts.headers, &place.app.origin);
                match self.auth.login_loop(place, asked.cookies, why, signs) {
                    Some(in_circles) => self.in_circles(place, in_circles, &return_to, reference),
                    None => {
                        Box::pin(self.start_login(
                            place,
                            &return_to,
                            signs,
                            asked.facts,
                            asked.cookies,
                            reference,
                        ))
                        .await
                    }
                }
            }
            Decision::FinishLogin(place, caller) => {
                let query = asked.facts.target.query().unwrap_or_default();
                let signs = Signs::read(&asked.parts.headers, &place.app.origin);
                let end =
                    Box::pin(
                        self.auth
                            .finish_login(place, query, asked.cookies, &caller, signs),
                    )
                    .await;
                let left = if end.is_of_another_person() {
                    Box::pin(self.leave_app(place, asked.facts, &asked.parts.headers)).await
                } else {
                    Lines::new()
                };
                self.login_ended(place, end, record).with_cookies(left)
            }
            Decision::ConfirmLogout(place, person) => {
                respond.logout_confirm(place.app, person.as_deref(), code)
            }
            Decision::Logout(place) => {
                let here = Box::pin(self.auth.logout(place, asked.cookies));
                let at_app = Box::pin(self.leave_app(place, asked.facts, &asked.parts.headers));
                let (end, left) = tokio::join!(here, at_app);
                let answer = respond.redirect(StatusCode::SEE_OTHER, &end.location, code);
                answer.with_cookies(left).with_cookies(end.lines)
            }
            Decision::EndSessions(place) => {
                let revoked = match Box::pin(form_field(asked.body, "logout_token")).await {
                    Some(token) => Box::pin(self.auth.backchannel_logout(place, token)).await,
                    None => Err(NotRevoked::Rejected("logout_token_missing")),
                };
                respond.backchannel(revoked, code)
            }
            Decision::Native(place, native, call, origin) => {
                Box::pin(self.native(
                    Call {
                        place,
                        native,
                        call,
                        origin,
                    },
                    asked,
                    record,
                ))
                .await
            }
            Decision::AllowOrigin(_, origin) => respond.preflight(&origin, code),
            Decision::EndOwnSession(place) => {
                let query = asked.facts.target.query().unwrap_or_default();
                let end = self.auth.frontchannel_logout(place, query, asked.cookies);
                let left = if end.outcome == FRONT_CHANNEL {
                    Box::pin(self.leave_app(place, asked.facts, &asked.parts.headers)).await
                } else {
                    Lines::new()
                };
                respond.frontchannel(end).with_cookies(left)
            }
            Decision::ReceiveWebhook(place) => {
                let received = Box::pin(self.receive_webhook(place, asked)).await;
                self.auth.webhook_received(place, &received);
                respond.webhook(&received, code)
            }
            Decision::ShowSignedOut(place) => {
                let not_told = asked.facts.target.query() == Some(NOT_TOLD);
                respond.signed_out(
                    place.app,
                    not_told || !self.auth.can_end_provider_session(place),
                    code,
                )
            }
            Decision::ShowSession(place, live) => {
                respond.session(place.app, &live, self.auth.now(), code)
            }
            Decision::AlreadySignedIn(place, return_to) => {
                match self.auth.sent_back(place, asked.cookies, &return_to) {
                    Ok(lines) => respond
                        .redirect(StatusCode::FOUND, &absolute(place, &return_to), code)
                        .with_cookies(lines),
                    Err(in_circles) => self.in_circles(place, in_circles, &return_to, reference),
                }
            }
            Decision::MoveToOrigin(place) => {
                let location = format!("{}{}", place.app.origin, asked.facts.target.as_str());
                respond.redirect(StatusCode::PERMANENT_REDIRECT, &location, code)
            }
            Decision::Refuse(refusal) => {
                if let (Reason::FormNotSent(_, why), Some(place)) = (refusal.reason, refusal.place)
                {
                    self.auth.form_not_kept(place, why);
                }
                respond.refusal(&refusal, reference)
            }
        }
    }

    async fn forward(&self, permit: Permit<'_>, asked: Asked<'_>, record: &mut Record) -> Answer {
        let (place, facts) = (permit.place(), permit.facts());
        let in_grace = permit.session().is_some_and(LiveSession::is_in_grace);
        let code = if in_grace {
            "forward_in_grace"
        } else {
            "forward"
        };
        match self.pass(permit, asked, record).await {
            Ok(response) => Answer { code, response },
            Err(error) => self.upstream_failed(place, facts, &error, record),
        }
    }

    /// Passes the request to the backend.
    pub(super) async fn pass(
        &self,
        permit: Permit<'_>,
        asked: Asked<'_>,
        record: &mut Record,
    ) -> Result<Response<Body>, UpstreamError> {
        let place = permit.place();
        let upstream = self
            .upstreams
            .get(place.index)
            .ok_or(UpstreamError::Unforwardable("its app"))?;
        let by_session = permit.session().map(|live| self.auth.holds(place, live));
        let holds = by_session.or_else(|| {
            permit
                .token()
                .map(|live| self.auth.token_holds(place, live))
        });
        record.sent_upstream();
        let answer =
            upstream::forward(upstream, &permit, asked.parts, asked.body, holds.as_ref()).await;
        record.lasts(Lasting {
            holds,
            max_age: upstream.stream_max_age(),
        });
        record.answered_by_upstream();
        answer
    }

    /// The backend gave no answer.
    pub(super) fn upstream_failed(
        &self,
        place: Place<'_>,
        facts: &Facts,
        error: &UpstreamError,
        record: &Record,
    ) -> Answer {
        let (cause, reference) = (
            std::error::Error::source(error).map(ToString::to_string),
            record.reference(),
        );
        tracing::warn!(app = %place.app.name, %reference, code = error.code(), %error, cause, "upstream_failed");
        self.respond
            .upstream_failed(facts, place.app, error, reference)
    }

    async fn start_login(
        &self,
        place: Place<'_>,
        return_to: &ReturnTo,
        signs: Signs,
        facts: &Facts,
        cookies: &RequestCookies<'_>,
        reference: Reference,
    ) -> Answer {
        match self
            .auth
            .start_login(place, cookies, return_to, signs)
            .await
        {
            Ok(start) => self
                .respond
                .redirect(StatusCode::FOUND, &start.location, "start_login")
                .with_cookies(start.lines),
            Err(outage) => self.respond.outage(facts, Some(place), outage, reference),
        }
    }

    /// The body is read of a proven sender only.
    async fn receive_webhook(
        &self,
        place: Place<'_>,
        asked: Asked<'_>,
    ) -> Result<Received, WebhookRefused> {
        let sender = self
            .auth
            .webhook_sender(place, &asked.parts.headers)
            .await?;
        let body = whole(asked.body, MAX_EVENT)
            .await
            .ok_or(WebhookRefused::Unreadable)?;
        self.auth.receive_webhook(place, &sender, &body).await
    }

    pub(super) fn in_circles(
        &self,
        place: Place<'_>,
        (cause, lines): (Cause, Lines),
        return_to: &ReturnTo,
        reference: Reference,
    ) -> Answer {
        self.respond
            .login_failed(place.app, &LoginFailure::Loop(cause), return_to, reference)
            .with_cookies(lines)
    }

    fn login_ended(&self, place: Place<'_>, end: LoginEnd, record: &mut Record) -> Answer {
        let respond = &self.respond;
        match end {
            LoginEnd::SignedIn {
                return_to, lines, ..
            } => respond
                .redirect(StatusCode::FOUND, &absolute(place, &return_to), "signed_in")
                .with_cookies(lines),
            LoginEnd::AlreadySignedIn(return_to, lines) => {
                let location = absolute(place, &return_to);
                respond
                    .redirect(StatusCode::FOUND, &location, "already_signed_in")
                    .with_cookies(lines)
            }
            LoginEnd::Restarted(start) => respond
                .redirect(StatusCode::FOUND, &start.location, "login_restarted")
                .with_cookies(start.lines),
            LoginEnd::Failed(failure, lines, return_to) => {
                tracing::warn!(app = %place.app.name, reference = %record.reference(), code = failure.code(), "login_page_shown");
                respond
                    .login_failed(place.app, &failure, &return_to, record.reference())
                    .with_cookies(lines)
            }
        }
    }
}

/// A field of a small form that was sent to one of our own endpoints. `None`: it is not there, or twice, or the form
/// is too large, too slow, or broke off.
async fn form_field(body: Body, name: &str) -> Option<String> {
    let form = whole(body, MAX_FORM).await?;
    let mut values = url::form_urlencoded::parse(&form)
        .filter(|(field, _)| field == name)
        .map(|(_, value)| value);
    let value = values.next()?.into_owned();
    values.next().is_none().then_some(value)
}

/// A small body. `None`: it is too large, too slow, or broke off.
async fn whole(body: Body, limit: usize) -> Option<Bytes> {
    let whole = Limited::new(body, limit).collect();
    Some(
        tokio::time::timeout(FORM_PATIENCE, whole)
            .await
            .ok()?
            .ok()?
            .to_bytes(),
    )
}

fn absolute(place: Place<'_>, return_to: &ReturnTo) -> String {
    format!("{}{return_to}", place.app.origin)
}
