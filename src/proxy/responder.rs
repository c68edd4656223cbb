//! The one place that makes our own answers: pages for people, problem documents (RFC 9457) for programs,
//! redirects. Every one is `no-store`, and says nothing of the cause but its code and a reference to the log.

mod grpc;
mod native;

use std::borrow::Cow;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::challenge;
use super::messages::{self, ErrorText};
use super::pages::{
    ErrorPage, ForbiddenPage, FormNotSentPage, FrameLoginPage, Href, Link, LogoutConfirmPage, Page,
    Pages, PagesError, SendFormPage, SignedOutPage,
};
use super::request_id::RequestId;
use crate::auth::Unavailable;
use crate::auth::login::callback::LoginFailure;
use crate::auth::logout::back_channel::BackchannelLogoutError;
use crate::auth::logout::front_channel::{FRONT_CHANNEL, FrontchannelOutcome, NO_SESSION};
use crate::auth::logout::webhook::{Received, WebhookError};
use crate::auth::session::cookies::SetCookieHeaders;
use crate::identity::identity::Identity;
use crate::identity::post_id::{PostId, REPLAY_FIELD};
use crate::identity::return_to::ReturnTo;
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::policy::decide::{Reason, Refusal};
use crate::policy::request_info::{InvalidRequest, RequestInfo};
use crate::policy::route::AppRef;
use crate::session::login_loop::LoginLoopCause;
use crate::session::preserved_post::PreservedPost;
use crate::session::validity::LiveSession;
use crate::types::body::Body;
use crate::types::time::Timestamp;
use crate::upstream::UpstreamError;
pub(super) use native::RequestBodyError;

/// Makes answers.
pub struct Responder {
    pages: Pages,
}

/// An answer, and the code that says how it came about.
#[derive(Debug)]
pub struct TaggedResponse {
    /// The stable word for logs and metrics.
    pub code: &'static str,
    /// The answer itself.
    pub response: Response<Body>,
}

impl TaggedResponse {
    /// The answer with our cookies, which no cache may then keep.
    #[must_use]
    pub fn with_cookies(mut self, set_cookies: SetCookieHeaders) -> Self {
        if set_cookies.is_empty() {
            return self;
        }
        let headers = self.response.headers_mut();
        headers.insert(
            header::CACHE_CONTROL,
            const { HeaderValue::from_static("no-store") },
        );
        for line in set_cookies {
            headers.append(header::SET_COOKIE, line);
        }
        self
    }
}

impl TaggedResponse {
    /// The answer with the nonce that the next proof of possession has to carry (RFC 9449 section 8.2).
    #[must_use]
    pub fn with_nonce(mut self, nonce: Option<HeaderValue>) -> Self {
        if let Some(nonce) = nonce {
            let headers = self.response.headers_mut();
            headers.insert(
                header::CACHE_CONTROL,
                const { HeaderValue::from_static("no-store") },
            );
            headers.insert(const { HeaderName::from_static("dpop-nonce") }, nonce);
        }
        self
    }
}

/// Something that went wrong, before it is put into a form that fits who asked.
struct ErrorResponse<'t> {
    status: StatusCode,
    code: &'static str,
    text: ErrorText,
    app: Option<&'t App>,
    request_id: RequestId,
    /// What this very case is about.
    detail: Option<String>,
    login: Option<String>,
    /// The label and endpoint of a link that leads further than a login.
    way_out: Option<(&'static str, &'static str)>,
    retry_after: Option<Duration>,
}

impl Responder {
    /// With every page compiled.
    ///
    /// # Errors
    /// A template is broken, which tests rule out.
    pub fn new() -> Result<Self, PagesError> {
        Ok(Self {
            pages: Pages::new()?,
        })
    }

