//! The page on which a user chooses the provider of a login. It needs no script: each choice is a
//! link, and that of the last login has the focus.

use serde::Serialize;

use super::{Href, Page, Pages};

/// The template.
pub(super) const TEMPLATE: &str = include_str!("provider_choice.html");

/// The providers at which a user can log in.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderChoicePage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The providers, that of the last login first.
    pub choices: &'a [ProviderChoice<'a>],
}

/// A provider in a [`ProviderChoicePage`].
#[derive(Clone, Debug, Serialize)]
pub struct ProviderChoice<'a> {
    /// Its name for users.
    pub title: &'a str,
    /// Its logo, as a `data:` URL.
    pub logo: Option<&'a str>,
    /// The login there.
    pub href: Href,
    /// Whether it is that of the browser's last login.
    pub is_last: bool,
}

impl Pages {
    /// The page that asks where to log in.
    pub fn provider_choice(&self, page: &ProviderChoicePage<'_>) -> Page {
        let has_logo = page.choices.iter().any(|choice| choice.logo.is_some());
        let policy = if has_logo {
            &self.never_framed_with_logos
        } else {
            &self.never_framed_without_form
        };
        self.page("provider_choice.html", page, policy)
    }
}

/// Choices with which the template is rendered at start.
pub(super) fn samples() -> [ProviderChoice<'static>; 2] {
    [true, false].map(|is_last| ProviderChoice {
        title: "Title",
        logo: is_last.then_some("data:"),
        href: Href::root(),
        is_last,
    })
}
