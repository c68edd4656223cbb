//! Composition of the apps with their providers, seals and revocations.

use std::sync::Arc;

use super::StartError;
use super::login_host::login_host;
use crate::auth::app::{AppAuth, AuthSettings, BearerAuth, IntrospectionSettings};
use crate::config::{BearerConfig, Config, Registration, SealingKey};
use crate::oidc::Provider;
use crate::policy::app::App;
use crate::session::seal::{Key, KeyRing};
use crate::store::Revocations;
use crate::types::oauth::{AppName, ProviderName};
use crate::types::time::Timestamp;

/// Builds the apps of one configuration.
pub(super) struct AppBuilder<'c> {
    pub(super) config: &'c Config,
    pub(super) providers: &'c [Arc<Provider>],
    pub(super) ring: &'c Arc<KeyRing>,
    /// The apps of the previous configuration. One that has the same name, or another name at the
    /// same origin, keeps its revocations.
    pub(super) previous: &'c [Arc<AppAuth>],
    /// The current time.
    pub(super) now: Timestamp,
}

impl AppBuilder<'_> {
    /// The apps in the order of the configuration, each at all its providers, then the login hosts.
    pub(super) fn apps(&self) -> Result<Vec<Arc<AppAuth>>, StartError> {
        let mut apps = Vec::new();
        for settings in &self.config.apps {
            let app = Arc::new(settings.policy.clone());
            for registration in &settings.registrations {
                apps.push(Arc::new(self.app_at(&app, registration, settings.auth)?));
            }
        }
        for host in &self.config.login_hosts {
            let provider = self.provider(&host.provider, &host.policy)?;
            let revocations = self.revocations(&host.policy, &provider);
            apps.push(Arc::new(login_host(host, provider, self.ring, revocations)));
        }
        Ok(apps)
    }

    fn app_at(
        &self,
        app: &Arc<App>,
        registration: &Registration,
        settings: AuthSettings,
    ) -> Result<AppAuth, StartError> {
        let Registration {
            provider,
            client,
            bearer,
        } = registration;
        let provider = self.provider(provider, app)?;
        let revocations = self.revocations(app, &provider);
        let auth = AppAuth::new(
            Arc::clone(app),
            provider,
            client.clone(),
            settings,
            self.ring,
            revocations,
        );
        Ok(match bearer {
            Some(bearer) => auth.with_bearer(self.bearer_auth(app, bearer)?),
            None => auth,
        })
    }

    fn provider(&self, name: &ProviderName, app: &App) -> Result<Arc<Provider>, StartError> {
        let mut providers = self.providers.iter();
        let provider = providers.find(|provider| provider.settings().name == *name);
        provider
            .cloned()
            .ok_or_else(|| StartError::UnknownProvider(app.name.to_string()))
    }

    fn revocations(&self, app: &App, provider: &Provider) -> Arc<Revocations> {
        let is_configured = |name: &AppName| {
            let apps = self.config.apps.iter().map(|app| &app.policy);
            let hosts = self.config.login_hosts.iter().map(|host| &host.policy);
            apps.chain(hosts).any(|app| app.name == *name)
        };
        let is_renamed = |before: &AppAuth| {
            before.app.public_url() == app.public_url() && !is_configured(&before.app.name)
        };
        // Those of one issuer are never those of another.
        let issuer = &provider.settings().issuer;
        let previous = || {
            let previous = self.previous.iter();
            previous.filter(|before| before.provider.settings().issuer == *issuer)
        };
        let same = previous().find(|before| before.app.name == app.name);
        let renamed = || previous().find(|before| is_renamed(before));
        if let Some(before) = same.or_else(renamed) {
            return Arc::clone(&before.revocations);
        }
        let max_revoked = self.config.store.max_revoked;
        let revocations = Revocations::new(max_revoked, app.limits.absolute);
        // The issuer may have been one whose access tokens the app accepted.
        for before in self.previous {
            if before.app.name == app.name || is_renamed(before) {
                let revoked = before.revocations.snapshot();
                revocations.revoke_all(revoked.at_issuer(issuer), self.now);
            }
        }
        Arc::new(revocations)
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
