//! Authentication by the sealed access token of a native app, with a refresh in the same request if
//! the app allows it.

use std::sync::Arc;

use super::dpop::{DpopRejection, KeyBinding, check_possession};
use super::refresh::NativeRefresh;
use super::tokens::hand_over;
use super::{NativeFailure, NativeTokens};
use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::{DpopTarget, DpopVerifier};
use crate::auth::context::Context;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session::authentication::{Authentication, SessionUpdate};
use crate::auth::session::cache::SessionCache;
use crate::auth::session::key_rotation::KeyRotation;
use crate::auth::session::open::{OpenedSession, SessionOpener};
use crate::auth::session::writer::SessionWriter;
use crate::auth::session_validity::{SessionValidity, key_of_jwt};
use crate::policy::decide::Caller;
use crate::policy::native::{Native, NativeCredentials};
use crate::policy::route::{AppRef, ResumeMode};
use crate::session::native::{NativeAccess, Token, read};
use crate::session::token::{TokenError, TokenRefusal};
use crate::session::validity::{
    LiveSession, NoSessionReason, PresentedSession, SessionStatus, validate,
};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The code of a token that does not decrypt.
const UNKNOWN: &str = "unknown_token";

/// A request with a native access token.
pub(in crate::auth) struct NativeRequest<'r> {
    pub(in crate::auth) app_ref: AppRef<'r>,
    pub(in crate::auth) native: &'r Native,
    pub(in crate::auth) credentials: NativeCredentials<'r>,
    pub(in crate::auth) target: DpopTarget<'r>,
    pub(in crate::auth) mode: ResumeMode,
}

/// Authenticates requests by native access token.
pub struct NativeAuthenticator {
    pub(in crate::auth) context: Arc<Context>,
    pub(in crate::auth) replicator: RevocationReplicator,
    pub(in crate::auth) opener: Arc<SessionOpener>,
    pub(in crate::auth) key_rotation: Arc<KeyRotation>,
    pub(in crate::auth) sessions: Arc<SessionWriter>,
    pub(in crate::auth) refresh: Arc<NativeRefresh>,
    pub(in crate::auth) dpop: DpopVerifier,
}

impl NativeAuthenticator {
    /// Authenticates a request by its native access token.
    pub(in crate::auth) async fn authenticate(
        &self,
        request: NativeRequest<'_>,
        cache: &SessionCache,
    ) -> Authentication {
        let NativeRequest {
            app_ref,
            credentials,
            target,
            mode,
            ..
        } = request;
        let Some(position) = self.context.position(app_ref) else {
            return Authentication::anonymous();
        };
        let Some(app) = &self.context.app(app_ref) else {
            return Authentication::anonymous();
        };
        let now = self.context.now();
        let token = credentials.access_token;
        let sealed = token.strip_prefix(NativeAccess::PREFIX).unwrap_or_default();
        let seal = &app.seals.native_access;
        let opened = self
            .opener
            .open(app, position, seal, sealed.as_bytes(), cache, now);
        let Some(OpenedSession { cached, is_new }) = opened else {
            return rejected(credentials, UNKNOWN);
        };
        let (session, key_age) = (Arc::clone(&cached.session), cached.key_age);
        let bound_to = session.bound_to.clone();
        if bound_to.is_some() && mode == ResumeMode::ReadOnly {
            // Public paths do not verify proofs.
            return Authentication::anonymous();
        }
        let sid = session.sid.clone();
        let identity = Arc::clone(&session.identity);
        let status = validate(
            // The idle timeout applies at the refresh only.
            PresentedSession::used_now(session, now),
            now,
            &app.app.limits,
            &SessionValidity::of_sessions(app),
        );
        if matches!(
            status,
            SessionStatus::Live(_) | SessionStatus::None(NoSessionReason::Expired)
        ) {
            let owner = &identity.subject;
            let binding = bound_to.as_ref().map(|key| KeyBinding { key, owner });
            let checked = check_possession(&self.dpop, app, binding, credentials, target);
            match checked.await {
                Ok(()) => {}
                Err(DpopRejection::Rejected { refusal, nonce }) => {
                    return Authentication {
                        nonce,
                        ..Authentication::rejected(refusal)
                    };
                }
                Err(DpopRejection::Unavailable(outage)) => {
                    return Authentication::unavailable(outage);
                }
            }
        }
        let authentication = match status {
            SessionStatus::Live(live) => self.live(app, live, credentials, mode),
            SessionStatus::None(NoSessionReason::Expired) => {
                self.expired(app, &sid, &request).await
            }
            SessionStatus::None(why) => rejected(credentials, why.code()),
            SessionStatus::NeedsRefresh(..) => {
                rejected(credentials, NoSessionReason::Expired.code())
            }
        };
        if let Ok(Caller::NativeSession(live)) = &authentication.caller {
            self.key_rotation.record(app, live.session(), key_age, now);
        }
        Authentication {
            at: now,
            is_first_use: is_new,
            ..authentication
        }
    }

