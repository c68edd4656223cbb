//! Stage 3: who asks. Opens the cookies, judges the session, and refreshes it here and only here.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use quick_cache::sync::Cache;

use super::app::AppAuth;
use super::native::Proving;
use super::refresh::{Flight, Refreshed};
use super::set_cookies::{self, Lines};
use super::{Auth, Outage, login_loop};
use crate::policy::decide::Caller;
use crate::policy::native::Shown;
use crate::policy::route::Place;
use crate::session::assess::{
    LiveSession, Outside, Presented, Session, Stale, Standing, Why, assess,
};
use crate::session::cookie::RequestCookies;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::seal::{KeyAge, Purpose, Seal, Stamp, read_payload};
use crate::session::token::TokenRefusal;
use crate::store::{RevokedSet, Whose};
use crate::types::body::Holds;
use crate::types::oauth::{Generation, KeyFingerprint, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// Sessions whose seal opened before, by the seal itself: their claims are read and their headers made once.
/// One for each worker.
pub struct SessionCache(Cache<(usize, Stamp), Arc<Session>>);

impl SessionCache {
    /// A cache of at most `sessions`.
    pub fn new(sessions: usize) -> Self {
        Self(Cache::new(sessions))
    }
}

/// How much may be done to find out who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Only open cookies: the page is everyone's. Nothing is waited for, nothing fails, and nothing is said to the
    /// browser about its session.
    Look,
    /// The same where somebody must be known, but the answer cannot deliver a cookie.
    Know,
    /// Refresh if need be.
    Refresh,
}

/// Who asks, and what is to be said to the browser about it when the answer's head is written.
#[derive(Debug)]
pub struct Resumed {
    /// Who asks; an outage is not nobody.
    pub caller: Result<Caller, Outage>,
    /// What became of the session.
    pub afterwards: Afterwards,
    /// When that was.
    pub at: Timestamp,
    /// The nonce that the next proof of possession has to carry.
    pub nonce: Option<HeaderValue>,
}

/// After how long an answer no longer delivers what its request brought, where other replicas may have brought more:
/// well below the life of any JWT.
const LATE: Duration = Duration::from_secs(10);

/// What the answer owes the browser.
#[derive(Debug)]
pub enum Afterwards {
    /// Nothing.
    Nothing,
    /// The tokens that a refresh brought.
    Deliver(Arc<Grant>),
    /// The tokens that a refresh brought a native app, and their scope.
    HandOver(Arc<Grant>, String),
    /// What a refresh brings that runs beside the request, if it ends in time; else the last activity.
    DeliverIfLanded(Flight, LiveSession),
    /// The last activity, if it is time to write it down.
    Note(LiveSession),
    /// The tokens that it brought, sealed with the key that seals now.
    Reseal(LiveSession),
    /// That this session is over, and why.
    Forget(SessionId, Why),
}

impl Resumed {
    /// Nobody was asked for: the request leads to no app.
    pub const fn nobody_asked() -> Self {
        Self::new(Ok(Caller::Anonymous(Why::NoCookie)), Afterwards::Nothing)
    }

    pub(super) const fn new(caller: Result<Caller, Outage>, afterwards: Afterwards) -> Self {
        Self {
            caller,
            afterwards,
            at: Timestamp::from_secs(0),
            nonce: None,
        }
    }

    /// Nobody, by a token that was shown.
    pub(super) const fn refused(refusal: TokenRefusal) -> Self {
        Self::new(
            Ok(Caller::Anonymous(Why::TokenRefused(refusal))),
            Afterwards::Nothing,
        )
    }

