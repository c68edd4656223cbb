//! POST replay: a form submission without a session is preserved, sealed in the store for some
//! minutes, until the user has logged in. `quota` limits their number and size.

pub(in crate::auth) mod quota;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::events::{Event, EventSession};
use crate::auth::random;
use crate::auth::session::open::session_key;
use crate::identity::post_id::PostId;
use crate::limits::current_client;
use crate::policy::post_replay::PreservePostError;
use crate::policy::route::AppRef;
use crate::runtime::TaskError;
use crate::session::attempt::{ATTEMPT_LIFETIME, BrowserHash};
use crate::session::cookie::RequestCookies;
use crate::session::last_user::SubjectHash;
use crate::session::preserved_post::{PostOwnership, PreservedPost};
use crate::session::validity::LiveSession;
use crate::store::StoreError;
use crate::types::time::Timestamp;
use quota::{PostQuota, PostSize, Sender};

pub use quota::QuotaUsage;

/// How long a POST is preserved: two login attempts, and time to read the confirmation page.
const LIFETIME: Duration = Duration::from_secs(2 * ATTEMPT_LIFETIME.as_secs() + 300);

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

/// A preserved POST for the confirmation page.
#[derive(Debug)]
pub struct LoadedPost {
    /// The POST.
    pub post: PreservedPost,
    /// How long ago it was submitted.
    pub age: Duration,
}

/// Why a preserved POST cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostUnavailable {
    /// It was replayed, expired, never existed, or belongs to another browser.
    Gone,
    /// It belongs to another user and was deleted.
    OtherUser,
    /// The store is unavailable.
    Unavailable(Unavailable),
}

/// Reserved quota for a form submission. Dropping it before the POST is stored frees the quota.
pub struct PostReservation {
    quota: Arc<PostQuota>,
    key: String,
    user: Option<SubjectHash>,
    ends_at: Timestamp,
    is_stored: bool,
}

impl Drop for PostReservation {
    fn drop(&mut self) {
        if self.is_stored {
            self.quota.uploaded(&self.key);
        } else {
            self.quota.free(&self.key);
        }
    }
}

/// A POST that is claimed for one replay, with its quota. Dropping it before the result is known
/// counts as sent without a response.
pub struct ClaimedPost {
    context: Arc<Context>,
    quota: Arc<PostQuota>,
    app: Arc<AppAuth>,
    key: String,
    post: PreservedPost,
    outcome: &'static str,
    is_stored: bool,
}

impl ClaimedPost {
    /// The preserved POST.
    pub const fn post(&self) -> &PreservedPost {
        &self.post
    }

    /// The app has responded.
    pub fn sent(mut self) {
        self.outcome = "sent";
    }
}

impl Drop for ClaimedPost {
    fn drop(&mut self) {
        if !self.is_stored {
            self.quota.free(&self.key);
        }
        let observer = &self.context.observer;
        observer.record_event(
            &self.app,
            Event::PostReplay,
            self.outcome,
            &EventSession::default(),
        );
    }
}

/// A stored POST that belongs to the user and browser of a request.
struct OwnedPost {
    post: PreservedPost,
    sealed: Bytes,
}

/// Preserves and replays form submissions.
pub struct PostReplay {
    context: Arc<Context>,
    quota: Arc<PostQuota>,
}

impl PostReplay {
    pub(in crate::auth) const fn new(context: Arc<Context>, quota: Arc<PostQuota>) -> Self {
        Self { context, quota }
    }

    /// A new ID for a POST. `None`: no randomness.
    pub fn new_id(&self) -> Option<PostId> {
        PostId::parse(&random::random_id().ok()?)
    }

    /// Reserves quota for the POST `id` of `size` bytes before its body is read.
    ///
    /// # Errors
    /// [`PreservePostError::QuotaExceeded`].
    pub fn reserve(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        id: &PostId,
        size: usize,
    ) -> Result<PostReservation, PreservePostError> {
        let app = self.context.shared_app(app_ref);
        let app = &app.ok_or(PreservePostError::QuotaExceeded)?;
        let user = self.context.app_at_provider(app_ref);
        let user = user.and_then(|app| {
            let session = session_key(&app, request_cookies)?;
            Some(app.user_hash(&session.subject))
        });
        let sender = user.map(|user| Sender {
            app: app_ref.index,
            user,
        });
        let (key, now) = (key(app, id), self.context.now());
        let ends_at = now.plus(LIFETIME);
        let size = PostSize {
            sender,
            client: current_client(),
            bytes: size,
        };
        if !self.quota.reserve(&key, size, ends_at, now) {
            return Err(PreservePostError::QuotaExceeded);
        }
        Ok(PostReservation {
            quota: Arc::clone(&self.quota),
            key,
            user,
            ends_at,
            is_stored: false,
        })
    }

