//! New tokens for a refresh token (RFC 6749 section 6), by the same machinery that refreshes cookies.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::app::AppAuth;
use super::super::possession::NotProven;
use super::super::refresh::Refreshed;
use super::super::resume::{World, whose};
use super::super::{Auth, grant};
use super::admit::Tried;
use super::login::{of_grant_error, of_token_error};
use super::tokens::{check_scope_at_refresh, hand_over};
use super::{LOGIN_PATIENCE, NativeEnd, NativeFailure, Proving};
use crate::oidc::token::{TokenAnswer, TokenError};
use crate::policy::native::{Native, Tokens};
use crate::policy::native_request::RefreshRequest;
use crate::policy::route::Place;
use crate::session::assess::{Presented, Session, Standing, Why, assess};
use crate::session::grant::{Grant, Seen};
use crate::session::native::{NativeGrant, read};
use crate::types::oauth::RefreshToken;

impl Auth {
    /// Refreshes with the token of `asked`, which came from `address`.
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn native_refresh(
        self: &Arc<Self>,
        place: Place<'_>,
        native: &Native,
        asked: RefreshRequest,
        address: Option<IpAddr>,
        proving: Proving<'_>,
    ) -> Result<NativeEnd, NativeFailure> {
        let app = self
            .app(place.index)
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
                    let proven = proven.ok_or(NativeFailure::Unproven(NotProven::Missing, None))?;
                    if proven != *key {
                        return Err(NativeFailure::Unproven(NotProven::OtherKey, None));
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
        Ok(NativeEnd::Tokens(hand_over(
            app,
            native.tokens,
            &grant,
            scope,
            self.now(),
        )?))
    }

    /// The next tokens of the session of `held`, if it goes on.
    pub(super) async fn renew_native(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        held: NativeGrant,
    ) -> Result<Arc<Grant>, NativeFailure> {
        let seen = Seen {
            sid: held.refresh.sid.clone(),
            generation: held.refresh.generation,
            last_activity: held.last_activity(),
        };
        let session =
            Session::of(&held.jwt, &app.app.headers).ok_or(NativeFailure::UnknownToken)?;
        let presented = Presented {
            jwt: Some(Arc::new(session)),
            refresh: Some(held.refresh.clone()),
            seen: Some(seen),
            unreadable: false,
        };
        match assess(presented, self.now(), &app.app.limits, &World::now(app)) {
            Standing::None(why) => return Err(NativeFailure::SessionOver(why)),
            // Asked for is asked for, however long the JWT lives.
            Standing::Live(_) | Standing::Stale(..) => {}
        }
        self.knows_revocations(app).map_err(NativeFailure::Outage)?;
        match self.refresh(app, held.refresh, Some(held.jwt)).wait().await {
            // As of now: the wait was long enough for a logout.
            Refreshed::Renewed(grant) if app.revocations.snapshot().contains(whose(&grant.jwt)) => {
                Err(NativeFailure::SessionOver(Why::Revoked))
            }
            Refreshed::Renewed(grant) => Ok(grant),
            Refreshed::Ended(why) => Err(NativeFailure::SessionOver(why)),
            Refreshed::Outage(outage) => Err(NativeFailure::Outage(outage)),
        }
    }

    /// The provider's own token, of which we know nothing: the provider alone can tell whether it was used before.
    async fn refresh_plain(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        native: &Native,
        token: RefreshToken,
        address: Option<IpAddr>,
    ) -> Result<(Grant, String), NativeFailure> {
        let (auth, app, throttle) = (Arc::clone(self), Arc::clone(app), native.throttle);
        let task = async move {
            let tried = Tried::Unnamed(address);
            auth.admit(&app, throttle, &tried).await?;
            let answer = match app.provider.refresh(&app.client, &token).await {
                Ok(answer) => answer,
                Err(TokenError::Refused { .. }) => {
                    return Err(NativeFailure::SessionOver(Why::RefreshRefused));
                }
                Err(error) => {
                    auth.discount(&app, throttle, &tried).await;
                    return Err(of_token_error(&error));
                }
            };
            auth.discount(&app, throttle, &tried).await;
            let scope = answer
                .scope
                .clone()
                .unwrap_or_else(|| app.client.scopes.join(" "));
            let kept = answer.refresh_token.is_none().then_some(token);
            let answer = TokenAnswer {
                refresh_token: answer.refresh_token.or(kept),
                ..answer
            };
            let grant = grant::of_login(&app, answer, None, auth.now()).await;
            Ok((grant.map_err(|error| of_grant_error(&app, &error))?, scope))
        };
        self.passwords
            .run(LOGIN_PATIENCE, task)
            .await
            .unwrap_or_else(|error| Err(NativeFailure::Outage(error.into())))
    }
}
