//! The apps that a browser is signed in at: a sealed cookie of the login host. Logins in several tabs
//! finish at the same time and would overwrite each other's cookie, so recent ones are also kept in
//! the store until the cookies have caught up.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::random;
use crate::auth::refresh::revoke::{SessionKey, SessionRevoker};
use crate::auth::session::cookies::SetCookieHeaders;
use crate::session::attempt::{ATTEMPT_LIFETIME, BrowserHash};
use crate::session::budget::cookie_size;
use crate::session::cookie::{MAX_ALL, MAX_VALUE, RequestCookies};
use crate::session::grant::{Grant, LogoutHint};
use crate::session::login_host::{AppSession, SignedInApps};
use crate::session::seal::SealNonce;
use crate::types::oauth::IdToken;
use crate::types::time::Timestamp;

/// How often an entry of the store is written again that another request changed meanwhile.
const MAX_WRITES: usize = 5;

/// How long the store keeps recent logins.
const LIFETIME: std::time::Duration = ATTEMPT_LIFETIME;

/// Keeps the lists.
pub(super) struct SignedIn {
    context: Arc<Context>,
    revoker: SessionRevoker,
}

impl SignedIn {
    pub(super) const fn new(context: Arc<Context>, revoker: SessionRevoker) -> Self {
        Self { context, revoker }
    }

    /// Adds the session of `grant`. Returns the cookies of the login host.
    pub(super) async fn add(
        &self,
        host: &Arc<AppAuth>,
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
        grant: &Grant,
    ) -> SetCookieHeaders {
        let jwt = &grant.jwt;
        let session = AppSession {
            app: app.app.login_name(),
            sid: jwt.sid.clone(),
            subject: jwt.subject.clone(),
            started_at: jwt.started_at,
        };
        let mut list = self.of_cookie(host, request_cookies);
        list.add(session.clone());
        if let Some(browser) = request_cookies.get(&host.app.cookies.browser) {
            let key = key(host, BrowserHash::of(browser));
            let (context, task_host) = (Arc::clone(&self.context), Arc::clone(host));
            let write = async move { add_recent(&context, &task_host, &key, session).await };
            match self.context.anonymous_tasks.run(CALL_TIMEOUT, write).await {
                Ok(Ok(recent)) => list = list.merged(&recent),
                Ok(Err(code)) => {
                    tracing::debug!(app = %host.app.name, code, "signed_in_list_failed")
                }
                Err(error) => {
                    let code = Unavailable::of_store_task(error).code;
                    tracing::debug!(app = %host.app.name, code, "signed_in_list_failed");
                }
            }
        }
        self.retain_live(host, &mut list);
        self.cookies(host, list, grant).unwrap_or_else(|| {
            tracing::warn!(app = %host.app.name, code = "internal_error", "signed_in_list_failed");
            SetCookieHeaders::new()
        })
    }

    /// The sessions of the browser that have not ended here.
    pub(super) async fn live(
        &self,
        host: &Arc<AppAuth>,
        request_cookies: &RequestCookies<'_>,
    ) -> SignedInApps {
        let mut list = self.of_cookie(host, request_cookies);
        if let Some(browser) = request_cookies.get(&host.app.cookies.browser) {
            let key = key(host, BrowserHash::of(browser));
            let (context, task_host) = (Arc::clone(&self.context), Arc::clone(host));
            let read = async move { recent(&context, &task_host, &key).await };
            match self.context.anonymous_tasks.run(CALL_TIMEOUT, read).await {
                Ok(Ok(recent)) => list = list.merged(&recent.unwrap_or_default().list),
                Ok(Err(code)) => {
                    tracing::debug!(app = %host.app.name, code, "signed_in_list_failed")
                }
                Err(error) => {
                    let code = Unavailable::of_store_task(error).code;
                    tracing::debug!(app = %host.app.name, code, "signed_in_list_failed");
                }
            }
        }
        self.retain_live(host, &mut list);
        list
    }

    /// The ID token of the latest login, and its session.
    pub(super) fn id_token_hint(
        host: &AppAuth,
        request_cookies: &RequestCookies<'_>,
    ) -> Option<LogoutHint> {
        let value = request_cookies.get(&host.app.cookies.hint)?;
        host.seals.hint.open(value)
    }

    /// The headers that clear the cookies of the login host.
    pub(super) fn clear(host: &AppAuth) -> SetCookieHeaders {
        let names = &host.app.cookies;
        let list = names.expire(&names.signed_in, &host.app.paths.endpoints);
        let hint = names.expire(&names.hint, &host.app.endpoint_path("logout"));
        list.into_iter().chain(hint).collect()
    }

    fn of_cookie(&self, host: &AppAuth, request_cookies: &RequestCookies<'_>) -> SignedInApps {
        let value = request_cookies.get(&host.app.cookies.signed_in);
        let opened = value.and_then(|value| host.seals.signed_in.open(value));
        opened.unwrap_or_default()
    }

    /// Drops sessions of apps that no longer exist, and those that ended.
    fn retain_live(&self, host: &AppAuth, list: &mut SignedInApps) {
        let now = self.context.now();
        list.retain(|session| {
            let app = self.context.app_of_login_host(host, &session.app);
            app.is_some_and(|app| is_live(&app, session, now))
        });
    }

