//! The page that leads to another host.

use serde::Serialize;

use super::{PageContent, PageKind};

/// The page that sends a browser on to another host after a login or logout. Its response has a
/// `Refresh` header; the link is for browsers that do not follow it.
#[derive(Clone, Debug, Serialize)]
pub struct MovingOnPage<'a> {
    /// The host that the browser is at.
    pub site: &'a str,
    /// The key of the heading: the result of the login or logout.
    pub title: &'a str,
    /// The other host.
    pub to: &'a str,
    /// The URL there, from the configuration.
    pub target: &'a str,
}

impl PageContent for MovingOnPage<'_> {
    const TEMPLATE: &'static str = "moving_on.html";

    fn kind(&self) -> PageKind {
        PageKind::Plain
    }
}
