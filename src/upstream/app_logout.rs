//! Logging a person out of the app itself: a request of our own to the app's logout address, with the cookies that the
//! browser keeps for the app and without a word about who it is. Not a second door: nothing that the browser sent but
//! these cookies goes in, and nothing of the answer but its cookies comes out.

use http::header::{ACCEPT_LANGUAGE, COOKIE, ORIGIN, REFERER, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::{ForwardRequest, Upstream, UpstreamError, send};
use crate::policy::app::{App, AppLogout};
use crate::policy::request_info::RequestInfo;
use crate::types::body::Body;

/// Most cookies of the answer that are passed on, and most bytes of all of them.
const MAX_LINES: usize = 16;
const MAX_BYTES: usize = 4096;

/// What the app did.
#[derive(Debug)]
pub struct LoggedOut {
    /// The answer's status.
    pub status: StatusCode,
    /// Its `Set-Cookie` lines.
    pub cookies: Vec<HeaderValue>,
}

/// Asks the app to end its own session with the browser that sent `client`. `None`: the browser keeps no cookie for it.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn send_app_logout(
    upstream: &Upstream,
    app: &App,
    logout: &AppLogout,
    info: &RequestInfo,
    client: &HeaderMap,
) -> Option<Result<LoggedOut, UpstreamError>> {
    let cookies = upstream.plan.headers.foreign_cookies(client)?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = logout.method.clone();
    let headers = request.headers_mut();
    headers.insert(COOKIE, cookies);
    // Some apps tie a session to these.
    for name in [USER_AGENT, ACCEPT_LANGUAGE] {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if logout.method == Method::POST {
        // It comes from the app's own origin: a logout that did not was refused.
        let origin = app.origin.to_string();
        headers.extend(
            HeaderValue::try_from(format!("{origin}/"))
                .ok()
                .map(|page| (REFERER, page)),
        );
        headers.extend(
            HeaderValue::try_from(origin)
                .ok()
                .map(|origin| (ORIGIN, origin)),
        );
    }
    let forward = ForwardRequest {
        target: &logout.target,
        identity_headers: &[],
        forwarded_for: &info.address.forwarded_for,
        forwarded_proto: app.origin.scheme(),
        forwarded_host: app.origin.authority(),
        consume_authorization: true,
        authenticated: false,
        holds: None,
    };
    let (mut parts, body) = request.into_parts();
    let answer = send(upstream, forward, &mut parts, body).await;
    Some(answer.map(|answer| {
        let mut room = MAX_BYTES;
        let lines = answer
            .headers()
            .get_all(SET_COOKIE)
            .iter()
            .take(MAX_LINES)
            .take_while(|line| {
                let fits = line.len() <= room;
                room = room.saturating_sub(line.len());
                fits
            });
        LoggedOut {
            status: answer.status(),
            cookies: lines.cloned().collect(),
        }
    }))
}
