//! POST replay: a form submission without a session is preserved, sealed in the store for some
//! minutes, until the user has logged in. `quota` limits their number and size.

pub(in crate::auth) mod quota;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::auth::app::AppAuth;
use crate::auth::login::start::LoginStart;
use crate::auth::session::authenticate::session_key;
use crate::auth::{Auth, Event, TIMEOUT, Unavailable, random};
use crate::identity::post_id::PostId;
use crate::policy::post_replay::PreservePostError;
use crate::policy::route::AppRef;
use crate::runtime::TaskError;
use crate::session::attempt::{ATTEMPT_LIFETIME, BrowserHash};
use crate::session::cookie::RequestCookies;
use crate::session::last_user::SubjectHash;
use crate::session::preserved_post::{PostOwnership, PreservedPost};
use crate::session::validity::LiveSession;
use crate::types::time::Timestamp;

/// How long a POST is preserved: two login attempts, and time to read the confirmation page.
const KEPT: Duration = Duration::from_secs(2 * ATTEMPT_LIFETIME.as_secs() + 300);

/// A form submission.
#[derive(Debug)]
pub struct SubmittedPost {
    /// Its target, in canonical form.
    pub target: String,
    /// `Content-Type`.
    pub content_type: String,
    /// `Referer`.
    pub referer: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why a preserved POST cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostUnavailable {
    /// It was replayed, expired, never existed, or belongs to another browser.
    Gone,
    /// It belongs to another user and was deleted.
    OtherPerson,
    /// The store is unavailable.
    Unavailable(Unavailable),
}

/// Reserved quota for a form submission. Dropping it before the POST is stored frees the quota.
pub struct PostReservation {
    auth: Arc<Auth>,
    key: String,
    user: Option<SubjectHash>,
    ends_at: Timestamp,
    stays: bool,
}

impl Drop for PostReservation {
    fn drop(&mut self) {
        if self.stays {
            self.auth.post_replays.arrived(&self.key);
        } else {
            self.auth.post_replays.free(&self.key);
        }
    }
}

/// A POST that is claimed for one replay, with its quota. Dropping it before the result is known
/// counts as sent without a response.
pub struct ClaimedPost {
    auth: Arc<Auth>,
    app: Arc<AppAuth>,
    key: String,
    form: PreservedPost,
    outcome: &'static str,
    stays: bool,
}

impl ClaimedPost {
    /// The preserved POST.
    pub const fn form(&self) -> &PreservedPost {
        &self.form
    }

    /// The app has responded.
    pub fn sent(mut self) {
        self.outcome = "sent";
    }
}

impl Drop for ClaimedPost {
    fn drop(&mut self) {
        if !self.stays {
            self.auth.post_replays.free(&self.key);
        }
        self.auth
            .observer
            .record_event(&self.app, Event::PostReplay, self.outcome);
    }
}

impl Auth {
    /// A new ID for a POST. `None`: no randomness.
    pub fn new_post_id(&self) -> Option<PostId> {
        random::random_id()
            .ok()
            .and_then(|name| PostId::parse(&name))
    }

    /// Reserves quota for the POST `id` before its body is read.
    ///
    /// # Errors
    /// [`PreservePostError::QuotaExceeded`].
    pub fn reserve_post(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        id: &PostId,
        (length, more): (usize, usize),
    ) -> Result<PostReservation, PreservePostError> {
        let app = self
            .app(app_ref.index)
            .ok_or(PreservePostError::QuotaExceeded)?;
        let user =
            session_key(app, request_cookies).map(|session| SubjectHash::of(&session.subject));
        let (key, now) = (key(app, id), self.now());
        let (ends_at, sender) = (now.plus(KEPT), user.map(|user| (app_ref.index, user)));
        if !self
            .post_replays
            .take(&key, (sender, length.saturating_add(more)), ends_at, now)
        {
            return Err(PreservePostError::QuotaExceeded);
        }
        Ok(PostReservation {
            auth: Arc::clone(self),
            key,
            user,
            ends_at,
            stays: false,
        })
    }

    /// Stores a POST with its reserved quota, for the browser of the login `start`.
    ///
    /// # Errors
    /// See [`PreservePostError`].
    pub async fn preserve_post(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        (mut room, form): (PostReservation, SubmittedPost),
        start: &LoginStart,
    ) -> Result<(), PreservePostError> {
        let app = self
            .app(app_ref.index)
            .ok_or(PreservePostError::QuotaExceeded)?;
        let (key, user, ends_at, now) = (room.key.clone(), room.user, room.ends_at, self.now());
        let SubmittedPost {
            target,
            content_type,
            referer,
            body,
        } = form;
        let kept = PreservedPost {
            target,
            content_type,
            referer,
            body: body.into(),
            browser: start.browser,
            user,
            ends_at,
        };
        let sealed = random::bytes()
            .ok()
            .and_then(|nonce| app.seals.form.seal_at(&key, &kept, nonce));
        let sealed = Bytes::from(sealed.ok_or(PreservePostError::QuotaExceeded)?);
        let auth = Arc::clone(self);
        let put = async move { auth.stores.anonymous.put(&key, sealed, ends_at, now).await };
        // A timed-out write may still have reached the store, so its quota stays taken.
        room.stays = true;
        let code = match self.anonymous_tasks.run(TIMEOUT, put).await {
            Ok(Ok(())) => {
                self.observer.record_event(app, Event::PostReplay, "kept");
                return Ok(());
            }
            Ok(Err(error)) => {
                room.stays = false;
                error.code()
            }
            Err(error @ TaskError::Busy) => {
                room.stays = false;
                error.code()
            }
            Err(error @ (TaskError::TooSlow | TaskError::Panicked)) => error.code(),
        };
        tracing::warn!(app = %app.app.name, code, "post_store_failed");
        Err(PreservePostError::QuotaExceeded)
    }