    /// A request that can be read in more than one way.
    pub fn unreadable(
        &self,
        parts: &Parts,
        why: InvalidRequest,
        request_id: RequestId,
    ) -> TaggedResponse {
        let reason = Reason::InvalidRequest(why);
        let error = ErrorResponse::new(
            reason.status(),
            reason.code(),
            messages::of_reason(reason),
            None,
            request_id,
        );
        let mut answer = self.render(ClientKind::read(&parts.method, &parts.headers), error);
        // Where framing or host are in doubt, so is where the next request begins.
        insert(answer.response.headers_mut(), header::CONNECTION, "close");
        answer
    }

    /// A refusal.
    pub fn refusal(&self, refusal: &Refusal<'_>, request_id: RequestId) -> TaggedResponse {
        let app = refusal.app_ref.map(|app_ref| app_ref.app.as_ref());
        let login = app
            .zip(refusal.return_to.as_ref())
            .map(|(app, to)| login_path(app, to));
        let (reason, status) = (refusal.reason, refusal.reason.status());
        let page = |page: Page| TaggedResponse {
            code: reason.code(),
            response: of_page(status, page),
        };
        let shown = shown(reason.code(), request_id);
        let mut answer = match (reason, app, login.as_deref().and_then(href)) {
            (Reason::PostNotPreserved(_, why), Some(app), Some(login)) => {
                page(self.pages.form_not_sent(&FormNotSentPage {
                    site: app.origin.host(),
                    because: messages::of_form_not_kept(why),
                    login: &login,
                    request_id: &shown,
                }))
            }
            (Reason::LoginBlockedInFrame(_), Some(app), Some(login)) => {
                page(self.pages.frame_login(&FrameLoginPage {
                    site: app.origin.host(),
                    login: &login,
                    request_id: &shown,
                }))
            }
            (Reason::Forbidden, Some(app), _) if refusal.client_kind.reads_pages() => {
                match (href(&app.endpoint_path("logout")), href("/"), &refusal.user) {
                    (Some(log_out), Some(home), Some(user)) => {
                        page(self.pages.forbidden(&ForbiddenPage {
                            site: app.origin.host(),
                            user: &display_name(user),
                            log_out: &log_out,
                            home: &home,
                            request_id: &shown,
                        }))
                    }
                    _ => self.render(
                        refusal.client_kind,
                        ErrorResponse::new(
                            status,
                            reason.code(),
                            messages::of_reason(reason),
                            Some(app),
                            request_id,
                        ),
                    ),
                }
            }
            _ => {
                let error = ErrorResponse::new(
                    status,
                    reason.code(),
                    messages::of_reason(reason),
                    app,
                    request_id,
                );
                self.render(refusal.client_kind, ErrorResponse { login, ..error })
            }
        };
        let headers = answer.response.headers_mut();
        challenge::add(headers, refusal);
        if let Reason::MethodNotAllowed(allowed) = reason {
            insert(headers, header::ALLOW, allowed);
        }
        answer
    }

    /// A page of another origin asked for something that only the app's own may have.
    pub fn cross_site(&self, app: &App, request_id: RequestId) -> TaggedResponse {
        let reason = Reason::CrossSite;
        let error = ErrorResponse::new(
            reason.status(),
            reason.code(),
            messages::of_reason(reason),
            Some(app),
            request_id,
        );
        self.render(ClientKind::NonBrowser, error)
    }

    /// The provider or the store cannot be asked.
    pub fn outage(
        &self,
        info: &RequestInfo,
        app_ref: Option<AppRef<'_>>,
        outage: Unavailable,
        request_id: RequestId,
    ) -> TaggedResponse {
        let app = app_ref.map(|app_ref| app_ref.app.as_ref());
        let error = ErrorResponse::new(
            StatusCode::SERVICE_UNAVAILABLE,
            outage.code,
            messages::of_outage(),
            app,
            request_id,
        );
        self.render(
            info.client_kind,
            ErrorResponse {
                retry_after: Some(outage.retry_after),
                ..error
            },
        )
    }

