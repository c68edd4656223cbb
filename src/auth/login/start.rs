//! The start of a login (RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core section 3.1.2.1):
//! every attempt has its own `state`, nonce, PKCE S256 verifier and cookie, so that tabs do not
//! interfere.

use std::collections::VecDeque;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::auth::{Auth, Event, TIMEOUT, Unavailable, login::loop_guard};
use crate::identity::return_to::ReturnTo;
use crate::oidc::authorize::{AuthorizeRequest, authorize_url};
use crate::oidc::discovery::Metadata;
use crate::policy::route::AppRef;
use crate::session::attempt::{
    ATTEMPT_LIFETIME, AttemptState, BrowserHash, LoginAttempt, MAX_ATTEMPTS, SealedVerifier,
    browser_cookie, is_browser_cookie,
};
use crate::session::budget;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::TransportHints;
use crate::types::oauth::{Nonce, PkceVerifier, State};

/// The unfinished attempts of recent browsers, so that cookies of abandoned attempts can be
/// expired.
pub(in crate::auth) struct Attempts(Cache<BrowserHash, Arc<std::sync::Mutex<VecDeque<String>>>>);

/// How many browsers are tracked.
const BROWSERS: usize = 20_000;

impl Default for Attempts {
    fn default() -> Self {
        Self(Cache::new(BROWSERS))
    }
}

impl Attempts {
    /// Adds an attempt. Returns the oldest attempts beyond `most`.
    fn add(&self, browser: BrowserHash, id: &str, most: usize) -> Vec<String> {
        let attempts = self.0.get_or_insert_with(&browser, || {
            Ok::<_, std::convert::Infallible>(Arc::default())
        });
        let Ok(attempts) = attempts;
        let mut attempts = attempts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        attempts.push_back(id.to_owned());
        let too_many = attempts.len().saturating_sub(most);
        attempts.drain(..too_many).collect()
    }

    /// Removes a finished attempt.
    pub(in crate::auth) fn remove(&self, browser: BrowserHash, id: &str) {
        if let Some(attempts) = self.0.get(&browser) {
            attempts
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .retain(|attempt| attempt != id);
        }
    }
}

/// What precedes a login.
#[derive(Clone, Copy, Debug)]
pub(in crate::auth) struct LoginContext {
    /// How often it was restarted automatically.
    pub(in crate::auth) restarts: u8,
    /// How many logins finished before it without a session seen since.
    pub(in crate::auth) logins: u8,
    /// The transport of the request that started it.
    pub(in crate::auth) signs: TransportHints,
}

/// The redirect that starts a login.
#[derive(Debug)]
pub struct LoginStart {
    /// The authorization request.
    pub location: String,
    /// The cookie of the attempt, and the browser binding cookie for a new browser.
    pub set_cookies: SetCookieHeaders,
    /// The browser binding.
    pub browser: BrowserHash,
}

impl Auth {
    /// Starts a login that leads to `return_to`.
    ///
    /// # Errors
    /// The provider's metadata are unavailable, or there is no randomness.
    pub async fn start_login(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        return_to: &ReturnTo,
        signs: TransportHints,
    ) -> Result<LoginStart, Unavailable> {
        let app = self
            .app(app_ref.index)
            .ok_or(Unavailable::new("internal_error"))?;
        let before = LoginContext {
            restarts: 0,
            logins: loop_guard::logins_before(app, request_cookies),
            signs,
        };
        self.start_login_after(app, request_cookies, return_to, before)
            .await
    }

    pub(in crate::auth) async fn start_login_after(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        request_cookies: &RequestCookies<'_>,
        return_to: &ReturnTo,
        before: LoginContext,
    ) -> Result<LoginStart, Unavailable> {
        let metadata = self.metadata(app).await?;
        let start = self
            .begin(app, request_cookies, &metadata, return_to, before)
            .ok_or(Unavailable::new("internal_error"))?;
        self.observer.record_event(
            app,
            Event::LoginStarted,
            if before.restarts == 0 {
                "first"
            } else {
                "restarted"
            },
        );
        Ok(start)
    }

    /// The provider's metadata, cached or fetched with a timeout.
    pub(in crate::auth) async fn metadata(
        &self,
        app: &Arc<AppAuth>,
    ) -> Result<Arc<Metadata>, Unavailable> {
        if let Some(metadata) = app.provider.known_metadata() {
            return Ok(metadata);
        }
        let provider = Arc::clone(&app.provider);
        let asked = self
            .anonymous_tasks
            .run(TIMEOUT, async move { provider.metadata().await })
            .await?;
        asked.map_err(|error| {
            tracing::warn!(app = %app.app.name, code = error.code(), %error, "provider_discovery_failed");
            Unavailable::new(error.code())
        })
    }

    /// `None`: no randomness, or a failed seal.
    fn begin(
        &self,
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
        metadata: &Metadata,
        return_to: &ReturnTo,
        before: LoginContext,
    ) -> Option<LoginStart> {
        let (id, nonce) = (
            random::random_id().ok()?,
            Nonce::new(random::random_id().ok()?),
        );
        let verifier = PkceVerifier::from_entropy(random::bytes().ok()?);
        let (browser, new_browser) = match request_cookies
            .get(&app.app.cookies.browser)
            .filter(|value| is_browser_cookie(value))
        {
            Some(value) => (value.to_owned(), false),
            None => (browser_cookie(random::bytes().ok()?), true),
        };
        let hash = BrowserHash::of(&browser);
        let LoginContext {
            restarts,
            logins,
            signs,
        } = before;
        let return_to = return_to.as_str().to_owned();
        let state = AttemptState {
            id: id.clone(),
            restarts,
            return_to,
            began_at: self.now(),
            logins,
            signs,
        };
        let state = State::new(app.seals.state.seal(&state, random::bytes().ok()?)?);
        let challenge = verifier.challenge_s256();
        let attempt = LoginAttempt {
            id: id.clone(),
            nonce: nonce.clone(),
            verifier: SealedVerifier(verifier.expose().to_owned()),
            browser: hash,
        };
        let attempt = app.seals.attempt.seal(&attempt, random::bytes().ok()?)?;
        let extra = &app.provider.settings().dialect.parameters();
        let request = AuthorizeRequest {
            state: &state,
            nonce: &nonce,
            code_challenge: &challenge,
            extra,
        };
        let location = authorize_url(&metadata.authorization_endpoint, &app.client, request).into();

        let (names, path) = (&app.app.cookies, app.app.endpoint_path("callback"));
        let name = |id: &str| format!("{}{id}", names.login);
        let cookie_size = budget::cookie_size(&name(&id), &attempt);
        let most = budget::attempts_that_fit(
            request_cookies,
            &names.beginnings(),
            cookie_size,
            MAX_ATTEMPTS,
        );
        let mut set_cookies =
            vec![names.set(&name(&id), &attempt, &path, Some(ATTEMPT_LIFETIME))?];
        set_cookies.extend(
            self.attempts
                .add(hash, &id, most)
                .iter()
                .filter_map(|old| names.expire(&name(old), &path)),
        );
        if new_browser {
            set_cookies.push(names.set(&names.browser, &browser, "/", None)?);
        }
        Some(LoginStart {
            location,
            set_cookies,
            browser: hash,
        })
    }
}
