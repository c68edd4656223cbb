//! A login with a password (RFC 6749 section 4.3): counted, sent to the provider, verified like any login.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::app::AppAuth;
use super::super::grant::{self, GrantError};
use super::super::login_finish::note_beginning;
use super::super::resume::whose;
use super::super::{Auth, Event, Outage, entropy};
use super::admit::Tried;
use super::tokens::{hand_over, scope_at_login, sealed};
use super::{LOGIN_PATIENCE, NativeEnd, NativeFailure, NativeTokens, Proving};
use crate::oidc::password::{PasswordError, Refusal, WhyRefused};
use crate::oidc::token::TokenError;
use crate::policy::native::{Native, Tokens};
use crate::policy::native_request::{Credentials, Mode};
use crate::policy::route::Place;
use crate::policy::throttle::account_key;
use crate::session::assess::Why;
use crate::session::cookie::RequestCookies;
use crate::session::grant::Grant;
use crate::session::native::{Device, read};
use crate::types::oauth::{JwkThumbprint, Password};

impl Auth {
    /// Logs in with `credentials`, which came from `address`.
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn native_login(
        self: &Arc<Self>,
        place: Place<'_>,
        native: &Native,
        credentials: Credentials,
        address: Option<IpAddr>,
        came: &RequestCookies<'_>,
        proving: Proving<'_>,
    ) -> Result<NativeEnd, NativeFailure> {
        let app = self
            .app(place.index)
            .ok_or(NativeFailure::Provider("internal_error"))?;
        let end = match self.key_for(app, native, credentials.mode, proving).await {
            Ok(key) => {
                self.log_in(app, native, credentials, address, came, key)
                    .await
            }
            Err(failure) => Err(failure),
        };
        let outcome = match &end {
            Ok(NativeEnd::Tokens(_)) => "tokens",
            Ok(NativeEnd::Cookies { .. } | NativeEnd::LoggedOut(_)) => "cookies",
            Err(failure) => failure.code(),
        };
        self.observer.happened(app, Event::PasswordLogin, outcome);
        end
    }

    async fn log_in(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        native: &Native,
        credentials: Credentials,
        address: Option<IpAddr>,
        came: &RequestCookies<'_>,
        key: Option<JwkThumbprint>,
    ) -> Result<NativeEnd, NativeFailure> {
        let Credentials {
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
            Some(device) => Tried::KnownDevice(device.clone()),
            None => Tried::Account(account.clone(), address),
        };
        let (auth, task_app, throttle) = (Arc::clone(self), Arc::clone(app), native.throttle);
        let task = async move {
            auth.admit(&task_app, throttle, &tried).await?;
            let asked = auth.ask(&task_app, &username, &password, &scope).await;
            drop(password);
            match &asked {
                Ok(_) => auth.forgive(&task_app, throttle, &tried).await,
                Err(NativeFailure::Refused(_)) => {}
                Err(_) => auth.discount(&task_app, throttle, &tried).await,
            }
            asked
        };
        // To its end whoever waits: what the provider counts, we count.
        let (mut grant, scope) = self
            .passwords
            .run(LOGIN_PATIENCE, task)
            .await
            .unwrap_or_else(|error| Err(NativeFailure::Outage(error.into())))?;
        let now = self.now();
        if app.revocations.snapshot().contains(whose(&grant.jwt)) {
            return Err(NativeFailure::SessionOver(Why::Revoked));
        }
        grant.jwt.bound_to = key;
        let id = device
            .map_or_else(entropy::name, Ok)
            .map_err(|_| NativeFailure::Provider("internal_error"))?;
        let device = Device {
            id,
            account,
            issued_at: now,
        };
        let device_token = sealed(&app.seals.device, &device, "device token")?;
        match mode {
            Mode::Cookies => {
                let lines = self.put_in_place(app, &grant, came)?.lines;
                Ok(NativeEnd::Cookies {
                    lines,
                    lasts: app.app.limits.absolute,
                    device_token,
                })
            }
            Mode::Tokens => {
                let tokens = hand_over(app, native.tokens, &grant, scope, now)?;
                note_beginning(app, &grant);
                Ok(NativeEnd::Tokens(NativeTokens {
                    device_token: Some(device_token),
                    ..tokens
                }))
            }
        }
    }

    /// The key that the new tokens are bound to. Cookies are bound to none, nor are the provider's own tokens.
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

    /// Asks the provider, and verifies what it gives. The grant, and its scope.
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
        let grant = grant::of_login(app, answer, None, self.now()).await;
        let grant = grant.map_err(|error| of_grant_error(app, &error))?;
        Ok((grant, granted))
    }
}

/// What it means for an app that the provider gave no tokens.
pub(super) fn of_token_error(error: &TokenError) -> NativeFailure {
    match error {
        TokenError::ClientRejected { .. }
        | TokenError::BadAnswer(_)
        | TokenError::Refused { .. } => NativeFailure::Provider(error.code()),
        TokenError::Unavailable { .. } | TokenError::Unreachable(_) | TokenError::Ambiguous(_) => {
            NativeFailure::Outage(Outage::new(error.code()))
        }
    }
}

pub(super) fn of_grant_error(app: &AppAuth, error: &GrantError) -> NativeFailure {
    tracing::warn!(app = %app.app.name, code = error.code(), %error, "native_tokens_refused");
    if error.is_outage() {
        NativeFailure::Outage(Outage::new(error.code()))
    } else if matches!(error, GrantError::NotRegistered) {
        let (why, go_on_with) = (WhyRefused::RegistrationRequired, serde_json::Map::new());
        NativeFailure::Refused(Refusal { why, go_on_with })
    } else {
        NativeFailure::Provider(error.code())
    }
}