    /// Too many requests are under way, in all or at the app.
    pub fn busy(
        &self,
        client_kind: ClientKind,
        app: Option<&App>,
        code: &'static str,
        request_id: RequestId,
    ) -> TaggedResponse {
        let error = ErrorResponse::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            messages::of_busy(),
            app,
            request_id,
        );
        self.render(
            client_kind,
            ErrorResponse {
                retry_after: Some(Duration::from_secs(1)),
                ..error
            },
        )
    }

    /// The backend gave no proper answer.
    pub fn upstream_failed(
        &self,
        info: &RequestInfo,
        app: &App,
        error: &UpstreamError,
        request_id: RequestId,
    ) -> TaggedResponse {
        let (status, retry_after) = match error {
            UpstreamError::Unforwardable(_) | UpstreamError::RequestBroke => {
                (StatusCode::BAD_REQUEST, None)
            }
            UpstreamError::RequestStalled => (StatusCode::REQUEST_TIMEOUT, None),
            UpstreamError::Saturated => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(Duration::from_secs(1)),
            ),
            UpstreamError::ConnectTimeout | UpstreamError::ResponseTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, None)
            }
            UpstreamError::Unresolved(_)
            | UpstreamError::ConnectRefused(_)
            | UpstreamError::Tls(_)
            | UpstreamError::BrokeOff(_)
            | UpstreamError::BadResponse(_) => (StatusCode::BAD_GATEWAY, None),
        };
        let error = ErrorResponse::new(
            status,
            error.code(),
            messages::of_upstream(error),
            Some(app),
            request_id,
        );
        self.render(
            info.client_kind,
            ErrorResponse {
                retry_after,
                ..error
            },
        )
    }

    /// A login that failed; another one leads to `return_to`.
    pub fn login_failed(
        &self,
        app: &App,
        failure: &LoginFailure,
        return_to: &ReturnTo,
        request_id: RequestId,
    ) -> TaggedResponse {
        let status = status_of_login_failure(failure);
        let retry_after = if let LoginFailure::Unavailable(outage) = failure {
            Some(outage.retry_after)
        } else {
            None
        };
        let login = Some(login_path(app, return_to));
        let way_out = (*failure == LoginFailure::Loop(LoginLoopCause::NotAllowed))
            .then_some(("Log out", "logout"));
        let error = ErrorResponse::new(
            status,
            failure.code(),
            messages::of_login_failure(failure),
            Some(app),
            request_id,
        );
        let detail = messages::detail_of_login_failure(failure, app);
        // Only a browser is ever sent to the callback.
        self.render(
            ClientKind::Navigation,
            ErrorResponse {
                detail,
                retry_after,
                login,
                way_out,
                ..error
            },
        )
    }

    /// The form that asks whether to log out.
    pub fn logout_confirm(
        &self,
        app: &App,
        user: Option<&Identity>,
        code: &'static str,
    ) -> TaggedResponse {
        let user = user.map(display_name);
        self.or_plain(
            code,
            href(&app.endpoint_path("logout")).zip(href("/")),
            |(action, home)| {
                let site = app.origin.host();
                let page = LogoutConfirmPage {
                    site,
                    user: user.as_deref(),
                    action: &action,
                    home: &home,
                };
                self.pages.logout_confirm(&page)
            },
        )
    }

    /// The question before a kept form is sent, which came so long ago.
    pub fn replay_post(
        &self,
        app: &App,
        user: &Identity,
        id: &PostId,
        (form, age): (&PreservedPost, Duration),
    ) -> TaggedResponse {
        const SHOWN: usize = 8;
        let names = form.field_names();
        let fields: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
        self.or_plain(
            "post_replay_confirm",
            href(&form.target).zip(href("/")),
            |(action, home)| {
                self.pages.replay_post(&SendFormPage {
                    site: app.origin.host(),
                    user: &display_name(user),
                    target: &form.target,
                    minutes: age.as_secs() / 60,
                    of_nobody: form.user.is_none(),
                    fields: &fields,
                    more: names.len().saturating_sub(SHOWN),
                    action: &action,
                    field_name: REPLAY_FIELD,
                    id: id.as_str(),
                    home: &home,
                })
            },
        )
    }

    /// What a person sees after logging out.
    pub fn signed_out(
        &self,
        app: &App,
        provider_may_remember: bool,
        code: &'static str,
    ) -> TaggedResponse {
        self.or_plain(code, href("/"), |home| {
            let site = app.origin.host();
            self.pages.signed_out(&SignedOutPage {
                site,
                provider_may_remember,
                home: &home,
            })
        })
    }

    /// Who is signed in, and how many seconds the three clocks have left.
    pub fn session(
        &self,
        app: &App,
        live: &LiveSession,
        now: Timestamp,
        code: &'static str,
    ) -> TaggedResponse {
        let session = live.session();
        let left = |end: Timestamp| end.since(now).as_secs();
        let body = json!({
            "sub": session.identity.subject.as_str(),
            "name": display_name(&session.identity),
            "jwt_expires_in": left(session.valid_until),
            "idle_expires_in": left(live.last_activity().plus(app.limits.idle)),
            "session_expires_in": left(session.started_at.plus(app.limits.absolute)),
            "logout_url": app.endpoint_url("logout"),
        });
        TaggedResponse {
            code,
            response: of_text(StatusCode::OK, "application/json", body.to_string()),
        }
    }

    /// What the provider is told about a logout token (OpenID Connect Back-Channel Logout section 2.8).
    pub fn backchannel(
        &self,
        revoked: Result<(), BackchannelLogoutError>,
        code: &'static str,
    ) -> TaggedResponse {
        let Err(error) = revoked else {
            return TaggedResponse {
                code,
                response: of_text(StatusCode::OK, "text/plain; charset=utf-8", String::new()),
            };
        };
        let (status, name) = match error {
            BackchannelLogoutError::Rejected(_) | BackchannelLogoutError::Replayed => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            BackchannelLogoutError::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
        };
        let body = json!({ "error": name, "error_description": error.code() });
        TaggedResponse {
            code: error.code(),
            response: of_text(status, "application/json", body.to_string()),
        }
    }

    /// What the frame of a front-channel logout shows: nothing, and on the provider's pages only
    /// (OpenID Connect Front-Channel Logout section 2).
    pub fn frontchannel(&self, end: FrontchannelOutcome) -> TaggedResponse {
        let status = match end.outcome {
            FRONT_CHANNEL | NO_SESSION => StatusCode::OK,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = of_text(status, "text/plain; charset=utf-8", String::new());
        let ancestors = if end.ancestors.is_empty() {
            "'none'".to_owned()
        } else {
            end.ancestors.join(" ")
        };
        let policy = format!("default-src 'none'; frame-ancestors {ancestors}");
        insert(
            response.headers_mut(),
            header::CONTENT_SECURITY_POLICY,
            &policy,
        );
        TaggedResponse {
            code: end.outcome,
            response,
        }
        .with_cookies(end.set_cookies)
    }

    /// What FusionAuth is told about a webhook: anything but 2xx, and it tries again.
    pub fn webhook(
        &self,
        received: &Result<Received, WebhookError>,
        code: &'static str,
    ) -> TaggedResponse {
        let Err(error) = received else {
            return TaggedResponse {
                code,
                response: of_text(StatusCode::OK, "text/plain; charset=utf-8", String::new()),
            };
        };
        let status = match error {
            WebhookError::Sender(_) => StatusCode::UNAUTHORIZED,
            WebhookError::InvalidRequest
            | WebhookError::Bad(_)
            | WebhookError::TooOld
            | WebhookError::InFuture => StatusCode::BAD_REQUEST,
            WebhookError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({ "error": error.code() });
        let mut response = of_text(status, "application/json", body.to_string());
        if status == StatusCode::UNAUTHORIZED {
            insert(
                response.headers_mut(),
                header::WWW_AUTHENTICATE,
                "Basic realm=\"doorward webhooks\"",
            );
        }
        TaggedResponse {
            code: error.code(),
            response,
        }
    }

    /// A redirect.
    pub fn redirect(
        &self,
        status: StatusCode,
        location: &str,
        code: &'static str,
    ) -> TaggedResponse {
        let mut response = of_text(status, "text/plain; charset=utf-8", String::new());
        insert(response.headers_mut(), header::LOCATION, &ascii(location));
        TaggedResponse { code, response }
    }

    fn render(&self, client_kind: ClientKind, error: ErrorResponse<'_>) -> TaggedResponse {
        let mut response = match client_kind {
            ClientKind::Navigation | ClientKind::FormSubmission | ClientKind::EmbeddedFrame => {
                self.as_page(&error)
            }
            ClientKind::NonBrowser => as_problem(&error),
            ClientKind::Grpc => grpc::refusal(&error),
        };
        if let Some(retry_after) = error.retry_after {
            insert(
                response.headers_mut(),
                header::RETRY_AFTER,
                &retry_after.as_secs().to_string(),
            );
        }
        TaggedResponse {
            code: error.code,
            response,
        }
    }

    fn as_page(&self, error: &ErrorResponse<'_>) -> Response<Body> {
        let (label, path) = match (error.app, error.way_out) {
            (Some(app), Some((label, endpoint))) => (label, Some(app.endpoint_path(endpoint))),
            (_, _) => ("Log in", error.login.clone()),
        };
        let path = path.as_deref().and_then(href);
        let page = self.pages.error(&ErrorPage {
            site: error.app.map_or("", |app| app.origin.host()),
            status: error.status,
            title: error.text.title,
            explanation: error.text.explanation,
            detail: error.detail.as_deref(),
            advice: error.text.advice,
            link: path.as_ref().map(|href| Link { label, href }),
            request_id: &shown(error.code, error.request_id),
        });
        of_page(error.status, page)
    }

    /// Our own paths are always links; were one not, the page would still be an answer.
    fn or_plain<T>(
        &self,
        code: &'static str,
        links: Option<T>,
        page: impl FnOnce(T) -> Page,
    ) -> TaggedResponse {
        let response = match links {
            Some(links) => of_page(StatusCode::OK, page(links)),
            None => of_text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                "internal error".into(),
            ),
        };
        TaggedResponse { code, response }
    }
}