    /// The cookies of the list, and of the ID token of the latest login. Sessions that do not fit end:
    /// a logout could not end them.
    fn cookies(
        &self,
        host: &AppAuth,
        mut list: SignedInApps,
        grant: &Grant,
    ) -> Option<SetCookieHeaders> {
        let names = &host.app.cookies;
        let mut sealed = host.seals.signed_in.seal(&list, nonce()?)?;
        while sealed.len() > MAX_VALUE
            && let Some(oldest) = list.remove_oldest()
        {
            self.end(host, oldest);
            sealed = host.seals.signed_in.seal(&list, nonce()?)?;
        }
        let longest = self.context.apps_of_login_host(host);
        let longest = longest.map(|app| app.app.limits.absolute).max();
        let header = names.set(
            &names.signed_in,
            &sealed,
            &host.app.paths.endpoints,
            longest,
        )?;
        let mut set_cookies = vec![header];
        if let Some(id_token) = &grant.hint {
            let taken = cookie_size(&names.signed_in, &sealed);
            set_cookies.extend(hint(host, grant, id_token, taken));
        }
        Some(set_cookies)
    }

    /// Ends a session in the background.
    fn end(&self, host: &AppAuth, session: AppSession) {
        let Some(app) = self.context.app_of_login_host(host, &session.app) else {
            return;
        };
        let session = SessionKey::from(session);
        tracing::info!(app = %app.app.name, session = %session.sid.log_name(), "signed_in_list_full");
        let revoker = self.revoker.clone();
        revoker.revoke(&app, &session);
        let spawned = self.context.runtime.spawn(async move {
            revoker.revoke_with_tokens(&app, session.into()).await;
        });
        if spawned.is_err() {
            tracing::warn!("revocation_write_failed");
        }
    }
}

impl From<AppSession> for SessionKey {
    fn from(session: AppSession) -> Self {
        Self {
            sid: session.sid,
            subject: session.subject,
            started_at: session.started_at,
        }
    }
}

/// An entry of the store, and its content.
#[derive(Default)]
struct Recent {
    stored: Bytes,
    list: SignedInApps,
}

/// Adds a session to the recent ones of a browser. Returns all of them.
async fn add_recent(
    context: &Context,
    host: &AppAuth,
    key: &str,
    session: AppSession,
) -> Result<SignedInApps, &'static str> {
    let store = &context.stores.anonymous;
    for _ in 0..MAX_WRITES {
        let now = context.now();
        let ends_at = now.plus(LIFETIME);
        let before = recent(context, host, key).await?;
        let mut list = before
            .as_ref()
            .map_or_else(SignedInApps::default, |before| before.list.clone());
        list.add(session.clone());
        let sealed = nonce().and_then(|nonce| host.seals.signed_in.seal_at(key, &list, nonce));
        let sealed = Bytes::from(sealed.ok_or("internal_error")?);
        let is_written = match before {
            None => store
                .put_if_absent(key, sealed, ends_at, now)
                .await
                .map(|other| other.is_none()),
            Some(before) => {
                store
                    .compare_and_swap(key, &before.stored, sealed, ends_at, now)
                    .await
            }
        };
        if is_written.map_err(|error| error.code())? {
            return Ok(list);
        }
    }
    Err("store_unavailable")
}

/// The recent sessions of a browser.
async fn recent(
    context: &Context,
    host: &AppAuth,
    key: &str,
) -> Result<Option<Recent>, &'static str> {
    let store = &context.stores.anonymous;
    let stored = store.get(key, context.now()).await;
    let stored = stored.map_err(|error| error.code())?;
    Ok(stored.map(|stored| {
        let opened = host.seals.signed_in.open_at(key, &stored);
        let list = opened.map(|(list, _)| list).unwrap_or_default();
        Recent { stored, list }
    }))
}

fn is_live(app: &AppAuth, session: &AppSession, now: Timestamp) -> bool {
    let lifetime = app.app.limits.absolute;
    // Not by its user: a session that is missing here is not ended by a logout.
    now.since(session.started_at) < lifetime
        && !app.revocations.snapshot().has_session(&session.sid)
}

/// The ID token for the provider's logout, if it fits beside the list.
fn hint(host: &AppAuth, grant: &Grant, id_token: &IdToken, taken: usize) -> Option<HeaderValue> {
    let names = &host.app.cookies;
    let path = host.app.endpoint_path("logout");
    let hint = LogoutHint {
        id_token: id_token.clone(),
        sid: Some(grant.jwt.sid.clone()),
    };
    let value = host.seals.hint.seal(&hint, nonce()?)?;
    let size = cookie_size(&names.hint, &value);
    // The browser cookie is small.
    let fits = value.len() <= MAX_VALUE && taken + size + 128 <= MAX_ALL;
    if fits {
        names.set(&names.hint, &value, &path, Some(host.app.limits.absolute))
    } else {
        names.expire(&names.hint, &path)
    }
}

fn key(host: &AppAuth, browser: BrowserHash) -> String {
    format!("signed-in/{}/{}", host.app.name, browser.to_text())
}

fn nonce() -> Option<SealNonce> {
    random::bytes().ok()
}
