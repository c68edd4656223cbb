//! The browser binding cookie of a request, or a new one.

use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::session::attempt::{BrowserHash, browser_cookie, is_browser_cookie};
use crate::session::cookie::RequestCookies;

/// The browser binding cookie.
pub(in crate::auth) struct Browser {
    cookie: String,
    is_new: bool,
}

impl Browser {
    /// `None`: no randomness.
    pub(in crate::auth) fn of_request(
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
    ) -> Option<Self> {
        let known = request_cookies.get(&app.app.cookies.browser);
        Some(match known.filter(|value| is_browser_cookie(value)) {
            Some(value) => Self {
                cookie: value.to_owned(),
                is_new: false,
            },
            None => Self {
                cookie: browser_cookie(random::bytes().ok()?),
                is_new: true,
            },
        })
    }

    /// Its hash.
    pub(in crate::auth) fn hash(&self) -> BrowserHash {
        BrowserHash::of(&self.cookie)
    }

    /// The `Set-Cookie` header of a new cookie. `None` if the browser has one, or the header would be
    /// invalid.
    pub(in crate::auth) fn set_cookie(&self, app: &AppAuth) -> Option<HeaderValue> {
        let names = &app.app.cookies;
        let header = || names.set(&names.browser, &self.cookie, "/", None);
        self.is_new.then(header).flatten()
    }
}
