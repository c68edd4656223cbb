//! The demonstration: an embedded OpenID provider, a store and a forum, all on loopback. It knows
//! Doorward by its public API only, as any user of it would.

pub mod apps;
mod bounded;
mod files;
mod narration;
pub mod provider;
mod serve;
#[cfg(test)]
mod test_client;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use self::apps::{Links, RunningApp, forum, store};
use self::provider::fusionauth::FusionAuth;
use self::provider::{Client, Provider, RunningProvider, Settings, User};
use crate::types::net::Origin;
use crate::types::oauth::{ClientId, ClientSecret};
use crate::types::secret::Secret;
use crate::types::time::Clock;

pub use self::files::DemoFiles;
pub use self::narration::Narration;
pub use self::serve::StartError;

const REFRESH_LIFETIME: Duration = Duration::from_secs(30 * 60);
const SIGN_ON_LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// Events that wait for the narrator; more than that are not told.
const MAX_UNTOLD: usize = 1_024;

/// How the demonstration is to run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Doorward's port; 0 for a free one.
    pub port: u16,
    /// The provider's port; 0 for a free one.
    pub provider_port: u16,
    /// How long the provider's JWTs live; whole seconds.
    pub jwt_lifetime: Duration,
    /// Whether the provider speaks as FusionAuth does, and how.
    pub fusionauth: Option<Habits>,
}

/// How an emulated FusionAuth is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// `OneTimeUse`: each refresh token is good once; else `Reusable`.
    pub one_time_use: bool,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            port: 8080,
            provider_port: 8090,
            jwt_lifetime: Duration::from_secs(60),
            fusionauth: None,
        }
    }
}

/// Everything around Doorward that a demonstration needs, running until this is dropped.
pub struct Demo {
    port: u16,
    jwt_lifetime: Duration,
    issuer: Origin,
    users: Vec<User>,
    links: Links,
    registrations: [Registration; 2],
    fusionauth: Option<FusionAuth>,
    provider: RunningProvider,
    store: RunningApp,
    forum: RunningApp,
}

impl Demo {
    /// Starts the provider, the store and the forum on loopback, within the current Tokio runtime. What happens at the
    /// provider is told by the [`Narration`].
    ///
    /// # Errors
    /// A port is taken, or no keys could be made.
    pub async fn start(
        options: &DemoOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Narration), StartError> {
        let listener = listen(options.provider_port).await?;
        let provider_port = listener.local_addr().map_err(StartError::Listener)?.port();
        let port = free_port(options.port).await?;
        let issuer = Origin::parse(&format!("http://login.localhost:{provider_port}"));
        let issuer = issuer.map_err(StartError::Issuer)?;
        let links = Links {
            store: format!("http://store.localhost:{port}"),
            forum: format!("http://forum.localhost:{port}"),
        };
        let fusionauth = match options.fusionauth {
            Some(habits) => Some(emulated(habits, &links)?),
            None => None,
        };
        let is_fusionauth = fusionauth.is_some();
        let registrations = [
            Registration::new(
                "store",
                is_fusionauth.then_some("3c219e58-ed0e-4b18-ad48-f4f92793ae32"),
                &links.store,
            )?,
            Registration::new(
                "forum",
                is_fusionauth.then_some("85a03867-dccf-4882-adde-1a79aeec50df"),
                &links.forum,
            )?,
        ];
        let mut users = User::alice_and_bob();
        if is_fusionauth {
            users.push(User::carol());
        }
        let (tell, events) = mpsc::channel(MAX_UNTOLD);
        let settings = Settings {
            issuer: issuer.clone(),
            clients: registrations.iter().map(Registration::client).collect(),
            users: users.clone(),
            jwt_lifetime: options.jwt_lifetime,
            refresh_lifetime: REFRESH_LIFETIME,
            sign_on_lifetime: SIGN_ON_LIFETIME,
            fusionauth: fusionauth.clone(),
            clock,
            // A narrator who cannot keep up loses lines rather than holding up the provider.
            events: Arc::new(move |event| drop(tell.try_send(event))),
        };
        let demo = Self {
            port,
            jwt_lifetime: options.jwt_lifetime,
            issuer,
            users,
            registrations,
            fusionauth,
            provider: Provider::start(settings, listener)?,
            store: store::start(listen(0).await?, links.clone())?,
            forum: forum::start(listen(0).await?, links.clone())?,
            links,
        };
        Ok((demo, Narration::new(events)))
    }

    /// The public origins of both apps, as served by Doorward.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The provider.
    pub fn provider(&self) -> &RunningProvider {
        &self.provider
    }

    /// Where the store listens, behind Doorward.
    pub fn store_address(&self) -> SocketAddr {
        self.store.address()
    }

    /// Where the forum listens, behind Doorward.
    pub fn forum_address(&self) -> SocketAddr {
        self.forum.address()
    }

    /// Where Doorward is to listen.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// One app's registration at the provider.
struct Registration {
    app: &'static str,
    id: ClientId,
    secret: ClientSecret,
    origin: String,
}

impl Registration {
    /// With a secret of its own; named as the app where the provider's clients need no other id.
    fn new(app: &'static str, id: Option<&str>, origin: &str) -> Result<Self, StartError> {
        let secret = provider::new_secret()
            .map(ClientSecret::new)
            .ok_or(StartError::Key)?;
        Ok(Self {
            app,
            id: ClientId::new(id.unwrap_or(app)),
            secret,
            origin: origin.to_owned(),
        })
    }

    fn client(&self) -> Client {
        Client {
            id: self.id.clone(),
            secret: self.secret.clone(),
            name: self.app.to_owned(),
            redirect_uris: vec![format!("{}/.doorward/callback", self.origin)],
            post_logout_redirect_uris: vec![format!("{}/.doorward/signed-out", self.origin)],
        }
    }
}

/// A FusionAuth whose tenant is called by a bare name, and that tells the store's host what concerns both apps.
fn emulated(habits: Habits, links: &Links) -> Result<FusionAuth, StartError> {
    Ok(FusionAuth {
        issuer: "demo.example".to_owned(),
        tenant_id: "30663132-6464-6665-3032-326466613934".to_owned(),
        one_time_use: habits.one_time_use,
        api_key: Secret::new(provider::new_secret().ok_or(StartError::Key)?),
        unregistered: vec!["carol".to_owned()],
        webhooks: vec![format!("{}/.doorward/webhooks/fusionauth", links.store)],
    })
}

async fn listen(port: u16) -> Result<TcpListener, StartError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

/// `port`, or one that is free now: it is in the clients' addresses before Doorward can listen on it.
async fn free_port(port: u16) -> Result<u16, StartError> {
    match port {
        0 => Ok(listen(0)
            .await?
            .local_addr()
            .map_err(StartError::Listener)?
            .port()),
        port => Ok(port),
    }
}
