//! An access token of ours beside a request: who sends it, and the refresh in the same request where the app allows it.

use std::sync::Arc;

use super::super::Auth;
use super::super::app::AppAuth;
use super::super::resume::{Afterwards, Effort, Resumed, SessionCache, World, whose};
use super::bind::Unproven;
use super::tokens::hand_over;
use super::{NativeFailure, NativeTokens, Proving};
use crate::policy::decide::Caller;
use crate::policy::native::{Native, Shown};
use crate::policy::route::Place;
use crate::session::assess::{LiveSession, Presented, Session, Standing, Why, assess};
use crate::session::grant::Seen;
use crate::session::native::{NativeAccess, Token, read};
use crate::session::token::{TokenError, TokenRefusal};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The code of a token that is none of this app's.
const UNKNOWN: &str = "unknown_token";

impl Auth {
    /// Finds out who shows `shown`, a token of ours, to the app at `place`.
    pub(in super::super) async fn resume_native(
        self: &Arc<Self>,
        place: Place<'_>,
        native: &Native,
        (shown, proving): (Shown<'_>, Proving<'_>),
        effort: Effort,
        cache: &SessionCache,
    ) -> Resumed {
        let Some(app) = self.app(place.index) else {
            return Resumed::nobody_asked();
        };
        let now = self.now();
        let sealed = shown
            .access_token
            .strip_prefix(NativeAccess::PREFIX)
            .unwrap_or_default();
        let opened = self.session_of(
            app,
            place.index,
            (&app.seals.native_access, sealed),
            cache,
            now,
        );
        let Some((session, key_age)) = opened else {
            return refused(shown, UNKNOWN);
        };
        if session.bound_to.is_some() && effort == Effort::Look {
            // A proof is not worth the time.
            return Resumed::nobody_asked();
        }
        let bound_to = session.bound_to.clone();
        // Nobody notes when a token is used, so that only its end and the session's count here.
        let (sid, generation) = (session.sid.clone(), session.generation);
        let seen = Some(Seen {
            sid: sid.clone(),
            generation,
            last_activity: now,
        });
        let presented = Presented {
            jwt: Some(session),
            refresh: None,
            seen,
            unreadable: false,
        };
        let standing = assess(presented, now, &app.app.limits, &World::now(app));
        if matches!(standing, Standing::Live(_) | Standing::None(Why::Expired)) {
            match self
                .check_possession(app, bound_to.as_ref(), shown, proving)
                .await
            {
                Ok(()) => {}
                Err(Unproven::Refused(refusal, nonce)) => {
                    let resumed = Resumed::refused(refusal);
                    return Resumed { nonce, ..resumed };
                }
                Err(Unproven::Outage(outage)) => {
                    return Resumed::new(Err(outage), Afterwards::Nothing);
                }
            }
        }
        let resumed = match standing {
            Standing::Live(live) => match self.knows_revocations(app) {
                Ok(()) => Resumed::new(Ok(Caller::WithNativeToken(live)), Afterwards::Nothing),
                Err(_) if effort == Effort::Look => refused(shown, Why::RevocationsUnknown.code()),
                Err(outage) => Resumed::new(Err(outage), Afterwards::Nothing),
            },
            Standing::None(Why::Expired) if native.inline_refresh && effort == Effort::Refresh => {
                match shown.refresh_token {
                    Some(refresh_token) => {
                        self.refreshed_native(app, &sid, shown, refresh_token).await
                    }
                    None => refused(shown, Why::Expired.code()),
                }
            }
            Standing::None(why) => refused(shown, why.code()),
            Standing::Stale(..) => refused(shown, Why::Expired.code()),
        };
        if let Ok(Caller::WithNativeToken(live)) = &resumed.caller {
            self.note_key(app, live.session(), key_age, now);
        }
        Resumed { at: now, ..resumed }
    }

    async fn refreshed_native(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        sid: &SessionId,
        shown: Shown<'_>,
        refresh_token: &str,
    ) -> Resumed {
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
                    Resumed::new(
                        Ok(Caller::WithNativeToken(live)),
                        Afterwards::HandOver(grant, scope),
                    )
                }
                None => refused(shown, UNKNOWN),
            },
            Err(NativeFailure::Outage(outage)) => Resumed::new(Err(outage), Afterwards::Nothing),
            Err(NativeFailure::SessionOver(why)) => refused(shown, why.code()),
            Err(
                NativeFailure::UnknownToken
                | NativeFailure::Throttled(..)
                | NativeFailure::Refused(_)
                | NativeFailure::Unproven(..)
                | NativeFailure::Scope
                | NativeFailure::Provider(_)
                | NativeFailure::TokenTooLarge(..)
                | NativeFailure::TooLarge(_),
            ) => refused(shown, UNKNOWN),
        }
    }

    /// The tokens that an answer carries, decided when its head is written: none if there are newer ones by then, or if
    /// the session has ended.
    pub fn handed_over(
        &self,
        place: Place<'_>,
        (afterwards, at): (&Afterwards, Timestamp),
    ) -> Option<NativeTokens> {
        let Afterwards::HandOver(grant, scope) = afterwards else {
            return None;
        };
        let (app, native) = (self.app(place.index)?, place.app.native.as_ref()?);
        let revoked = app.revocations.snapshot();
        if self.is_outdated(grant, at) || revoked.contains(whose(&grant.jwt)) {
            return None;
        }
        let tokens = hand_over(app, native.tokens, grant, scope.clone(), self.now());
        let tokens = tokens.inspect_err(|error| {
            tracing::error!(app = %app.app.name, sid = %grant.jwt.sid, %error, "refreshed_session_not_written");
        });
        tokens.ok()
    }
}

fn refused(shown: Shown<'_>, code: &'static str) -> Resumed {
    Resumed::refused(TokenRefusal {
        code,
        error: TokenError::InvalidToken,
        scheme: shown.scheme,
    })
}
