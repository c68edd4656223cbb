//! When a person leaves, or another one comes: what the app itself remembers in this browser goes too.

use std::time::Duration;

use http::HeaderMap;

use super::Proxy;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::AppRef;
use crate::upstream;

/// How long the app may take to log a person out; the browser goes on all the same.
const TIMEOUT: Duration = Duration::from_secs(3);

impl Proxy {
    /// The lines that take the app's own cookies from the browser which sent `client`: those that the app answers with
    /// when it is told, then those that are configured. Whatever the app does, it does not stop the person.
    pub(super) async fn logout_app(
        &self,
        app_ref: AppRef<'_>,
        info: &RequestInfo,
        client: &HeaderMap,
    ) -> SetCookieHeaders {
        let app_logout = &app_ref.app.app_logout;
        let mut set_cookies = SetCookieHeaders::new();
        if let (Some(logout), Some(upstream)) =
            (&app_logout.logout, self.upstreams.get(app_ref.index))
        {
            let told = upstream::send_app_logout(upstream, app_ref.app, logout, info, client);
            let outcome = match tokio::time::timeout(TIMEOUT, told).await {
                Ok(None) => "no_app_session",
                Ok(Some(Ok(answer))) => {
                    let refused =
                        answer.status.is_client_error() || answer.status.is_server_error();
                    if refused {
                        tracing::warn!(app = %app_ref.app.name, status = answer.status.as_u16(), "app_logout_rejected");
                    }
                    set_cookies.extend(answer.cookies);
                    if refused { "refused" } else { "logged_out" }
                }
                Ok(Some(Err(error))) => {
                    tracing::warn!(app = %app_ref.app.name, code = error.code(), %error, "app_logout_failed");
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
