//! Password login (RFC 6749 section 4.3): throttled, sent to the provider, verified like any login.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::login::callback::log_session_start;
use crate::auth::native::throttle::ThrottleKey;
use crate::auth::native::tokens::{hand_over, scope_at_login, sealed};
use crate::auth::native::{LOGIN_TIMEOUT, NativeFailure, NativeOutcome, NativeTokens, Proving};
use crate::auth::refresh::tokens::{self, GrantError};
use crate::auth::session::authenticate::session_key_ref;
use crate::auth::{Auth, Event, Unavailable, random};
use crate::oidc::password::{PasswordError, Refusal, WhyRefused};
use crate::oidc::token::TokenError;
use crate::policy::native::{Native, Tokens};
use crate::policy::native_request::{Mode, PasswordLogin};
use crate::policy::route::AppRef;
use crate::policy::throttle::account_key;
use crate::session::cookie::RequestCookies;
use crate::session::grant::Grant;
use crate::session::native::{Device, read};
use crate::session::validity::NoSessionReason;
use crate::types::oauth::{JwkThumbprint, Password};

impl Auth {
    /// Logs in with `credentials` from `address`.
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn native_login(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        native: &Native,
        credentials: PasswordLogin,
        address: Option<IpAddr>,
        request_cookies: &RequestCookies<'_>,
        proving: Proving<'_>,
    ) -> Result<NativeOutcome, NativeFailure> {
        let app = self
            .app(app_ref.index)
            .ok_or(NativeFailure::Provider("internal_error"))?;
        let end = match self.key_for(app, native, credentials.mode, proving).await {
            Ok(key) => {
                self.log_in(app, native, credentials, address, request_cookies, key)
                    .await
            }
            Err(failure) => Err(failure),
        };
        let outcome = match &end {
            Ok(NativeOutcome::Tokens(_)) => "tokens",
            Ok(NativeOutcome::Cookies { .. } | NativeOutcome::LoggedOut(_)) => "cookies",
            Err(failure) => failure.code(),
        };
        self.observer
            .record_event(app, Event::PasswordLogin, outcome);
        end
    }

    async fn log_in(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        native: &Native,
        credentials: PasswordLogin,
        address: Option<IpAddr>,
        request_cookies: &RequestCookies<'_>,
        key: Option<JwkThumbprint>,
    ) -> Result<NativeOutcome, NativeFailure> {
        let PasswordLogin {
            username,
            password,
            scope,
            device_token,
            mode,
        } = credentials;
        let scope = scope_at_login(app, scope.as_deref())?;
        let account = account_key(&username);
        let device = device_token
            .as_ref()
            .and_then(|token| read(&app.seals.device, token));
        let device = device
            .filter(|device| device.is_known_for(&account, self.now()))
            .map(|device| device.id);
        let tried = match &device {
            Some(device) => ThrottleKey::KnownDevice(device.clone()),
            None => ThrottleKey::Account(account.clone(), address),
        };
        let (auth, task_app, throttle) = (Arc::clone(self), Arc::clone(app), native.throttle);
        let task = async move {
            auth.check_and_count(&task_app, throttle, &tried).await?;
            let asked = auth.ask(&task_app, &username, &password, &scope).await;
            drop(password);
            match &asked {
                Ok(_) => auth.reset(&task_app, throttle, &tried).await,
                Err(NativeFailure::Refused(_)) => {}
                Err(_) => auth.refund(&task_app, throttle, &tried).await,
            }
            asked
        };
        // Runs to its end even if the client disconnects: an attempt that the provider counts is
        // counted here too.
        let (mut grant, scope) = self
            .password_tasks
            .run(LOGIN_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| Err(NativeFailure::Unavailable(error.into())))?;
        let now = self.now();
        if app
            .revocations
            .snapshot()
            .contains(session_key_ref(&grant.jwt))
        {
            return Err(NativeFailure::SessionOver(NoSessionReason::Revoked));
        }
        grant.jwt.bound_to = key;
        let id = device
            .map_or_else(random::random_id, Ok)
            .map_err(|_| NativeFailure::Provider("internal_error"))?;
        let device = Device {
            id,
            account,
            issued_at: now,
        };
        let device_token = sealed(&app.seals.device, &device, "device token")?;
        match mode {
            Mode::Cookies => {
                let set_cookies = self
                    .replace_session(app, &grant, request_cookies)?
                    .set_cookies;
                Ok(NativeOutcome::Cookies {
                    set_cookies,
                    lasts: app.app.limits.absolute,
                    device_token,
                })
            }
            Mode::Tokens => {
                let tokens = hand_over(app, native.tokens, &grant, scope, now)?;
                log_session_start(app, &grant);
                Ok(NativeOutcome::Tokens(NativeTokens {
                    device_token: Some(device_token),
                    ..tokens
                }))
            }
        }
    }

    /// The key that new tokens are bound to. Cookies and plain provider tokens are not bound.
    async fn key_for(
        self: &Arc<Self>,
        app: &AppAuth,
        native: &Native,
        mode: Mode,
        proving: Proving<'_>,
    ) -> Result<Option<JwkThumbprint>, NativeFailure> {
        match (mode, native.tokens) {
            (Mode::Tokens, Tokens::Sealed) => self.proven_key(app, proving).await,
            (Mode::Cookies, _) | (_, Tokens::Plain) => Ok(None),
        }
    }

    /// Calls the provider and verifies its tokens. Returns the grant and its scope.
    async fn ask(
        &self,
        app: &AppAuth,
        username: &str,
        password: &Password,
        scope: &str,
    ) -> Result<(Grant, String), NativeFailure> {
        let answer = app
            .provider
            .password_grant(&app.client, username, password, scope)
            .await;
        let answer = answer.map_err(|error| match error {
            PasswordError::Refused(refusal) => NativeFailure::Refused(refusal),
            PasswordError::Failed(error) => {
                tracing::warn!(app = %app.app.name, code = error.code(), %error, "password_grant_failed");
                of_token_error(&error)
            }
        })?;
        let granted = answer.scope.clone().unwrap_or_else(|| scope.to_owned());
        let grant = tokens::of_login(app, answer, None, self.now()).await;
        let grant = grant.map_err(|error| of_grant_error(app, &error))?;
        Ok((grant, granted))
    }
}

/// The failure that a token endpoint error means for a native app.
pub(in crate::auth) fn of_token_error(error: &TokenError) -> NativeFailure {
    match error {
        TokenError::ClientRejected { .. }
        | TokenError::BadResponse(_)
        | TokenError::Refused { .. } => NativeFailure::Provider(error.code()),
        TokenError::Unavailable { .. }
        | TokenError::Unreachable(_)
        | TokenError::TargetError(_) => NativeFailure::Unavailable(Unavailable::new(error.code())),
    }
}

pub(in crate::auth) fn of_grant_error(app: &AppAuth, error: &GrantError) -> NativeFailure {
    tracing::warn!(app = %app.app.name, code = error.code(), %error, "native_tokens_rejected");
    if error.is_outage() {
        NativeFailure::Unavailable(Unavailable::new(error.code()))
    } else if matches!(error, GrantError::NotRegistered) {
        let (why, go_on_with) = (WhyRefused::RegistrationRequired, serde_json::Map::new());
        NativeFailure::Refused(Refusal { why, go_on_with })
    } else {
        NativeFailure::Provider(error.code())
    }
}
