//! Basic authentication (RFC 7617), for clients that know nothing else: the password grant behind the
//! throttle of password logins. Its result is remembered by a keyed hash of the credentials, so that
//! the provider is not asked for each request.

mod logins;

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::events::{Event, EventSession};
use crate::auth::native::password_grant::{PasswordCredentials, PasswordGrants};
use crate::auth::native::throttle::{AccountName, ThrottleKey};
use crate::auth::native::{LOGIN_TIMEOUT, NativeFailure};
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session_validity::{SessionValidity, key_of_jwt};
use crate::policy::basic::{Basic, BasicCredentials, MalformedCredentials};
use crate::policy::decide::Caller;
use crate::policy::route::AppRef;
use crate::session::validity::{
    LiveSession, NoSessionReason, PasswordRefusal, PresentedSession, SessionStatus, validate,
};
use crate::types::time::Timestamp;
pub(in crate::auth) use logins::LazyHasher;
use logins::{CredentialHash, Login, Logins};

/// The scope of a refresh token, which Basic clients do not need: they send the password again.
const OFFLINE_ACCESS: &str = "offline_access";

/// The user name and the password of a request.
pub struct PresentedBasic {
    /// As the request has them.
    pub credentials: Result<BasicCredentials, MalformedCredentials>,
    /// The address of the client.
    pub address: Option<IpAddr>,
    /// Whether authentication may wait: false on public paths.
    pub may_wait: bool,
}

/// Authenticates requests by user name and password.
pub struct BasicAuthenticator {
    context: Arc<Context>,
    replicator: RevocationReplicator,
    grants: PasswordGrants,
    hasher: Arc<LazyHasher>,
    /// By index of the app.
    logins: Vec<Option<Arc<Logins>>>,
}

/// A password that the provider has to check.
struct UncheckedLogin<'r> {
    app: &'r Arc<AppAuth>,
    settings: &'r Basic,
    logins: &'r Arc<Logins>,
    hash: CredentialHash,
    credentials: BasicCredentials,
    address: Option<IpAddr>,
}

impl BasicAuthenticator {
    pub(in crate::auth) fn new(
        context: Arc<Context>,
        replicator: RevocationReplicator,
        grants: PasswordGrants,
        hasher: Arc<LazyHasher>,
    ) -> Self {
        let logins = |app: &Arc<AppAuth>| {
            let settings = app.app.basic.as_ref()?;
            Some(Arc::new(Logins::new(settings.cache_size)))
        };
        Self {
            logins: context.apps.iter().map(logins).collect(),
            hasher,
            context,
            replicator,
            grants,
        }
    }

    /// Authenticates a request by its user name and password.
    ///
    /// # Errors
    /// The password cannot be checked now.
    pub async fn authenticate(
        &self,
        app_ref: AppRef<'_>,
        presented: PresentedBasic,
    ) -> Result<Caller, Unavailable> {
        let anonymous = Ok(Caller::Anonymous(NoSessionReason::NoCookie));
        let Some(settings) = &app_ref.app.basic else {
            return anonymous;
        };
        let app_ref = app_ref.at(settings.provider);
        let position = self.context.position(app_ref);
        let logins = position.and_then(|position| self.logins.get(position));
        let logins = logins.and_then(Option::as_ref);
        let (Some(app), Some(logins)) = (self.context.app(app_ref), logins) else {
            return anonymous;
        };
        let Ok(credentials) = presented.credentials else {
            return Ok(password_refused("basic_malformed"));
        };
        let hasher = self.hasher.get();
        let hasher = hasher.ok_or(Unavailable::internal("internal_error"))?;
        let hash = hasher.hash(app.app.hosts.label(), &credentials);
        let now = self.context.now();
        let known = logins.get(&hash).filter(|login| now < login.until);
        if known.as_ref().is_some_and(|login| login.is_blocked) {
            return Ok(password_refused(NoSessionReason::Revoked.code()));
        }
        let caller = match known.and_then(|login| live_session(&app, login, now)) {
            Some(live) => Ok(Caller::Basic(live)),
            None if !presented.may_wait => return anonymous,
            None => {
                let login = UncheckedLogin {
                    app: &app,
                    settings,
                    logins,
                    hash,
                    credentials,
                    address: presented.address,
                };
                let checked = logins.check_once(hash, self.check(login)).await;
                self.caller_of(checked, &app)
            }
        };
        match self.replicator.require_synced(&app) {
            Err(_) if !presented.may_wait => anonymous,
            Err(outage) => Err(outage),
            Ok(()) => caller,
        }
    }

