//! The page before a preserved form is replayed.

use serde::Serialize;

use super::{Href, PageContent, PageKind};

/// Asks whether to send a form that was preserved during a login.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayPostPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user.
    pub user: &'a str,
    /// The target of the preserved form, as text.
    pub target: &'a str,
    /// The age of the preserved form in minutes.
    pub minutes: u64,
    /// Whether no user was known when it was submitted, so that it may be another user's.
    pub is_anonymous: bool,
    /// The names of its first fields.
    pub fields: &'a [&'a str],
    /// The number of further fields.
    pub more: usize,
    /// The target of this page's form: the same target.
    pub action: &'a Href,
    /// The field of this page's form.
    pub field_name: &'a str,
    /// The value of that field: the identifier of the preserved form.
    pub id: &'a str,
    /// The app's start page, for users who cancel.
    pub home: &'a Href,
}

impl PageContent for ReplayPostPage<'_> {
    const TEMPLATE: &'static str = "replay_post.html";

    fn kind(&self) -> PageKind {
        PageKind::Form
    }
}