    fn live(
        &self,
        app: &AppAuth,
        live: LiveSession,
        credentials: NativeCredentials<'_>,
        mode: ResumeMode,
    ) -> Authentication {
        match self.replicator.require_synced(app) {
            Ok(()) => Authentication::new(Ok(Caller::NativeSession(live)), SessionUpdate::Nothing),
            Err(_) if mode == ResumeMode::ReadOnly => {
                rejected(credentials, NoSessionReason::RevocationsUnknown.code())
            }
            Err(outage) => Authentication::unavailable(outage),
        }
    }

    /// Refreshes an expired session in the same request, if the app allows it.
    async fn expired(
        &self,
        app: &Arc<AppAuth>,
        sid: &SessionId,
        request: &NativeRequest<'_>,
    ) -> Authentication {
        let credentials = request.credentials;
        let may_refresh = request.native.inline_refresh && request.mode == ResumeMode::Refresh;
        let refresh_token = credentials.refresh_token.filter(|_| may_refresh);
        let Some(refresh_token) = refresh_token else {
            return rejected(credentials, NoSessionReason::Expired.code());
        };
        let native = read(&app.seals.native_refresh, refresh_token);
        let Some(native) = native.filter(|native| native.refresh.sid == *sid) else {
            return rejected(credentials, UNKNOWN);
        };
        let scope = native.scope.clone();
        match self.refresh.renew(app, native).await {
            Ok(grant) => match app.session_of(&grant.jwt) {
                Some(session) => {
                    let now = self.context.now();
                    let live = LiveSession::just_verified(Arc::new(session), now, app.app.limits);
                    Authentication::new(
                        Ok(Caller::NativeSession(live)),
                        SessionUpdate::ReturnTokens(grant, scope),
                    )
                }
                None => rejected(credentials, UNKNOWN),
            },
            Err(NativeFailure::Unavailable(outage)) => Authentication::unavailable(outage),
            Err(NativeFailure::SessionOver(why)) => rejected(credentials, why.code()),
            Err(
                NativeFailure::UnknownToken
                | NativeFailure::Throttled(..)
                | NativeFailure::Refused(_)
                | NativeFailure::DpopRejection(..)
                | NativeFailure::Scope
                | NativeFailure::Provider(_)
                | NativeFailure::TokenTooLarge(..)
                | NativeFailure::TooLarge(_),
            ) => rejected(credentials, UNKNOWN),
        }
    }

    /// The tokens that a response carries, decided when its head is written: none if a newer
    /// generation exists or the session was revoked.
    pub fn token_headers(
        &self,
        app_ref: AppRef<'_>,
        update: &SessionUpdate,
        authenticated_at: Timestamp,
    ) -> Option<NativeTokens> {
        let SessionUpdate::ReturnTokens(grant, scope) = update else {
            return None;
        };
        let app = &self.context.app(app_ref)?;
        let native = app_ref.app.native.as_ref()?;
        let revoked = app.revocations.snapshot();
        if self.sessions.is_superseded(grant, authenticated_at)
            || revoked.contains(key_of_jwt(&grant.jwt))
        {
            return None;
        }
        let now = self.context.now();
        hand_over(app, native.tokens, grant, scope.clone(), now)
            .inspect_err(|error| {
                tracing::error!(app = %app.app.name, session = %grant.jwt.sid.log_name(), %error, "refreshed_session_write_failed");
            })
            .ok()
    }
}

fn rejected(credentials: NativeCredentials<'_>, code: &'static str) -> Authentication {
    Authentication::rejected(TokenRefusal {
        code,
        error: TokenError::InvalidToken,
        scheme: credentials.scheme,
    })
}
