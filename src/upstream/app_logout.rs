//! App logout: a request from Doorward to the app's own logout endpoint, with the browser's cookies
//! for the app and without identity headers. It cannot bypass authorization: of the browser's
//! request only cookies and two descriptive headers are sent, and of the response only status and
//! cookies are used.

use std::borrow::Cow;

use http::header::{ACCEPT_LANGUAGE, COOKIE, ORIGIN, REFERER, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::by_label::UpstreamHandle;
use super::error::UpstreamError;
use super::failover::send_to_any;
use super::request::{AppCredentials, ForwardRequest};
use crate::identity::header_edits::RequestFacts;
use crate::policy::app::{App, AppLogout};
use crate::policy::path_routes::MatchedRoute;
use crate::policy::request_info::RequestInfo;
use crate::types::body::Body;
use crate::types::request_id::RequestId;

/// Maximum number of `Set-Cookie` headers that are returned to the browser.
const MAX_COOKIES: usize = 16;
/// Maximum total size of these headers in bytes.
const MAX_COOKIE_BYTES: usize = 4096;

/// The app's response to a logout.
#[derive(Debug)]
pub struct AppLogoutResponse {
    /// The status.
    pub status: StatusCode,
    /// The `Set-Cookie` headers.
    pub cookies: Vec<HeaderValue>,
}

/// The browser's request that logs out.
#[derive(Clone, Copy, Debug)]
pub struct LoggingOut<'r> {
    /// The parsed request.
    pub info: &'r RequestInfo,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its ID.
    pub request_id: RequestId,
}

/// Asks the app to end its session with the browser. `upstream` is that of the route of its logout
/// path. Returns `None` if the browser sent no cookies
/// for the app.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn send_app_logout(
    upstream: &mut UpstreamHandle<'_>,
    app: &App,
    logout: &AppLogout,
    route: Option<MatchedRoute<'_>>,
    browser: LoggingOut<'_>,
) -> Option<Result<AppLogoutResponse, UpstreamError>> {
    let LoggingOut {
        info,
        headers: client,
        request_id,
    } = browser;
    let cookies = upstream.plan.headers.app_cookies(client)?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = logout.method.clone();
    let headers = request.headers_mut();
    headers.insert(COOKIE, cookies);
    // Some apps bind a session to these headers.
    for name in [USER_AGENT, ACCEPT_LANGUAGE] {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if logout.method == Method::POST {
        // Logouts from another origin were rejected before.
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
    let target = route.map_or(Cow::Borrowed(logout.target.as_str()), |matched| {
        matched.forwarded(&logout.target)
    });
    let forward = ForwardRequest {
        target: &target,
        route: route.map(|matched| matched.route),
        identity_headers: &[],
        facts: RequestFacts {
            request_id,
            client: info.address.client,
            host: &info.authority,
            label: app.hosts.label(),
            claims: None,
        },
        forwarded_for: &info.address.forwarded_for,
        forwarded_proto: app.origin.scheme(),
        forwarded_host: app.origin.authority(),
        authenticated: false,
        session: None,
        pin: None,
        trace: None,
        credentials: AppCredentials {
            are_sent: true,
            ..AppCredentials::default()
        },
    };
    let (parts, body) = request.into_parts();
    let response = send_to_any(upstream, forward, &parts, body).await;
    Some(response.map(|response| {
        let mut remaining = MAX_COOKIE_BYTES;
        let cookies = response
            .headers()
            .get_all(SET_COOKIE)
            .iter()
            .take(MAX_COOKIES)
            .take_while(|cookie| {
                let fits = cookie.len() <= remaining;
                remaining = remaining.saturating_sub(cookie.len());
                fits
            });
        AppLogoutResponse {
            status: response.status(),
            cookies: cookies.cloned().collect(),
        }
    }))
}
