//! Session cache: the sessions of sealed texts that were opened before, so that a request with a
//! known cookie or token decrypts and parses nothing. One cache per worker and configuration.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::lock::lock;
use crate::session::client_continuity::{ComparedClient, DetectedChange, PresentedClient};
use crate::session::device_binding::{DeviceCookie, DeviceProof};
use crate::session::grant::{ActivityCookie, LastActivity};
use crate::session::network_hint::HintedClient;
use crate::session::seal::{KeyAge, OpenedText, Purpose, Seal};
use crate::session::validity::Session;
use crate::types::time::Timestamp;

/// How long after a failure the store is told again that a client has its tokens.
const CONFIRMATION_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Sessions by position of the app and end of the sealed text. An entry is used only if the whole
/// text is the same, so that it is as good as opening the text again. Whether the session is valid
/// is not cached.
pub struct SessionCache(Cache<(usize, SealTail), Arc<CachedSession>>);

/// The end of a sealed text. It contains the authentication tag, so that no two seals have the same.
type SealTail = [u8; 24];

/// The beginning of a sealed cookie: it contains the nonce, so that no two seals have the same.
type SealHead = [u8; 26];

/// A parsed session, and what else was learned from its cookies.
pub(in crate::auth) struct CachedSession {
    /// The session.
    pub(in crate::auth) session: Arc<Session>,
    /// The age of the key that sealed it.
    pub(in crate::auth) key_age: KeyAge,
    text: OpenedText,
    /// The refresh cookie that was found to belong to it.
    refresh: OnceLock<SealHead>,
    /// The last activity cookie.
    activity: Mutex<Option<CachedActivity>>,
    /// The last proof of its device.
    proof: Mutex<Option<CachedProof>>,
    /// The last client that used it.
    client: Mutex<Option<CachedClient>>,
    /// The last client that was compared with that of the login.
    compared: Mutex<Option<ComparedClient>>,
    /// From when the next request confirms the generation again, in seconds since the epoch. 0 if
    /// there is nothing to repeat.
    confirm_from: AtomicU64,
}

struct CachedActivity {
    text: OpenedText,
    activity: LastActivity,
}

struct CachedProof {
    text: OpenedText,
    proof: Arc<DeviceProof>,
}

struct CachedClient {
    address: Option<IpAddr>,
    user_agent: Box<[u8]>,
    client: Arc<HintedClient>,
}

impl SessionCache {
    /// Creates a cache of at most `sessions` entries.
    pub fn new(sessions: usize) -> Self {
        Self(Cache::new(sessions))
    }

    /// The session of a text that `seal` has opened at this position.
    pub(in crate::auth) fn get<P: Purpose>(
        &self,
        position: usize,
        seal: &Seal<P>,
        text: &[u8],
    ) -> Option<Arc<CachedSession>> {
        let cached = self.0.get(&(position, *text.last_chunk()?))?;
        seal.has_opened(&cached.text, text).then_some(cached)
    }

    /// Adds the session of a text that `seal` has just opened.
    pub(in crate::auth) fn insert<P: Purpose>(
        &self,
        position: usize,
        seal: &Seal<P>,
        text: &str,
        session: Session,
        key_age: KeyAge,
    ) -> Arc<CachedSession> {
        let cached = Arc::new(CachedSession {
            session: Arc::new(session),
            key_age,
            text: seal.remember(text),
            refresh: OnceLock::new(),
            activity: Mutex::new(None),
            proof: Mutex::new(None),
            client: Mutex::new(None),
            compared: Mutex::new(None),
            confirm_from: AtomicU64::new(0),
        });
        if let Some(tail) = text.as_bytes().last_chunk() {
            self.0.insert((position, *tail), Arc::clone(&cached));
        }
        cached
    }
}

impl CachedSession {
    /// Whether this refresh cookie was found to belong to the session.
    pub(in crate::auth) fn owns_refresh(&self, value: &[u8]) -> bool {
        let head = value.first_chunk();
        head.is_some() && head == self.refresh.get()
    }

    /// Remembers that this refresh cookie belongs to the session.
    pub(in crate::auth) fn set_refresh(&self, value: &[u8]) {
        if let Some(head) = value.first_chunk() {
            // Another tab may have set it meanwhile.
            let _ = self.refresh.set(*head);
        }
    }

    /// The content of the activity cookie `text`. It is decrypted once.
    pub(in crate::auth) fn activity(
        &self,
        seal: &Seal<ActivityCookie>,
        text: &[u8],
    ) -> Option<LastActivity> {
        let mut cached = lock(&self.activity);
        if let Some(known) = &*cached
            && seal.has_opened(&known.text, text)
        {
            return Some(known.activity.clone());
        }
        let text = std::str::from_utf8(text).ok()?;
        let activity = seal.open(text)?;
        *cached = Some(CachedActivity {
            text: seal.remember(text),
            activity: activity.clone(),
        });
        Some(activity)
    }

    /// The content of the proof cookie `text`. It is decrypted once.
    pub(in crate::auth) fn proof(
        &self,
        seal: &Seal<DeviceCookie>,
        text: &[u8],
    ) -> Option<Arc<DeviceProof>> {
        let mut cached = lock(&self.proof);
        if let Some(known) = &*cached
            && seal.has_opened(&known.text, text)
        {
            return Some(Arc::clone(&known.proof));
        }
        let text = std::str::from_utf8(text).ok()?;
        let proof = Arc::new(seal.open(text)?);
        *cached = Some(CachedProof {
            text: seal.remember(text),
            proof: Arc::clone(&proof),
        });
        Some(proof)
    }

    /// The client at this address with this `User-Agent`. It is hashed once.
    pub(in crate::auth) fn client(
        &self,
        address: Option<IpAddr>,
        user_agent: &[u8],
        hash: impl FnOnce() -> Arc<HintedClient>,
    ) -> Arc<HintedClient> {
        let mut cached = lock(&self.client);
        if let Some(known) = &*cached
            && known.address == address
            && *known.user_agent == *user_agent
        {
            return Arc::clone(&known.client);
        }
        let client = hash();
        *cached = Some(CachedClient {
            address,
            user_agent: user_agent.into(),
            client: Arc::clone(&client),
        });
        client
    }

    /// How this client differs from that of the login, if it does. It is compared once.
    pub(in crate::auth) fn client_change(
        &self,
        client: PresentedClient<'_>,
    ) -> Option<DetectedChange> {
        let known = self.session.client.as_deref()?;
        let mut cached = lock(&self.compared);
        if let Some(compared) = &*cached
            && compared.is(client)
        {
            return compared.change();
        }
        cached.insert(ComparedClient::new(known, client)).change()
    }

    /// Repeats the confirmation of the generation after [`CONFIRMATION_RETRY_INTERVAL`].
    pub(in crate::auth) fn retry_confirmation(&self, now: Timestamp) {
        let from = now.plus(CONFIRMATION_RETRY_INTERVAL).secs();
        self.confirm_from.store(from, Ordering::Relaxed);
    }

    /// Whether a failed confirmation is to be repeated. True for one caller.
    pub(in crate::auth) fn takes_confirmation(&self, now: Timestamp) -> bool {
        let from = self.confirm_from.load(Ordering::Relaxed);
        from != 0 && from <= now.secs() && self.confirm_from.swap(0, Ordering::Relaxed) != 0
    }
}
