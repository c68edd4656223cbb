//! Logging out (OpenID Connect RP-Initiated Logout 1.0): here first, so that it holds whatever the provider does;
//! then the refresh token, then the provider's own session.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::app::AppAuth;
use super::refresh::AtProvider;
use super::resume::{Named, named_session, open_refresh};
use super::set_cookies::{self, Lines};
use super::{Auth, Event, another_person, login_loop};
use crate::policy::route::Place;
use crate::session::cookie::RequestCookies;
use crate::types::oauth::RefreshToken;

/// In the query of the signed-out page: the provider's own session could not be ended.
pub const NOT_TOLD: &str = "provider=not-told";

/// How long a logout waits for the provider to revoke the refresh token; it goes on all the same.
const REVOKE_PATIENCE: Duration = Duration::from_secs(3);

/// Where the browser goes after a logout, without its cookies.
#[derive(Debug)]
pub struct LogoutEnd {
    /// The provider's `end_session_endpoint`, or our own page.
    pub location: String,
    /// The lines that take the cookies away.
    pub lines: Lines,
}

impl Auth {
    /// Ends the session of `came`, if there is one.
    pub async fn logout(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
    ) -> LogoutEnd {
        let signed_out = place.app.endpoint_url("signed-out");
        let Some(app) = self.app(place.index) else {
            return LogoutEnd {
                location: signed_out,
                lines: Lines::new(),
            };
        };
        let token = open_refresh(app, came).map(|refresh| refresh.token);
        let session = named_session(app, came);
        if let Some(session) = &session {
            // Here and now, whatever the store and the provider do.
            self.end_session(app, &session.sid, &session.subject, session.started_at);
        }
        let (outcome, provider_is_there) = self.revoke_in_time(app, session, token).await;
        self.observer.happened(app, Event::Logout, outcome);
        let location = if provider_is_there {
            self.end_session_location(app, came, &signed_out)
                .await
                .unwrap_or(signed_out)
        } else {
            // A browser that is sent to a provider that is not there shows a failure instead of a logout.
            format!("{signed_out}?{NOT_TOLD}")
        };
        let mut lines = set_cookies::forget_session(app, came);
        lines.extend(login_loop::seen_again(app, came));
        lines.extend(another_person::forget(app));
        LogoutEnd { location, lines }
    }

    /// Whether a logout ends the provider's session too, as far as is known.
    pub fn can_end_provider_session(&self, place: Place<'_>) -> bool {
        self.app(place.index).is_some_and(|app| {
            let metadata = app.provider.known_metadata();
            metadata
                .is_some_and(|metadata| app.provider.settings().dialect.can_end_session(&metadata))
        })
    }

    /// Revokes the session's newest refresh token. How that ended, and whether the provider is there.
    pub(super) async fn revoke_in_time(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        session: Option<Named>,
        token: Option<RefreshToken>,
    ) -> (&'static str, bool) {
        let (auth, app) = (Arc::clone(self), Arc::clone(app));
        let task = async move {
            let newest = match session {
                Some(Named {
                    sid,
                    subject,
                    started_at,
                }) => auth.end_everywhere(&app, &sid, &subject, started_at).await,
                None => None,
            };
            let token = newest
                .and_then(|grant| grant.refresh)
                .map(|refresh| refresh.token)
                .or(token);
            match token {
                Some(token) => auth.revoke_at_provider(&app, &token).await,
                None => AtProvider::NothingToRevoke,
            }
        };
        match self.control.run(REVOKE_PATIENCE, task).await {
            Ok(AtProvider::NothingToRevoke) => ("no_refresh_token", true),
            Ok(AtProvider::Revoked) => ("refresh_token_revoked", true),
            Ok(AtProvider::NotOffered) => ("revocation_not_offered", true),
            Ok(AtProvider::Failed) => ("revocation_failed", true),
            Ok(AtProvider::Unreachable) => ("provider_unreachable", false),
            Err(error) => (error.code(), false),
        }
    }

    async fn end_session_location(
        &self,
        app: &Arc<AppAuth>,
        came: &RequestCookies<'_>,
        signed_out: &str,
    ) -> Option<String> {
        let metadata = self.metadata(app).await.ok()?;
        let token = came
            .get(&app.app.cookies.hint)
            .and_then(|value| app.seals.hint.open(value));
        let return_to = Url::parse(signed_out).ok();
        let dialect = &app.provider.settings().dialect;
        dialect
            .end_session_url(&metadata, &app.client, token.as_ref(), return_to.as_ref())
            .map(String::from)
    }
}
