//! The start of a login (RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core section 3.1.2.1):
//! every attempt has its own `state`, nonce, PKCE S256 verifier and cookie, so that tabs do not
//! interfere.

use std::borrow::Cow;
use std::sync::Arc;

use url::Url;

use super::browser::Browser;
use super::{Login, loop_guard};
use crate::auth::app::AppAuth;
use crate::auth::error::Unavailable;
use crate::auth::events::{Event, EventSession};
use crate::auth::random;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::identity::login_link::{LoginLink, LoginParameters};
use crate::oidc::authorize::{AuthorizeRequest, authorize_url};
use crate::oidc::discovery::Metadata;
use crate::policy::login_providers::LoginSite;
use crate::policy::route::AppRef;
use crate::session::attempt::{
    ATTEMPT_LIFETIME, AttemptState, BrowserHash, LoginAttempt, MAX_ATTEMPTS, SealedVerifier,
};
use crate::session::budget;
use crate::session::cookie::RequestCookies;
use crate::session::login_host::LoginRequest;
use crate::session::login_loop::TransportHints;
use crate::session::validity::NoSessionReason;
use crate::types::oauth::{Nonce, PkceVerifier, State};

/// The event that led to a login.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginContext {
    /// Whether it continues another attempt.
    pub(super) is_continued: bool,
    /// How often it was restarted automatically.
    pub(super) restarts: u8,
    /// How many logins finished before it without a session seen since.
    pub(super) logins: u8,
    /// The transport of the request that started it.
    pub(super) hints: TransportHints,
}

/// The redirect that starts a login.
#[derive(Debug)]
pub struct LoginStart {
    /// The authorization request, or the request to the app's login host.
    pub location: String,
    /// The cookie of the attempt, and the browser binding cookie for a new browser.
    pub set_cookies: SetCookieHeaders,
    /// The browser binding.
    pub browser: BrowserHash,
}

/// An attempt that is about to start.
struct NewAttempt<'a> {
    id: String,
    /// See [`AttemptState::return_to`].
    return_to: &'a str,
    parameters: &'a LoginParameters,
    before: LoginContext,
}

/// An attempt whose authorization request is not pushed yet.
struct StartedAttempt {
    destination: Destination,
    set_cookies: SetCookieHeaders,
    browser: BrowserHash,
}

/// Where an attempt leads.
enum Destination {
    /// To the login host, with a sealed request.
    LoginHost(String),
    /// To the provider, with an authorization request.
    Provider(Url),
}

