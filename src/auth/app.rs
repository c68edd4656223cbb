//! One app with its provider, its registration there, and its seals.

use std::sync::Arc;

use crate::oidc::{ClientSettings, Provider};
use crate::policy::app::App;
use crate::session::attempt::{AttemptCookie, StateParameter};
use crate::session::grant::{HintCookie, RefreshCookie, SeenCookie, StoredGrant};
use crate::session::jwt::JwtCookie;
use crate::session::seal::{Binding, KeyRing, Seal};
use crate::store::Revocations;

/// What the flows know of one app.
pub struct AppAuth {
    /// The app.
    pub app: Arc<App>,
    /// Where its people log in.
    pub provider: Arc<Provider>,
    /// Its registration there.
    pub client: ClientSettings,
    /// Whether claims that no token has are asked for at the userinfo endpoint.
    pub userinfo: Userinfo,
    /// Its seals.
    pub seals: Seals,
    /// Its sessions that were ended before their time.
    pub revocations: Revocations,
}

/// When to ask the userinfo endpoint (OpenID Connect Core section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Userinfo {
    /// At login, if a rule or header uses a claim that no token has.
    WhenNeeded,
    /// Never.
    Never,
}

/// One seal for each purpose.
#[derive(Debug)]
pub struct Seals {
    /// The JWT cookie.
    pub jwt: Seal<JwtCookie>,
    /// The refresh cookie.
    pub refresh: Seal<RefreshCookie>,
    /// The last activity.
    pub seen: Seal<SeenCookie>,
    /// The ID token for logout.
    pub hint: Seal<HintCookie>,
    /// A login attempt.
    pub attempt: Seal<AttemptCookie>,
    /// `state`.
    pub state: Seal<StateParameter>,
    /// What the store keeps.
    pub stored: Seal<StoredGrant>,
}

impl AppAuth {
    /// An app that seals with `ring`.
    pub fn new(
        app: Arc<App>,
        provider: Arc<Provider>,
        client: ClientSettings,
        userinfo: Userinfo,
        ring: &Arc<KeyRing>,
        max_revoked: usize,
    ) -> Self {
        let binding = Binding {
            origin: app.origin.to_string(),
            issuer: provider.settings().issuer.clone(),
            client_id: client.client_id.clone(),
        };
        let seals = Seals {
            jwt: Seal::new(Arc::clone(ring), &binding),
            refresh: Seal::new(Arc::clone(ring), &binding),
            seen: Seal::new(Arc::clone(ring), &binding),
            hint: Seal::new(Arc::clone(ring), &binding),
            attempt: Seal::new(Arc::clone(ring), &binding),
            state: Seal::new(Arc::clone(ring), &binding),
            stored: Seal::new(Arc::clone(ring), &binding),
        };
        Self { app, provider, client, userinfo, seals, revocations: Revocations::new(max_revoked) }
    }
}