    /// Nobody, by a session of this name that was presented, if any.
    pub(super) fn nobody(why: Why, sid: Option<SessionId>) -> Self {
        let afterwards = match (why, sid) {
            (
                Why::Idle | Why::TooOld | Why::RefreshRefused | Why::Reused | Why::Expired,
                Some(sid),
            ) => Afterwards::Forget(sid, why),
            // What ended it told the browser so: by now there may be cookies of a new login, not to be taken away.
            // And other keys may open what ours do not: nothing is deleted.
            (
                Why::Revoked
                | Why::RevocationsUnknown
                | Why::NoCookie
                | Why::Unreadable
                | Why::Mixed
                | Why::TokenRefused(_),
                _,
            )
            | (_, None) => Afterwards::Nothing,
        };
        Self::new(Ok(Caller::Anonymous(why)), afterwards)
    }
}

impl Auth {
    /// Finds out who sent a request with the fields of `proving` and these `cookies` to the app at `place`. A session of cookies wins
    /// over a token, which is then not looked at.
    pub async fn resume(
        self: &Arc<Self>,
        place: Place<'_>,
        proving: Proving<'_>,
        cookies: &RequestCookies<'_>,
        effort: Effort,
        cache: &SessionCache,
    ) -> Resumed {
        let by_cookies = self.resume_cookies(place, cookies, effort, cache).await;
        match (
            &by_cookies.caller,
            &place.app.native,
            Shown::read(proving.headers),
        ) {
            (Ok(Caller::Anonymous(_)), Some(native), Some(shown)) => {
                Box::pin(self.resume_native(place, native, (shown, proving), effort, cache)).await
            }
            _ => by_cookies,
        }
    }

    async fn resume_cookies(
        self: &Arc<Self>,
        place: Place<'_>,
        cookies: &RequestCookies<'_>,
        effort: Effort,
        cache: &SessionCache,
    ) -> Resumed {
        let Some(app) = self.app(place.index) else {
            return Resumed::nobody_asked();
        };
        let now = self.now();
        let opened = self.open(app, place.index, cookies, cache, now);
        let key_age = opened.key_age;
        let outside = World::now(app);
        let sid = opened.presented.sid().cloned();
        let resumed = match (
            assess(opened.presented, now, &app.app.limits, &outside),
            self.knows_revocations(app),
        ) {
            (Standing::None(why), _) => Resumed::nobody(why, sid),
            (Standing::Live(_) | Standing::Stale(..), Err(_)) if effort == Effort::Look => {
                Resumed::nobody(Why::RevocationsUnknown, sid)
            }
            (Standing::Live(_) | Standing::Stale(..), Err(outage)) => {
                Resumed::new(Err(outage), Afterwards::Nothing)
            }
            (Standing::Live(live), Ok(())) => self.live(app, cookies, live, effort, now),
            (Standing::Stale(stale), Ok(())) => {
                Box::pin(self.resume_stale(app, cookies, stale, effort, now)).await
            }
        };
        let afterwards = match (resumed.afterwards, key_age) {
            _ if effort != Effort::Refresh => Afterwards::Nothing,
            (Afterwards::Note(live), Some(KeyAge::Old)) => Afterwards::Reseal(live),
            (afterwards, _) => afterwards,
        };
        if let (Ok(Caller::Authenticated(live)), Some(age)) = (&resumed.caller, key_age) {
            self.note_key(app, live.session(), age, now);
        }
        Resumed {
            afterwards,
            at: now,
            ..resumed
        }
    }

    fn live(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        cookies: &RequestCookies<'_>,
        live: LiveSession,
        effort: Effort,
        now: Timestamp,
    ) -> Resumed {
        let caller = Ok(Caller::Authenticated(live.clone()));
        let failed_lately = || {
            self.cooling
                .get(&live.session().sid)
                .is_some_and(|until| now < until)
        };
        let ahead_of_time = effort == Effort::Refresh && live.is_ageing(now) && !failed_lately();
        let grant = ahead_of_time.then(|| open_refresh(app, cookies)).flatten();
        let same = grant.filter(|grant| {
            let session = live.session();
            grant.sid == session.sid && grant.generation == session.generation
        });
        let afterwards = match same {
            Some(grant) => {
                Afterwards::DeliverIfLanded(self.refresh(app, grant, open_jwt(app, cookies)), live)
            }
            None => Afterwards::Note(live),
        };
        Resumed::new(caller, afterwards)
    }