    /// Stores a POST with its reserved quota, for this browser.
    ///
    /// # Errors
    /// See [`PreservePostError`].
    pub async fn preserve(
        &self,
        app_ref: AppRef<'_>,
        mut reservation: PostReservation,
        post: SubmittedPost,
        browser: BrowserHash,
    ) -> Result<(), PreservePostError> {
        let app = self.context.shared_app(app_ref);
        let app = &app.ok_or(PreservePostError::QuotaExceeded)?;
        let post = PreservedPost {
            target: post.target,
            content_type: post.content_type,
            referer: post.referer,
            body: post.body.into(),
            browser,
            user: reservation.user,
            ends_at: reservation.ends_at,
        };
        let sealed = seal(app, &reservation.key, &post).ok_or(PreservePostError::QuotaExceeded)?;
        // A timed-out write may still have reached the store, so its quota stays taken.
        reservation.is_stored = true;
        let code = match self.put(&reservation.key, sealed, post.ends_at).await {
            Ok(Ok(())) => {
                let observer = &self.context.observer;
                observer.record_event(app, Event::PostReplay, "kept", &EventSession::default());
                return Ok(());
            }
            Ok(Err(error)) => {
                reservation.is_stored = false;
                error.code()
            }
            Err(error @ TaskError::Busy) => {
                reservation.is_stored = false;
                error.code()
            }
            Err(error @ (TaskError::TooSlow | TaskError::Panicked)) => error.code(),
        };
        tracing::debug!(app = %app.app.name, code, "post_store_failed");
        Err(PreservePostError::QuotaExceeded)
    }

    /// Records that a POST was not preserved.
    pub fn record_not_preserved(&self, app_ref: AppRef<'_>, why: PreservePostError) {
        if let Some(app) = &self.context.shared_app(app_ref) {
            let observer = &self.context.observer;
            observer.record_event(app, Event::PostReplay, why.code(), &EventSession::default());
        }
    }

    /// Loads the POST `id` for the confirmation page. A POST of another user is deleted.
    ///
    /// # Errors
    /// See [`PostUnavailable`].
    pub async fn load(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        live: &LiveSession,
        id: &PostId,
    ) -> Result<LoadedPost, PostUnavailable> {
        let OwnedPost { post, .. } = self.owned(app_ref, request_cookies, live, id).await?;
        let submitted_at = post.ends_at.minus(LIFETIME);
        let age = self.context.now().since(submitted_at);
        Ok(LoadedPost { post, age })
    }

    /// Claims the POST `id` for a single replay to `target`.
    ///
    /// # Errors
    /// See [`PostUnavailable`].
    pub async fn claim(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        live: &LiveSession,
        id: &PostId,
        target: &str,
    ) -> Result<ClaimedPost, PostUnavailable> {
        let app = self.context.shared_app(app_ref);
        let app = &app.ok_or(PostUnavailable::Gone)?;
        let OwnedPost { post, sealed } = self.owned(app_ref, request_cookies, live, id).await?;
        if post.target != target || !self.delete(app, id, sealed).await? {
            return Err(PostUnavailable::Gone);
        }
        Ok(ClaimedPost {
            context: Arc::clone(&self.context),
            quota: Arc::clone(&self.quota),
            app: Arc::clone(app),
            key: key(app, id),
            post,
            outcome: "unanswered",
            is_stored: false,
        })
    }

