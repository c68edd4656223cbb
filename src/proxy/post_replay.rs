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
use super::execute::RequestContext;
use super::request_telemetry::RequestRecord;
use super::responder::TaggedResponse;
use crate::auth::post_replay::{PostUnavailable, SubmittedPost};
use crate::identity::post_id::{PostId, REPLAY_BODY_LEN};
use crate::identity::return_to::ReturnTo;
use crate::policy::decide::{Permit, Reason, Refusal};
use crate::policy::post_replay::{PreservePostError, content_length, may_be_replay_request};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Route};
use crate::session::login_loop::TransportHints;
use crate::session::preserved_post::PreservedPost;
use crate::session::validity::{LiveSession, NoSessionReason};
use crate::types::body::Body;
use crate::upstream::UpstreamError;

/// How long a form may take to arrive, and how long a call for one, which is as small as a head.
const TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The app of a request whose head could be that of the form on our page.
pub(super) fn may_replay<'a>(
    info: &RequestInfo,
    route: &Route<'a>,
    headers: &HeaderMap,
) -> Option<AppRef<'a>> {
    match route {
        Route::App(app_ref, _) if may_be_replay_request(info, headers, app_ref.app) => {
            Some(*app_ref)
        }
        Route::App(..)
        | Route::Endpoint(..)
        | Route::Alias(_)
        | Route::UnsupportedPath(_)
        | Route::Misdirected => None,
    }
}

/// The kept form that the body of such a request calls for, if it does, and the body.
///
/// # Errors
/// The body did not arrive, or too many others are read.
pub(super) async fn read_replay_request(
    calls: &Semaphore,
    body: Body,
) -> Result<(Option<PostId>, Body), UpstreamError> {
    let read = async {
        let _place = calls
            .acquire()
            .await
            .map_err(|_| PreservePostError::BodyIncomplete)?;
        whole(body, REPLAY_BODY_LEN).await
    };
    let read = tokio::time::timeout(CALL_TIMEOUT, read).await;
    let bytes = read
        .unwrap_or(Err(PreservePostError::BodyIncomplete))
        .map_err(|_| UpstreamError::RequestBroke)?;
    Ok((PostId::in_body(&bytes), Body::full(bytes)))
}

async fn whole(body: Body, most: usize) -> Result<Bytes, PreservePostError> {
    let collected = tokio::time::timeout(TIMEOUT, Limited::new(body, most).collect()).await;
    match collected {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(PreservePostError::TooLarge),
        Ok(Err(_)) | Err(_) => Err(PreservePostError::BodyIncomplete),
    }
}

impl Proxy {
    /// Keeps the form and sends the browser to log in. One that only calls for a kept form leads back to that.
    pub(super) async fn preserve_post(
        &self,
        app_ref: AppRef<'_>,
        (page, why): (ReturnTo, NoSessionReason),
        context: RequestContext<'_>,
        record: &RequestRecord,
    ) -> TaggedResponse {
        let RequestContext {
            info,
            cookies,
            parts,
            body,
            form,
        } = context;
        let signs = TransportHints::read(&parts.headers, &app_ref.app.origin);
        if let Some(redirect_loop_page) = self.auth.login_loop(app_ref, cookies, why, signs) {
            return self.redirect_loop_page(
                app_ref,
                redirect_loop_page,
                &page,
                record.request_id(),
            );
        }
        let not_kept =
            |not| self.post_not_preserved(app_ref, info, (why, not), page.clone(), record);
        let kept_before = form.is_some();
        let Some(id) = form.or_else(|| self.auth.new_post_id()) else {
            return not_kept(PreservePostError::QuotaExceeded);
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
            let target = info.target.as_str().to_owned();
            let Some(length) = content_length(&parts.headers) else {
                return not_kept(PreservePostError::LengthUnknown);
            };
            let more = target.len() + content_type.len() + referer.as_ref().map_or(0, String::len);
            let concurrency = match self
                .auth
                .reserve_post(app_ref, cookies, &id, (length, more))
            {
                Ok(concurrency) => concurrency,
                Err(not) => return not_kept(not),
            };
            match whole(body, length).await {
                Ok(body) => Some((
                    concurrency,
                    SubmittedPost {
                        target,
                        content_type,
                        referer,
                        body,
                    },
                )),
                Err(not) => return not_kept(not),
            }
        };
        let return_to = ReturnTo::post_replay_page(&app_ref.app.prefix, &id);
        let start = match self
            .auth
            .start_login(app_ref, cookies, &return_to, signs)
            .await
        {
            Ok(start) => start,
            Err(outage) => {
                return self
                    .responder
                    .outage(info, Some(app_ref), outage, record.request_id());
            }
        };
        if let Some(form) = kept
            && let Err(not) = self.auth.preserve_post(app_ref, form, &start).await
        {
            return not_kept(not);
        }
        self.responder
            .redirect(StatusCode::SEE_OTHER, &start.location, "post_preserved")
            .with_cookies(start.set_cookies)
    }

