//! The demo: an embedded OpenID provider, a store and a forum, all on loopback. It uses the crate's
//! public API only.

pub mod apps;
mod bounded;
mod event_log;
mod files;
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
use self::provider::{Client, FusionAuth, Provider, RunningProvider, Settings, User};
use crate::types::net::Origin;
use crate::types::oauth::{ClientId, ClientSecret};
use crate::types::secret::Secret;
use crate::types::time::Clock;

pub use self::event_log::EventLog;
pub use self::files::DemoFiles;
pub use self::serve::StartError;

const REFRESH_LIFETIME: Duration = Duration::from_secs(30 * 60);
const SIGN_ON_LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// Capacity of the event queue. When it is full, events are dropped.
const MAX_UNTOLD: usize = 1_024;

/// Options of the demo.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Doorward's port; 0 chooses a free one.
    pub port: u16,
    /// The provider's port; 0 chooses a free one.
    pub provider_port: u16,
    /// Lifetime of the provider's JWTs, in whole seconds.
    pub jwt_lifetime: Duration,
    /// Makes the provider emulate FusionAuth.
    pub fusionauth: Option<FusionAuthOptions>,
}

/// Options of the FusionAuth emulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FusionAuthOptions {
    /// Whether a refresh token can be used once (`OneTimeUse`) or any number of times (`Reusable`).
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

/// The running provider and apps. They stop when this is dropped.
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
    /// Starts the provider, the store and the forum on loopback, in the current Tokio runtime. The
    /// [`EventLog`] receives the provider's events.
    ///
    /// # Errors
    /// A port is in use, or a key could not be generated.
    pub async fn start(
        options: &DemoOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, EventLog), StartError> {
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
            Some(fusionauth_options) => Some(fusionauth_settings(fusionauth_options, &links)?),
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
        let (event_sender, events) = mpsc::channel(MAX_UNTOLD);
        let settings = Settings {
            issuer: issuer.clone(),
            clients: registrations.iter().map(Registration::client).collect(),
            users: users.clone(),
            jwt_lifetime: options.jwt_lifetime,
            refresh_lifetime: REFRESH_LIFETIME,
            sign_on_lifetime: SIGN_ON_LIFETIME,
            fusionauth: fusionauth.clone(),
            clock,
            // A slow reader loses events instead of blocking the provider.
            events: Arc::new(move |event| drop(event_sender.try_send(event))),
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
        Ok((demo, EventLog::new(events)))
    }

    /// The public origins of both apps, which Doorward serves.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The provider.
    pub fn provider(&self) -> &RunningProvider {
        &self.provider
    }

    /// The address of the store's backend.
    pub fn store_address(&self) -> SocketAddr {
        self.store.address()
    }

    /// The address of the forum's backend.
    pub fn forum_address(&self) -> SocketAddr {
        self.forum.address()
    }

    /// The address for Doorward to listen on.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// The OAuth client of an app.
struct Registration {
    app: &'static str,
    id: ClientId,
    secret: ClientSecret,
    origin: String,
}

impl Registration {
    /// Generates a client secret. `id` defaults to the app's name.
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

/// A FusionAuth with a bare name as its issuer. It sends the events of both apps to the store's
/// host.
fn fusionauth_settings(
    fusionauth_options: FusionAuthOptions,
    links: &Links,
) -> Result<FusionAuth, StartError> {
    Ok(FusionAuth {
        issuer: "demo.example".to_owned(),
        tenant_id: "30663132-6464-6665-3032-326466613934".to_owned(),
        one_time_use: fusionauth_options.one_time_use,
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

/// Returns `port`, or a free port for 0: client registrations contain the port before Doorward
/// listens on it.
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
