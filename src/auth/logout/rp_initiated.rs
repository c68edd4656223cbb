//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0): first the local session, so that
//! the logout holds whatever the provider does, then the refresh token, then the session at the
//! provider.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::events::{Event, EventSession};
use crate::auth::login::user_switch;
use crate::auth::refresh::revoke::{RevocableSession, SessionKey, SessionRevoker, TokenRevocation};
use crate::auth::session::cookies::{SetCookieHeaders, clear_session, reset_login_loop};
use crate::auth::session::open::revocable_sessions;
use crate::policy::app::App;
use crate::policy::logout_target::LogoutTarget;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::grant::LogoutHint;
use crate::types::oauth::{IdToken, RefreshToken};

/// In the query of the signed-out page: the session at the provider was not ended.
pub const NOT_TOLD: &str = "provider=not-told";

/// How long a logout waits for the revocation of the refresh token, which continues after it.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The redirect after a logout.
#[derive(Debug)]
pub struct LogoutOutcome {
    /// The provider's `end_session_endpoint`, or the signed-out page.
    pub location: String,
    /// The headers that clear the cookies.
    pub set_cookies: SetCookieHeaders,
}

/// Logs users out.
#[derive(Clone)]
pub struct Logout {
    context: Arc<Context>,
    revoker: SessionRevoker,
}

/// Whether the provider can be reached, by the revocation of a refresh token.
pub(in crate::auth) enum Reachability {
    /// It responded, or was not needed.
    Reachable,
    /// It did not respond in time.
    Unreachable,
}

impl Logout {
    pub(in crate::auth) const fn new(context: Arc<Context>, revoker: SessionRevoker) -> Self {
        Self { context, revoker }
    }

    /// Ends the session of `request_cookies`, or the sessions, if cookies of several were mixed. The
    /// browser is led to `target`, or else to a page of Doorward.
    pub async fn log_out(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        target: Option<&LogoutTarget>,
    ) -> LogoutOutcome {
        let signed_out = app_ref.app.endpoint_url("signed-out");
        let Some(app) = &self.context.app(app_ref) else {
            return LogoutOutcome {
                location: signed_out,
                set_cookies: SetCookieHeaders::new(),
            };
        };
        let sessions = revocable_sessions(app, request_cookies);
        let mut keys = sessions.iter().map(|session| &session.key);
        let hint = keys.find_map(|session| id_token_hint(app, request_cookies, session));
        // Cookies of two providers that were mixed.
        let others = async {
            for other in self.context.at_other_providers(app) {
                let sessions = revocable_sessions(&other, request_cookies);
                if !sessions.is_empty() {
                    self.end_sessions(&other, sessions).await;
                }
            }
        };
        let (reachability, ()) = tokio::join!(self.end_sessions(app, sessions), others);
        let location = match reachability {
            // Without a session of any of several providers.
            Reachability::Reachable if app_ref.provider.is_none() => match target {
                Some(target) => target.location(&app.app),
                None => format!("{signed_out}?{NOT_TOLD}"),
            },
            Reachability::Reachable => self
                .end_session_url(app, hint.as_ref(), &signed_out, target)
                .await
                .unwrap_or_else(|| match target {
                    Some(target) => target.location(&app.app),
                    None => signed_out,
                }),
            // An unreachable provider would show a browser error instead of a logout.
            Reachability::Unreachable => format!("{signed_out}?{NOT_TOLD}"),
        };
        let mut set_cookies = clear_session(app, request_cookies);
        set_cookies.extend(reset_login_loop(app, request_cookies));
        set_cookies.extend(user_switch::forget(app));
        LogoutOutcome {
            location,
            set_cookies,
        }
    }

    /// Whether a logout ends the session at the provider too, whichever it is.
    pub fn can_end_provider_session(&self, app_ref: AppRef<'_>) -> bool {
        self.context.at_providers(app_ref).all(|app| {
            let dialect = &app.provider.settings().dialect;
            let metadata = app.provider.known_metadata();
            metadata.is_some_and(|metadata| dialect.can_end_session(&metadata))
        })
    }

