//! An OpenID provider for demonstration: real protocol, well-known passwords, everything in memory,
//! loopback only. Doorward's demo and its tests sign in here.

mod authorize;
mod client_auth;
mod end_session;
mod event;
pub mod fusionauth;
mod keys;
mod login;
mod metadata;
mod pages;
mod params;
mod revoke;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod tokens;
mod userinfo;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use tokio::net::TcpListener;

use self::fusionauth::Webhooks;
use self::keys::SigningKey;
use self::pages::Pages;
use self::state::State;
use super::serve::{
    Answer, Asked, Running, Site, StartError, bare, method_not_allowed, redirect, serve,
};
use crate::types::oauth::Subject;
use crate::types::time::Timestamp;

pub use self::event::Event;
pub use self::settings::{Client, Settings, User};

/// The embedded provider.
pub struct Provider {
    settings: Settings,
    key: SigningKey,
    pages: Pages,
    /// Binds a login form's token to the cookie of the browser it was shown in.
    form_key: String,
    state: Mutex<State>,
    counters: Counters,
    webhooks: Option<Webhooks>,
}

/// A provider that serves until this is dropped.
pub struct RunningProvider {
    provider: Arc<Provider>,
    server: Running,
}

#[derive(Default)]
struct Counters {
    code: AtomicU64,
    refresh: AtomicU64,
    password: AtomicU64,
    revocations: AtomicU64,
    forms: AtomicU64,
}

/// What goes wrong within the provider itself: answered with status 500.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Failure {
    #[error("the system gave no random bytes")]
    Entropy,
    #[error("a token could not be signed")]
    Signing,
    #[error("a page could not be rendered")]
    Page,
}

impl Provider {
    /// Starts a provider on `listener`, within the current Tokio runtime.
    ///
    /// # Errors
    /// The listener is not bound to a loopback address, or no key could be made.
    pub fn start(settings: Settings, listener: TcpListener) -> Result<RunningProvider, StartError> {
        let webhooks = settings
            .fusionauth
            .as_ref()
            .map(|own| Webhooks::start(own.webhooks.clone()));
        let provider = Arc::new(Self {
            settings,
            webhooks,
            key: SigningKey::generate().ok_or(StartError::Key)?,
            pages: Pages::new().map_err(|_| StartError::Page)?,
            form_key: keys::random_word().map_err(|_| StartError::Key)?,
            state: Mutex::new(State::new()),
            counters: Counters::default(),
        });
        let server = serve(listener, Arc::clone(&provider))?;
        Ok(RunningProvider { provider, server })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every transition leaves the state whole, so what a panicking thread left behind can be used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    fn tell(&self, event: Event) {
        (self.settings.events)(event);
    }

    fn client(&self, id: &str) -> Option<&Client> {
        self.settings
            .clients
            .iter()
            .find(|client| client.id.as_str() == id)
    }

    fn user(&self, subject: &Subject) -> Option<&User> {
        self.settings
            .users
            .iter()
            .find(|user| user.subject == *subject)
    }

    fn username(&self, subject: &Subject) -> String {
        self.user(subject)
            .map_or_else(String::new, |user| user.username.clone())
    }

    fn route(&self, asked: &Asked) -> Result<Answer, Failure> {
        if let Some(own) = &self.settings.fusionauth {
            return self.route_fusionauth(own, asked);
        }
        let (get, post) = (asked.reads(), asked.method == http::Method::POST);
        match asked.path.as_str() {
            "/" if get => self.welcome(asked),
            "/provider.css" if get => Ok(pages::style()),
            "/.well-known/openid-configuration" if get => Ok(self.configuration()),
            "/jwks.json" if get => Ok(self.jwks()),
            "/authorize" if get || post => self.authorize(asked),
            "/login" if post => self.sign_in(asked),
            // A page that was refused is reloaded without its form: back to the beginning.
            "/login" if get => Ok(redirect(
                StatusCode::FOUND,
                &format!("/authorize?{}", asked.query),
            )),
            "/token" if post => self.token(asked),
            "/userinfo" if get || post => Ok(self.userinfo(asked)),
            "/revoke" if post => Ok(self.revoke(asked)),
            "/end_session" if get || post => self.end_session(asked),
            "/end_session/confirm" if post => self.confirm_end_session(asked),
            "/" | "/provider.css" | "/.well-known/openid-configuration" | "/jwks.json" => {
                Ok(method_not_allowed("GET, HEAD"))
            }
            "/authorize" | "/login" | "/userinfo" | "/end_session" => {
                Ok(method_not_allowed("GET, HEAD, POST"))
            }
            "/token" | "/revoke" | "/end_session/confirm" => Ok(method_not_allowed("POST")),
            _ => Ok(bare(StatusCode::NOT_FOUND)),
        }
    }
}

impl Site for Provider {
    fn answer(&self, asked: &Asked) -> Answer {
        self.route(asked).unwrap_or_else(|failure| {
            tracing::error!(%failure, "the demonstration's provider failed");
            bare(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }
}

impl RunningProvider {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// How many token calls with the grant `authorization_code` came in, answered well or not.
    pub fn code_calls(&self) -> u64 {
        self.provider.counters.code.load(Ordering::SeqCst)
    }

    /// How many token calls with the grant `refresh_token` came in, answered well or not.
    pub fn refresh_calls(&self) -> u64 {
        self.provider.counters.refresh.load(Ordering::SeqCst)
    }

    /// How many token calls with the grant `password` came in, answered well or not.
    pub fn password_calls(&self) -> u64 {
        self.provider.counters.password.load(Ordering::SeqCst)
    }

    /// How many revocation calls came in, answered well or not.
    pub fn revocation_calls(&self) -> u64 {
        self.provider.counters.revocations.load(Ordering::SeqCst)
    }

    /// How many times the login form was shown, errors in it included.
    pub fn forms_shown(&self) -> u64 {
        self.provider.counters.forms.load(Ordering::SeqCst)
    }

    /// Ends all sessions of a person at the provider and revokes all that was granted within them or by password.
    /// Gives how many grants (families of refresh tokens) were alive.
    pub fn revoke_all_of(&self, username: &str) -> usize {
        let provider = &self.provider;
        let Some(user) = provider
            .settings
            .users
            .iter()
            .find(|user| user.username == username)
        else {
            return 0;
        };
        let revoked = provider.state().revoke_all_of(&user.subject);
        if let Some(own) = provider
            .settings
            .fusionauth
            .as_ref()
            .filter(|_| revoked > 0)
            && provider
                .webhooks_tell_of_person(own, &user.subject, None)
                .is_err()
        {
            tracing::error!("the demonstration's provider could not tell of a revocation");
        }
        revoked
    }
}

impl Counters {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// A word that nobody can guess, for secrets; `None` if the system gives no random bytes.
pub(super) fn new_secret() -> Option<String> {
    keys::random_word().ok()
}