impl<'t> ErrorResponse<'t> {
    const fn new(
        status: StatusCode,
        code: &'static str,
        text: ErrorText,
        app: Option<&'t App>,
        request_id: RequestId,
    ) -> Self {
        Self {
            status,
            code,
            text,
            app,
            request_id,
            detail: None,
            login: None,
            way_out: None,
            retry_after: None,
        }
    }
}

fn as_problem(error: &ErrorResponse<'_>) -> Response<Body> {
    let mut problem = json!({
        "type": "about:blank",
        "title": error.text.title,
        "status": error.status.as_u16(),
        "detail": error.text.explanation,
        "code": error.code,
        "request_id": error.request_id.to_string(),
    });
    if let (Some(login), Some(app), Some(members)) =
        (&error.login, error.app, problem.as_object_mut())
    {
        members.insert("login_url".into(), format!("{}{login}", app.origin).into());
    }
    of_text(
        error.status,
        "application/problem+json",
        problem.to_string(),
    )
}

/// Where a login that leads to `return_to` begins.
fn login_path(app: &App, return_to: &ReturnTo) -> String {
    let query: String =
        url::form_urlencoded::byte_serialize(return_to.as_str().as_bytes()).collect();
    format!("{}?return_to={query}", app.endpoint_path("login"))
}

