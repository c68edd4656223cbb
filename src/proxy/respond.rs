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
use super::codes::{self, Words};
use super::pages::{
    ErrorPage, ForbiddenPage, FormNotSentPage, FrameLoginPage, Href, Link, LogoutConfirmPage, Page,
    Pages, PagesError, SendFormPage, SignedOutPage,
};
use super::reference::Reference;
use crate::auth::Outage;
use crate::auth::frontchannel::{FRONT_CHANNEL, FrontchannelEnd, NO_SESSION};
use crate::auth::login_finish::LoginFailure;
use crate::auth::revoke::NotRevoked;
use crate::auth::set_cookies::Lines;
use crate::auth::webhook::{Received, WebhookRefused};
use crate::policy::app::App;
use crate::policy::asker::Asker;
use crate::policy::decide::{Reason, Refusal};
use crate::policy::facts::{Facts, Unreadable};
use crate::policy::form::{FIELD, FormId};
use crate::policy::identity::Identity;
use crate::policy::return_to::ReturnTo;
use crate::policy::route::Place;
use crate::session::assess::LiveSession;
use crate::session::kept_form::KeptForm;
use crate::session::login_loop::Cause;
use crate::types::body::Body;
use crate::types::time::Timestamp;
use crate::upstream::UpstreamError;
pub(super) use native::NoBody;

/// Makes answers.
pub struct Respond {
    pages: Pages,
}

/// An answer, and the code that says how it came about.
#[derive(Debug)]
pub struct Answer {
    /// The stable word for logs and metrics.
    pub code: &'static str,
    /// The answer itself.
    pub response: Response<Body>,
}

impl Answer {
    /// The answer with our cookies, which no cache may then keep.
    #[must_use]
    pub fn with_cookies(mut self, lines: Lines) -> Self {
        if lines.is_empty() {
            return self;
        }
        let headers = self.response.headers_mut();
        headers.insert(
            header::CACHE_CONTROL,
            const { HeaderValue::from_static("no-store") },
        );
        for line in lines {
            headers.append(header::SET_COOKIE, line);
        }
        self
    }
}

impl Answer {
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
struct Trouble<'t> {
    status: StatusCode,
    code: &'static str,
    words: Words,
    app: Option<&'t App>,
    reference: Reference,
    /// What this very case is about.
    detail: Option<String>,
    login: Option<String>,
    /// The label and endpoint of a link that leads further than a login.
    way_out: Option<(&'static str, &'static str)>,
    retry_after: Option<Duration>,
}

impl Respond {
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
    pub fn unreadable(&self, parts: &Parts, why: Unreadable, reference: Reference) -> Answer {
        let reason = Reason::Unreadable(why);
        let trouble = Trouble::new(
            reason.status(),
            reason.code(),
            codes::of_reason(reason),
            None,
            reference,
        );
        let mut answer = self.tell(Asker::read(&parts.method, &parts.headers), trouble);
        // Where framing or host are in doubt, so is where the next request begins.
        insert(answer.response.headers_mut(), header::CONNECTION, "close");
        answer
    }