    /// What becomes of a request after its session's refresh.
    pub(super) fn refreshed(&self, app: &AppAuth, stale: &Stale, refreshed: Refreshed) -> Resumed {
        let sid = stale.refresh.sid.clone();
        let grant = match refreshed {
            Refreshed::Renewed(grant) => grant,
            Refreshed::Ended(why) => return Resumed::nobody(why, Some(sid)),
            Refreshed::Outage(outage) => return Resumed::new(Err(outage), Afterwards::Nothing),
        };
        // As of now: the wait was long enough for a logout.
        if app.revocations.snapshot().contains(whose(&grant.jwt)) {
            return Resumed::nobody(Why::Revoked, Some(sid));
        }
        let caller = match Session::of(&grant.jwt, &app.app.headers) {
            Some(session) => Ok(Caller::Authenticated(LiveSession::just_verified(
                Arc::new(session),
                stale.last_activity,
            ))),
            None => Err(Outage::new("internal_error")),
        };
        Resumed::new(caller, Afterwards::Deliver(grant))
    }

    fn open(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        index: usize,
        cookies: &RequestCookies<'_>,
        cache: &SessionCache,
        now: Timestamp,
    ) -> Opened {
        let names = &app.app.cookies;
        let (jwt, key_age) = match self.open_session(app, index, cookies, cache, now) {
            Some((session, key_age)) => (Some(session), Some(key_age)),
            None => (None, None),
        };
        let lives = jwt.as_ref().is_some_and(|session| {
            now < session.valid_until && session.key.is_none_or(|key| knows_key(app, &key))
        });
        // While the JWT lives its refresh token is not used, and need not be opened.
        let refresh = if lives {
            None
        } else {
            open_refresh(app, cookies)
        };
        let seen = if jwt.is_some() || refresh.is_some() {
            cookies
                .get(&names.seen)
                .and_then(|value| app.seals.seen.open(value))
        } else {
            None
        };
        let is_garbage = |name: &str, opened: bool| cookies.has(name) && !opened;
        let unreadable = is_garbage(&names.jwt, jwt.is_some())
            || (!lives && is_garbage(&names.refresh, refresh.is_some()));
        Opened {
            presented: Presented {
                jwt,
                refresh,
                seen,
                unreadable,
            },
            key_age,
        }
    }

    fn open_session(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        index: usize,
        cookies: &RequestCookies<'_>,
        cache: &SessionCache,
        now: Timestamp,
    ) -> Option<(Arc<Session>, KeyAge)> {
        let value = cookies.get_chunked(&app.app.cookies.jwt)?;
        self.session_of(app, index, (&app.seals.jwt, &value), cache, now)
    }

    /// The session that was sealed as `text`.
    pub(super) fn session_of<P: Purpose<Payload = SessionJwt>>(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        index: usize,
        (seal, text): (&Seal<P>, &str),
        cache: &SessionCache,
        now: Timestamp,
    ) -> Option<(Arc<Session>, KeyAge)> {
        let mut buffer = Vec::with_capacity(text.len());
        let opened = seal.open_into(text, &mut buffer)?;
        let key = (index, opened.stamp);
        if let Some(session) = cache.0.get(&key) {
            return Some((session, opened.key_age));
        }
        let session = Arc::new(Session::of(&read_payload::<P>(&opened)?, &app.app.headers)?);
        cache.0.insert(key, Arc::clone(&session));
        self.first_seen(app, &session, now);
        Some((session, opened.key_age))
    }

