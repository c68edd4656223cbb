//! Preserved POSTs: keeps a form that is submitted without a session, and replays it once the user
//! has logged in and confirmed.
//!
//! The confirmation page posts to the URL of the preserved request, and its body contains only the
//! post's identifier. The replay therefore passes the same rules as every other request, and only
//! its body is replaced. No part of the preserved body is in a page, and no other site can make a
//! browser replay it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Proxy;
use super::concurrency::{ServerSlot, acquire};
use super::context::RequestContext;
use super::messages::Operation;
use super::request_body::{BodyLimits, ReadBodyError};
use super::responder::{ReplayPrompt, TaggedResponse, login_url};
use crate::auth::post_replay::{LoadedPost, PostReservation, PostUnavailable, SubmittedPost};
use crate::identity::login_link::LoginLink;
use crate::identity::post_id::{PostId, REPLAY_BODY_LEN};
use crate::identity::return_to::ReturnTo;
use crate::policy::decide::{Permit, Reason, Refusal};
use crate::policy::post_replay::{PreservePostError, content_length, may_be_replay_request};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, Route};
use crate::policy::rules::AccessRequirement;
use crate::session::preserved_post::PreservedPost;
use crate::session::validity::{LiveSession, NoSessionReason};
use crate::types::body::Body;
use crate::types::request_id::RequestId;

/// How long the body of a preserved POST may take to arrive.
const PRESERVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the body of a possible replay request may take to arrive.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(5);

/// A body, and the preserved POST that it asks to replay.
pub(super) struct ReplayBody {
    pub(super) post_id: Option<PostId>,
    pub(super) body: Body,
}

/// A form whose body was read, and the storage that is reserved for it.
struct ReceivedPost {
    reservation: PostReservation,
    post: SubmittedPost,
}

/// The app, if the request's head could be that of a replay request.
pub(super) fn replay_app<'a>(
    info: &RequestInfo,
    route: &Route<'a>,
    headers: &HeaderMap,
) -> Option<AppRef<'a>> {
    route
        .backend_app()
        .filter(|app_ref| may_be_replay_request(info, headers, app_ref.app))
}

/// Reads the body of a possible replay request.
///
/// # Errors
/// See [`ReadBodyError`].
pub(super) async fn read_replay_request(
    server_slot: &mut ServerSlot<'_>,
    body: Body,
) -> Result<ReplayBody, ReadBodyError> {
    let limits = BodyLimits {
        max_bytes: REPLAY_BODY_LEN,
        timeout: REPLAY_TIMEOUT,
    };
    let mut bytes = server_slot.read_body(body, limits).await?;
    Ok(ReplayBody {
        post_id: PostId::in_body(&bytes),
        body: Body::full(std::mem::take(&mut *bytes)),
    })
}

impl Proxy {
    /// Preserves the form and redirects to the login. A replay request whose session ended leads
    /// back to the form that it asks for.
    pub(super) async fn preserve_post(
        &self,
        app_ref: AppRef<'_>,
        link: LoginLink,
        reason: NoSessionReason,
        requirement: &AccessRequirement,
        mut context: RequestContext<'_>,
    ) -> TaggedResponse {
        let hints = context.transport_hints(app_ref);
        let (info, cookies, request_id) = (context.info, context.cookies, context.request_id());
        let (login, replay) = (&self.auth.login, &self.auth.post_replay);
        if let Some(login_loop) = login.detect_loop(app_ref, cookies, reason, hints) {
            return self.login_loop_page(app_ref, login_loop, &link, request_id);
        }
        let not_preserved = |error| {
            let reason = Reason::PostNotPreserved(reason, error);
            let refusal = Refusal {
                login: Some(link.clone()),
                requirement: Some(requirement),
                ..Refusal::new(reason, Some(app_ref), info.client_kind)
            };
            self.refuse(&refusal, request_id)
        };
        let already_preserved = context.replayed_post.take();
        let is_new = already_preserved.is_none();
        let Some(post_id) = already_preserved.or_else(|| replay.new_id()) else {
            return not_preserved(PreservePostError::QuotaExceeded);
        };
        let received = if is_new {
            match self.receive_post(app_ref, &post_id, &mut context).await {
                Ok(received) => Some(received),
                Err(error) => return not_preserved(error),
            }
        } else {
            None
        };
        let to_form = LoginLink {
            return_to: ReturnTo::post_replay_page(&app_ref.app.paths, &post_id),
            ..link.clone()
        };
        let started = match app_ref.provider {
            Some(_) => {
                let started = login.start(app_ref, cookies, &to_form, reason, hints);
                started.await
            }
            None => login.start_by_choice(app_ref, cookies, login_url(app_ref.app, &to_form)),
        };
        let start = match started {
            Ok(start) => start,
            Err(unavailable) => {
                return self.responder.unavailable(
                    info,
                    Some(app_ref),
                    unavailable,
                    Operation::Login,
                    request_id,
                );
            }
        };
        if let Some(ReceivedPost { reservation, post }) = received
            && let Err(error) = replay
                .preserve(app_ref, reservation, post, start.browser)
                .await
        {
            return not_preserved(error);
        }
        self.responder
            .redirect(StatusCode::SEE_OTHER, &start.location, "post_preserved")
            .with_cookies(start.set_cookies)
    }

