//! Authentication by the sealed access token of a native app, with a refresh in the same request if
//! the app allows it.

use std::sync::Arc;

use crate::auth::Auth;
use crate::auth::app::AppAuth;
use crate::auth::native::dpop::DpopRejection;
use crate::auth::native::tokens::hand_over;
use crate::auth::native::{NativeFailure, NativeTokens, Proving};
use crate::auth::session::authenticate::{
    Authentication, SessionCache, SessionUpdate, SessionValidity, session_key_ref,
};
use crate::policy::decide::Caller;
use crate::policy::native::{Native, NativeCredentials};
use crate::policy::route::{AppRef, ResumeMode};
use crate::session::grant::LastActivity;
use crate::session::native::{NativeAccess, Token, read};
use crate::session::token::{TokenError, TokenRefusal};
use crate::session::validity::{
    LiveSession, NoSessionReason, PresentedSession, Session, SessionStatus, validate,
};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The code of a token that does not decrypt.
const UNKNOWN: &str = "unknown_token";

impl Auth {
    /// Authenticates a request by a native access token.
    pub(in crate::auth) async fn resume_native(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        native: &Native,
        (shown, proving): (NativeCredentials<'_>, Proving<'_>),
        effort: ResumeMode,
        cache: &SessionCache,
    ) -> Authentication {
        let Some(app) = self.app(app_ref.index) else {
            return Authentication::anonymous();
        };
        let now = self.now();
        let sealed = shown
            .access_token
            .strip_prefix(NativeAccess::PREFIX)
            .unwrap_or_default();
        let opened = self.session_of(
            app,
            app_ref.index,
            (&app.seals.native_access, sealed),
            cache,
            now,
        );
        let Some((session, key_age)) = opened else {
            return refused(shown, UNKNOWN);
        };
        if session.bound_to.is_some() && effort == ResumeMode::ReadOnly {
            // Public paths do not verify proofs.
            return Authentication::anonymous();
        }
        let bound_to = session.bound_to.clone();
        // Native tokens have no activity cookie: the idle timeout applies at their refresh only.
        let (sid, generation) = (session.sid.clone(), session.generation);
        let activity = Some(LastActivity {
            sid: sid.clone(),
            generation,
            last_activity: now,
        });
        let presented = PresentedSession {
            jwt: Some(session),
            refresh: None,
            activity,
            unreadable: false,
        };
        let standing = validate(presented, now, &app.app.limits, &SessionValidity::now(app));
        if matches!(
            standing,
            SessionStatus::Live(_) | SessionStatus::None(NoSessionReason::Expired)
        ) {
            match self
                .check_possession(app, bound_to.as_ref(), shown, proving)
                .await
            {
                Ok(()) => {}
                Err(DpopRejection::Refused(refusal, nonce)) => {
                    let resumed = Authentication::refused(refusal);
                    return Authentication { nonce, ..resumed };
                }
                Err(DpopRejection::Unavailable(outage)) => {
                    return Authentication::new(Err(outage), SessionUpdate::Nothing);
                }
            }
        }
        let resumed = match standing {
            SessionStatus::Live(live) => match self.require_synced(app) {
                Ok(()) => {
                    Authentication::new(Ok(Caller::NativeSession(live)), SessionUpdate::Nothing)
                }
                Err(_) if effort == ResumeMode::ReadOnly => {
                    refused(shown, NoSessionReason::RevocationsUnknown.code())
                }
                Err(outage) => Authentication::new(Err(outage), SessionUpdate::Nothing),
            },
            SessionStatus::None(NoSessionReason::Expired)
                if native.inline_refresh && effort == ResumeMode::Refresh =>
            {
                match shown.refresh_token {
                    Some(refresh_token) => {
                        self.refreshed_native(app, &sid, shown, refresh_token).await
                    }
                    None => refused(shown, NoSessionReason::Expired.code()),
                }
            }
            SessionStatus::None(why) => refused(shown, why.code()),
            SessionStatus::NeedsRefresh(..) => refused(shown, NoSessionReason::Expired.code()),
        };
        if let Ok(Caller::NativeSession(live)) = &resumed.caller {
            self.note_key(app, live.session(), key_age, now);
        }
        Authentication { at: now, ..resumed }
    }

    async fn refreshed_native(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        sid: &SessionId,
        shown: NativeCredentials<'_>,
        refresh_token: &str,
    ) -> Authentication {
        let held =
            read(&app.seals.native_refresh, refresh_token).filter(|held| held.refresh.sid == *sid);
        let Some(held) = held else {
            return refused(shown, UNKNOWN);
        };
        let scope = held.scope.clone();
        match self.renew_native(app, held).await {
            Ok(grant) => match Session::of(&grant.jwt, &app.app.headers) {
                Some(session) => {
                    let live = LiveSession::just_verified(Arc::new(session), self.now());
                    Authentication::new(
                        Ok(Caller::NativeSession(live)),
                        SessionUpdate::ReturnTokens(grant, scope),
                    )
                }
                None => refused(shown, UNKNOWN),
            },
            Err(NativeFailure::Unavailable(outage)) => {
                Authentication::new(Err(outage), SessionUpdate::Nothing)
            }
            Err(NativeFailure::SessionOver(why)) => refused(shown, why.code()),
            Err(
                NativeFailure::UnknownToken
                | NativeFailure::Throttled(..)
                | NativeFailure::Refused(_)
                | NativeFailure::DpopRejection(..)
                | NativeFailure::Scope
                | NativeFailure::Provider(_)
                | NativeFailure::TokenTooLarge(..)
                | NativeFailure::TooLarge(_),
            ) => refused(shown, UNKNOWN),
        }
    }

    /// The tokens that a response carries, decided when its head is written: none if a newer
    /// generation exists or the session was revoked.
    pub fn native_token_headers(
        &self,
        app_ref: AppRef<'_>,
        (update, at): (&SessionUpdate, Timestamp),
    ) -> Option<NativeTokens> {
        let SessionUpdate::ReturnTokens(grant, scope) = update else {
            return None;
        };
        let (app, native) = (self.app(app_ref.index)?, app_ref.app.native.as_ref()?);
        let revoked = app.revocations.snapshot();
        if self.is_superseded(grant, at) || revoked.contains(session_key_ref(&grant.jwt)) {
            return None;
        }
        let tokens = hand_over(app, native.tokens, grant, scope.clone(), self.now());
        let tokens = tokens.inspect_err(|error| {
            tracing::error!(app = %app.app.name, sid = %grant.jwt.sid, %error, "refreshed_session_write_failed");
        });
        tokens.ok()
    }
}

fn refused(shown: NativeCredentials<'_>, code: &'static str) -> Authentication {
    Authentication::refused(TokenRefusal {
        code,
        error: TokenError::InvalidToken,
        scheme: shown.scheme,
    })
}
