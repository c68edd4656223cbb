//! Languages of pages: the keys `languages` and `message_files`.

use std::sync::Arc;

use super::super::files::Folder;
use super::super::report::{Location, quoted};
use super::super::values::{List, Named};
use super::elements;
use crate::proxy::pages::{CatalogError, Language, LanguageTag, Languages};

/// The most languages of one kind of pages.
const MAX_LANGUAGES: usize = 50;

/// The languages that pages can have, and those that they have.
#[derive(Clone)]
pub(super) struct PageLanguages {
    /// English first.
    shipped: Vec<Arc<Language>>,
    from_files: Vec<Arc<Language>>,
    /// Default: all.
    offered: Option<Vec<LanguageTag>>,
}

impl PageLanguages {
    /// The shipped languages.
    ///
    /// # Errors
    /// A shipped file is invalid, which tests exclude.
    pub(super) fn shipped() -> Result<Self, CatalogError> {
        Ok(Self {
            shipped: Language::shipped()?.into_iter().map(Arc::new).collect(),
            from_files: Vec::new(),
            offered: None,
        })
    }

    /// English.
    pub(super) fn english(&self) -> Option<&Arc<Language>> {
        self.shipped.first()
    }

    /// These languages with the keys of the table at `at`.
    #[must_use]
    pub(super) fn with(
        mut self,
        languages: Option<List<String>>,
        files: Option<Named<String>>,
        at: &Location<'_>,
        folder: &Folder,
    ) -> Self {
        if let Some(files) = files {
            let at = at.key("message_files");
            let files = files
                .into_iter()
                .filter_map(|(tag, file)| Some((tag, file?)));
            let languages = files.filter_map(|(tag, file)| {
                let language = self.read(&tag, &file, &at.key(&tag), folder)?;
                Some(Arc::new(language))
            });
            self.from_files = languages.take(MAX_LANGUAGES).collect();
        }
        if let Some(languages) = languages {
            let at = at.key("languages");
            if languages.is_empty() {
                at.error("there is no language", "the first is the default");
            }
            let tags = elements(Some(languages), &at).filter_map(|(at, tag)| self.tag(&tag, &at));
            self.offered = Some(tags.collect());
        }
        self
    }

    /// The offered languages.
    pub(super) fn languages(&self) -> Option<Languages> {
        let Some(offered) = &self.offered else {
            return Languages::new(self.available().cloned().collect());
        };
        let find = |tag: &LanguageTag| self.available().find(|language| language.tag() == tag);
        Languages::new(offered.iter().filter_map(find).cloned().collect())
    }

    /// The shipped languages in the form of their files, and then the others.
    fn available(&self) -> impl Iterator<Item = &Arc<Language>> {
        let in_file = |tag: &LanguageTag| {
            let mut files = self.from_files.iter();
            files.find(|language| language.tag() == tag)
        };
        let shipped = self.shipped.iter();
        let shipped = shipped.map(move |language| in_file(language.tag()).unwrap_or(language));
        let others = self.from_files.iter();
        shipped.chain(others.filter(|other| self.shipped_as(other.tag()).is_none()))
    }

    fn shipped_as(&self, tag: &LanguageTag) -> Option<&Arc<Language>> {
        self.shipped.iter().find(|language| language.tag() == tag)
    }

    /// The language in a file.
    fn read(&self, tag: &str, file: &str, at: &Location<'_>, folder: &Folder) -> Option<Language> {
        let tag = parse_tag(tag, at)?;
        let text = folder.public_text(at, file)?;
        let shipped = self.shipped_as(&tag);
        let loaded = shipped.or(self.english())?.translated(tag, &text);
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let hint = "see `en.toml` of Doorward for the messages and their values";
                at.error(format!("{}: {error}", quoted(file)), hint);
                return None;
            }
        };
        if shipped.is_none() && !loaded.missing.is_empty() {
            at.warning(
                format!("{} has no {}", quoted(file), listed(&loaded.missing)),
                "these messages are shown in English",
            );
        }
        Some(loaded.language)
    }

    /// A tag of `languages`.
    fn tag(&self, tag: &str, at: &Location<'_>) -> Option<LanguageTag> {
        let tag = parse_tag(tag, at)?;
        if !self.available().any(|language| *language.tag() == tag) {
            let known: Vec<_> = self
                .available()
                .map(|known| format!("`{}`", known.tag()))
                .collect();
            at.error(
                format!("there are no messages in {}", quoted(&tag)),
                format!(
                    "{} have messages; add others to `message_files`",
                    known.join(", ")
                ),
            );
            return None;
        }
        Some(tag)
    }
}

fn parse_tag(tag: &str, at: &Location<'_>) -> Option<LanguageTag> {
    match LanguageTag::parse(tag) {
        Ok(tag) => Some(tag),
        Err(error) => {
            at.error(format!("{} is no language", quoted(tag)), error.to_string());
            None
        }
    }
}

/// The first of these keys, and the number of the others.
fn listed(keys: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = keys
        .iter()
        .take(SHOWN)
        .map(|key| format!("`{key}`"))
        .collect();
    let more = keys.len().saturating_sub(SHOWN);
    let shown = shown.join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}