    /// A refreshed session that arrives here for the first time shows that the browser has its new tokens.
    fn first_seen(self: &Arc<Self>, app: &Arc<AppAuth>, session: &Arc<Session>, now: Timestamp) {
        if session.generation == Generation::FIRST {
            return;
        }
        if self
            .newest
            .get(&session.sid)
            .is_none_or(|newest| newest < session.generation)
        {
            self.newest.insert(session.sid.clone(), session.generation);
        }
        let (auth, app, session) = (Arc::clone(self), Arc::clone(app), Arc::clone(session));
        let begun = self.control.detach(async move {
            let rotations = auth.rotations(&app);
            let (sid, started_at) = (&session.sid, session.started_at);
            if let Err(error) = rotations.confirm(sid, session.generation, started_at, now).await {
                tracing::warn!(app = %app.app.name, sid = %session.sid, %error, "generation_not_confirmed");
            }
        });
        if begun.is_err() {
            tracing::warn!("generation_not_confirmed");
        }
    }

    /// Says for as long as `live` may go on that it may: until it is revoked or as old as any session may be.
    pub fn holds(self: &Arc<Self>, place: Place<'_>, live: &LiveSession) -> Holds {
        let (auth, index, session) = (Arc::clone(self), place.index, Arc::clone(live.session()));
        Holds::while_true(move || {
            let Some(app) = auth.app(index) else {
                return false;
            };
            let world = World::now(app);
            !world.has_ended(&session)
                && auth.now().since(session.started_at) < app.app.limits.absolute
        })
    }

    /// Whether what a refresh brought the request that came `at` is not to be delivered any more: there is a newer one,
    /// or it may be so elsewhere; then it waits as the successor.
    pub(super) fn is_outdated(&self, grant: &Grant, at: Timestamp) -> bool {
        let is_late = self.stores.sessions.held().is_none() && self.now().since(at) > LATE;
        is_late
            || self
                .newest
                .get(&grant.jwt.sid)
                .is_some_and(|newest| newest > grant.jwt.generation)
    }

    /// The lines that an answer carries, decided when its head is written: from the newest that is known by then,
    /// and none for a session that has ended meanwhile. What was no activity says nothing of the last one.
    pub fn lines_of(
        &self,
        place: Place<'_>,
        (afterwards, at): (Afterwards, Timestamp),
        came: &RequestCookies<'_>,
        is_activity: bool,
    ) -> Lines {
        let Some(app) = self.app(place.index) else {
            return Lines::new();
        };
        let now = self.now();
        let revoked = app.revocations.snapshot();
        let deliver = |grant: &Grant| {
            if self.is_outdated(grant, at) || revoked.contains(whose(&grant.jwt)) {
                return Lines::new();
            }
            let seen = is_activity.then(|| {
                last_activity(app, &grant.jwt.sid, came).map_or(now, |last| last.max(now))
            });
            self.write_grant(app, grant, came, seen, now).map_or_else(
                |error| {
                    tracing::error!(app = %app.app.name, sid = %grant.jwt.sid, %error, "refreshed_session_not_written");
                    Lines::new()
                },
                |written| written.lines,
            )
        };
        let note = |live: &LiveSession| {
            let session = live.session();
            let is_over = || {
                World {
                    app,
                    revoked: Arc::clone(&revoked),
                }
                .has_ended(session)
            };
            if !is_activity || !live.wants_seen(now, &app.app.limits) || is_over() {
                return Lines::new();
            }
            set_cookies::write_seen(app, session, now)
                .into_iter()
                .collect()
        };
        let lives = match &afterwards {
            Afterwards::Deliver(_)
            | Afterwards::DeliverIfLanded(..)
            | Afterwards::Note(_)
            | Afterwards::Reseal(_) => true,
            Afterwards::Nothing | Afterwards::HandOver(..) | Afterwards::Forget(..) => false,
        };
        let mut lines = match afterwards {
            Afterwards::Nothing | Afterwards::HandOver(..) => Lines::new(),
            Afterwards::Deliver(grant) => deliver(&grant),
            Afterwards::DeliverIfLanded(flight, live) => match flight.landed() {
                Some(Refreshed::Renewed(grant)) => deliver(&grant),
                Some(Refreshed::Ended(_) | Refreshed::Outage(_)) | None => note(&live),
            },
            Afterwards::Note(live) => note(&live),
            Afterwards::Reseal(live) => self
                .to_reseal(app, &live, came, now)
                .map_or_else(|| note(&live), |grant| deliver(&grant)),
            // By now a login may have put its cookies in the place of these.
            Afterwards::Forget(sid, _) if self.superseded.get(&sid).is_some() => Lines::new(),
            // ... at another replica too: a login ends the session that the browser had before.
            Afterwards::Forget(sid, Why::Idle | Why::TooOld | Why::Expired)
                if revoked.has_session(&sid) =>
            {
                Lines::new()
            }
            Afterwards::Forget(..) => set_cookies::forget_session(app, came),
        };
        if lives {
            lines.extend(login_loop::seen_again(app, came));
        }
        lines
    }
}

