//! Forms that met no session wait here until the person has logged in: sealed in the store, each for some minutes, all
//! together in bounded room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::app::AppAuth;
use super::login::LoginStart;
use super::resume::named_session;
use super::{Auth, Event, Outage, PATIENCE, entropy};
use crate::policy::form::{FormId, NotKept};
use crate::policy::route::Place;
use crate::session::assess::LiveSession;
use crate::session::attempt::{ATTEMPT_LIFETIME, BrowserHash};
use crate::session::cookie::RequestCookies;
use crate::session::kept_form::{Claim, KeptForm};
use crate::session::person::PersonHash;
use crate::types::time::Timestamp;

/// How long a form waits: a login may begin anew once, and the person reads a page after it.
const KEPT: Duration = Duration::from_secs(2 * ATTEMPT_LIFETIME.as_secs() + 300);

/// Most bytes of all forms that this process had the store keep, sealed; and of those whose sender is not known, so
/// that strangers leave room for others.
const ROOM: usize = 32 * 1024 * 1024;
const ROOM_FOR_STRANGERS: usize = ROOM / 2;

/// A form as it came.
#[derive(Debug)]
pub struct Form {
    /// Where it was sent, in canonical form.
    pub target: String,
    /// `Content-Type`.
    pub content_type: String,
    /// `Referer`.
    pub referer: Option<String>,
    /// The fields.
    pub body: Bytes,
}

/// Why a form that is called for is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoForm {
    /// It was sent, waited too long, or never was; or it is another browser's.
    Gone,
    /// It is of another person, and is thrown away.
    OtherPerson,
    /// It cannot be told now.
    Outage(Outage),
}

/// The forms that this process had the store keep.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<VecDeque<Taken>>);

#[derive(Debug)]
struct Taken {
    id: String,
    bytes: usize,
    of_stranger: bool,
    ends_at: Timestamp,
}

impl Room {
    fn take(&self, taken: Taken, now: Timestamp) -> bool {
        self.sweep(now);
        let mut forms = self.lock();
        let held = |strangers_only: bool| {
            let forms = forms.iter().filter(|form| form.of_stranger || !strangers_only);
            forms.map(|form| form.bytes).sum::<usize>()
        };
        let fits =
            held(false) + taken.bytes <= ROOM && (!taken.of_stranger || held(true) + taken.bytes <= ROOM_FOR_STRANGERS);
        if fits {
            forms.push_back(taken);
        }
        fits
    }

    fn free(&self, id: &str) {
        self.lock().retain(|form| form.id != id);
    }

    fn bytes(&self) -> usize {
        self.lock().iter().map(|form| form.bytes).sum()
    }