    /// The form was not kept: the person is told, and can do it again.
    pub(super) fn post_not_preserved(
        &self,
        app_ref: AppRef<'_>,
        info: &RequestInfo,
        (why, not): (NoSessionReason, PreservePostError),
        page: ReturnTo,
        record: &RequestRecord,
    ) -> TaggedResponse {
        self.auth.post_not_preserved(app_ref, not);
        let (reason, client_kind) = (Reason::PostNotPreserved(why, not), info.client_kind);
        let refusal = Refusal {
            reason,
            app_ref: Some(app_ref),
            client_kind,
            user: None,
            return_to: Some(page),
            requirement: None,
            token: None,
        };
        self.responder.refusal(&refusal, record.request_id())
    }

    /// Shows what waits to be sent.
    pub(super) async fn confirm_post_replay(
        &self,
        app_ref: AppRef<'_>,
        (live, id): (LiveSession, PostId),
        context: RequestContext<'_>,
        record: &RequestRecord,
    ) -> TaggedResponse {
        match self
            .auth
            .load_post(app_ref, context.cookies, &live, &id)
            .await
        {
            Ok((form, age)) => {
                self.responder
                    .replay_post(app_ref.app, &live.session().identity, &id, (&form, age))
            }
            Err(why) => self.no_preserved_post(app_ref, context.info, why, record),
        }
    }

    /// Sends a kept form, which a permitted request called for.
    pub(super) async fn replay_post(
        &self,
        permit: Permit<'_>,
        id: PostId,
        mut context: RequestContext<'_>,
        record: &mut RequestRecord,
    ) -> TaggedResponse {
        let (app_ref, info, cookies) = (permit.app_ref(), permit.info(), context.cookies);
        let taken = match permit.session() {
            Some(live) => {
                self.auth
                    .claim_post(app_ref, cookies, live, (&id, info.target.as_str()))
                    .await
            }
            // On a page that is everyone's nobody was asked to log in.
            None => Err(PostUnavailable::Gone),
        };
        let hand = match taken {
            Ok(hand) => hand,
            Err(why) => return self.no_preserved_post(app_ref, info, why, record),
        };
        fill(&mut context.parts.headers, hand.form());
        context.body = Body::full(hand.form().body.clone());
        match self.pass(permit, context, record).await {
            Ok(response) => {
                hand.sent();
                TaggedResponse {
                    code: "post_replayed",
                    response,
                }
            }
            Err(error) => {
                if !error.was_sent() {
                    self.auth.return_post(hand).await;
                }
                self.upstream_failed(app_ref, info, &error, record)
            }
        }
    }

    fn no_preserved_post(
        &self,
        app_ref: AppRef<'_>,
        info: &RequestInfo,
        why: PostUnavailable,
        record: &RequestRecord,
    ) -> TaggedResponse {
        let reason = match why {
            PostUnavailable::Gone => Reason::NoPreservedPost,
            PostUnavailable::OtherPerson => Reason::PostOfAnotherUser,
            PostUnavailable::Unavailable(outage) => {
                return self
                    .responder
                    .outage(info, Some(app_ref), outage, record.request_id());
            }
        };
        let refusal = Refusal {
            reason,
            app_ref: Some(app_ref),
            client_kind: info.client_kind,
            user: None,
            return_to: None,
            requirement: None,
            token: None,
        };
        self.responder.refusal(&refusal, record.request_id())
    }
}

/// The fields that belong to the body which is sent instead.
fn fill(headers: &mut HeaderMap, form: &PreservedPost) {
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
        let mut waits = Box::pin(read_replay_request(&calls, Body::full(call)));
        assert!(
            tokio::time::timeout(Duration::from_millis(1), &mut waits)
                .await
                .is_err()
        );
        calls.add_permits(1);
        let (id, body) = waits.await.unwrap();
        assert_eq!(id, PostId::in_body(call.as_bytes()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), call);
        assert_eq!(calls.available_permits(), 1);
        assert!(
            read_replay_request(&calls, Body::full(format!("{call}x")))
                .await
                .is_err(),
            "no more is read than a call has"
        );
    }
}
