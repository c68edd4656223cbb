//! The browser binding cookie of a request, or a new one.

use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::session::attempt::{BrowserHash, browser_cookie, is_browser_cookie};
use crate::session::cookie::RequestCookies;

/// The browser binding cookie.
pub(in crate::auth) struct Browser {
    cookie: String,
    is_set: bool,
}

impl Browser {
    /// `None`: no randomness.
    pub(in crate::auth) fn of_request(
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
    ) -> Option<Self> {
        let known = request_cookies.values(&app.app.cookies.browser);
        // Browsers send those with a longer path, which only others can have set, first.
        let known = known.filter(|value| is_browser_cookie(value)).last();
        Some(match known {
            Some(value) => Self {
                cookie: value.to_owned(),
                // The callback may not get a cookie that another host has set for this path.
                is_set: !app.app.paths.base.is_root(),
            },
            None => Self {
                cookie: browser_cookie(random::bytes().ok()?),
                is_set: true,
            },
        })
    }

    /// Its hash.
    pub(in crate::auth) fn hash(&self) -> BrowserHash {
        BrowserHash::of(&self.cookie)
    }

    /// The `Set-Cookie` header. `None` if the browser has the cookie, or the header would be invalid.
    pub(in crate::auth) fn set_cookie(&self, app: &AppAuth) -> Option<HeaderValue> {
        let names = &app.app.cookies;
        let header = || names.set(&names.browser, &self.cookie, &names.path, None);
        self.is_set.then(header).flatten()
    }
}
