//! The demo's OpenID provider: the real protocol with well-known passwords, in memory, on loopback
//! only.

mod authorize;
mod client_auth;
mod core;
mod end_session;
mod error;
mod event;
mod fusionauth;
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
mod webhooks;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use tokio::net::TcpListener;

use self::core::Counters;
use self::error::InternalError;
use self::keys::SigningKey;
use self::pages::Pages;
use self::state::State;
use self::webhooks::Webhooks;
use super::serve::{
    Handler, HttpRequest, HttpResponse, RunningServer, StartError, empty, method_not_allowed,
    redirect, serve,
};

pub use self::core::Provider;
pub use self::event::Event;
pub use self::settings::{Client, FusionAuth, Settings, User};

/// A running provider. It stops when this is dropped.
pub struct RunningProvider {
    provider: Arc<Provider>,
    server: RunningServer,
}

impl Provider {
    /// Starts a provider on `listener`, in the current Tokio runtime.
    ///
    /// # Errors
    /// The listener is not bound to a loopback address, or a key could not be generated.
    pub fn start(settings: Settings, listener: TcpListener) -> Result<RunningProvider, StartError> {
        let webhooks = settings
            .fusionauth
            .as_ref()
            .map(|fusionauth| Webhooks::start(fusionauth.webhooks.clone()));
        let provider = Arc::new(Self {
            settings,
            webhooks,
            key: SigningKey::generate().ok_or(StartError::Key)?,
            pages: Pages::new().map_err(|_| StartError::Page)?,
            form_key: keys::random_token().map_err(|_| StartError::Key)?,
            state: Mutex::new(State::new()),
            counters: Counters::default(),
        });
        let server = serve(listener, Arc::clone(&provider))?;
        Ok(RunningProvider { provider, server })
    }

    fn route(&self, request: &HttpRequest) -> Result<HttpResponse, InternalError> {
        if let Some(fusionauth) = &self.settings.fusionauth {
            return self.route_fusionauth(fusionauth, request);
        }
        let (get, post) = (
            request.is_get_or_head(),
            request.method == http::Method::POST,
        );
        match request.path.as_str() {
            "/" if get => self.welcome(request),
            "/provider.css" if get => Ok(pages::style()),
            "/.well-known/openid-configuration" if get => Ok(self.configuration()),
            "/jwks.json" if get => Ok(self.jwks()),
            "/authorize" if get || post => self.authorize(request),
            "/login" if post => self.sign_in(request),
            // A reload after a rejected form: start again.
            "/login" if get => Ok(redirect(
                StatusCode::FOUND,
                &format!("/authorize?{}", request.query),
            )),
            "/token" if post => self.token(request),
            "/userinfo" if get || post => Ok(self.userinfo(request)),
            "/revoke" if post => Ok(self.revoke(request)),
            "/end_session" if get || post => self.end_session(request),
            "/end_session/confirm" if post => self.confirm_end_session(request),
            "/" | "/provider.css" | "/.well-known/openid-configuration" | "/jwks.json" => {
                Ok(method_not_allowed("GET, HEAD"))
            }
            "/authorize" | "/login" | "/userinfo" | "/end_session" => {
                Ok(method_not_allowed("GET, HEAD, POST"))
            }
            "/token" | "/revoke" | "/end_session/confirm" => Ok(method_not_allowed("POST")),
            _ => Ok(empty(StatusCode::NOT_FOUND)),
        }
    }
}

impl Handler for Provider {
    fn handle(&self, request: &HttpRequest) -> HttpResponse {
        self.route(request).unwrap_or_else(|failure| {
            tracing::error!(%failure, "the demo's provider failed");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }
}

impl RunningProvider {
    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Number of token requests with the grant type `authorization_code`, failed ones included.
    pub fn code_calls(&self) -> u64 {
        self.provider.counters.code.load(Ordering::SeqCst)
    }

    /// Number of token requests with the grant type `refresh_token`, failed ones included.
    pub fn refresh_calls(&self) -> u64 {
        self.provider.counters.refresh.load(Ordering::SeqCst)
    }

    /// Number of token requests with the grant type `password`, failed ones included.
    pub fn password_calls(&self) -> u64 {
        self.provider.counters.password.load(Ordering::SeqCst)
    }

    /// Number of revocation requests, failed ones included.
    pub fn revocation_calls(&self) -> u64 {
        self.provider.counters.revocations.load(Ordering::SeqCst)
    }

    /// Number of times that the login form was shown, with or without an error.
    pub fn forms_shown(&self) -> u64 {
        self.provider.counters.forms.load(Ordering::SeqCst)
    }

    /// Ends all sessions of a user and revokes all grants (token families). Returns the number of
    /// grants that were active.
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
        if let Some(fusionauth) = provider
            .settings
            .fusionauth
            .as_ref()
            .filter(|_| revoked > 0)
            && provider
                .notify_user_revoked(fusionauth, &user.subject, None)
                .is_err()
        {
            tracing::error!("the demo's provider could not report a revocation");
        }
        revoked
    }
}

/// A random secret. `None`: the system returned no random bytes.
pub(super) fn new_secret() -> Option<String> {
    keys::random_token().ok()
}