    pub(super) fn sweep(&self, now: Timestamp) {
        self.lock().retain(|form| now < form.ends_at);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Auth {
    /// A name for a form. `None`: no randomness.
    pub fn name_form(&self) -> Option<FormId> {
        entropy::name().ok().and_then(|name| FormId::parse(&name))
    }

    /// Keeps a form as `id` for the browser whose login began as `start`.
    ///
    /// # Errors
    /// See [`NotKept`].
    pub async fn keep_form(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        (id, form): (&FormId, Form),
        start: &LoginStart,
    ) -> Result<(), NotKept> {
        let app = self.app(place.index).ok_or(NotKept::NoRoom)?;
        let person = named_session(app, came).map(|session| PersonHash::of(&session.subject));
        let now = self.now();
        let ends_at = now.plus(KEPT);
        let Form { target, content_type, referer, body } = form;
        let kept =
            KeptForm { target, content_type, referer, body: body.into(), browser: start.browser, person, ends_at };
        let sealed = entropy::bytes().ok().and_then(|nonce| app.seals.form.seal(&kept, nonce));
        let sealed = Bytes::from(sealed.ok_or(NotKept::NoRoom)?);
        let key = key(app, id);
        let taken = Taken { id: key.clone(), bytes: sealed.len(), of_stranger: person.is_none(), ends_at };
        if !self.forms.take(taken, now) {
            return Err(NotKept::NoRoom);
        }
        let (auth, task_key) = (Arc::clone(self), key.clone());
        let put = async move { auth.stores.strangers.put(&task_key, sealed, ends_at, now).await };
        let put = self.strangers.run(PATIENCE, put).await;
        let code = match put {
            Ok(Ok(())) => {
                self.observer.happened(app, Event::Form, "kept");
                return Ok(());
            }
            Ok(Err(error)) => error.code(),
            Err(error) => error.code(),
        };
        tracing::warn!(app = %app.app.name, code, "form_not_stored");
        self.forms.free(&key);
        Err(NotKept::NoRoom)
    }

    /// Says that a form was not kept.
    pub fn form_not_kept(&self, place: Place<'_>, why: NotKept) {
        if let Some(app) = self.app(place.index) {
            self.observer.happened(app, Event::Form, why.code());
        }
    }

    /// The form `id`, for `live`'s person to look at. One of another person is thrown away.
    ///
    /// # Errors
    /// See [`NoForm`].
    pub async fn see_form(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        live: &LiveSession,
        id: &FormId,
    ) -> Result<KeptForm, NoForm> {
        self.claimed(place, came, live, id).await.map(|(form, _)| form)
    }

    /// The form `id`, to be sent to `target` now, once: nobody else gets it.
    ///
    /// # Errors
    /// See [`NoForm`].
    pub async fn take_form(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        live: &LiveSession,
        (id, target): (&FormId, &str),
    ) -> Result<KeptForm, NoForm> {
        let app = self.app(place.index).ok_or(NoForm::Gone)?;
        let (form, sealed) = self.claimed(place, came, live, id).await?;
        if form.target != target || !self.remove_form(app, id, sealed).await? {
            return Err(NoForm::Gone);
        }
        self.observer.happened(app, Event::Form, "sent");
        Ok(form)
    }

    /// Keeps a form on that was taken and could not be sent.
    pub async fn put_form_back(self: &Arc<Self>, place: Place<'_>, id: &FormId, form: &KeptForm) {
        let Some(app) = self.app(place.index) else { return };
        let sealed = entropy::bytes().ok().and_then(|nonce| app.seals.form.seal(form, nonce));
        let (auth, key, now, ends_at) = (Arc::clone(self), key(app, id), self.now(), form.ends_at);
        let Some(sealed) = sealed else { return };
        let put = async move { auth.stores.strangers.put(&key, Bytes::from(sealed), ends_at, now).await };
        let put = self.strangers.run(PATIENCE, put).await;
        let outcome = if matches!(put, Ok(Ok(()))) { "put_back" } else { "lost" };
        self.observer.happened(app, Event::Form, outcome);
    }

    /// How many bytes this process had the store keep of forms that may still be there.
    pub fn kept_form_bytes(&self) -> usize {
        self.forms.bytes()
    }

    async fn claimed(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        live: &LiveSession,
        id: &FormId,
    ) -> Result<(KeptForm, Bytes), NoForm> {
        let app = self.app(place.index).ok_or(NoForm::Gone)?;
        let (auth, key, now) = (Arc::clone(self), key(app, id), self.now());
        let get = async move { auth.stores.strangers.get(&key, now).await };
        let sealed = self.asked_store(app, self.strangers.run(PATIENCE, get).await)?.ok_or(NoForm::Gone)?;
        let form = std::str::from_utf8(&sealed).ok().and_then(|text| app.seals.form.open(text)).ok_or(NoForm::Gone)?;
        let browser = came.get(&app.app.cookies.browser).map(BrowserHash::of);
        match form.claim(browser.as_ref(), PersonHash::of(&live.session().identity.subject)) {
            Claim::Good if now < form.ends_at => Ok((form, sealed)),
            Claim::Good | Claim::OtherBrowser => Err(NoForm::Gone),
            Claim::OtherPerson => {
                self.remove_form(app, id, sealed).await?;
                tracing::info!(app = %app.app.name, "form_of_another_person");
                self.observer.happened(app, Event::Form, "another_person");
                Err(NoForm::OtherPerson)
            }
        }
    }

    async fn remove_form(self: &Arc<Self>, app: &AppAuth, id: &FormId, sealed: Bytes) -> Result<bool, NoForm> {
        let (auth, key, now) = (Arc::clone(self), key(app, id), self.now());
        self.forms.free(&key);
        let remove = async move { auth.stores.strangers.remove(&key, &sealed, now).await };
        self.asked_store(app, self.strangers.run(PATIENCE, remove).await)
    }

    fn asked_store<T>(
        &self,
        app: &AppAuth,
        asked: Result<Result<T, crate::store::StoreError>, crate::control::NoResult>,
    ) -> Result<T, NoForm> {
        let code = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.code(),
            Err(error) => error.code(),
        };
        tracing::warn!(app = %app.app.name, code, "form_store_unavailable");
        Err(NoForm::Outage(Outage::new(code)))
    }
}

fn key(app: &AppAuth, id: &FormId) -> String {
    format!("form/{}/{}", app.app.name, id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(id: usize, bytes: usize, of_stranger: bool) -> Taken {
        Taken { id: id.to_string(), bytes, of_stranger, ends_at: Timestamp::from_secs(100) }
    }

    #[test]
    fn the_room_is_bounded_and_strangers_leave_half_of_it() {
        let (room, now, part) = (Room::default(), Timestamp::from_secs(0), ROOM / 8);
        let kept = |of_stranger| (0..20).filter(|id| room.take(taken(*id, part, of_stranger), now)).count();
        assert_eq!((kept(true), kept(false), kept(true), kept(false)), (4, 4, 0, 0));
        assert_eq!(room.bytes(), ROOM);
        room.free("0");
        assert_eq!(room.bytes(), ROOM - 2 * part, "one of either");
        assert!(room.take(taken(99, part, true), now));
        room.sweep(Timestamp::from_secs(100));
        assert_eq!(room.bytes(), 0);
    }
}
