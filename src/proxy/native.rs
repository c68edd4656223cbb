//! Calls of native apps: the body is read, within limits, and handed to the flows. What may hold a password is wiped.

use std::time::Duration;

use http::{HeaderName, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use zeroize::Zeroizing;

use super::Proxy;
use super::act::Asked;
use super::record::Record;
use super::respond::{Answer, NoBody};
use crate::auth::native::Proving;
use crate::policy::native::{Native, NativeCall};
use crate::policy::native_request::{Head, LogoutRequest, Mode, NativeRequest};
use crate::policy::route::Place;
use crate::types::body::Body;

/// Most bytes of a body, and how long it may take to arrive.
const MAX_BODY: usize = 32 * 1024;
const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// A call of a native app.
pub(super) struct Call<'c> {
    pub(super) place: Place<'c>,
    pub(super) native: &'c Native,
    pub(super) call: NativeCall,
    /// The listed web origin that calls, if one does.
    pub(super) origin: Option<String>,
}

impl Proxy {
    pub(super) async fn native(
        &self,
        called: Call<'_>,
        asked: Asked<'_>,
        record: &Record,
    ) -> Answer {
        let answer = self.answer_native(&called, asked, record).await;
        answer.readable_by(called.origin.as_deref())
    }

    async fn answer_native(&self, called: &Call<'_>, asked: Asked<'_>, record: &Record) -> Answer {
        let Call {
            place,
            native,
            call,
            origin,
        } = called;
        let (respond, reference) = (&self.respond, record.reference());
        let text = |name: HeaderName| {
            asked
                .parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let head = Head {
            content_type: text(header::CONTENT_TYPE).unwrap_or_default(),
            authorization: asked
                .parts
                .headers
                .get(header::AUTHORIZATION)
                .map(|value| value.to_str().unwrap_or_default()),
        };
        let body = match whole(asked.body).await {
            Ok(body) => body,
            Err(why) => return respond.native_without_body(place.app, *call, why, reference),
        };
        let request = match NativeRequest::read(*call, head, &body, &native.client_id) {
            Ok(request) => request,
            Err(why) => return respond.native_unreadable(place.app, *call, why, reference),
        };
        drop(body);
        let address = asked.facts.address.client;
        let path = asked.facts.target.path();
        let proving = Proving {
            method: asked.facts.method.as_str(),
            path,
            headers: &asked.parts.headers,
        };
        let end = match request {
            // Its cookies would be the listed page's to set, and it could log a visitor in as somebody else.
            NativeRequest::Login(asked) if asked.mode == Mode::Cookies && origin.is_some() => {
                return respond.cross_site(place.app, reference);
            }
            NativeRequest::Logout(LogoutRequest::OfCookies) if origin.is_some() => {
                return respond.cross_site(place.app, reference);
            }
            NativeRequest::Login(credentials) => {
                self.auth
                    .native_login(*place, native, credentials, address, asked.cookies, proving)
                    .await
            }
            NativeRequest::Refresh(request) => {
                self.auth
                    .native_refresh(*place, native, request, address, proving)
                    .await
            }
            NativeRequest::Logout(request) => {
                self.auth
                    .native_logout(*place, native, request, asked.cookies)
                    .await
            }
        };
        match end {
            Ok(end) => respond.native(end, call.code()),
            Err(failure) => {
                tracing::info!(app = %place.app.name, %reference, code = failure.code(), %failure, "native_call_failed");
                respond.native_failed(place.app, *call, &failure, reference)
            }
        }
    }
}

/// The whole body, in memory of ours that is wiped; room for all of it, so that growing leaves no copy behind.
async fn whole(mut body: Body) -> Result<Zeroizing<Vec<u8>>, NoBody> {
    let expected = body.size_hint().exact().map_or(MAX_BODY, |length| {
        usize::try_from(length).unwrap_or(usize::MAX)
    });
    if expected > MAX_BODY {
        return Err(NoBody::TooLarge);
    }
    let read = async {
        let mut whole = Zeroizing::new(Vec::with_capacity(expected));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| NoBody::Broke)?;
            let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
            if whole.len() + data.len() > MAX_BODY {
                return Err(NoBody::TooLarge);
            }
            whole.extend_from_slice(data);
        }
        Ok(whole)
    };
    tokio::time::timeout(BODY_PATIENCE, read)
        .await
        .unwrap_or(Err(NoBody::Broke))
}
