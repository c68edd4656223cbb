//! Forms that meet no session: kept, shown once the person has logged in, and sent when they say so.
//!
//! The form on our page is posted to the very address of the kept one and holds nothing but its name. So the request
//! goes the way of every other, under the same rules, in one form; only its body is another. Nothing of the kept form
//! stands in a page, and no other site can make a browser send it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;

use super::Proxy;
use super::act::Asked;
use super::record::Record;
use super::respond::Answer;
use crate::auth::kept_form::{Form, NoForm};
use crate::policy::decide::{Permit, Reason, Refusal};
use crate::policy::facts::Facts;
use crate::policy::form::{CALL, FormId, NotKept, length_of, may_call_for_one};
use crate::policy::return_to::ReturnTo;
use crate::policy::route::{Place, Route};
use crate::session::assess::{LiveSession, Why};
use crate::session::kept_form::KeptForm;
use crate::session::login_loop::Signs;
use crate::types::body::Body;
use crate::upstream::UpstreamError;

/// How long a form may take to arrive, and how long a call for one, which is as small as a head.
const PATIENCE: Duration = Duration::from_secs(30);
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// The app of a request whose head could be that of the form on our page.
pub(super) fn may_be_called_for<'a>(
    facts: &Facts,
    route: &Route<'a>,
    headers: &HeaderMap,
) -> Option<Place<'a>> {
    match route {
        Route::Page(place, _) if may_call_for_one(facts, headers, place.app) => Some(*place),
        Route::Page(..) | Route::Own(..) | Route::Alias(_) | Route::Odd(_) | Route::Misdirected => {
            None
        }
    }
}

/// The kept form that the body of such a request calls for, if it does, and the body.
///
/// # Errors
/// The body did not arrive, or too many others are read.
pub(super) async fn called_for(
    calls: &Semaphore,
    body: Body,
) -> Result<(Option<FormId>, Body), UpstreamError> {
    let read = async {
        let _place = calls.acquire().await.map_err(|_| NotKept::Unfinished)?;
        whole(body, CALL).await
    };
    let read = tokio::time::timeout(CALL_PATIENCE, read).await;
    let bytes = read
        .unwrap_or(Err(NotKept::Unfinished))
        .map_err(|_| UpstreamError::RequestBroke)?;
    Ok((FormId::in_body(&bytes), Body::full(bytes)))
}

async fn whole(body: Body, most: usize) -> Result<Bytes, NotKept> {
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, most).collect()).await;
    match collected {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(NotKept::TooLarge),
        Ok(Err(_)) | Err(_) => Err(NotKept::Unfinished),
    }
}

