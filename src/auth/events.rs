//! Events of the flows, for logs and metrics.

use std::time::Duration;

use super::app::AppAuth;
use crate::identity::claims::Claims;
use crate::policy::decide::Caller;
use crate::session::jwt::SessionJwt;
use crate::session::validity::Session;
use crate::store::Revocation;
use crate::types::oauth::{SessionId, Subject};

/// Receives events for logs and metrics.
pub trait Observer: Send + Sync {
    /// A flow at `app` ended. `outcome` is a stable code. `session` is what the flow was about.
    fn record_event(
        &self,
        app: &AppAuth,
        event: Event,
        outcome: &'static str,
        session: &EventSession,
    );

    /// A session at `app` started.
    fn session_started(&self, app: &AppAuth, jwt: &SessionJwt);

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

    /// A session is not in the list, which is full or has too many of its user.
    fn session_not_listed(&self);

    /// A login at `app` took this time from its start until the session.
    fn login_took(&self, app: &AppAuth, duration: Duration);

    /// The session cookies at `app` take `bytes` of a request, including cookies that are too large
    /// to set.
    fn observe_cookie_size(&self, app: &AppAuth, bytes: usize);
}

/// The events that an [`Observer`] records.
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
    /// A refresh token was used, and the session did not continue.
    RefreshRefused,
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
    /// A session was offered a device registration, or one ended.
    DeviceRegistration,
    /// A browser renewed the proof of a device-bound session, or was asked to sign first.
    DeviceProof,
    /// A device-bound session is used in a network in which its device has signed nothing.
    DeviceNetworkChange,
    /// A proof of a device-bound session was refused.
    DeviceProofRefused,
    /// A request of a session came from another client than its login, or the user of another client
    /// logged in again.
    ClientChanged,
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
            Self::RefreshRefused => "refresh_refused",
            Self::Logout => "logout",
            Self::Revocation => "revocation",
            Self::RefreshTokenReuse => "refresh_token_reuse",
            Self::Introspection => "introspection",
            Self::AppLogout => "app_logout",
            Self::DeviceRegistration => "device_registration",
            Self::DeviceProof => "device_proof",
            Self::DeviceNetworkChange => "device_network_change",
            Self::DeviceProofRefused => "device_proof_refused",
            Self::ClientChanged => "client_changed",
            Self::PostReplay => "post_replay",
        }
    }

    /// Whether the event is part of the audit log: a login, the end of a session, or a sign of theft.
    pub const fn is_audited(self) -> bool {
        match self {
            Self::LoginFinished
            | Self::PasswordLogin
            | Self::RefreshRefused
            | Self::Logout
            | Self::Revocation
            | Self::RefreshTokenReuse
            | Self::DeviceNetworkChange
            | Self::DeviceProofRefused
            | Self::ClientChanged => true,
            Self::LoginStarted
            | Self::Refresh
            | Self::Introspection
            | Self::AppLogout
            | Self::DeviceRegistration
            | Self::DeviceProof
            | Self::PostReplay => false,
        }
    }
}

/// The session and the user that an event is about, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct EventSession {
    /// Doorward's session ID.
    pub sid: Option<SessionId>,
    /// `sub`.
    pub subject: Option<Subject>,
    /// The user's claims.
    pub claims: Option<Claims>,
}

impl EventSession {
    /// All sessions of a user, or one that is not known.
    pub(in crate::auth) fn of_user(subject: Option<&Subject>) -> Self {
        Self {
            subject: subject.cloned(),
            ..Self::default()
        }
    }
}

impl From<&SessionJwt> for EventSession {
    fn from(jwt: &SessionJwt) -> Self {
        Self {
            sid: Some(jwt.sid.clone()),
            subject: Some(jwt.subject.clone()),
            claims: jwt.claims(),
        }
    }
}

impl From<&Session> for EventSession {
    fn from(session: &Session) -> Self {
        Self {
            sid: Some(session.sid.clone()),
            subject: Some(session.identity.subject.clone()),
            claims: Some(session.identity.claims.clone()),
        }
    }
}

impl From<&Caller> for EventSession {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Authenticated(live) | Caller::NativeSession(live) | Caller::Basic(live) => {
                Self::from(&**live.session())
            }
            Caller::Anonymous(_) | Caller::Bearer(_) => Self::default(),
        }
    }
}

impl From<&Revocation> for EventSession {
    fn from(revocation: &Revocation) -> Self {
        match revocation {
            Revocation::Session(sid, subject) => Self {
                sid: Some(sid.clone()),
                // An operator names the session only.
                subject: Some(subject.clone()).filter(|subject| !subject.as_str().is_empty()),
                claims: None,
            },
            Revocation::User(subject, _) => Self::of_user(Some(subject)),
            Revocation::Provider(named) => {
                Self::of_user(named.user.as_ref().map(|user| &user.subject))
            }
            Revocation::ProviderSession(_) | Revocation::Everyone(_) => Self::default(),
        }
    }
}
