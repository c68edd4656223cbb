//! Streams of sessions, such as WebSockets and long request bodies: whether the session still permits
//! them, and the activity of the user on them. No response is sent meanwhile whose cookie
//! could record that activity, so this process remembers it. With a shared store it is stored too,
//! for the other replicas, at most once per tenth of the idle timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::context::{Context, MAX_CACHED_SESSIONS};
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::random;
use crate::auth::session::seen_proofs::SeenProofs;
use crate::auth::session_validity::key_of_session;
use crate::limits::on_behalf_of;
use crate::session::device_binding::DeviceProof;
use crate::session::grant::LastActivity;
use crate::session::validity::{Limits, LiveSession, Session};
use crate::types::body::{StreamOwner, StreamSession};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The last activity on streams of recent sessions.
pub(in crate::auth) struct StreamedSessions(Cache<SessionId, Timestamp>);

impl Default for StreamedSessions {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

impl StreamedSessions {
    /// How many sessions are known.
    pub(in crate::auth) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Records activity on streams, and tells of it.
pub(in crate::auth) struct StreamActivity {
    context: Arc<Context>,
    known: Arc<StreamedSessions>,
    proofs: Arc<SeenProofs>,
}

impl StreamActivity {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        known: Arc<StreamedSessions>,
        proofs: Arc<SeenProofs>,
    ) -> Self {
        Self {
            context,
            known,
            proofs,
        }
    }

    /// A request of a device-bound session has this proof.
    pub(in crate::auth) fn proven(&self, proof: &DeviceProof) {
        self.proofs.record(&proof.sid, proof.proven_at);
    }

    /// The last activity that this process has seen.
    pub(in crate::auth) fn last(&self, sid: &SessionId) -> Option<Timestamp> {
        self.known.0.get(sid)
    }

    /// The last activity that any replica has stored.
    ///
    /// # Errors
    /// The store did not answer.
    pub(in crate::auth) async fn stored(
        &self,
        app: &AppAuth,
        sid: &SessionId,
    ) -> Result<Option<Timestamp>, Unavailable> {
        if !app.app.stream_activity || !self.context.has_shared_store() {
            return Ok(None);
        }
        let key = key(app, sid);
        let (context, stored_key) = (Arc::clone(&self.context), key.clone());
        let get = async move {
            let now = context.now();
            context.stores.sessions.get(&stored_key, now).await
        };
        let stored = self.context.runtime.run(CALL_TIMEOUT, get).await;
        let sealed = stored
            .map_err(Unavailable::of_store_task)?
            .map_err(|error| Unavailable::of_store(error.code()))?;
        let opened = sealed.and_then(|sealed| app.seals.activity.open_at(&key, &sealed));
        let activity = opened.map(|(activity, _)| activity);
        Ok(activity
            .filter(|activity| activity.sid == *sid)
            .map(|activity| activity.last_activity))
    }

    fn record(&self, app: &AppAuth, session: &Session, now: Timestamp) {
        let sid = &session.sid;
        self.known.0.insert(sid.clone(), now);
        if !self.context.has_shared_store() {
            return;
        }
        let activity = LastActivity {
            sid: sid.clone(),
            generation: session.generation,
            last_activity: now,
        };
        let key = key(app, sid);
        let sealed = random::bytes()
            .ok()
            .and_then(|nonce| app.seals.activity.seal_at(&key, &activity, nonce));
        let Some(sealed) = sealed else {
            return;
        };
        let ends_at = now.plus(app.app.limits.idle);
        let user = app.client_key(&session.identity.subject);
        let (context, name) = (Arc::clone(&self.context), app.app.name.clone());
        let put = async move {
            let store = &context.stores.sessions;
            if let Err(error) = store.put(&key, Bytes::from(sealed), ends_at, now).await {
                tracing::debug!(app = %name, %error, "stream_activity_write_failed");
            }
        };
        // Without it, only this replica knows the activity.
        let _ = self.context.runtime.spawn(on_behalf_of(Some(user), put));
    }

    /// A stream of a session. If `counts_as_activity`, data that the client sends reset the idle
    /// timeout.
    pub(in crate::auth) fn stream(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        live: &LiveSession,
        counts_as_activity: bool,
    ) -> StreamSession {
        // The request that opens it has a proof.
        let is_bound = live.session().device.is_bound();
        let proven_at = is_bound.then(|| self.context.now());
        StreamSession::new(SessionStream {
            activity: Arc::clone(self),
            app: Arc::clone(app),
            session: Arc::clone(live.session()),
            limits: *live.limits(),
            proven_at: AtomicU64::new(proven_at.map_or(0, Timestamp::secs)),
            recorded: counts_as_activity.then(|| AtomicU64::new(live.last_activity().secs())),
        })
    }
}

fn key(app: &AppAuth, sid: &SessionId) -> String {
    format!("stream-activity/{}/{sid}", app.app.name)
}

/// A stream of a session.
struct SessionStream {
    activity: Arc<StreamActivity>,
    app: Arc<AppAuth>,
    session: Arc<Session>,
    limits: Limits,
    /// The last proof of the device that this stream knows, in seconds. 0: none, as of a session that is
    /// not bound.
    proven_at: AtomicU64,
    /// The last recorded activity, in seconds. `None`: the stream is no activity.
    recorded: Option<AtomicU64>,
}

impl SessionStream {
    /// Whether the device of the session has proven its key recently: when the stream was opened, or
    /// since then to this process. A session that was pending then may have been bound meanwhile.
    fn is_proven(&self, now: Timestamp) -> bool {
        let Some(policy) = &self.app.app.device_binding else {
            return true;
        };
        let seen = self.activity.proofs.last(&self.session.sid);
        let seen = seen.map_or(0, Timestamp::secs);
        let last = self.proven_at.fetch_max(seen, Ordering::Relaxed).max(seen);
        last == 0 || now.since(Timestamp::from_secs(last)) < policy.stream_proof_timeout
    }
}

impl StreamOwner for SessionStream {
    /// False once the session is revoked, reaches the absolute timeout or is not proven any more, or the
    /// app is removed.
    fn is_valid(&self) -> bool {
        let now = self.activity.context.now();
        let age = now.since(self.session.started_at);
        let revocations = &self.app.revocations;
        !revocations.is_removed()
            && !revocations
                .snapshot()
                .contains(key_of_session(&self.session))
            && age < self.limits.absolute
            && self.is_proven(now)
    }

    fn client_sent(&self) {
        let Some(recorded) = &self.recorded else {
            return;
        };
        let now = self.activity.context.now();
        let last = Timestamp::from_secs(recorded.load(Ordering::Relaxed));
        if self.limits.activity_due(last, now) {
            recorded.store(now.secs(), Ordering::Relaxed);
            self.activity.record(&self.app, &self.session, now);
        }
    }
}
