//! The start of a login at a login host: the request of an app becomes an authorization request
//! (RFC 6749 section 4.1.1, RFC 7636).

use std::sync::Arc;

use url::Url;

use super::{FailedHostLogin, LoginHost, LoginTarget};
use crate::auth::app::AppAuth;
use crate::auth::error::Unavailable;
use crate::auth::login::LoginFailure;
use crate::auth::login::browser::Browser;
use crate::auth::random;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::oidc::authorize::{AuthorizeRequest, authorize_url};
use crate::policy::route::AppRef;
use crate::session::attempt::{AttemptState, SealedVerifier};
use crate::session::cookie::RequestCookies;
use crate::session::login_host::{HostState, LoginRequest};
use crate::session::login_loop::TransportHints;
use crate::types::oauth::{AppName, Nonce, PkceVerifier, State};

/// Where a login host sends the browser at the start of a login.
#[derive(Debug)]
pub enum HostLoginStart {
    /// To the provider.
    Provider(HostRedirect),
    /// To the login endpoint of the app, which begins an attempt.
    App(LoginTarget),
}

/// A redirect from the login host.
#[derive(Debug)]
pub struct HostRedirect {
    /// Its target.
    pub location: String,
    /// The cookies of the login host.
    pub set_cookies: SetCookieHeaders,
}

/// The parameters of a request to the login endpoint.
#[derive(Debug, Default)]
struct StartQuery {
    request: Option<String>,
    app: Option<String>,
}

impl StartQuery {
    /// `None`: a parameter occurs more than once.
    fn parse(query: &str) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "request" => &mut found.request,
                "app" => &mut found.app,
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

impl LoginHost {
    /// Starts the login that an app requests. A link that only names an app leads to its login
    /// endpoint.
    ///
    /// # Errors
    /// The request is not one of an app, or the provider is unavailable.
    pub async fn start(
        &self,
        host_ref: AppRef<'_>,
        query: &str,
        request_cookies: &RequestCookies<'_>,
        hints: TransportHints,
    ) -> Result<HostLoginStart, FailedHostLogin> {
        let invalid = || FailedHostLogin::early(LoginFailure::RequestInvalid);
        let host = &self.context.app(host_ref).ok_or_else(invalid)?;
        let named = StartQuery::parse(query).ok_or_else(invalid)?;
        let Some(sealed) = named.request else {
            let name = AppName::new(named.app.ok_or_else(invalid)?);
            let app = &self.app_named(host, &name).ok_or_else(invalid)?;
            let mut link = app.app.login_link(query).map_err(|_| invalid())?;
            if app.app.providers.are_several() {
                // That of this host.
                link.provider = Some(app.login_provider().name.clone());
            }
            return Ok(HostLoginStart::App(LoginTarget {
                app: Arc::clone(&app.app),
                link,
            }));
        };
        let request = host.seals.login_request.open(&sealed);
        let request = request.ok_or_else(invalid)?;
        let app = &self.app_named(host, &request.app).ok_or_else(invalid)?;
        let link = link_of(app, &request.attempt);
        let step = AuthorizationStep {
            request,
            restarts: 0,
            hints,
        };
        self.authorize(host, app, request_cookies, step)
            .await
            .map(HostLoginStart::Provider)
            .map_err(|outage| FailedHostLogin::of(app, link, LoginFailure::Unavailable(outage)))
    }

    /// The redirect to the provider.
    pub(super) async fn authorize(
        &self,
        host: &Arc<AppAuth>,
        app: &Arc<AppAuth>,
        request_cookies: &RequestCookies<'_>,
        step: AuthorizationStep,
    ) -> Result<HostRedirect, Unavailable> {
        let metadata = self.context.provider_metadata(app).await?;
        let request = self.authorization_request(
            &metadata.authorization_endpoint,
            host,
            app,
            request_cookies,
            step,
        );
        let request = request.ok_or(Unavailable::internal("internal_error"))?;
        let context = &self.context;
        let url = context.authorization_location(app, &metadata, request.url);
        Ok(HostRedirect {
            location: url.await?.into(),
            set_cookies: request.set_cookies,
        })
    }

    /// `None`: no randomness, or a failed seal.
    fn authorization_request(
        &self,
        endpoint: &Url,
        host: &AppAuth,
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
        step: AuthorizationStep,
    ) -> Option<AuthorizationRequest> {
        let nonce = Nonce::new(random::random_id().ok()?);
        let verifier = PkceVerifier::from_entropy(random::bytes().ok()?);
        let browser = Browser::of_request(host, request_cookies)?;
        let parameters = step.request.attempt.parameters.clone();
        let state = HostState {
            id: random::random_id().ok()?,
            nonce: nonce.clone(),
            verifier: SealedVerifier(verifier.expose().to_owned()),
            browser: browser.hash(),
            began_at: self.context.now(),
            restarts: step.restarts,
            hints: step.hints,
            request: step.request,
        };
        let state = State::new(host.seals.host_state.seal(&state, random::bytes().ok()?)?);
        let request = AuthorizeRequest {
            state: &state,
            nonce: &nonce,
            code_challenge: &verifier.challenge_s256(),
            parameters: &parameters,
            extra: &app.provider.settings().dialect.parameters(),
        };
        Some(AuthorizationRequest {
            url: authorize_url(endpoint, &app.client, request),
            set_cookies: browser.set_cookie(host).into_iter().collect(),
        })
    }
}

/// An authorization request that is not pushed yet.
struct AuthorizationRequest {
    url: Url,
    set_cookies: SetCookieHeaders,
}

/// An authorization request that is about to be made.
pub(super) struct AuthorizationStep {
    pub(super) request: LoginRequest,
    /// How often it was repeated automatically.
    pub(super) restarts: u8,
    pub(super) hints: TransportHints,
}

/// Where an attempt leads, or to the root if its page is in the store.
pub(super) fn link_of(app: &AppAuth, attempt: &AttemptState) -> LoginLink {
    let page = ReturnTo::parse(&attempt.return_to, &app.app.paths);
    LoginLink {
        parameters: attempt.parameters.clone(),
        ..LoginLink::to(page.unwrap_or_else(|| ReturnTo::home(&app.app.paths)))
    }
}
