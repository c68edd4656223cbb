//! What the embedded provider is told: who it is, its clients and people, how long things live.

use std::sync::Arc;
use std::time::Duration;

use crate::types::net::Origin;
use crate::types::oauth::{ClientId, ClientSecret, Subject};
use crate::types::secret::Secret;
use crate::types::time::Clock;

use super::event::Event;
use super::fusionauth::FusionAuth;

/// What a [`Provider`](super::Provider) needs to be started.
#[derive(Clone)]
pub struct Settings {
    /// The issuer, and the origin that every endpoint is announced under; never taken from a `Host` field.
    pub issuer: Origin,
    /// The registered clients.
    pub clients: Vec<Client>,
    /// The people who may sign in.
    pub users: Vec<User>,
    /// How long access and ID tokens live; whole seconds.
    pub jwt_lifetime: Duration,
    /// How long each refresh token lives from its own issue; whole seconds.
    pub refresh_lifetime: Duration,
    /// How long a person stays signed on at the provider; whole seconds.
    pub sign_on_lifetime: Duration,
    /// Makes it speak as FusionAuth does.
    pub fusionauth: Option<FusionAuth>,
    /// Where the provider's time comes from.
    pub clock: Arc<dyn Clock>,
    /// Told of everything that happens, at once and with no lock held; it should return soon.
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
}

/// A confidential client, registered by hand.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: ClientId,
    /// `client_secret`, sent by `client_secret_basic` or `client_secret_post`.
    pub secret: ClientSecret,
    /// What people read on the login form.
    pub name: String,
    /// Where codes may be sent; compared as strings.
    pub redirect_uris: Vec<String>,
    /// Where a person may land after signing out; compared as strings.
    pub post_logout_redirect_uris: Vec<String>,
}

/// A person who may sign in.
#[derive(Clone, Debug)]
pub struct User {
    /// `sub`.
    pub subject: Subject,
    /// What is typed into the form, and `preferred_username`.
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

impl User {
    /// The people of the demonstration: `alice`, and `bob`, who has the role `admin`. Their passwords are their names.
    pub fn alice_and_bob() -> Vec<Self> {
        vec![
            Self::new("alice", "user-1001", "Alice Archer", &["customer"]),
            Self::new("bob", "user-1002", "Bob Baker", &["customer", "admin"]),
        ]
    }

    /// Somebody whom the provider knows and who has no role anywhere.
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
