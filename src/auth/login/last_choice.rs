//! The choice of a provider, which the browser remembers: the page of the next login offers it first.
//! It is a name without any effect but that.

use std::time::Duration;

use http::HeaderValue;

use crate::auth::app::AppAuth;

/// How long it is remembered.
const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The cookie that remembers the provider of a login. `None`: the app has only one.
pub(super) fn remember(app: &AppAuth) -> Option<HeaderValue> {
    if !app.app.providers.are_several() {
        return None;
    }
    let names = &app.app.cookies;
    let provider = &app.login_provider().name;
    names.set(&names.provider, provider.as_str(), &names.path, Some(KEPT))
}
