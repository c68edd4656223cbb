//! Composition of the apps with their providers, seals and revocations.

use std::sync::Arc;

use super::StartError;
use super::login_host::login_host;
use crate::auth::app::{AppAuth, BearerAuth, IntrospectionSettings};
use crate::config::{BearerConfig, Config, SealingKey};
use crate::oidc::Provider;
use crate::policy::app::App;
use crate::session::seal::{Key, KeyRing};
use crate::store::Revocations;
use crate::types::oauth::{AppName, ProviderName};

/// Builds the apps of one configuration.
pub(super) struct AppBuilder<'c> {
    pub(super) config: &'c Config,
    pub(super) providers: &'c [Arc<Provider>],
    pub(super) ring: &'c Arc<KeyRing>,
    /// The apps of the previous configuration. One that has the same name, or another name at the
    /// same origin, keeps its revocations.
    pub(super) previous: &'c [Arc<AppAuth>],
}

impl AppBuilder<'_> {
    /// The apps in the order of the configuration, then the login hosts.
    pub(super) fn apps(&self) -> Result<Vec<Arc<AppAuth>>, StartError> {
        let apps = self.config.apps.iter().map(|settings| {
            let app = Arc::new(settings.policy.clone());
            let bearer = settings.bearer.as_ref();
            let bearer = bearer.map(|bearer| self.bearer_auth(&app, bearer));
            let bearer = bearer.transpose()?;
            let provider = self.provider(&settings.provider, &app)?;
            let revocations = self.revocations(&app);
            let client = settings.client.clone();
            let auth = AppAuth::new(app, provider, client, settings.auth, self.ring, revocations);
            Ok(Arc::new(match bearer {
                Some(bearer) => auth.with_bearer(bearer),
                None => auth,
            }))
        });
        let mut apps = apps.collect::<Result<Vec<_>, StartError>>()?;
        for host in &self.config.login_hosts {
            let provider = self.provider(&host.provider, &host.policy)?;
            let revocations = self.revocations(&host.policy);
            apps.push(Arc::new(login_host(host, provider, self.ring, revocations)));
        }
        Ok(apps)
    }

    fn provider(&self, name: &ProviderName, app: &App) -> Result<Arc<Provider>, StartError> {
        let mut providers = self.providers.iter();
        let provider = providers.find(|provider| provider.settings().name == *name);
        provider
            .cloned()
            .ok_or_else(|| StartError::UnknownProvider(app.name.to_string()))
    }

    fn revocations(&self, app: &App) -> Arc<Revocations> {
        let is_configured = |name: &AppName| {
            let apps = self.config.apps.iter().map(|app| &app.policy);
            let hosts = self.config.login_hosts.iter().map(|host| &host.policy);
            apps.chain(hosts).any(|app| app.name == *name)
        };
        let same = self
            .previous
            .iter()
            .find(|before| before.app.name == app.name);
        let renamed = || {
            let mut previous = self.previous.iter();
            previous
                .find(|before| before.app.origin == app.origin && !is_configured(&before.app.name))
        };
        match same.or_else(renamed) {
            Some(before) => Arc::clone(&before.revocations),
            None => {
                let max_revoked = self.config.store.max_revoked;
                Arc::new(Revocations::new(max_revoked, app.limits.absolute))
            }
        }
    }

    fn bearer_auth(&self, app: &App, settings: &BearerConfig) -> Result<BearerAuth, StartError> {
        let providers = settings.providers.iter();
        let providers = providers.map(|name| self.provider(name, app));
        let introspection = settings
            .introspection
            .map(|lifetime| IntrospectionSettings {
                lifetime,
                max_tokens: self.config.session_cache_size,
            });
        Ok(BearerAuth {
            providers: providers.collect::<Result<_, _>>()?,
            audiences: settings.audiences.clone(),
            access_token_claim: settings.access_token_claim.clone(),
            introspection,
            dpop_nonce: settings.dpop_nonce,
        })
    }
}

/// The keys of a configuration: the first seals.
pub(super) fn key_ring(config: &Config) -> Result<Arc<KeyRing>, StartError> {
    let mut keys = config.keys.iter().map(key);
    let sealing = keys.next().ok_or(StartError::Key)??;
    let older = keys.collect::<Result<_, _>>()?;
    Ok(Arc::new(KeyRing::new(sealing, older)))
}

/// A ring for each key of a configuration.
pub(super) fn single_key_rings(config: &Config) -> Result<Vec<Arc<KeyRing>>, StartError> {
    let keys = config.keys.iter().map(key);
    keys.map(|key| Ok(Arc::new(KeyRing::new(key?, Vec::new()))))
        .collect()
}

fn key(key: &SealingKey) -> Result<Key, StartError> {
    Key::new(key.material()).map_err(|_| StartError::Key)
}
