//! The current user, from a request's identity headers.

use http::HeaderMap;
use serde::Serialize;

use crate::demo::serve::HttpRequest;

/// The identity headers.
const IDENTITY: [&str; 4] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-groups",
];

/// The user that the identity headers name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CurrentUser {
    /// The key of the user's data in the app.
    pub(super) id: String,
    /// The name shown on pages.
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) groups: Option<String>,
}

/// A header field as shown on `/headers`.
#[derive(Debug, Serialize)]
pub(super) struct Field {
    name: String,
    value: String,
    identity: bool,
}

impl CurrentUser {
    /// Reads the identity headers. `None`: they name no user.
    pub(super) fn of(request: &HttpRequest) -> Option<Self> {
        let [user, email, name, groups] = IDENTITY.map(|name| text(&request.headers, name));
        let id = user?;
        Some(Self {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            email,
            groups,
        })
    }
}

/// All header fields of the request.
pub(super) fn fields(request: &HttpRequest) -> Vec<Field> {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| Field {
        name: name.to_string(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        identity: IDENTITY.contains(&name.as_str()),
    };
    request.headers.iter().map(field).collect()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
    (!value.is_empty()).then_some(value)
}
