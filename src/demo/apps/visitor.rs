//! Whom a request is from, as far as its headers say.

use http::HeaderMap;
use serde::Serialize;

use crate::demo::serve::Asked;

/// The fields an app is told about a person by.
const IDENTITY: [&str; 4] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-groups",
];

/// Who the headers say is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Visitor {
    /// What the app keeps a person's things under.
    pub(super) id: String,
    /// What the person is called on pages.
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) groups: Option<String>,
}

/// One header field as shown on `/headers`.
#[derive(Debug, Serialize)]
pub(super) struct Field {
    name: String,
    value: String,
    identity: bool,
}

impl Visitor {
    /// The person that the headers name, if they name one.
    pub(super) fn of(asked: &Asked) -> Option<Self> {
        let [user, email, name, groups] = IDENTITY.map(|name| text(&asked.headers, name));
        let id = user?;
        Some(Self {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            email,
            groups,
        })
    }
}

/// Every field of the request, in the order in which they are held.
pub(super) fn fields(asked: &Asked) -> Vec<Field> {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| Field {
        name: name.to_string(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        identity: IDENTITY.contains(&name.as_str()),
    };
    asked.headers.iter().map(field).collect()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
    (!value.is_empty()).then_some(value)
}
