//! How a login begins (RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core section 3.1.2.1): `state`, nonce and
//! PKCE S256 for every attempt, each attempt with a cookie of its own, so that tabs do not disturb each other.

use std::collections::VecDeque;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::app::AppAuth;
use super::entropy;
use super::set_cookies::Lines;
use super::{Auth, Event, Outage, PATIENCE, login_loop};
use crate::oidc::authorize::{AuthorizeRequest, authorize_url};
use crate::oidc::discovery::Metadata;
use crate::policy::return_to::ReturnTo;
use crate::policy::route::Place;
use crate::session::attempt::{
    ATTEMPT_LIFETIME, AttemptState, BrowserHash, LoginAttempt, MAX_ATTEMPTS, SealedVerifier,
    browser_cookie, is_browser_cookie,
};
use crate::session::budget;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::Signs;
use crate::types::oauth::{Nonce, PkceVerifier, State};

/// The unfinished attempts of the browsers seen last, so that the cookies of abandoned ones can be taken away.
pub(super) struct Attempts(Cache<BrowserHash, Arc<std::sync::Mutex<VecDeque<String>>>>);

/// How many browsers' attempts are remembered.
const BROWSERS: usize = 20_000;

impl Default for Attempts {
    fn default() -> Self {
        Self(Cache::new(BROWSERS))
    }
}

impl Attempts {
    /// Remembers a new attempt; returns the oldest ones that are more than `most`.
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

    /// Forgets an attempt that is finished.
    pub(super) fn remove(&self, browser: BrowserHash, id: &str) {
        if let Some(attempts) = self.0.get(&browser) {
            attempts
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .retain(|attempt| attempt != id);
        }
    }
}

/// What is known of a login before it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// How often it began anew by itself.
    pub(super) restarts: u8,
    /// How many logins finished in vain before it.
    pub(super) logins: u8,
    /// How the request came.
    pub(super) signs: Signs,
}

/// Where to send the browser, and with which cookies.
#[derive(Debug)]
pub struct LoginStart {
    /// The provider's authorize endpoint, with the request.
    pub location: String,
    /// The attempt's cookie and, for a new browser, its own.
    pub lines: Lines,
    /// The browser.
    pub browser: BrowserHash,
}

impl Auth {
    /// Begins a login that leads to `return_to`.
    ///
    /// # Errors
    /// The provider is not known yet and cannot be asked, or there is no randomness.
    pub async fn start_login(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        return_to: &ReturnTo,
        signs: Signs,
    ) -> Result<LoginStart, Outage> {
        let app = self.app(place.index).ok_or(Outage::new("internal_error"))?;
        let before = Before {
            restarts: 0,
            logins: login_loop::logins_before(app, came),
            signs,
        };
        self.start_login_after(app, came, return_to, before).await
    }

    pub(super) async fn start_login_after(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        came: &RequestCookies<'_>,
        return_to: &ReturnTo,
        before: Before,
    ) -> Result<LoginStart, Outage> {
        let metadata = self.metadata(app).await?;
        let start = self
            .begin(app, came, &metadata, return_to, before)
            .ok_or(Outage::new("internal_error"))?;
        self.observer.happened(
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

    /// The provider's metadata: at once where they are known, else asked for within bounds.
    pub(super) async fn metadata(&self, app: &Arc<AppAuth>) -> Result<Arc<Metadata>, Outage> {
        if let Some(metadata) = app.provider.known_metadata() {
            return Ok(metadata);
        }
        let provider = Arc::clone(&app.provider);
        let asked = self
            .strangers
            .run(PATIENCE, async move { provider.metadata().await })
            .await?;
        asked.map_err(|error| {
            tracing::warn!(app = %app.app.name, code = error.code(), %error, "provider_unknown");
            Outage::new(error.code())
        })
    }

    /// `None`: no randomness, or a seal that failed.
    fn begin(
        &self,
        app: &AppAuth,
        came: &RequestCookies<'_>,
        metadata: &Metadata,
        return_to: &ReturnTo,
        before: Before,
    ) -> Option<LoginStart> {
        let (id, nonce) = (entropy::name().ok()?, Nonce::new(entropy::name().ok()?));
        let verifier = PkceVerifier::from_entropy(entropy::bytes().ok()?);
        let (browser, new_browser) = match came
            .get(&app.app.cookies.browser)
            .filter(|value| is_browser_cookie(value))
        {
            Some(value) => (value.to_owned(), false),
            None => (browser_cookie(entropy::bytes().ok()?), true),
        };
        let hash = BrowserHash::of(&browser);
        let Before {
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
        let state = State::new(app.seals.state.seal(&state, entropy::bytes().ok()?)?);
        let challenge = verifier.challenge_s256();
        let attempt = LoginAttempt {
            id: id.clone(),
            nonce: nonce.clone(),
            verifier: SealedVerifier(verifier.expose().to_owned()),
            browser: hash,
        };
        let attempt = app.seals.attempt.seal(&attempt, entropy::bytes().ok()?)?;
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
        let weight = budget::weight(&name(&id), &attempt);
        let most = budget::attempts_that_fit(came, &names.beginnings(), weight, MAX_ATTEMPTS);
        let mut lines = vec![names.set(&name(&id), &attempt, &path, Some(ATTEMPT_LIFETIME))?];
        lines.extend(
            self.attempts
                .add(hash, &id, most)
                .iter()
                .filter_map(|old| names.expire(&name(old), &path)),
        );
        if new_browser {
            lines.push(names.set(&names.browser, &browser, "/", None)?);
        }
        Some(LoginStart {
            location,
            lines,
            browser: hash,
        })
    }
}
