//! The pages of all apps.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Language, Pages, PagesError};
use crate::policy::app::App;
use crate::types::oauth::AppName;

/// The pages of a deployment, and those of apps that have their own.
#[derive(Clone, Debug)]
pub struct PageSet {
    default: Arc<Pages>,
    of_apps: HashMap<AppName, Arc<Pages>>,
    english: Arc<Language>,
}

impl PageSet {
    /// The pages of all apps. Responses that are not pages are in `english`.
    pub fn new(default: Pages, english: Arc<Language>) -> Self {
        Self {
            default: Arc::new(default),
            of_apps: HashMap::new(),
            english,
        }
    }

    /// The shipped pages.
    ///
    /// # Errors
    /// A shipped template is invalid, which tests exclude.
    pub fn shipped() -> Result<Self, PagesError> {
        let mut languages = Language::shipped()?.into_iter();
        let english = languages.next().ok_or(PagesError::NoLanguage)?;
        Ok(Self::new(Pages::shipped()?, Arc::new(english)))
    }

    /// English.
    pub fn english(&self) -> &Language {
        &self.english
    }

    /// Sets the pages of one app.
    pub fn insert(&mut self, app: AppName, pages: Pages) {
        self.of_apps.insert(app, Arc::new(pages));
    }

    /// The pages of the deployment, and then those of apps that have their own.
    pub fn all(&self) -> impl Iterator<Item = (Option<&AppName>, &Pages)> {
        let of_apps = self.of_apps.iter();
        let of_apps = of_apps.map(|(app, pages)| (Some(app), pages.as_ref()));
        std::iter::once((None, self.default.as_ref())).chain(of_apps)
    }

    /// The pages of an app. Without one, those of the deployment.
    pub fn of(&self, app: Option<&App>) -> &Pages {
        let own = app.and_then(|app| self.of_apps.get(&app.name));
        own.unwrap_or(&self.default)
    }
}
