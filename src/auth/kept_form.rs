//! Forms that met no session wait here until the person has logged in: sealed in the store, each for some minutes, all
//! together in bounded room ([`super::form_room`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::app::AppAuth;
use super::login::LoginStart;
use super::resume::named_session;
use super::{Auth, Event, Outage, PATIENCE, entropy};
use crate::control::NoResult;
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

/// Room for a form that arrives. Dropped before the form is kept, it is free again.
pub struct RoomForForm {
    auth: Arc<Auth>,
    key: String,
    person: Option<PersonHash>,
    ends_at: Timestamp,
    stays: bool,
}

impl Drop for RoomForForm {
    fn drop(&mut self) {
        if self.stays {
            self.auth.forms.arrived(&self.key);
        } else {
            self.auth.forms.free(&self.key);
        }
    }
}

/// A form that nobody else gets, and its room. Dropped before it is known whether the app answered, it counts as sent
/// without an answer.
pub struct FormInHand {
    auth: Arc<Auth>,
    app: Arc<AppAuth>,
    key: String,
    form: KeptForm,
    outcome: &'static str,
    stays: bool,
}

impl FormInHand {
    /// The form.
    pub const fn form(&self) -> &KeptForm {
        &self.form
    }

    /// The app has answered it.
    pub fn sent(mut self) {
        self.outcome = "sent";
    }
}

impl Drop for FormInHand {
    fn drop(&mut self) {
        if !self.stays {
            self.auth.forms.free(&self.key);
        }
        self.auth
            .observer
            .happened(&self.app, Event::Form, self.outcome);
    }
}

impl Auth {
    /// A name for a form. `None`: no randomness.
    pub fn name_form(&self) -> Option<FormId> {
        entropy::name().ok().and_then(|name| FormId::parse(&name))
    }

    /// Takes room for a form that is to be kept as `id`, before the `length` bytes of its body are read; its head takes
    /// `more` to keep.
    ///
    /// # Errors
    /// [`NotKept::NoRoom`].
    pub fn room_for_form(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        id: &FormId,
        (length, more): (usize, usize),
    ) -> Result<RoomForForm, NotKept> {
        let app = self.app(place.index).ok_or(NotKept::NoRoom)?;
        let person = named_session(app, came).map(|session| PersonHash::of(&session.subject));
        let (key, now) = (key(app, id), self.now());
        let (ends_at, sender) = (now.plus(KEPT), person.map(|person| (place.index, person)));
        if !self
            .forms
            .take(&key, (sender, length.saturating_add(more)), ends_at, now)
        {
            return Err(NotKept::NoRoom);
        }
        Ok(RoomForForm {
            auth: Arc::clone(self),
            key,
            person,
            ends_at,
            stays: false,
        })
    }

    /// Keeps a form in the room that was taken for it, for the browser whose login began as `start`.
    ///
    /// # Errors
    /// See [`NotKept`].
    pub async fn keep_form(
        self: &Arc<Self>,
        place: Place<'_>,
        (mut room, form): (RoomForForm, Form),
        start: &LoginStart,
    ) -> Result<(), NotKept> {
        let app = self.app(place.index).ok_or(NotKept::NoRoom)?;
        let (key, person, ends_at, now) = (room.key.clone(), room.person, room.ends_at, self.now());
        let Form {
            target,
            content_type,
            referer,
            body,
        } = form;
        let kept = KeptForm {
            target,
            content_type,
            referer,
            body: body.into(),
            browser: start.browser,
            person,
            ends_at,
        };
        let sealed = entropy::bytes()
            .ok()
            .and_then(|nonce| app.seals.form.seal_at(&key, &kept, nonce));
        let sealed = Bytes::from(sealed.ok_or(NotKept::NoRoom)?);
        let auth = Arc::clone(self);
        let put = async move { auth.stores.strangers.put(&key, sealed, ends_at, now).await };
        // What the store was told to keep it may keep, whether anybody waits for its answer or not.
        room.stays = true;
        let code = match self.strangers.run(PATIENCE, put).await {
            Ok(Ok(())) => {
                self.observer.happened(app, Event::Form, "kept");
                return Ok(());
            }
            Ok(Err(error)) => {
                room.stays = false;
                error.code()
            }
            Err(error @ NoResult::Busy) => {
                room.stays = false;
                error.code()
            }
            Err(error @ (NoResult::TooSlow | NoResult::BrokeOff)) => error.code(),
        };
        tracing::warn!(app = %app.app.name, code, "form_not_stored");
        Err(NotKept::NoRoom)
    }

