//! Token refresh of native apps (RFC 6749 section 6), by the same single-flight refresh as for
//! cookies.

use std::net::IpAddr;
use std::sync::Arc;

use super::dpop::{KeyBinding, check_refresh};
use super::failure::{NativeFailure, of_grant_error, of_token_error};
use super::throttle::{PasswordThrottle, ThrottleKey};
use super::tokens::{check_scope_at_refresh, hand_over};
use super::{LOGIN_TIMEOUT, NativeOutcome};
use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::{DpopTarget, DpopVerifier};
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::refresh::outcome::Refreshed;
use crate::auth::refresh::single_flight::TokenRefresher;
use crate::auth::refresh::tokens;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session::stream::StreamActivity;
use crate::auth::session_validity::{SessionValidity, key_of_jwt};
use crate::oidc::provider::BoundRefreshToken;
use crate::oidc::token::{TokenError, TokenResponse};
use crate::policy::native::{Native, Throttle, Tokens};
use crate::policy::native_request::RefreshRequest;
use crate::policy::route::AppRef;
use crate::runtime::BackgroundRuntime;
use crate::session::grant::{Grant, LastActivity};
use crate::session::native::{NativeGrant, read};
use crate::session::validity::{NoSessionReason, PresentedSession, SessionStatus, validate};
use crate::types::oauth::RefreshToken;

/// The dependencies of [`NativeRefresh`].
pub(in crate::auth) struct NativeRefreshParts {
    pub(in crate::auth) replicator: RevocationReplicator,
    pub(in crate::auth) refresher: Arc<TokenRefresher>,
    pub(in crate::auth) throttle: PasswordThrottle,
    pub(in crate::auth) dpop: DpopVerifier,
    pub(in crate::auth) tasks: BackgroundRuntime,
    pub(in crate::auth) streams: Arc<StreamActivity>,
}

/// Refreshes the tokens of native apps.
pub struct NativeRefresh {
    context: Arc<Context>,
    parts: NativeRefreshParts,
}

/// Refreshed tokens.
struct Renewed {
    grant: Arc<Grant>,
    scope: String,
}

impl NativeRefresh {
    pub(in crate::auth) const fn new(context: Arc<Context>, parts: NativeRefreshParts) -> Self {
        Self { context, parts }
    }

    /// Refreshes the token in `request` for a client at `address`.
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn refresh(
        &self,
        app_ref: AppRef<'_>,
        native: &Native,
        request: RefreshRequest,
        address: Option<IpAddr>,
        target: DpopTarget<'_>,
    ) -> Result<NativeOutcome, NativeFailure> {
        let app = self.context.app(app_ref);
        let app = &app.ok_or(NativeFailure::Provider("internal_error"))?;
        let Renewed { grant, scope } = match native.tokens {
            Tokens::Sealed => self.refresh_sealed(app, &request, target).await?,
            Tokens::Plain => {
                let token = RefreshToken::new(request.refresh_token.as_str());
                self.refresh_plain(app, native.throttle, token, address)
                    .await?
            }
        };
        let now = self.context.now();
        let tokens = hand_over(app, native.tokens, &grant, scope, now)?;
        Ok(NativeOutcome::Tokens(tokens))
    }

    async fn refresh_sealed(
        &self,
        app: &Arc<AppAuth>,
        request: &RefreshRequest,
        target: DpopTarget<'_>,
    ) -> Result<Renewed, NativeFailure> {
        let native = read(&app.seals.native_refresh, &request.refresh_token);
        let native = native.ok_or(NativeFailure::UnknownToken)?;
        check_scope_at_refresh(&native.scope, request.scope.as_deref())?;
        if let Some(key) = &native.jwt.bound_to {
            let owner = &native.refresh.subject;
            check_refresh(&self.parts.dpop, app, target, KeyBinding { key, owner }).await?;
        }
        let scope = native.scope.clone();
        let grant = self.renew(app, native).await?;
        Ok(Renewed { grant, scope })
    }

