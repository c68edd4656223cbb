//! Affinity cookies, which keep a browser at one upstream address of an app.

use http::HeaderValue;

use super::{Auth, random};
use crate::policy::route::AppRef;
use crate::session::affinity::AddressHash;
use crate::session::cookie::RequestCookies;

impl Auth {
    /// The upstream address that the browser's cookie selects.
    pub fn upstream_address(
        &self,
        app_ref: AppRef<'_>,
        cookies: &RequestCookies<'_>,
    ) -> Option<AddressHash> {
        let app = self.context.app(app_ref)?;
        let name = &app.app.cookies.upstream;
        cookies.open(name, |value| app.seals.upstream.open(value))
    }

    /// The cookie that selects `address`, until the end of the browser session.
    pub fn upstream_cookie(
        &self,
        app_ref: AppRef<'_>,
        address: AddressHash,
    ) -> Option<HeaderValue> {
        let app = self.context.app(app_ref)?;
        let nonce = random::bytes().ok()?;
        let value = app.seals.upstream.seal(&address, nonce)?;
        let names = &app.app.cookies;
        names.set(&names.upstream, &value, &names.path, None)
    }
}