    /// Says that a form was not kept.
    pub fn form_not_kept(&self, place: Place<'_>, why: NotKept) {
        if let Some(app) = self.app(place.index) {
            self.observer.happened(app, Event::Form, why.code());
        }
    }

    /// The form `id`, for `live`'s person to look at, and how long ago it was sent. One of another person is thrown away.
    ///
    /// # Errors
    /// See [`NoForm`].
    pub async fn see_form(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        live: &LiveSession,
        id: &FormId,
    ) -> Result<(KeptForm, Duration), NoForm> {
        let (form, _) = self.claimed(place, came, live, id).await?;
        let age = self.now().since(form.ends_at.minus(KEPT));
        Ok((form, age))
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
    ) -> Result<FormInHand, NoForm> {
        let app = self.app(place.index).ok_or(NoForm::Gone)?;
        let (form, sealed) = self.claimed(place, came, live, id).await?;
        if form.target != target || !self.remove_form(app, id, sealed).await? {
            return Err(NoForm::Gone);
        }
        let (auth, app, key) = (Arc::clone(self), Arc::clone(app), key(app, id));
        Ok(FormInHand {
            auth,
            app,
            key,
            form,
            outcome: "unanswered",
            stays: false,
        })
    }

    /// Keeps a form on that was taken and did not reach the app.
    pub async fn put_form_back(self: &Arc<Self>, mut hand: FormInHand) {
        hand.outcome = "lost";
        let (app, form) = (&hand.app, &hand.form);
        let sealed = entropy::bytes()
            .ok()
            .and_then(|nonce| app.seals.form.seal_at(&hand.key, form, nonce));
        let (auth, key, now, ends_at) =
            (Arc::clone(self), hand.key.clone(), self.now(), form.ends_at);
        let Some(sealed) = sealed else { return };
        let put = async move {
            auth.stores
                .strangers
                .put(&key, Bytes::from(sealed), ends_at, now)
                .await
        };
        (hand.outcome, hand.stays) = ("put_back", true);
        match self.strangers.run(PATIENCE, put).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(NoResult::Busy) => (hand.outcome, hand.stays) = ("lost", false),
            // It may be there after all.
            Err(NoResult::TooSlow | NoResult::BrokeOff) => hand.outcome = "lost",
        }
    }

    /// How many forms this process had the store keep that may still be there, and how many bytes they count for.
    pub fn kept_forms(&self) -> (usize, usize) {
        self.forms.taken()
    }

    /// To be held while a request is looked into for whether it calls for a form.
    pub fn form_calls(&self) -> &Semaphore {
        self.forms.calls()
    }

    async fn claimed(
        self: &Arc<Self>,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        live: &LiveSession,
        id: &FormId,
    ) -> Result<(KeptForm, Bytes), NoForm> {
        let app = self.app(place.index).ok_or(NoForm::Gone)?;
        let (auth, entry, now) = (Arc::clone(self), key(app, id), self.now());
        let key = entry.clone();
        let get = async move { auth.stores.strangers.get(&entry, now).await };
        let sealed = self
            .asked_store(app, self.strangers.run(PATIENCE, get).await)?
            .ok_or(NoForm::Gone)?;
        let (form, _) = app.seals.form.open_at(&key, &sealed).ok_or(NoForm::Gone)?;
        let browser = came.get(&app.app.cookies.browser).map(BrowserHash::of);
        match form.claim(
            browser.as_ref(),
            PersonHash::of(&live.session().identity.subject),
        ) {
            Claim::Good if now < form.ends_at => Ok((form, sealed)),
            Claim::Good | Claim::OtherBrowser => Err(NoForm::Gone),
            Claim::OtherPerson => {
                if self.remove_form(app, id, sealed).await? {
                    self.free_form(app, id);
                }
                tracing::info!(app = %app.app.name, "form_of_another_person");
                self.observer.happened(app, Event::Form, "another_person");
                Err(NoForm::OtherPerson)
            }
        }
    }

    fn free_form(&self, app: &AppAuth, id: &FormId) {
        self.forms.free(&key(app, id));
    }

    async fn remove_form(
        self: &Arc<Self>,
        app: &AppAuth,
        id: &FormId,
        sealed: Bytes,
    ) -> Result<bool, NoForm> {
        let (auth, key, now) = (Arc::clone(self), key(app, id), self.now());
        let remove = async move { auth.stores.strangers.remove(&key, &sealed, now).await };
        self.asked_store(app, self.strangers.run(PATIENCE, remove).await)
    }

    fn asked_store<T>(
        &self,
        app: &AppAuth,
        asked: Result<Result<T, crate::store::StoreError>, NoResult>,
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