    /// Stores a claimed POST again that did not reach the app.
    pub async fn give_back(&self, mut claimed: ClaimedPost) {
        claimed.outcome = "lost";
        let Some(sealed) = seal(&claimed.app, &claimed.key, &claimed.post) else {
            return;
        };
        claimed.outcome = "returned";
        claimed.is_stored = true;
        match self.put(&claimed.key, sealed, claimed.post.ends_at).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(TaskError::Busy) => {
                claimed.outcome = "lost";
                claimed.is_stored = false;
            }
            // The write may have reached the store.
            Err(TaskError::TooSlow | TaskError::Panicked) => claimed.outcome = "lost",
        }
    }

    /// How many POSTs of this process the store may hold, and their charged bytes.
    pub fn usage(&self) -> QuotaUsage {
        self.quota.usage()
    }

    pub(in crate::auth) fn sweep(&self, now: Timestamp) {
        self.quota.sweep(now);
    }

    async fn owned(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        live: &LiveSession,
        id: &PostId,
    ) -> Result<OwnedPost, PostUnavailable> {
        let app = self.context.shared_app(app_ref);
        let app = &app.ok_or(PostUnavailable::Gone)?;
        let (key, now) = (key(app, id), self.context.now());
        let sealed = self.get(app, &key, now).await?;
        let sealed = sealed.ok_or(PostUnavailable::Gone)?;
        let opened = app.seals.preserved_post.open_at(&key, &sealed);
        let (post, _) = opened.ok_or(PostUnavailable::Gone)?;
        let browsers = request_cookies.values(&app.app.cookies.browser);
        let browser = browsers
            .map(BrowserHash::of)
            .find(|browser| browser.is(&post.browser));
        let user = self.context.app(app_ref).ok_or(PostUnavailable::Gone)?;
        let user = user.user_hash(&live.session().identity.subject);
        match post.claim(browser.as_ref(), user) {
            PostOwnership::Owner if now < post.ends_at => Ok(OwnedPost { post, sealed }),
            PostOwnership::Owner | PostOwnership::OtherBrowser => Err(PostUnavailable::Gone),
            PostOwnership::OtherUser => {
                if self.delete(app, id, sealed).await? {
                    self.quota.free(&key);
                }
                tracing::info!(app = %app.app.name, "post_of_another_user");
                let observer = &self.context.observer;
                observer.record_event(
                    app,
                    Event::PostReplay,
                    "user_switched",
                    &EventSession::default(),
                );
                Err(PostUnavailable::OtherUser)
            }
        }
    }

    async fn get(
        &self,
        app: &AppAuth,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Bytes>, PostUnavailable> {
        let (context, key) = (Arc::clone(&self.context), key.to_owned());
        let get = async move { context.stores.anonymous.get(&key, now).await };
        let tasks = &self.context.anonymous_tasks;
        stored(app, tasks.run(CALL_TIMEOUT, get).await)
    }

    async fn put(
        &self,
        key: &str,
        sealed: Bytes,
        ends_at: Timestamp,
    ) -> Result<Result<(), StoreError>, TaskError> {
        let (context, key) = (Arc::clone(&self.context), key.to_owned());
        let now = self.context.now();
        let put = async move {
            let store = &context.stores.anonymous;
            store.put(&key, sealed, ends_at, now).await
        };
        self.context.anonymous_tasks.run(CALL_TIMEOUT, put).await
    }

    async fn delete(
        &self,
        app: &AppAuth,
        id: &PostId,
        sealed: Bytes,
    ) -> Result<bool, PostUnavailable> {
        let (context, key, now) = (Arc::clone(&self.context), key(app, id), self.context.now());
        let remove = async move { context.stores.anonymous.remove(&key, &sealed, now).await };
        let tasks = &self.context.anonymous_tasks;
        stored(app, tasks.run(CALL_TIMEOUT, remove).await)
    }
}

fn stored<T>(
    app: &AppAuth,
    result: Result<Result<T, StoreError>, TaskError>,
) -> Result<T, PostUnavailable> {
    let outage = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => Unavailable::of_store(error.code()),
        Err(error) => Unavailable::of_store_task(error),
    };
    tracing::debug!(app = %app.app.name, code = outage.code, "post_store_unavailable");
    Err(PostUnavailable::Unavailable(outage))
}

/// `None`: no randomness.
fn seal(app: &AppAuth, key: &str, post: &PreservedPost) -> Option<Bytes> {
    let nonce = random::bytes().ok()?;
    let sealed = app.seals.preserved_post.seal_at(key, post, nonce)?;
    Some(Bytes::from(sealed))
}

fn key(app: &AppAuth, id: &PostId) -> String {
    format!("form/{}/{}", app.app.name, id.as_str())
}