impl Login {
    /// Leads to `page`, on which the user chooses the provider of a login.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn start_by_choice(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        page: String,
    ) -> Result<LoginStart, Unavailable> {
        let app = self.context.shared_app(app_ref);
        let start = app.and_then(|app| {
            let browser = Browser::of_request(&app, request_cookies)?;
            Some(LoginStart {
                location: page,
                set_cookies: browser.set_cookie(&app).into_iter().collect(),
                browser: browser.hash(),
            })
        });
        start.ok_or(Unavailable::internal("internal_error"))
    }

    /// Starts a login at the provider of `app_ref`, for a request without a session for `reason`. After a
    /// change of the client the provider shows no page if it has a session of its own.
    ///
    /// # Errors
    /// The provider's metadata are unavailable, there is no randomness, or no provider is chosen.
    pub async fn start(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        link: &LoginLink,
        reason: NoSessionReason,
        hints: TransportHints,
    ) -> Result<LoginStart, Unavailable> {
        let app = self.context.app_at_provider(app_ref);
        let app = &app.ok_or(Unavailable::internal("internal_error"))?;
        let mut link = Cow::Borrowed(link);
        if matches!(reason, NoSessionReason::ClientChanged(_)) && !configures_prompt(app) {
            link.to_mut().parameters = link.parameters.clone().silent();
        }
        let before = LoginContext {
            is_continued: false,
            restarts: 0,
            logins: loop_guard::logins_before(app, request_cookies),
            hints,
        };
        self.start_after(app, request_cookies, &link, before).await
    }

    /// Starts a login, or restarts one.
    pub(super) async fn start_after(
        &self,
        app: &Arc<AppAuth>,
        request_cookies: &RequestCookies<'_>,
        link: &LoginLink,
        before: LoginContext,
    ) -> Result<LoginStart, Unavailable> {
        let metadata = self.context.provider_metadata(app).await?;
        let id = random::random_id().map_err(|_| Unavailable::internal("internal_error"))?;
        let (return_to, home) = (&link.return_to, app.app.paths.base.home());
        let is_long = return_to.as_str().len() > AttemptState::MAX_RETURN_TO;
        let attempt = NewAttempt {
            return_to: if !is_long {
                return_to.as_str()
            } else if self.targets.put(app, &id, return_to).await {
                AttemptState::STORED
            } else {
                home.as_str()
            },
            parameters: &link.parameters,
            id,
            before,
        };
        let started = self
            .new_attempt(app, request_cookies, &metadata, attempt)
            .ok_or(Unavailable::internal("internal_error"))?;
        let location = match started.destination {
            Destination::LoginHost(url) => url,
            Destination::Provider(request) => {
                let context = &self.context;
                let url = context.authorization_location(app, &metadata, request);
                url.await?.into()
            }
        };
        let start = LoginStart {
            location,
            set_cookies: started.set_cookies,
            browser: started.browser,
        };
        let outcome = if before.is_continued {
            "restarted"
        } else {
            "first"
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::LoginStarted, outcome, &EventSession::default());
        Ok(start)
    }

    /// `None`: no randomness, or a failed seal.
    fn new_attempt(
        &self,
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
        metadata: &Metadata,
        attempt: NewAttempt<'_>,
    ) -> Option<StartedAttempt> {
        let NewAttempt {
            id,
            return_to,
            parameters,
            before,
        } = attempt;
        let nonce = Nonce::new(random::random_id().ok()?);
        let verifier = PkceVerifier::from_entropy(random::bytes().ok()?);
        let browser = Browser::of_request(app, request_cookies)?;
        let hash = browser.hash();
        let state = AttemptState {
            id: id.clone(),
            restarts: before.restarts,
            return_to: return_to.to_owned(),
            began_at: self.context.now(),
            logins: before.logins,
            signs: before.hints,
            parameters: parameters.clone(),
        };
        let challenge = verifier.challenge_s256();
        let attempt = LoginAttempt {
            id: id.clone(),
            nonce: nonce.clone(),
            verifier: SealedVerifier(verifier.expose().to_owned()),
            browser: hash,
        };
        let attempt = app.seals.attempt.seal(&attempt, random::bytes().ok()?)?;
        let destination = match &app.login_provider().site {
            LoginSite::Through(_) => Destination::LoginHost(self.login_host_url(app, state)?),
            LoginSite::Own | LoginSite::Host => {
                let state = State::new(app.seals.state.seal(&state, random::bytes().ok()?)?);
                let request = AuthorizeRequest {
                    state: &state,
                    nonce: &nonce,
                    code_challenge: &challenge,
                    parameters,
                    extra: &app.provider.settings().dialect.parameters(),
                };
                let endpoint = &metadata.authorization_endpoint;
                Destination::Provider(authorize_url(endpoint, &app.client, request))
            }
        };

        let names = &app.app.cookies;
        let path = app.app.endpoint_path("callback");
        let name = |id: &str| format!("{}{id}", names.login);
        let cookie_size = budget::cookie_size(&name(&id), &attempt);
        let prefixes = names.beginnings();
        let most = budget::attempts_that_fit(request_cookies, &prefixes, cookie_size, MAX_ATTEMPTS);
        let mut set_cookies =
            vec![names.set(&name(&id), &attempt, &path, Some(ATTEMPT_LIFETIME))?];
        let surplus = self.attempts.add(hash, &id, most);
        let expired = surplus
            .iter()
            .filter_map(|id| names.expire(&name(id), &path));
        set_cookies.extend(expired);
        set_cookies.extend(browser.set_cookie(app));
        Some(StartedAttempt {
            destination,
            set_cookies,
            browser: hash,
        })
    }

    /// The request to the login host that completes the attempt `state`. The host cannot be chosen by
    /// a client, and only it can open the request.
    fn login_host_url(&self, app: &AppAuth, state: AttemptState) -> Option<String> {
        let host = self.context.login_host_of(app)?;
        let request = LoginRequest {
            app: app.app.login_name(),
            attempt: state,
        };
        let sealed = host
            .seals
            .login_request
            .seal(&request, random::bytes().ok()?)?;
        Some(format!(
            "{}?request={sealed}",
            host.app.endpoint_url("login")
        ))
    }
}

/// Whether the app asks for pages of the provider with each login. Some providers issue refresh tokens
/// after one of them only.
fn configures_prompt(app: &AppAuth) -> bool {
    let mut configured = app.client.extra_authorization_params.iter();
    configured.any(|(name, _)| name == "prompt")
}
