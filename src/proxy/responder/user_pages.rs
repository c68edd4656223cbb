//! Pages and the session document for signed-in users: logout, post replay, and `/session`.

use std::time::Duration;

use http::{StatusCode, header};
use serde_json::json;

use super::Responder;
use super::error::href;
use super::response::{TaggedResponse, insert, page_response, text_response};
use crate::identity::identity::Identity;
use crate::identity::post_id::{PostId, REPLAY_FIELD};
use crate::policy::app::App;
use crate::policy::logout_target::LogoutTarget;
use crate::proxy::pages::{LogoutConfirmPage, Page, ReplayPostPage, SignedOutPage};
use crate::session::preserved_post::PreservedPost;
use crate::session::validity::LiveSession;
use crate::types::time::Timestamp;

/// How long apps and caches may keep the keys that verify assertions.
const KEYS_CACHING: &str = "public, max-age=300";

/// A preserved POST whose replay needs the user's confirmation.
pub struct ReplayPrompt<'p> {
    /// Its identifier.
    pub post_id: &'p PostId,
    /// The POST.
    pub post: &'p PreservedPost,
    /// Time since it was submitted.
    pub age: Duration,
}

impl Responder {
    /// The page that asks whether to log out.
    pub fn logout_confirm(
        &self,
        app: &App,
        user: Option<&Identity>,
        target: Option<&LogoutTarget>,
        code: &'static str,
    ) -> TaggedResponse {
        let user = user.map(display_name);
        let mut logout = app.endpoint_path("logout");
        if let Some(target) = target {
            logout = format!("{logout}?{}", target.query());
        }
        self.page_or_error(
            code,
            href(&logout).zip(href(&app.paths.base.home())),
            |(action, home)| {
                let site = &app.site();
                let page = LogoutConfirmPage {
                    site,
                    user: user.as_deref(),
                    action: &action,
                    home: &home,
                };
                Page::new(&page)
            },
        )
    }

    /// The page that asks whether to replay a preserved POST.
    pub fn replay_post(
        &self,
        app: &App,
        user: &Identity,
        prompt: &ReplayPrompt<'_>,
    ) -> TaggedResponse {
        /// Maximum number of field names on the page.
        const SHOWN: usize = 8;
        let ReplayPrompt { post_id, post, age } = prompt;
        let names = post.field_names();
        let fields: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
        self.page_or_error(
            "post_replay_confirm",
            href(&post.target).zip(href(&app.paths.base.home())),
            |(action, home)| {
                Page::new(&ReplayPostPage {
                    site: &app.site(),
                    user: &display_name(user),
                    target: &post.target,
                    minutes: age.as_secs() / 60,
                    is_anonymous: post.user.is_none(),
                    fields: &fields,
                    more: names.len().saturating_sub(SHOWN),
                    action: &action,
                    field_name: REPLAY_FIELD,
                    id: post_id.as_str(),
                    home: &home,
                })
            },
        )
    }

    /// The page after a logout.
    pub fn signed_out(
        &self,
        app: &App,
        provider_may_remember: bool,
        code: &'static str,
    ) -> TaggedResponse {
        // A login host has no start page.
        let home = if app.is_login_host() {
            Some(None)
        } else {
            href(&app.paths.base.home()).map(Some)
        };
        self.page_or_error(code, home, |home| {
            let site = &app.site();
            Page::new(&SignedOutPage {
                site,
                provider_may_remember,
                home: home.as_ref(),
            })
        })
    }

    /// The session's user, and the remaining seconds of its lifetimes.
    pub fn session(
        &self,
        app: &App,
        live: &LiveSession,
        now: Timestamp,
        code: &'static str,
    ) -> TaggedResponse {
        let (session, limits) = (live.session(), live.limits());
        let left = |end: Timestamp| end.since(now).as_secs();
        let body = json!({
            "sub": session.identity.subject.as_str(),
            "name": display_name(&session.identity),
            "jwt_expires_in": left(session.valid_until),
            "idle_expires_in": left(live.last_activity().plus(limits.idle)),
            "session_expires_in": left(session.started_at.plus(limits.absolute)),
            "device_bound": session.device.is_bound(),
            "logout_url": app.endpoint_url("logout"),
        });
        TaggedResponse {
            code,
            response: text_response(StatusCode::OK, "application/json", body.to_string()),
        }
    }

    /// The keys that verify assertions. Apps fetch and keep them, so caches may store the response.
    pub fn assertion_keys(&self, jwks: &str, code: &'static str) -> TaggedResponse {
        let mut response =
            text_response(StatusCode::OK, "application/jwk-set+json", jwks.to_owned());
        let headers = response.headers_mut();
        headers.remove(header::VARY);
        insert(headers, header::CACHE_CONTROL, KEYS_CACHING);
        TaggedResponse { code, response }
    }

    /// Renders a page. Paths of endpoints are always valid links, so the 500 response does not
    /// occur.
    pub(super) fn page_or_error<T>(
        &self,
        code: &'static str,
        links: Option<T>,
        page: impl FnOnce(T) -> Page,
    ) -> TaggedResponse {
        let response = match links {
            Some(links) => page_response(StatusCode::OK, page(links)),
            None => text_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                "internal error".into(),
            ),
        };
        TaggedResponse { code, response }
    }
}

/// The user's name for a page: the first of the usual claims.
pub(super) fn display_name(user: &Identity) -> String {
    ["name", "preferred_username", "email"]
        .iter()
        .find_map(|claim| user.claims.texts(claim).into_iter().next())
        .unwrap_or_else(|| user.subject.as_str().to_owned())
}
