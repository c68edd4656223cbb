//! App logout: ends the app's own session when a user logs out or another user logs in.

use std::time::Duration;

use super::Proxy;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::policy::route::AppRef;
use crate::upstream::{self, LoggingOut};

/// How long the app may take. The browser continues in any case.
const TIMEOUT: Duration = Duration::from_secs(3);

impl Proxy {
    /// `Set-Cookie` headers that clear the app's own cookies in the browser that sent the request:
    /// first those of the app's response to its logout request, then the configured ones. A failure
    /// of the app does not affect the logout.
    pub(super) async fn logout_app(
        &self,
        app_ref: AppRef<'_>,
        client: LoggingOut<'_>,
    ) -> SetCookieHeaders {
        let app_logout = &app_ref.app.app_logout;
        let mut set_cookies = SetCookieHeaders::new();
        if let Some(logout) = &app_logout.logout
            && let Ok(route) = app_ref.app.routes.find(&logout.target)
            && let index = route.map(|matched| matched.index)
            && let Some(mut upstream) = self.upstreams.get(app_ref, index)
        {
            let request =
                upstream::send_app_logout(&mut upstream, app_ref.app, logout, route, client);
            let outcome = match tokio::time::timeout(TIMEOUT, request).await {
                Ok(None) => "no_app_session",
                Ok(Some(Ok(response))) => {
                    let rejected =
                        response.status.is_client_error() || response.status.is_server_error();
                    if rejected {
                        tracing::warn!(app = %app_ref.app.name, status = response.status.as_u16(), "app_logout_rejected");
                    }
                    set_cookies.extend(response.cookies);
                    if rejected { "refused" } else { "logged_out" }
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(app = %app_ref.app.name, code = error.code(), %error, "app_logout_failed");
                    error.code()
                }
                Err(_) => {
                    tracing::warn!(app = %app_ref.app.name, "app_logout_too_slow");
                    "timed_out"
                }
            };
            self.auth.record_app_logout(app_ref, outcome);
        }
        set_cookies.extend(app_logout.cookies.iter().cloned());
        set_cookies
    }
}