    /// Records that a POST was not preserved.
    pub fn post_not_preserved(&self, app_ref: AppRef<'_>, why: PreservePostError) {
        if let Some(app) = self.app(app_ref.index) {
            self.observer
                .record_event(app, Event::PostReplay, why.code());
        }
    }

    /// Loads the POST `id` for the confirmation page. A POST of another user is deleted.
    ///
    /// # Errors
    /// See [`PostUnavailable`].
    pub async fn load_post(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        live: &LiveSession,
        id: &PostId,
    ) -> Result<(PreservedPost, Duration), PostUnavailable> {
        let (form, _) = self.claimed(app_ref, request_cookies, live, id).await?;
        let age = self.now().since(form.ends_at.minus(KEPT));
        Ok((form, age))
    }

    /// Claims the POST `id` for a single replay to `target`.
    ///
    /// # Errors
    /// See [`PostUnavailable`].
    pub async fn claim_post(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        live: &LiveSession,
        (id, target): (&PostId, &str),
    ) -> Result<ClaimedPost, PostUnavailable> {
        let app = self.app(app_ref.index).ok_or(PostUnavailable::Gone)?;
        let (form, sealed) = self.claimed(app_ref, request_cookies, live, id).await?;
        if form.target != target || !self.delete_post(app, id, sealed).await? {
            return Err(PostUnavailable::Gone);
        }
        let (auth, app, key) = (Arc::clone(self), Arc::clone(app), key(app, id));
        Ok(ClaimedPost {
            auth,
            app,
            key,
            form,
            outcome: "unanswered",
            stays: false,
        })
    }

    /// Stores a claimed POST again that did not reach the app.
    pub async fn return_post(self: &Arc<Self>, mut hand: ClaimedPost) {
        hand.outcome = "lost";
        let (app, form) = (&hand.app, &hand.form);
        let sealed = random::bytes()
            .ok()
            .and_then(|nonce| app.seals.form.seal_at(&hand.key, form, nonce));
        let (auth, key, now, ends_at) =
            (Arc::clone(self), hand.key.clone(), self.now(), form.ends_at);
        let Some(sealed) = sealed else { return };
        let put = async move {
            auth.stores
                .anonymous
                .put(&key, Bytes::from(sealed), ends_at, now)
                .await
        };
        (hand.outcome, hand.stays) = ("returned", true);
        match self.anonymous_tasks.run(TIMEOUT, put).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(TaskError::Busy) => (hand.outcome, hand.stays) = ("lost", false),
            // The write may have reached the store.
            Err(TaskError::TooSlow | TaskError::Panicked) => hand.outcome = "lost",
        }
    }

    /// How many POSTs of this process the store may hold, and their charged bytes.
    pub fn preserved_posts(&self) -> (usize, usize) {
        self.post_replays.taken()
    }

    /// Limits how many requests are checked for a replay at once.
    pub fn post_replay_reads(&self) -> &Semaphore {
        self.post_replays.calls()
    }

    async fn claimed(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        live: &LiveSession,
        id: &PostId,
    ) -> Result<(PreservedPost, Bytes), PostUnavailable> {
        let app = self.app(app_ref.index).ok_or(PostUnavailable::Gone)?;
        let (auth, entry, now) = (Arc::clone(self), key(app, id), self.now());
        let key = entry.clone();
        let get = async move { auth.stores.anonymous.get(&entry, now).await };
        let sealed = self
            .asked_store(app, self.anonymous_tasks.run(TIMEOUT, get).await)?
            .ok_or(PostUnavailable::Gone)?;
        let (form, _) = app
            .seals
            .form
            .open_at(&key, &sealed)
            .ok_or(PostUnavailable::Gone)?;
        let browser = request_cookies
            .get(&app.app.cookies.browser)
            .map(BrowserHash::of);
        match form.claim(
            browser.as_ref(),
            SubjectHash::of(&live.session().identity.subject),
        ) {
            PostOwnership::Good if now < form.ends_at => Ok((form, sealed)),
            PostOwnership::Good | PostOwnership::OtherBrowser => Err(PostUnavailable::Gone),
            PostOwnership::OtherPerson => {
                if self.delete_post(app, id, sealed).await? {
                    self.release_post(app, id);
                }
                tracing::info!(app = %app.app.name, "post_of_another_user");
                self.observer
                    .record_event(app, Event::PostReplay, "user_switched");
                Err(PostUnavailable::OtherPerson)
            }
        }
    }

    fn release_post(&self, app: &AppAuth, id: &PostId) {
        self.post_replays.free(&key(app, id));
    }

    async fn delete_post(
        self: &Arc<Self>,
        app: &AppAuth,
        id: &PostId,
        sealed: Bytes,
    ) -> Result<bool, PostUnavailable> {
        let (auth, key, now) = (Arc::clone(self), key(app, id), self.now());
        let remove = async move { auth.stores.anonymous.remove(&key, &sealed, now).await };
        self.asked_store(app, self.anonymous_tasks.run(TIMEOUT, remove).await)
    }

    fn asked_store<T>(
        &self,
        app: &AppAuth,
        asked: Result<Result<T, crate::store::StoreError>, TaskError>,
    ) -> Result<T, PostUnavailable> {
        let code = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.code(),
            Err(error) => error.code(),
        };
        tracing::warn!(app = %app.app.name, code, "post_store_unavailable");
        Err(PostUnavailable::Unavailable(Unavailable::new(code)))
    }
}

fn key(app: &AppAuth, id: &PostId) -> String {
    format!("form/{}/{}", app.app.name, id.as_str())
}