    /// A refusal.
    pub fn refusal(&self, refusal: &Refusal<'_>, reference: Reference) -> Answer {
        let app = refusal.place.map(|place| place.app.as_ref());
        let login = app
            .zip(refusal.return_to.as_ref())
            .map(|(app, to)| login_path(app, to));
        let (reason, status) = (refusal.reason, refusal.reason.status());
        let page = |page: Page| Answer {
            code: reason.code(),
            response: of_page(status, page),
        };
        let shown = shown(reason.code(), reference);
        let mut answer = match (reason, app, login.as_deref().and_then(href)) {
            (Reason::FormNotSent(_, why), Some(app), Some(login)) => {
                page(self.pages.form_not_sent(&FormNotSentPage {
                    site: app.origin.host(),
                    because: codes::of_form_not_kept(why),
                    login: &login,
                    reference: &shown,
                }))
            }
            (Reason::SignInOutsideFrame(_), Some(app), Some(login)) => {
                page(self.pages.frame_login(&FrameLoginPage {
                    site: app.origin.host(),
                    login: &login,
                    reference: &shown,
                }))
            }
            (Reason::Forbidden, Some(app), _) if refusal.asker.reads_pages() => {
                match (
                    href(&app.endpoint_path("logout")),
                    href("/"),
                    &refusal.person,
                ) {
                    (Some(log_out), Some(home), Some(person)) => {
                        page(self.pages.forbidden(&ForbiddenPage {
                            site: app.origin.host(),
                            person: &display_name(person),
                            log_out: &log_out,
                            home: &home,
                            reference: &shown,
                        }))
                    }
                    _ => self.tell(
                        refusal.asker,
                        Trouble::new(
                            status,
                            reason.code(),
                            codes::of_reason(reason),
                            Some(app),
                            reference,
                        ),
                    ),
                }
            }
            _ => {
                let trouble = Trouble::new(
                    status,
                    reason.code(),
                    codes::of_reason(reason),
                    app,
                    reference,
                );
                self.tell(refusal.asker, Trouble { login, ..trouble })
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
    pub fn cross_site(&self, app: &App, reference: Reference) -> Answer {
        let reason = Reason::CrossSite;
        let trouble = Trouble::new(
            reason.status(),
            reason.code(),
            codes::of_reason(reason),
            Some(app),
            reference,
        );
        self.tell(Asker::Program, trouble)
    }

    /// The provider or the store cannot be asked.
    pub fn outage(
        &self,
        facts: &Facts,
        place: Option<Place<'_>>,
        outage: Outage,
        reference: Reference,
    ) -> Answer {
        let app = place.map(|place| place.app.as_ref());
        let trouble = Trouble::new(
            StatusCode::SERVICE_UNAVAILABLE,
            outage.code,
            codes::of_outage(),
            app,
            reference,
        );
        self.tell(
            facts.asker,
            Trouble {
                retry_after: Some(outage.retry_after),
                ..trouble
            },
        )
    }

    /// Too many requests are under way, in all or at the app.
    pub fn busy(
        &self,
        asker: Asker,
        app: Option<&App>,
        code: &'static str,
        reference: Reference,
    ) -> Answer {
        let trouble = Trouble::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            codes::of_busy(),
            app,
            reference,
        );
        self.tell(
            asker,
            Trouble {
                retry_after: Some(Duration::from_secs(1)),
                ..trouble
            },
        )
    }

    /// The backend gave no proper answer.
    pub fn upstream_failed(
        &self,
        facts: &Facts,
        app: &App,
        error: &UpstreamError,
        reference: Reference,
    ) -> Answer {
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
        let trouble = Trouble::new(
            status,
            error.code(),
            codes::of_upstream(error),
            Some(app),
            reference,
        );
        self.tell(
            facts.asker,
            Trouble {
                retry_after,
                ..trouble
            },
        )
    }

    /// A login that failed; another one leads to `return_to`.
    pub fn login_failed(
        &self,
        app: &App,
        failure: &LoginFailure,
        return_to: &ReturnTo,
        reference: Reference,
    ) -> Answer {
        let status = status_of_login_failure(failure);
        let retry_after = if let LoginFailure::Outage(outage) = failure {
            Some(outage.retry_after)
        } else {
            None
        };
        let login = Some(login_path(app, return_to));
        let way_out =
            (*failure == LoginFailure::Loop(Cause::NotAllowed)).then_some(("Log out", "logout"));
        let trouble = Trouble::new(
            status,
            failure.code(),
            codes::of_login_failure(failure),
            Some(app),
            reference,
        );
        let detail = codes::detail_of_login_failure(failure, app);
        // Only a browser is ever sent to the callback.
        self.tell(
            Asker::Navigation,
            Trouble {
                detail,
                retry_after,
                login,
                way_out,
                ..trouble
            },
        )
    }

    /// The form that asks whether to log out.
    pub fn logout_confirm(
        &self,
        app: &App,
        person: Option<&Identity>,
        code: &'static str,
    ) -> Answer {
        let person = person.map(display_name);
        self.or_plain(
            code,
            href(&app.endpoint_path("logout")).zip(href("/")),
            |(action, home)| {
                let site = app.origin.host();
                let page = LogoutConfirmPage {
                    site,
                    person: person.as_deref(),
                    action: &action,
                    home: &home,
                };
                self.pages.logout_confirm(&page)
            },
        )
    }

    /// The question before a kept form is sent, which came so long ago.
    pub fn send_form(
        &self,
        app: &App,
        person: &Identity,
        id: &FormId,
        (form, age): (&KeptForm, Duration),
    ) -> Answer {
        const SHOWN: usize = 8;
        let names = form.field_names();
        let fields: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
        self.or_plain(
            "form_shown",
            href(&form.target).zip(href("/")),
            |(action, home)| {
                self.pages.send_form(&SendFormPage {
                    site: app.origin.host(),
                    person: &display_name(person),
                    target: &form.target,
                    minutes: age.as_secs() / 60,
                    of_nobody: form.person.is_none(),
                    fields: &fields,
                    more: names.len().saturating_sub(SHOWN),
                    action: &action,
                    field_name: FIELD,
                    id: id.as_str(),
                    home: &home,
                })
            },
        )
    }

    /// What a person sees after logging out.
    pub fn signed_out(&self, app: &App, provider_may_remember: bool, code: &'static str) -> Answer {
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
    ) -> Answer {
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
        Answer {
            code,
            response: of_text(StatusCode::OK, "application/json", body.to_string()),
        }
    }

    /// What the provider is told about a logout token (OpenID Connect Back-Channel Logout section 2.8).
    pub fn backchannel(&self, revoked: Result<(), NotRevoked>, code: &'static str) -> Answer {
        let Err(error) = revoked else {
            return Answer {
                code,
                response: of_text(StatusCode::OK, "text/plain; charset=utf-8", String::new()),
            };
        };
        let (status, name) = match error {
            NotRevoked::Rejected(_) | NotRevoked::Replayed => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            NotRevoked::Outage(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        };
        let body = json!({ "error": name, "error_description": error.code() });
        Answer {
            code: error.code(),
            response: of_text(status, "application/json", body.to_string()),
        }
    }

    /// What the frame of a front-channel logout shows: nothing, and on the provider's pages only
    /// (OpenID Connect Front-Channel Logout section 2).
    pub fn frontchannel(&self, end: FrontchannelEnd) -> Answer {
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
        Answer {
            code: end.outcome,
            response,
        }
        .with_cookies(end.lines)
    }

    /// What FusionAuth is told about a webhook: anything but 2xx, and it tries again.
    pub fn webhook(
        &self,
        received: &Result<Received, WebhookRefused>,
        code: &'static str,
    ) -> Answer {
        let Err(error) = received else {
            return Answer {
                code,
                response: of_text(StatusCode::OK, "text/plain; charset=utf-8", String::new()),
            };
        };
        let status = match error {
            WebhookRefused::Sender(_) => StatusCode::UNAUTHORIZED,
            WebhookRefused::Unreadable
            | WebhookRefused::Bad(_)
            | WebhookRefused::TooOld
            | WebhookRefused::InFuture => StatusCode::BAD_REQUEST,
            WebhookRefused::Outage(_) => StatusCode::SERVICE_UNAVAILABLE,
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
        Answer {
            code: error.code(),
            response,
        }
    }

    /// A redirect.
    pub fn redirect(&self, status: StatusCode, location: &str, code: &'static str) -> Answer {
        let mut response = of_text(status, "text/plain; charset=utf-8", String::new());
        insert(response.headers_mut(), header::LOCATION, &ascii(location));
        Answer { code, response }
    }

    fn tell(&self, asker: Asker, trouble: Trouble<'_>) -> Answer {
        let mut response = match asker {
            Asker::Navigation | Asker::FormNavigation | Asker::Frame => self.as_page(&trouble),
            Asker::Program => as_problem(&trouble),
            Asker::Grpc => grpc::refusal(&trouble),
        };
        if let Some(retry_after) = trouble.retry_after {
            insert(
                response.headers_mut(),
                header::RETRY_AFTER,
                &retry_after.as_secs().to_string(),
            );
        }
        Answer {
            code: trouble.code,
            response,
        }
    }

    fn as_page(&self, trouble: &Trouble<'_>) -> Response<Body> {
        let (label, path) = match (trouble.app, trouble.way_out) {
            (Some(app), Some((label, endpoint))) => (label, Some(app.endpoint_path(endpoint))),
            (_, _) => ("Log in", trouble.login.clone()),
        };
        let path = path.as_deref().and_then(href);
        let page = self.pages.error(&ErrorPage {
            site: trouble.app.map_or("", |app| app.origin.host()),
            status: trouble.status,
            title: trouble.words.title,
            explanation: trouble.words.explanation,
            detail: trouble.detail.as_deref(),
            advice: trouble.words.advice,
            link: path.as_ref().map(|href| Link { label, href }),
            reference: &shown(trouble.code, trouble.reference),
        });
        of_page(trouble.status, page)
    }

    /// Our own paths are always links; were one not, the page would still be an answer.
    fn or_plain<T>(
        &self,
        code: &'static str,
        links: Option<T>,
        page: impl FnOnce(T) -> Page,
    ) -> Answer {
        let response = match links {
            Some(links) => of_page(StatusCode::OK, page(links)),
            None => of_text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                "internal error".into(),
            ),
        };
        Answer { code, response }
    }
}

impl<'t> Trouble<'t> {
    const fn new(
        status: StatusCode,
        code: &'static str,
        words: Words,
        app: Option<&'t App>,
        reference: Reference,
    ) -> Self {
        Self {
            status,
            code,
            words,
            app,
            reference,
            detail: None,
            login: None,
            way_out: None,
            retry_after: None,
        }
    }
}

fn as_problem(trouble: &Trouble<'_>) -> Response<Body> {
    let mut problem = json!({
        "type": "about:blank",
        "title": trouble.words.title,
        "status": trouble.status.as_u16(),
        "detail": trouble.words.explanation,
        "code": trouble.code,
        "reference": trouble.reference.to_string(),
    });
    if let (Some(login), Some(app), Some(members)) =
        (&trouble.login, trouble.app, problem.as_object_mut())
    {
        members.insert("login_url".into(), format!("{}{login}", app.origin).into());
    }
    of_text(
        trouble.status,
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
fn shown(code: &str, reference: Reference) -> String {
    format!("{code} {reference}")
}

/// 502 only where the provider is to blame: codes that are none can be brought by anybody.
fn status_of_login_failure(failure: &LoginFailure) -> StatusCode {
    match failure {
        LoginFailure::Outage(_) => StatusCode::SERVICE_UNAVAILABLE,
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
            Cause::CookieNotReturned | Cause::WrongHost | Cause::SecureOverHttp => {
                StatusCode::BAD_REQUEST
            }
            Cause::SessionEnded | Cause::NotAllowed => StatusCode::FORBIDDEN,
            Cause::TooLarge | Cause::ClockOff | Cause::Unreadable => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
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
fn display_name(person: &Identity) -> String {
    ["name", "preferred_username", "email"]
        .iter()
        .find_map(|claim| person.claims.texts(claim).into_iter().next())
        .unwrap_or_else(|| person.subject.as_str().to_owned())
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
        let answer = Respond::new().unwrap().redirect(
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