impl Proxy {
    /// Keeps the form and sends the browser to log in. One that only calls for a kept form leads back to that.
    pub(super) async fn keep_form(
        &self,
        place: Place<'_>,
        (page, why): (ReturnTo, Why),
        asked: Asked<'_>,
        record: &Record,
    ) -> Answer {
        let Asked {
            facts,
            cookies,
            parts,
            body,
            form,
        } = asked;
        let signs = Signs::read(&parts.headers, &place.app.origin);
        if let Some(in_circles) = self.auth.login_loop(place, cookies, why, signs) {
            return self.in_circles(place, in_circles, &page, record.reference());
        }
        let not_kept = |not| self.form_not_kept(place, facts, (why, not), page.clone(), record);
        let kept_before = form.is_some();
        let Some(id) = form.or_else(|| self.auth.name_form()) else {
            return not_kept(NotKept::NoRoom);
        };
        let kept = if kept_before {
            None
        } else {
            let text = |name| {
                parts
                    .headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned)
            };
            let (content_type, referer) = (
                text(header::CONTENT_TYPE).unwrap_or_default(),
                text(header::REFERER),
            );
            let target = facts.target.as_str().to_owned();
            let Some(length) = length_of(&parts.headers) else {
                return not_kept(NotKept::LengthUnknown);
            };
            let more = target.len() + content_type.len() + referer.as_ref().map_or(0, String::len);
            let room = match self.auth.room_for_form(place, cookies, &id, (length, more)) {
                Ok(room) => room,
                Err(not) => return not_kept(not),
            };
            match whole(body, length).await {
                Ok(body) => Some((
                    room,
                    Form {
                        target,
                        content_type,
                        referer,
                        body,
                    },
                )),
                Err(not) => return not_kept(not),
            }
        };
        let return_to = ReturnTo::kept_form(&place.app.prefix, &id);
        let start = match self
            .auth
            .start_login(place, cookies, &return_to, signs)
            .await
        {
            Ok(start) => start,
            Err(outage) => {
                return self
                    .respond
                    .outage(facts, Some(place), outage, record.reference());
            }
        };
        if let Some(form) = kept
            && let Err(not) = self.auth.keep_form(place, form, &start).await
        {
            return not_kept(not);
        }
        self.respond
            .redirect(StatusCode::SEE_OTHER, &start.location, "form_kept")
            .with_cookies(start.lines)
    }

    /// The form was not kept: the person is told, and can do it again.
    pub(super) fn form_not_kept(
        &self,
        place: Place<'_>,
        facts: &Facts,
        (why, not): (Why, NotKept),
        page: ReturnTo,
        record: &Record,
    ) -> Answer {
        self.auth.form_not_kept(place, not);
        let (reason, asker) = (Reason::FormNotSent(why, not), facts.asker);
        let refusal = Refusal {
            reason,
            place: Some(place),
            asker,
            person: None,
            return_to: Some(page),
            admission: None,
            token: None,
        };
        self.respond.refusal(&refusal, record.reference())
    }

    /// Shows what waits to be sent.
    pub(super) async fn show_form(
        &self,
        place: Place<'_>,
        (live, id): (LiveSession, FormId),
        asked: Asked<'_>,
        record: &Record,
    ) -> Answer {
        match self.auth.see_form(place, asked.cookies, &live, &id).await {
            Ok((form, age)) => {
                self.respond
                    .send_form(place.app, &live.session().identity, &id, (&form, age))
            }
            Err(why) => self.no_form(place, asked.facts, why, record),
        }
    }

    /// Sends a kept form, which a permitted request called for.
    pub(super) async fn send_form(
        &self,
        permit: Permit<'_>,
        id: FormId,
        mut asked: Asked<'_>,
        record: &mut Record,
    ) -> Answer {
        let (place, facts, cookies) = (permit.place(), permit.facts(), asked.cookies);
        let taken = match permit.session() {
            Some(live) => {
                self.auth
                    .take_form(place, cookies, live, (&id, facts.target.as_str()))
                    .await
            }
            // On a page that is everyone's nobody was asked to log in.
            None => Err(NoForm::Gone),
        };
        let hand = match taken {
            Ok(hand) => hand,
            Err(why) => return self.no_form(place, facts, why, record),
        };
        fill(&mut asked.parts.headers, hand.form());
        asked.body = Body::full(hand.form().body.clone());
        match self.pass(permit, asked, record).await {
            Ok(response) => {
                hand.sent();
                Answer {
                    code: "form_sent",
                    response,
                }
            }
            Err(error) => {
                if !error.was_sent() {
                    self.auth.put_form_back(hand).await;
                }
                self.upstream_failed(place, facts, &error, record)
            }
        }
    }

    fn no_form(&self, place: Place<'_>, facts: &Facts, why: NoForm, record: &Record) -> Answer {
        let reason = match why {
            NoForm::Gone => Reason::NoForm,
            NoForm::OtherPerson => Reason::FormOfAnotherPerson,
            NoForm::Outage(outage) => {
                return self
                    .respond
                    .outage(facts, Some(place), outage, record.reference());
            }
        };
        let refusal = Refusal {
            reason,
            place: Some(place),
            asker: facts.asker,
            person: None,
            return_to: None,
            admission: None,
            token: None,
        };
        self.respond.refusal(&refusal, record.reference())
    }
}

/// The fields that belong to the body which is sent instead.
fn fill(headers: &mut HeaderMap, form: &KeptForm) {
    if let Ok(kind) = HeaderValue::from_str(&form.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.remove(header::REFERER);
    if let Some(page) = form
        .referer
        .as_ref()
        .and_then(|page| HeaderValue::from_str(page).ok())
    {
        headers.insert(header::REFERER, page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_waits_while_too_many_others_are_read() {
        let call = "doorward-form=AbCdEfGhIjKlMnOpQrSt-_";
        let calls = Semaphore::new(0);
        let mut waits = Box::pin(called_for(&calls, Body::full(call)));
        assert!(
            tokio::time::timeout(Duration::from_millis(1), &mut waits)
                .await
                .is_err()
        );
        calls.add_permits(1);
        let (id, body) = waits.await.unwrap();
        assert_eq!(id, FormId::in_body(call.as_bytes()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), call);
        assert_eq!(calls.available_permits(), 1);
        assert!(
            called_for(&calls, Body::full(format!("{call}x")))
                .await
                .is_err(),
            "no more is read than a call has"
        );
    }
}
