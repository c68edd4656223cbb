//! Events of the flows, for logs and metrics.

use std::time::Duration;

use super::app::AppAuth;

/// Receives events for logs and metrics.
pub trait Observer: Send + Sync {
    /// A flow at `app` ended. `outcome` is a stable code.
    fn record_event(&self, app: &AppAuth, event: Event, outcome: &'static str);

    /// Whether all published revocations are known here changed to `known`.
    fn revocations_synced(&self, known: bool);

    /// A published revocation could not be decrypted or parsed.
    fn revocation_event_invalid(&self);

    /// The store was found to have lost data.
    fn store_data_lost(&self);

    /// The store has no rotation state of a session at `app` that was refreshed before.
    fn rotation_state_missing(&self, app: &AppAuth);

    /// The number of live sessions that were last seen under a decryption-only key changed.
    fn sessions_on_previous_keys(&self, count: usize);

    /// A login at `app` took this time from its start until the session.
    fn login_took(&self, app: &AppAuth, duration: Duration);

    /// The session cookies at `app` take `bytes` of a request, including cookies that are too large
    /// to set.
    fn observe_cookie_size(&self, app: &AppAuth, bytes: usize);
}

/// What an [`Observer`] is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A user was redirected to the provider.
    LoginStarted,
    /// A callback was handled.
    LoginFinished,
    /// A native app sent a user name and a password.
    PasswordLogin,
    /// A refresh token was used.
    Refresh,
    /// A user logged out.
    Logout,
    /// The provider or an operator revoked sessions.
    Revocation,
    /// A refresh token was used again after it was replaced.
    RefreshTokenReuse,
    /// The provider introspected an opaque token.
    Introspection,
    /// The logout at the app itself ended.
    AppLogout,
    /// A POST without a session was preserved, or replayed after the login.
    PostReplay,
}

impl Event {
    /// The stable code for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoginStarted => "login_started",
            Self::LoginFinished => "login_finished",
            Self::PasswordLogin => "password_login",
            Self::Refresh => "refresh",
            Self::Logout => "logout",
            Self::Revocation => "revocation",
            Self::RefreshTokenReuse => "refresh_token_reuse",
            Self::Introspection => "introspection",
            Self::AppLogout => "app_logout",
            Self::PostReplay => "post_replay",
        }
    }
}
