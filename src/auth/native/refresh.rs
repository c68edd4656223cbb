//! Token refresh of native apps (RFC 6749 section 6), by the same single-flight refresh as for
//! cookies.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::DpopError;
use crate::auth::native::login::{of_grant_error, of_token_error};
use crate::auth::native::throttle::ThrottleKey;
use crate::auth::native::tokens::{check_scope_at_refresh, hand_over};
use crate::auth::native::{LOGIN_TIMEOUT, NativeFailure, NativeOutcome, Proving};
use crate::auth::refresh::single_flight::Refreshed;
use crate::auth::session::authenticate::{SessionValidity, session_key_ref};
use crate::auth::{Auth, refresh::tokens};
use crate::oidc::token::{TokenError, TokenResponse};
use crate::policy::native::{Native, Tokens};
use crate::policy::native_request::RefreshRequest;
use crate::policy::route::AppRef;
use crate::session::grant::{Grant, LastActivity};
use crate::session::native::{NativeGrant, read};
use crate::session::validity::{
    NoSessionReason, PresentedSession, Session, SessionStatus, validate,
};
use crate::types::oauth::RefreshToken;

impl Auth {
    /// Refreshes the token in `asked` for a client at `address`.
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn native_refresh(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        native: &Native,
        asked: RefreshRequest,
        address: Option<IpAddr>,
        proving: Proving<'_>,
    ) -> Result<NativeOutcome, NativeFailure> {
        let app = self
            .app(app_ref.index)
            .ok_or(NativeFailure::Provider("internal_error"))?;
        let RefreshRequest {
            refresh_token,
            scope: wanted,
        } = asked;
        let (grant, scope) = match native.tokens {
            Tokens::Sealed => {
                let held = read(&app.seals.native_refresh, &refresh_token)
                    .ok_or(NativeFailure::UnknownToken)?;
                check_scope_at_refresh(&held.scope, wanted.as_deref())?;
                if let Some(key) = &held.jwt.bound_to {
                    let proven = self.proven_key(app, proving).await?;
                    let proven =
                        proven.ok_or(NativeFailure::DpopRejection(DpopError::Missing, None))?;
                    if proven != *key {
                        return Err(NativeFailure::DpopRejection(DpopError::OtherKey, None));
                    }
                }
                let scope = held.scope.clone();
                (self.renew_native(app, held).await?, scope)
            }
            Tokens::Plain => {
                let token = RefreshToken::new(refresh_token.as_str());
                let (grant, scope) = self.refresh_plain(app, native, token, address).await?;
                (Arc::new(grant), scope)
            }
        };
        Ok(NativeOutcome::Tokens(hand_over(
            app,
            native.tokens,
            &grant,
            scope,
            self.now(),
        )?))
    }

    /// The next tokens of the session of `held`.
    pub(in crate::auth) async fn renew_native(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        held: NativeGrant,
    ) -> Result<Arc<Grant>, NativeFailure> {
        let activity = LastActivity {
            sid: held.refresh.sid.clone(),
            generation: held.refresh.generation,
            last_activity: held.last_activity(),
        };
        let session =
            Session::of(&held.jwt, &app.app.headers).ok_or(NativeFailure::UnknownToken)?;
        let presented = PresentedSession {
            jwt: Some(Arc::new(session)),
            refresh: Some(held.refresh.clone()),
            activity: Some(activity),
            unreadable: false,
        };
        match validate(
            presented,
            self.now(),
            &app.app.limits,
            &SessionValidity::now(app),
        ) {
            SessionStatus::None(why) => return Err(NativeFailure::SessionOver(why)),
            // An explicit refresh is done even if the JWT is still valid.
            SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..) => {}
        }
        self.require_synced(app)
            .map_err(NativeFailure::Unavailable)?;
        match self.refresh(app, held.refresh, Some(held.jwt)).wait().await {
            // Checked again: a logout may have come during the refresh.
            Refreshed::Renewed(grant)
                if app
                    .revocations
                    .snapshot()
                    .contains(session_key_ref(&grant.jwt)) =>
            {
                Err(NativeFailure::SessionOver(NoSessionReason::Revoked))
            }
            Refreshed::Renewed(grant) => Ok(grant),
            Refreshed::Revocation(why) => Err(NativeFailure::SessionOver(why)),
            Refreshed::Unavailable(outage) => Err(NativeFailure::Unavailable(outage)),
        }
    }

    /// Refreshes a plain provider token. Only the provider can detect its reuse.
    async fn refresh_plain(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        native: &Native,
        token: RefreshToken,
        address: Option<IpAddr>,
    ) -> Result<(Grant, String), NativeFailure> {
        let (auth, app, throttle) = (Arc::clone(self), Arc::clone(app), native.throttle);
        let task = async move {
            let tried = ThrottleKey::Unnamed(address);
            auth.check_and_count(&app, throttle, &tried).await?;
            let answer = match app.provider.refresh(&app.client, &token).await {
                Ok(answer) => answer,
                Err(TokenError::Refused { .. }) => {
                    return Err(NativeFailure::SessionOver(NoSessionReason::RefreshRefused));
                }
                Err(error) => {
                    auth.refund(&app, throttle, &tried).await;
                    return Err(of_token_error(&error));
                }
            };
            auth.refund(&app, throttle, &tried).await;
            let scope = answer
                .scope
                .clone()
                .unwrap_or_else(|| app.client.scopes.join(" "));
            let kept = answer.refresh_token.is_none().then_some(token);
            let answer = TokenResponse {
                refresh_token: answer.refresh_token.or(kept),
                ..answer
            };
            let grant = tokens::of_login(&app, answer, None, auth.now()).await;
            Ok((grant.map_err(|error| of_grant_error(&app, &error))?, scope))
        };
        self.password_tasks
            .run(LOGIN_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| Err(NativeFailure::Unavailable(error.into())))
    }
}