/// What a person reads out to whoever runs the site: the code, and the request's name in the log.
fn shown(code: &str, request_id: RequestId) -> String {
    format!("{code} {request_id}")
}

/// 502 only where the provider is to blame: codes that are none can be brought by anybody.
fn status_of_login_failure(failure: &LoginFailure) -> StatusCode {
    match failure {
        LoginFailure::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        LoginFailure::Declined { error, .. } => match error.as_str() {
            "server_error" | "temporarily_unavailable" => StatusCode::BAD_GATEWAY,
            _ => StatusCode::FORBIDDEN,
        },
        LoginFailure::NotRegistered => StatusCode::FORBIDDEN,
        LoginFailure::CodeRefused(_)
        | LoginFailure::TokensRefused(_)
        | LoginFailure::ClockOff(_)
        | LoginFailure::TooLarge(_) => StatusCode::BAD_GATEWAY,
        LoginFailure::Loop(cause) => match cause {
            LoginLoopCause::CookieNotReturned
            | LoginLoopCause::WrongHost
            | LoginLoopCause::SecureOverHttp => StatusCode::BAD_REQUEST,
            LoginLoopCause::SessionEnded | LoginLoopCause::NotAllowed => StatusCode::FORBIDDEN,
            LoginLoopCause::TooLarge
            | LoginLoopCause::ClockOff
            | LoginLoopCause::UnreadableCookie => StatusCode::INTERNAL_SERVER_ERROR,
        },
        LoginFailure::EndedAtOnce => StatusCode::FORBIDDEN,
        LoginFailure::Malformed(_)
        | LoginFailure::ForeignState
        | LoginFailure::AttemptLost
        | LoginFailure::OtherBrowser
        | LoginFailure::AttemptExpired
        | LoginFailure::CodeUnknown
        | LoginFailure::Replayed => StatusCode::BAD_REQUEST,
    }
}

