//! Pages of errors and refusals.

use http::StatusCode;
use serde::Serialize;

use super::{Href, PageContent, PageKind};

/// Details of an error.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// The key of the message.
    pub message: &'static str,
    /// The named value.
    pub value: String,
}

/// A link with a label.
#[derive(Clone, Debug, Serialize)]
pub struct Link<'a> {
    /// The key of its label.
    pub label: &'a str,
    /// The target, which replaces the whole window.
    pub href: &'a Href,
}

/// An error: what happened and what the user can do.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The status of the response.
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
    /// The key of the heading.
    pub title: &'a str,
    /// The key of what happened.
    pub explanation: &'a str,
    /// Details of this case.
    pub detail: Option<&'a Detail>,
    /// The key of what the user can do.
    pub advice: &'a str,
    /// A link to the next step.
    pub link: Option<Link<'a>>,
    /// The app's start page, if it has one.
    pub home: Option<&'a Href>,
    /// Whether the page reloads by itself.
    pub reloads: bool,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

impl PageContent for ErrorPage<'_> {
    const TEMPLATE: &'static str = "error.html";

    fn kind(&self) -> PageKind {
        PageKind::Plain
    }
}

/// 403: authenticated but not authorized. Does not lead to a login by itself.
#[derive(Clone, Debug, Serialize)]
pub struct ForbiddenPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user, such as an email address.
    pub user: &'a str,
    /// The login with another account, or the logout confirmation.
    pub switch_account: &'a Href,
    /// The app's start page.
    pub home: &'a Href,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

impl PageContent for ForbiddenPage<'_> {
    const TEMPLATE: &'static str = "forbidden.html";

    fn kind(&self) -> PageKind {
        PageKind::Plain
    }
}

/// 401 for a form without a session: the app did not receive it.
#[derive(Clone, Debug, Serialize)]
pub struct PostNotPreservedPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The key of why it was not preserved.
    pub because: Option<&'a str>,
    /// The login, which opens in a new tab so that the user can return to the filled-in form in
    /// this tab.
    pub login: &'a Href,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

impl PageContent for PostNotPreservedPage<'_> {
    const TEMPLATE: &'static str = "post_not_preserved.html";

    fn kind(&self) -> PageKind {
        PageKind::Plain
    }
}

/// 401 in a frame: the login needs the whole window.
#[derive(Clone, Debug, Serialize)]
pub struct FrameLoginPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The login.
    pub login: &'a Href,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

impl PageContent for FrameLoginPage<'_> {
    const TEMPLATE: &'static str = "frame_login.html";

    fn kind(&self) -> PageKind {
        PageKind::Framed
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