    /// Reserves storage for the form, then reads it.
    async fn receive_post(
        &self,
        app_ref: AppRef<'_>,
        post_id: &PostId,
        context: &mut RequestContext<'_>,
    ) -> Result<ReceivedPost, PreservePostError> {
        let headers = &context.parts.headers;
        let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
        let referer = text(header::REFERER);
        let target = context.info.target.as_str().to_owned();
        let body_len = content_length(headers).ok_or(PreservePostError::LengthUnknown)?;
        let metadata_len =
            target.len() + content_type.len() + referer.as_ref().map_or(0, String::len);
        let size = body_len.saturating_add(metadata_len);
        let replay = &self.auth.post_replay;
        let reservation = replay.reserve(app_ref, context.cookies, post_id, size)?;
        let limits = BodyLimits {
            max_bytes: body_len,
            timeout: PRESERVE_TIMEOUT,
        };
        let read = context.read_body(limits).await;
        let mut body = read.map_err(|error| match error {
            ReadBodyError::TooLarge => PreservePostError::TooLarge,
            ReadBodyError::Incomplete => PreservePostError::BodyIncomplete,
            ReadBodyError::Busy => PreservePostError::QuotaExceeded,
        })?;
        let post = SubmittedPost {
            target,
            content_type,
            referer,
            body: Bytes::from(std::mem::take(&mut *body)),
        };
        Ok(ReceivedPost { reservation, post })
    }

    /// Shows the page that asks whether to replay the form.
    pub(super) async fn confirm_post_replay(
        &self,
        app_ref: AppRef<'_>,
        live: &LiveSession,
        post_id: &PostId,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let replay = &self.auth.post_replay;
        match replay.load(app_ref, context.cookies, live, post_id).await {
            Ok(LoadedPost { post, age }) => self.responder.replay_post(
                app_ref.app,
                &live.session().identity,
                &ReplayPrompt {
                    post_id,
                    post: &post,
                    age,
                },
            ),
            Err(error) => self.post_unavailable(app_ref, context.info, error, context.request_id()),
        }
    }

    /// Replays a preserved POST, as a permitted request asks.
    pub(super) async fn replay_post(
        &self,
        permit: Permit<'_>,
        post_id: &PostId,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let app_ref = permit.app_ref();
        let (info, request_id) = (permit.info(), context.request_id());
        let slot = self.app_limit(&permit, &context.server_slot);
        let Ok(_in_flight) = acquire(slot).await else {
            return self.app_busy(app_ref, info.client_kind, request_id);
        };
        let token = match self.token_for_app(&permit, &context.parts.headers).await {
            Ok(token) => token,
            Err(unavailable) => return self.no_token_for_app(app_ref, unavailable, &context),
        };
        let replay = &self.auth.post_replay;
        let claimed = match permit.session() {
            Some(live) => {
                let target = info.target.as_str();
                replay
                    .claim(app_ref, context.cookies, live, post_id, target)
                    .await
            }
            // No login was required on a public path, so nothing was preserved there.
            None => Err(PostUnavailable::Gone),
        };
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => return self.post_unavailable(app_ref, info, error, request_id),
        };
        set_body_headers(&mut context.parts.headers, claimed.post());
        let body = Body::full(claimed.post().body.clone());
        match self
            .send_upstream(
                &permit,
                token.as_ref(),
                context.parts,
                body,
                context.record,
                context.own_connection,
            )
            .await
        {
            Ok(response) => {
                claimed.sent();
                TaggedResponse {
                    code: "post_replayed",
                    response,
                }
            }
            Err(error) => {
                if !error.was_sent() {
                    replay.give_back(claimed).await;
                }
                self.upstream_failed(app_ref, info, &error, request_id)
            }
        }
    }

    fn post_unavailable(
        &self,
        app_ref: AppRef<'_>,
        info: &RequestInfo,
        error: PostUnavailable,
        request_id: RequestId,
    ) -> TaggedResponse {
        let reason = match error {
            PostUnavailable::Gone => Reason::NoPreservedPost,
            PostUnavailable::OtherUser => Reason::PostOfAnotherUser,
            PostUnavailable::Unavailable(unavailable) => {
                return self.responder.unavailable(
                    info,
                    Some(app_ref),
                    unavailable,
                    Operation::FormReplay,
                    request_id,
                );
            }
        };
        let refusal = Refusal::new(reason, Some(app_ref), info.client_kind);
        self.refuse(&refusal, request_id)
    }
}

/// Sets the headers that describe the preserved body.
fn set_body_headers(headers: &mut HeaderMap, post: &PreservedPost) {
    if let Ok(kind) = HeaderValue::from_str(&post.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.remove(header::REFERER);
    if let Some(page) = post
        .referer
        .as_ref()
        .and_then(|page| HeaderValue::from_str(page).ok())
    {
        headers.insert(header::REFERER, page);
    }
}
