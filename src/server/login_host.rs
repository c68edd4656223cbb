//! Composition of login hosts.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::app::{AppAuth, AuthSettings, OnReuse, RevocationMode, Userinfo};
use crate::config::LoginHostConfig;
use crate::oidc::{ClientAuth, ClientSettings, Provider};
use crate::session::seal::KeyRing;
use crate::store::Revocations;
use crate::types::oauth::ClientId;

/// A login host. It has no registration of its own: it uses that of the app of each login.
pub(super) fn login_host(
    host: &LoginHostConfig,
    provider: Arc<Provider>,
    ring: &Arc<KeyRing>,
    revocations: Arc<Revocations>,
) -> AppAuth {
    let client = ClientSettings::new(ClientId::new(""), ClientAuth::None, host.callback.clone());
    let settings = AuthSettings {
        userinfo: Userinfo::Never,
        on_refresh_token_reuse: OnReuse::EndSession,
        outage_grace: Duration::ZERO,
        revocation: RevocationMode::FailOpen,
    };
    let app = Arc::new(host.policy.clone());
    AppAuth::new(app, provider, client, settings, ring, revocations)
}
