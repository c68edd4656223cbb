//! The page on which a user chooses the provider of a login. It needs no script: each choice is a
//! link, and that of the last login has the focus.

use serde::Serialize;

use super::{Href, PageContent, PageKind};

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

impl PageContent for ProviderChoicePage<'_> {
    const TEMPLATE: &'static str = "provider_choice.html";

    fn kind(&self) -> PageKind {
        let has_logo = self.choices.iter().any(|choice| choice.logo.is_some());
        if has_logo {
            PageKind::PlainWithImages
        } else {
            PageKind::Plain
        }
    }
}