    /// The next tokens of the session of `native`.
    pub(super) async fn renew(
        &self,
        app: &Arc<AppAuth>,
        native: NativeGrant,
    ) -> Result<Arc<Grant>, NativeFailure> {
        let activity = LastActivity {
            sid: native.refresh.sid.clone(),
            generation: native.refresh.generation,
            last_activity: native.last_activity(),
        };
        let session = app.session_of(&native.jwt);
        let session = session.ok_or(NativeFailure::UnknownToken)?;
        let NativeRefreshParts {
            replicator,
            refresher,
            streams,
            ..
        } = &self.parts;
        let sid = &native.refresh.sid;
        let mut presented = PresentedSession {
            jwt: Some(Arc::new(session)),
            refresh: Some(native.refresh.clone()),
            activity: Some(activity),
            streamed: streams.last(sid),
            unreadable: false,
        };
        if presented.is_idle(self.context.now(), &app.app.limits) {
            let stored = streams.stored(app, sid).await;
            presented.streamed = stored.map_err(NativeFailure::Unavailable)?;
        }
        let validity = SessionValidity::of_sessions(app);
        match validate(presented, self.context.now(), &app.app.limits, &validity) {
            SessionStatus::None(why) => return Err(NativeFailure::SessionOver(why)),
            // An explicit refresh is done even if the JWT is still valid.
            SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..) => {}
        }
        replicator
            .require_synced(app)
            .map_err(NativeFailure::Unavailable)?;
        let refresh = refresher.refresh(app, native.refresh, Some(native.jwt));
        match refresh.wait().await.attributed(&self.context) {
            // Check again: a logout may have come during the refresh.
            Refreshed::Renewed(grant)
                if app.revocations.snapshot().contains(key_of_jwt(&grant.jwt)) =>
            {
                Err(NativeFailure::SessionOver(NoSessionReason::Revoked))
            }
            Refreshed::Renewed(grant) => Ok(grant),
            Refreshed::SessionOver(why) => Err(NativeFailure::SessionOver(why)),
            // A native app would drop its tokens on any other failure, and they may become valid
            // again. The response offers a login.
            Refreshed::Unavailable(outage) | Refreshed::LoginRequired(outage) => {
                Err(NativeFailure::Unavailable(outage))
            }
        }
    }

    /// Refreshes a plain provider token. Only the provider can detect its reuse.
    async fn refresh_plain(
        &self,
        app: &Arc<AppAuth>,
        limits: Throttle,
        token: RefreshToken,
        address: Option<IpAddr>,
    ) -> Result<Renewed, NativeFailure> {
        let (context, app) = (Arc::clone(&self.context), Arc::clone(app));
        let throttle = self.parts.throttle.clone();
        let task = async move {
            let attempt = throttle.attempt(&app, limits, ThrottleKey::Address(address));
            attempt.check_and_count(&app).await?;
            let sid = context.new_session_id().await;
            let sid = sid
                .map_err(|error| NativeFailure::Unavailable(Unavailable::of_store(error.code())))?;
            let response = match app
                .provider
                .refresh_plain(&app.client, BoundRefreshToken::unbound(&token))
                .await
            {
                Ok(response) => response,
                Err(error @ TokenError::GrantRejected { .. }) => {
                    tracing::info!(app = %app.app.name, code = error.code(), %error, url = app.provider.refresh_url(), "refresh_rejected");
                    return Err(NativeFailure::SessionOver(NoSessionReason::RefreshRefused));
                }
                Err(error) => {
                    attempt.refund(&app).await;
                    tracing::debug!(app = %app.app.name, code = error.code(), %error, url = app.provider.refresh_url(), "refresh_failed");
                    return Err(of_token_error(&error));
                }
            };
            attempt.refund(&app).await;
            let scope = response.scope.clone();
            let scope = scope.unwrap_or_else(|| app.client.scopes.join(" "));
            let response = TokenResponse {
                refresh_token: response.refresh_token.or(Some(token)),
                ..response
            };
            let grant = tokens::of_login(&app, response, None, sid, context.now()).await;
            let grant = Arc::new(grant.map_err(|error| of_grant_error(&app, &error))?);
            Ok(Renewed { grant, scope })
        };
        self.parts
            .tasks
            .run(LOGIN_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| {
                Err(NativeFailure::Unavailable(self.context.failed_task(error)))
            })
    }
}