    /// Ends sessions: here at once, then their rotations and refresh tokens.
    pub(in crate::auth) async fn end_sessions(
        &self,
        app: &Arc<AppAuth>,
        sessions: Vec<RevocableSession>,
    ) -> Reachability {
        for session in &sessions {
            // First, whatever the store and the provider do.
            self.revoker.revoke(app, &session.key);
        }
        let about = sessions
            .first()
            .map(|session| EventSession::from(&session.key));
        let (revoker, task_app) = (self.revoker.clone(), Arc::clone(app));
        let task = async move {
            let mut result = TokenRevocation::NothingToRevoke;
            for session in sessions {
                result = result.max(revoker.revoke_with_tokens(&task_app, session).await);
            }
            result
        };
        self.run(app, &about.unwrap_or_default(), task).await
    }

    /// Revokes a token of which no session is known here.
    pub(in crate::auth) async fn revoke_token(
        &self,
        app: &Arc<AppAuth>,
        token: RefreshToken,
    ) -> Reachability {
        let (revoker, task_app) = (self.revoker.clone(), Arc::clone(app));
        let task = async move { revoker.revoke_token(&task_app, &token).await };
        self.run(app, &EventSession::default(), task).await
    }

    async fn run(
        &self,
        app: &AppAuth,
        about: &EventSession,
        task: impl Future<Output = TokenRevocation> + Send + 'static,
    ) -> Reachability {
        let (outcome, reachability) = match self.context.runtime.run(REVOKE_TIMEOUT, task).await {
            Ok(TokenRevocation::NothingToRevoke) => ("no_refresh_token", Reachability::Reachable),
            Ok(TokenRevocation::Revoked) => ("refresh_token_revoked", Reachability::Reachable),
            Ok(TokenRevocation::NotOffered) => ("revocation_not_offered", Reachability::Reachable),
            Ok(TokenRevocation::Failed) => ("revocation_failed", Reachability::Reachable),
            Ok(TokenRevocation::Unreachable) => ("provider_unreachable", Reachability::Unreachable),
            Err(error) => (error.code(), Reachability::Unreachable),
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::Logout, outcome, about);
        reachability
    }

    /// The provider's `end_session_endpoint`, if it has one. It leads back by way of the login host,
    /// whose address is the only one that is registered.
    async fn end_session_url(
        &self,
        app: &Arc<AppAuth>,
        hint: Option<&IdToken>,
        signed_out: &str,
        target: Option<&LogoutTarget>,
    ) -> Option<String> {
        let metadata = self.context.provider_metadata(app).await.ok()?;
        let host = self.context.login_host_of(app);
        let by_host = host.map(|host| host.app.endpoint_url("signed-out"));
        let return_to = Url::parse(by_host.as_deref().unwrap_or(signed_out)).ok();
        let dialect = &app.provider.settings().dialect;
        let mut url = dialect.end_session_url(&metadata, &app.client, hint, return_to.as_ref())?;
        // The provider returns it, and a login host sends the browser on to the app.
        let state = match (&by_host, target) {
            (Some(_), target) => Some(AfterLogout::state_of(&app.app, target)),
            (None, Some(target)) => Some(target.as_str().to_owned()),
            (None, None) => None,
        };
        if let Some(state) = state {
            url.query_pairs_mut().append_pair("state", &state);
        }
        Some(url.into())
    }
}

/// The app whose logout ended the provider's session, and the target of the logout: `state` at a login
/// host.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::auth) struct AfterLogout<'s> {
    pub(in crate::auth) app: &'s str,
    pub(in crate::auth) target: Option<&'s str>,
}

impl<'s> AfterLogout<'s> {
    fn state_of(app: &App, target: Option<&LogoutTarget>) -> String {
        let name = app.login_name();
        match target {
            Some(target) => format!("{name} {}", target.as_str()),
            None => name.to_string(),
        }
    }

    /// Reads `state`. No name has a blank.
    pub(in crate::auth) fn read(state: &'s str) -> Self {
        match state.split_once(' ') {
            Some((app, target)) => Self {
                app,
                target: Some(target),
            },
            None => Self {
                app: state,
                target: None,
            },
        }
    }
}

/// The ID token of `session`. The cookie of another session, which another site of the same domain
/// can set, would end that session at the provider instead (cookie tossing).
fn id_token_hint(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
    session: &SessionKey,
) -> Option<IdToken> {
    let name = &app.app.cookies.hint;
    let of_session = |hint: &LogoutHint| hint.is_of(&session.sid, &session.subject);
    let hint = request_cookies.open(name, |value| app.seals.hint.open(value).filter(of_session))?;
    Some(hint.id_token)
}