struct Opened {
    presented: Presented,
    key_age: Option<KeyAge>,
}

/// What is known of an app's sessions outside their cookies.
pub(super) struct World<'a> {
    app: &'a AppAuth,
    revoked: Arc<RevokedSet>,
}

impl<'a> World<'a> {
    /// As it is now.
    pub(super) fn now(app: &'a AppAuth) -> Self {
        Self {
            app,
            revoked: app.revocations.snapshot(),
        }
    }

    fn has_ended(&self, session: &Session) -> bool {
        self.is_revoked(
            &session.sid,
            &session.identity.subject,
            session.provider_sid.as_ref(),
            session.started_at,
        )
    }
}

impl Outside for World<'_> {
    fn is_revoked(
        &self,
        sid: &SessionId,
        subject: &Subject,
        provider_sid: Option<&ProviderSid>,
        started_at: Timestamp,
    ) -> bool {
        self.revoked.contains(Whose {
            sid,
            provider_sid,
            subject,
            started_at,
        })
    }

    fn knows_key(&self, key: &KeyFingerprint) -> bool {
        knows_key(self.app, key)
    }
}

/// What the session of `jwt` is known by.
pub(super) fn whose(jwt: &SessionJwt) -> Whose<'_> {
    Whose {
        sid: &jwt.sid,
        provider_sid: jwt.provider_sid.as_ref(),
        subject: &jwt.subject,
        started_at: jwt.started_at,
    }
}

/// With no key set fetched yet our seal is proof enough; once there is one, a key that left it counts no more.
fn knows_key(app: &AppAuth, key: &KeyFingerprint) -> bool {
    app.provider.keys().is_none_or(|keys| keys.contains(key))
}

/// When the browser says that it last used the session.
fn last_activity(app: &AppAuth, sid: &SessionId, came: &RequestCookies<'_>) -> Option<Timestamp> {
    let seen = came
        .get(&app.app.cookies.seen)
        .and_then(|value| app.seals.seen.open(value))?;
    (seen.sid == *sid).then_some(seen.last_activity)
}

pub(super) fn open_refresh(app: &AppAuth, cookies: &RequestCookies<'_>) -> Option<RefreshGrant> {
    let value = cookies.get_chunked(&app.app.cookies.refresh)?;
    app.seals.refresh.open(&value)
}

pub(super) fn open_jwt(app: &AppAuth, cookies: &RequestCookies<'_>) -> Option<SessionJwt> {
    let value = cookies.get_chunked(&app.app.cookies.jwt)?;
    app.seals.jwt.open(&value)
}

/// The session that the cookies name, whether it lives or not.
pub(super) struct Named {
    pub(super) sid: SessionId,
    pub(super) subject: Subject,
    pub(super) started_at: Timestamp,
}

pub(super) fn named_session(app: &AppAuth, cookies: &RequestCookies<'_>) -> Option<Named> {
    let by_jwt = open_jwt(app, cookies).map(
        |SessionJwt {
             sid,
             subject,
             started_at,
             ..
         }| Named {
            sid,
            subject,
            started_at,
        },
    );
    by_jwt.or_else(|| {
        let RefreshGrant {
            sid,
            subject,
            started_at,
            ..
        } = open_refresh(app, cookies)?;
        Some(Named {
            sid,
            subject,
            started_at,
        })
    })
}
