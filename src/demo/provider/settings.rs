//! Settings of the provider: issuer, clients, users, lifetimes.

use std::sync::Arc;
use std::time::Duration;

use crate::types::net::Origin;
use crate::types::oauth::{ClientId, ClientSecret, Subject};
use crate::types::secret::Secret;
use crate::types::time::Clock;

use super::event::Event;

/// Settings of a [`Provider`](super::Provider).
#[derive(Clone)]
pub struct Settings {
    /// The issuer, which is also the origin of all endpoints. It is never taken from a `Host`
    /// header.
    pub issuer: Origin,
    /// The registered clients.
    pub clients: Vec<Client>,
    /// The users.
    pub users: Vec<User>,
    /// Lifetime of access and ID tokens, in whole seconds.
    pub jwt_lifetime: Duration,
    /// Lifetime of each refresh token from its issuance, in whole seconds.
    pub refresh_lifetime: Duration,
    /// Lifetime of a provider session, in whole seconds.
    pub sign_on_lifetime: Duration,
    /// Makes the provider emulate FusionAuth.
    pub fusionauth: Option<FusionAuth>,
    /// The provider's clock.
    pub clock: Arc<dyn Clock>,
    /// Called for each event, without a lock held. It must not block.
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
}

/// A confidential client.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: ClientId,
    /// `client_secret`, sent by `client_secret_basic` or `client_secret_post`.
    pub secret: ClientSecret,
    /// The name shown on the login form.
    pub name: String,
    /// Redirect URIs, compared as strings.
    pub redirect_uris: Vec<String>,
    /// Post-logout redirect URIs, compared as strings.
    pub post_logout_redirect_uris: Vec<String>,
}

/// A user.
#[derive(Clone, Debug)]
pub struct User {
    /// `sub`.
    pub subject: Subject,
    /// The login name, and `preferred_username`.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
    /// `email`.
    pub email: String,
    /// `name`.
    pub name: String,
    /// `roles`.
    pub roles: Vec<String>,
}

/// The settings of a provider that emulates FusionAuth.
#[derive(Clone, Debug)]
pub struct FusionAuth {
    /// `iss` of its tokens: a name from the tenant's configuration, not a URL.
    pub issuer: String,
    /// `tid` of tokens, and `tenantId` of requests and events.
    pub tenant_id: String,
    /// Whether a refresh token can be used once (`OneTimeUse`) or any number of times (`Reusable`).
    pub one_time_use: bool,
    /// Authorizes `DELETE /api/jwt/refresh`.
    pub api_key: Secret<String>,
    /// User names without a registration for any application.
    pub unregistered: Vec<String>,
    /// URLs that receive events; loopback only.
    pub webhooks: Vec<String>,
}

impl FusionAuth {
    /// Whether `user` is registered for the applications.
    pub(super) fn is_registered(&self, user: &User) -> bool {
        !self.unregistered.contains(&user.username)
    }
}

impl User {
    /// The users of the demo: `alice`, and `bob`, who has the role `admin`. Passwords equal the
    /// names.
    pub fn alice_and_bob() -> Vec<Self> {
        vec![
            Self::new("alice", "user-1001", "Alice Archer", &["customer"]),
            Self::new("bob", "user-1002", "Bob Baker", &["customer", "admin"]),
        ]
    }

    /// A user without roles.
    pub fn carol() -> Self {
        Self::new("carol", "user-1003", "Carol Cook", &[])
    }

    fn new(username: &str, subject: &str, name: &str, roles: &[&str]) -> Self {
        Self {
            subject: Subject::new(subject),
            username: username.to_owned(),
            password: Secret::new(username.to_owned()),
            email: format!("{username}@example.com"),
            name: name.to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
        }
    }
}
