//! Logout of all apps that a browser signed in at through a login host: their sessions end here at
//! once, then at the store, then the provider's session, once.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::LoginHost;
use super::signed_in::SignedIn;
use crate::auth::app::AppAuth;
use crate::auth::events::{Event, EventSession};
use crate::auth::logout::rp_initiated::{AfterLogout, LogoutOutcome, NOT_TOLD};
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::policy::app::App;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::login_host::SignedInApps;
use crate::types::oauth::AppName;

/// How long a logout waits for the store and the provider, which are told all the same.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a browser goes after the logout of one app.
pub struct PageAfterLogout {
    /// The app.
    pub app: Arc<App>,
    /// The URL of its page.
    pub location: String,
}

impl LoginHost {
    /// The apps that the browser is signed in at.
    pub async fn signed_in_apps(
        &self,
        host_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
    ) -> Vec<Arc<App>> {
        let Some(host) = &self.context.app(host_ref) else {
            return Vec::new();
        };
        let list = self.signed_in.live(host, request_cookies).await;
        let sessions = list.sessions();
        let apps = sessions.filter_map(|session| self.app_named(host, &session.app));
        let mut apps: Vec<Arc<App>> = apps.map(|app| Arc::clone(&app.app)).collect();
        apps.sort_by_key(|app| app.login_name());
        apps
    }

    /// The page of the app whose logout ended the provider's session, by the `state` of the redirect.
    /// The app itself decides whether it may lead on to the target.
    pub fn page_after_logout(&self, host_ref: AppRef<'_>, query: &str) -> Option<PageAfterLogout> {
        let host = &self.context.app(host_ref)?;
        let mut parameters = url::form_urlencoded::parse(query.as_bytes());
        let (_, state) = parameters.find(|(name, _)| name == "state")?;
        let AfterLogout { app, target } = AfterLogout::read(&state);
        let app = Arc::clone(&self.app_named(host, &AppName::new(app))?.app);
        let target = target.and_then(|text| app.allowed_target(text));
        let page = app.endpoint_url("signed-out");
        let location = match target {
            Some(target) => format!("{page}?{}", target.query()),
            None => page,
        };
        Some(PageAfterLogout { app, location })
    }

    /// Ends all sessions of the browser.
    pub async fn log_out(
        &self,
        host_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
    ) -> LogoutOutcome {
        let signed_out = host_ref.app.endpoint_url("signed-out");
        let Some(host) = &self.context.app(host_ref) else {
            return LogoutOutcome {
                location: signed_out,
                set_cookies: SetCookieHeaders::new(),
            };
        };
        let list = self.signed_in.live(host, request_cookies).await;
        self.end_all(host, &list).await;
        let location = self.end_session_url(host, &list, request_cookies, &signed_out);
        let location = location.await;
        LogoutOutcome {
            location: location.unwrap_or_else(|| format!("{signed_out}?{NOT_TOLD}")),
            set_cookies: SignedIn::clear(host),
        }
    }

    async fn end_all(&self, host: &AppAuth, list: &SignedInApps) {
        let sessions = list.sessions();
        let sessions = sessions.filter_map(|session| {
            let app = self.app_named(host, &session.app)?;
            Some((app, SessionKey::from(session)))
        });
        let sessions: Vec<(Arc<AppAuth>, SessionKey)> = sessions.collect();
        for (app, session) in &sessions {
            // First, whatever the store and the provider do.
            self.revoker.revoke(app, session);
            let observer = &self.context.observer;
            observer.record_event(
                app,
                Event::Logout,
                "logged_out_everywhere",
                &EventSession::from(session),
            );
        }
        let revoker = self.revoker.clone();
        let task = async move {
            for (app, session) in sessions {
                revoker.revoke_with_tokens(&app, session.into()).await;
            }
        };
        if let Err(error) = self.context.runtime.run(REVOKE_TIMEOUT, task).await {
            tracing::warn!(app = %host.app.name, code = error.code(), "revocation_failed");
        }
    }

    /// The provider's logout, in the name of the app of the latest login. `None` if the provider
    /// has none or its metadata are unavailable.
    async fn end_session_url(
        &self,
        host: &Arc<AppAuth>,
        list: &SignedInApps,
        request_cookies: &RequestCookies<'_>,
        signed_out: &str,
    ) -> Option<String> {
        let hint = SignedIn::id_token_hint(host, request_cookies);
        let latest = list.sessions().max_by_key(|session| session.started_at);
        let by_hint = hint.as_ref().and_then(|hint| {
            let mut sessions = list.sessions();
            sessions.find(|session| hint.is_of(&session.sid, &session.subject))
        });
        // The ID token of another session would end that session instead.
        let hint = hint.filter(|_| by_hint.is_some());
        let app = match by_hint.or(latest) {
            Some(session) => self.app_named(host, &session.app),
            None => self.context.apps_of_login_host(host).next().cloned(),
        }?;
        let metadata = self.context.provider_metadata(&app).await.ok()?;
        let return_to = Url::parse(signed_out).ok();
        let id_token = hint.as_ref().map(|hint| &hint.id_token);
        let dialect = &app.provider.settings().dialect;
        dialect
            .end_session_url(&metadata, &app.client, id_token, return_to.as_ref())
            .map(String::from)
    }
}
