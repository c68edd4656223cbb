//! Password login (RFC 6749 section 4.3): throttled, sent to the provider, verified like any login.

use std::net::IpAddr;
use std::sync::Arc;

use super::dpop::login_proof;
use super::failure::NativeFailure;
use super::password_grant::{PasswordCredentials, PasswordGrant, PasswordGrants};
use super::throttle::{AccountName, ThrottleKey};
use super::tokens::{hand_over, scope_at_login, sealed};
use super::{LOGIN_TIMEOUT, NativeOutcome, NativeTokens};
use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::{DpopTarget, DpopVerifier};
use crate::auth::context::Context;
use crate::auth::events::{Event, EventSession};
use crate::auth::random;
use crate::auth::session::writer::SessionWriter;
use crate::auth::session_validity::key_of_jwt;
use crate::oidc::dpop::Proof;
use crate::policy::native::{Native, Tokens};
use crate::policy::native_request::{Mode, PasswordLogin};
use crate::policy::route::AppRef;
use crate::runtime::BackgroundRuntime;
use crate::session::client_continuity::PresentedClient;
use crate::session::cookie::RequestCookies;
use crate::session::native::{Device, read};
use crate::session::validity::NoSessionReason;

/// A login request of a native app.
pub struct NativeLoginRequest<'r> {
    /// The app.
    pub app_ref: AppRef<'r>,
    /// Its settings for native apps.
    pub native: &'r Native,
    /// User name, password, scope and device.
    pub credentials: PasswordLogin,
    /// The address of the client.
    pub address: Option<IpAddr>,
    /// The cookies of the request.
    pub cookies: &'r RequestCookies<'r>,
    /// The request that a DPoP proof must match.
    pub target: DpopTarget<'r>,
    /// The client that sends the request.
    pub client: PresentedClient<'r>,
}

/// A login that succeeded.
struct LoggedIn {
    outcome: NativeOutcome,
    session: EventSession,
}

/// Logs users in with a password.
#[derive(Clone)]
pub struct NativeLogin {
    context: Arc<Context>,
    sessions: Arc<SessionWriter>,
    grants: PasswordGrants,
    dpop: DpopVerifier,
    tasks: BackgroundRuntime,
}

impl NativeLogin {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        sessions: Arc<SessionWriter>,
        grants: PasswordGrants,
        dpop: DpopVerifier,
        tasks: BackgroundRuntime,
    ) -> Self {
        Self {
            context,
            sessions,
            grants,
            dpop,
            tasks,
        }
    }

    /// Logs in with a password.
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn log_in(
        &self,
        request: NativeLoginRequest<'_>,
    ) -> Result<NativeOutcome, NativeFailure> {
        let app = self.context.app(request.app_ref);
        let app = &app.ok_or(NativeFailure::Provider("internal_error"))?;
        let logged_in = match self.proof_of(app, &request) {
            Ok(proof) => self.log_in_with(app, request, proof).await,
            Err(failure) => Err(failure),
        };
        let (outcome, about) = match &logged_in {
            Ok(LoggedIn { outcome, session }) => {
                let outcome = match outcome {
                    NativeOutcome::Tokens(_) => "tokens",
                    NativeOutcome::Cookies { .. } | NativeOutcome::LoggedOut(_) => "cookies",
                };
                (outcome, session)
            }
            Err(failure) => (failure.code(), &EventSession::default()),
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::PasswordLogin, outcome, about);
        logged_in.map(|logged_in| logged_in.outcome)
    }

    async fn log_in_with(
        &self,
        app: &Arc<AppAuth>,
        request: NativeLoginRequest<'_>,
        proof: Option<Proof>,
    ) -> Result<LoggedIn, NativeFailure> {
        let NativeLoginRequest {
            native,
            credentials,
            address,
            cookies,
            client,
            ..
        } = request;
        let PasswordLogin {
            username,
            password,
            scope,
            device_token,
            mode,
        } = credentials;
        let scope = scope_at_login(app, scope.as_deref())?;
        let name = AccountName::read(&username);
        let account = name.key.clone();
        let device = device_token
            .as_ref()
            .and_then(|token| read(&app.seals.device, token))
            .filter(|device| device.is_known_for(&account, self.context.now()))
            .map(|device| device.id);
        let throttle_key = match &device {
            Some(device) => ThrottleKey::KnownDevice(device.clone()),
            None => ThrottleKey::Account(name, address),
        };
        let key = proof.as_ref().map(|proof| proof.key.clone());
        let attempt = self
            .grants
            .throttle
            .attempt(app, native.throttle, throttle_key);
        let (grants, dpop, task_app) = (self.grants.clone(), self.dpop.clone(), Arc::clone(app));
        let task = async move {
            attempt.check_and_count(&task_app).await?;
            if let Some(proof) = &proof
                && let Err(error) = dpop.spend_at_login(&task_app, proof).await
            {
                attempt.refund(&task_app).await;
                return Err(NativeFailure::DpopRejection(error, None));
            }
            let credentials = PasswordCredentials {
                username,
                password,
                scope,
            };
            grants.redeem(&task_app, &attempt, credentials).await
        };
        // Runs to its end even if the client disconnects: an attempt that the provider counts is
        // counted here too.
        let PasswordGrant { mut grant, scope } = self
            .tasks
            .run(LOGIN_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| {
                Err(NativeFailure::Unavailable(self.context.failed_task(error)))
            })?;
        let now = self.context.now();
        if app.revocations.snapshot().contains(key_of_jwt(&grant.jwt)) {
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
        let session = EventSession::from(&grant.jwt);
        let outcome = match mode {
            Mode::Cookies => {
                let written = self
                    .sessions
                    .replace_session(app, &grant, cookies, client)?;
                NativeOutcome::Cookies {
                    set_cookies: written.set_cookies,
                    lasts: app.app.browser_limits(grant.jwt.device.is_bound()).absolute,
                    device_token,
                }
            }
            Mode::Tokens => {
                let tokens = hand_over(app, native.tokens, &grant, scope, now)?;
                self.context.observer.session_started(app, &grant.jwt);
                NativeOutcome::Tokens(NativeTokens {
                    device_token: Some(device_token),
                    ..tokens
                })
            }
        };
        Ok(LoggedIn { outcome, session })
    }

    /// The proof of the key that new tokens are bound to. Cookies and plain provider tokens are not
    /// bound.
    fn proof_of(
        &self,
        app: &AppAuth,
        request: &NativeLoginRequest<'_>,
    ) -> Result<Option<Proof>, NativeFailure> {
        match (request.credentials.mode, request.native.tokens) {
            (Mode::Tokens, Tokens::Sealed) => login_proof(&self.dpop, app, request.target),
            (Mode::Cookies, _) | (_, Tokens::Plain) => Ok(None),
        }
    }
}