    /// How many checked passwords are kept.
    pub fn cached_logins(&self) -> usize {
        let logins = self.logins.iter().flatten();
        logins.map(|logins| logins.len()).sum()
    }

    /// Asks the provider, within the limits of the throttle.
    async fn check(&self, login: UncheckedLogin<'_>) -> Result<Login, NativeFailure> {
        let app = login.app;
        let checked = self.check_at_provider(login).await;
        let (outcome, about) = match &checked {
            Ok(login) => ("basic", EventSession::from(&*login.session)),
            Err(failure) => (failure.code(), EventSession::default()),
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::PasswordLogin, outcome, &about);
        checked
    }

    async fn check_at_provider(&self, login: UncheckedLogin<'_>) -> Result<Login, NativeFailure> {
        let UncheckedLogin {
            app,
            settings,
            logins,
            hash,
            credentials: BasicCredentials { username, password },
            address,
        } = login;
        // Credentials that were right before are no guess. They count apart, so that neither a
        // stranger's guesses lock their owner out, nor a device with an old password the others.
        let throttle_key = match logins.get(&hash) {
            Some(_) => ThrottleKey::KnownDevice(hash.to_text()),
            None => ThrottleKey::Account(AccountName::read(&username), address),
        };
        let throttle = &self.grants.throttle;
        let attempt = throttle.attempt(app, settings.throttle, throttle_key);
        let scopes = app.client.scopes.iter().map(String::as_str);
        let scopes: Vec<&str> = scopes.filter(|scope| *scope != OFFLINE_ACCESS).collect();
        let credentials = PasswordCredentials {
            username,
            password,
            scope: scopes.join(" "),
        };
        let (grants, context) = (self.grants.clone(), Arc::clone(&self.context));
        let (task_app, task_logins) = (Arc::clone(app), Arc::clone(logins));
        let lifetime = settings.cache_lifetime;
        let task = async move {
            attempt.check_and_count(&task_app).await?;
            let granted = grants.redeem(&task_app, &attempt, credentials).await?;
            let jwt = &granted.grant.jwt;
            let session = task_app.session_of(jwt);
            let session = session.ok_or(NativeFailure::Provider("internal_error"))?;
            let login = Login {
                session: Arc::new(session),
                until: context.now().plus(lifetime),
                is_blocked: task_app.revocations.snapshot().contains(key_of_jwt(jwt)),
            };
            task_logins.insert(hash, login.clone());
            if login.is_blocked {
                return Err(NativeFailure::SessionOver(NoSessionReason::Revoked));
            }
            Ok(login)
        };
        let tasks = &self.context.password_tasks;
        let checked = tasks.run(LOGIN_TIMEOUT, task).await;
        checked.unwrap_or_else(|error| {
            Err(NativeFailure::Unavailable(self.context.failed_task(error)))
        })
    }

    fn caller_of(
        &self,
        checked: Result<Login, NativeFailure>,
        app: &AppAuth,
    ) -> Result<Caller, Unavailable> {
        match checked {
            Ok(login) => {
                let now = self.context.now();
                let live = LiveSession::just_verified(login.session, now, app.app.limits);
                Ok(Caller::Basic(live))
            }
            Err(NativeFailure::Throttled(code, wait)) => {
                let refusal = PasswordRefusal {
                    code,
                    retry_after: Some(wait),
                };
                Ok(Caller::Anonymous(NoSessionReason::PasswordRefused(refusal)))
            }
            Err(failure @ (NativeFailure::Refused(_) | NativeFailure::SessionOver(_))) => {
                Ok(password_refused(failure.code()))
            }
            Err(NativeFailure::Unavailable(outage)) => Err(outage),
            Err(
                failure @ (NativeFailure::UnknownToken
                | NativeFailure::DpopRejection(..)
                | NativeFailure::Scope
                | NativeFailure::Provider(_)
                | NativeFailure::TokenTooLarge(..)
                | NativeFailure::TooLarge(_)),
            ) => Err(Unavailable::refused(failure.code())),
        }
    }
}

/// The session of a login, unless its JWT has expired or it was revoked.
fn live_session(app: &AppAuth, login: Login, now: Timestamp) -> Option<LiveSession> {
    let presented = PresentedSession::used_now(login.session, now);
    let validity = SessionValidity::of_sessions(app);
    match validate(presented, now, &app.app.limits, &validity) {
        SessionStatus::Live(live) => Some(live),
        SessionStatus::None(_) | SessionStatus::NeedsRefresh(_) => None,
    }
}

const fn password_refused(code: &'static str) -> Caller {
    Caller::Anonymous(NoSessionReason::PasswordRefused(PasswordRefusal {
        code,
        retry_after: None,
    }))
}
