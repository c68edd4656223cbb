//! One app with its provider, its registration there, and its seals.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::bearer::BearerAuth;
use crate::auth::bearer::dpop::NonceField;
use crate::auth::logout::command::SealedRevocationCommand;
use crate::auth::logout::replication::SealedRevocationEvent;
use crate::oidc::{ClientSettings, Provider};
use crate::policy::app::App;
use crate::session::attempt::{AttemptCookie, StateParameter};
use crate::session::grant::{ActivityCookie, HintCookie, RefreshCookie, StoredGrant};
use crate::session::jwt::JwtCookie;
use crate::session::last_user::LastUserCookie;
use crate::session::native::{DeviceToken, NativeAccess, NativeRefresh};
use crate::session::preserved_post::StoredPost;
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
    /// How its sessions are treated.
    pub settings: AuthSettings,
    /// Its seals.
    pub seals: Seals,
    /// Its sessions that were ended before their time.
    pub revocations: Revocations,
    /// How access tokens are verified, if it takes any.
    pub bearer: Option<BearerAuth>,
}

/// How an app's sessions are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// Whether claims that no token has are asked for at the userinfo endpoint.
    pub userinfo: Userinfo,
    /// What becomes of a session whose refresh token comes again long after it was replaced.
    pub on_refresh_token_reuse: OnReuse,
    /// How long sessions go on after their JWT expired while the provider cannot be asked.
    pub outage_grace: Duration,
    /// What counts while it cannot be known which sessions were ended elsewhere.
    pub revocation: RevocationMode,
}

/// A refresh token that comes again after its successor was in use (RFC 9700 section 4.14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReuse {
    /// It was stolen from somebody: the session ends for everybody who has it.
    EndSession,
    /// The request is refused, the session goes on.
    Refuse,
}

/// Whether sessions go on while the store cannot be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationMode {
    /// They do: what was ended elsewhere meanwhile ends when the store is back, or with its JWT.
    FailOpen,
    /// They do not: every request of a session is answered with 503 until it is known.
    FailClosed,
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
    pub activity: Seal<ActivityCookie>,
    /// The ID token for logout.
    pub hint: Seal<HintCookie>,
    /// A login attempt.
    pub attempt: Seal<AttemptCookie>,
    /// `state`.
    pub state: Seal<StateParameter>,
    /// What the store keeps.
    pub stored: Seal<StoredGrant>,
    /// What native apps hold in place of an access token.
    pub native_access: Seal<NativeAccess>,
    /// What native apps hold in place of a refresh token.
    pub native_refresh: Seal<NativeRefresh>,
    /// A device that is known.
    pub device: Seal<DeviceToken>,
    /// Who was signed in last.
    pub user: Seal<LastUserCookie>,
    /// A form that waits for its sender.
    pub form: Seal<StoredPost>,
    /// An operator's order.
    pub order: Seal<SealedRevocationCommand>,
    /// What replicas tell each other.
    pub word: Seal<SealedRevocationEvent>,
    /// A nonce for proofs of possession.
    pub nonce: Seal<NonceField>,
}

impl AppAuth {
    /// An app that seals with `ring`.
    pub fn new(
        app: Arc<App>,
        provider: Arc<Provider>,
        client: ClientSettings,
        settings: AuthSettings,
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
            activity: Seal::new(Arc::clone(ring), &binding),
            hint: Seal::new(Arc::clone(ring), &binding),
            attempt: Seal::new(Arc::clone(ring), &binding),
            state: Seal::new(Arc::clone(ring), &binding),
            stored: Seal::new(Arc::clone(ring), &binding),
            native_access: Seal::new(Arc::clone(ring), &binding),
            native_refresh: Seal::new(Arc::clone(ring), &binding),
            device: Seal::new(Arc::clone(ring), &binding),
            user: Seal::new(Arc::clone(ring), &binding),
            form: Seal::new(Arc::clone(ring), &binding),
            order: Seal::new(Arc::clone(ring), &binding),
            word: Seal::new(Arc::clone(ring), &binding),
            nonce: Seal::new(Arc::clone(ring), &binding),
        };
        let revocations = Revocations::new(max_revoked);
        Self {
            app,
            provider,
            client,
            settings,
            seals,
            revocations,
            bearer: None,
        }
    }

    /// The same app, which takes access tokens.
    #[must_use]
    pub fn taking_tokens(self, bearer: BearerAuth) -> Self {
        Self {
            bearer: Some(bearer),
            ..self
        }
    }
}