/// An address with what lies beyond ASCII escaped: a query may have it, a header may not (RFC 3986 section 2.1).
fn ascii(location: &str) -> Cow<'_, str> {
    if location.is_ascii() {
        return location.into();
    }
    let mut ascii = String::with_capacity(location.len() + 32);
    for byte in location.bytes() {
        match byte {
            0x80.. => ascii.push_str(&format!("%{byte:02X}")),
            _ => ascii.push(char::from(byte)),
        }
    }
    ascii.into()
}

fn href(path: &str) -> Option<Href> {
    Href::on_our_origin(path).ok()
}

/// What a person is called on a page: the first of the usual claims.
fn display_name(user: &Identity) -> String {
    ["name", "preferred_username", "email"]
        .iter()
        .find_map(|claim| user.claims.texts(claim).into_iter().next())
        .unwrap_or_else(|| user.subject.as_str().to_owned())
}

fn of_page(status: StatusCode, page: Page) -> Response<Body> {
    let mut response = of_text(status, "text/html; charset=utf-8", page.html);
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        page.content_security_policy,
    );
    response
}

fn of_text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, kind);
    insert(headers, header::CACHE_CONTROL, "no-store");
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // `no-referrer` would make the logout form send `Origin: null`.
    insert(headers, header::REFERRER_POLICY, "same-origin");
    insert(
        headers,
        header::VARY,
        "Cookie, Authorization, Sec-Fetch-Mode, Accept",
    );
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_always_says_where_to() {
        let answer = Responder::new().unwrap().redirect(
            StatusCode::FOUND,
            "https://a.example/?q=caf\u{e9}",
            "moved",
        );
        assert_eq!(
            answer.response.headers()[header::LOCATION],
            "https://a.example/?q=caf%C3%A9"
        );
    }

    #[test]
    fn who_brings_a_code_that_is_none_is_to_blame_and_not_the_provider() {
        assert_eq!(
            status_of_login_failure(&LoginFailure::CodeUnknown),
            StatusCode::BAD_REQUEST
        );
        let by_provider = LoginFailure::CodeRefused("client_rejected");
        assert_eq!(
            status_of_login_failure(&by_provider),
            StatusCode::BAD_GATEWAY
        );
    }
}
