//! When a person leaves, or another one comes: what the app itself remembers in this browser goes too.

use std::time::Duration;

use http::HeaderMap;

use super::Proxy;
use crate::auth::set_cookies::Lines;
use crate::policy::facts::Facts;
use crate::policy::route::Place;
use crate::upstream;

/// How long the app may take to log a person out; the browser goes on all the same.
const PATIENCE: Duration = Duration::from_secs(3);

impl Proxy {
    /// The lines that take the app's own cookies from the browser which sent `client`: those that the app answers with
    /// when it is told, then those that are configured. Whatever the app does, it does not stop the person.
    pub(super) async fn leave_app(
        &self,
        place: Place<'_>,
        facts: &Facts,
        client: &HeaderMap,
    ) -> Lines {
        let leaving = &place.app.leaving;
        let mut lines = Lines::new();
        if let (Some(logout), Some(upstream)) = (&leaving.logout, self.upstreams.get(place.index)) {
            let told = upstream::log_out_of_app(upstream, place.app, logout, facts, client);
            let outcome = match tokio::time::timeout(PATIENCE, told).await {
                Ok(None) => "no_app_session",
                Ok(Some(Ok(answer))) => {
                    let refused =
                        answer.status.is_client_error() || answer.status.is_server_error();
                    if refused {
                        tracing::warn!(app = %place.app.name, status = answer.status.as_u16(), "app_logout_refused");
                    }
                    lines.extend(answer.cookies);
                    if refused { "refused" } else { "logged_out" }
                }
                Ok(Some(Err(error))) => {
                    tracing::warn!(app = %place.app.name, code = error.code(), %error, "app_logout_failed");
                    error.code()
                }
                Err(_) => {
                    tracing::warn!(app = %place.app.name, "app_logout_too_slow");
                    "too_slow"
                }
            };
            self.auth.left_app(place, outcome);
        }
        lines.extend(leaving.cookies.iter().cloned());
        lines
    }
}
