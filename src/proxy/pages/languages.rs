//! Languages: the messages that templates insert with `t("key", name=value)`, and the choice of the
//! language of a page.

use std::fmt;
use std::sync::Arc;

use icu_locale_core::{LanguageIdentifier, langid};
use icu_plurals::{PluralCategory, PluralRules};
use minijinja::value::{Kwargs, Object, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, HtmlEscape, State};

use super::accept_language::lookup;
use super::catalog::{Catalog, CatalogError, Message, Part};
use super::escaping::clean;

const ENGLISH: LanguageTag = LanguageTag(langid!("en"));
/// The shipped languages beside English.
const TRANSLATIONS: [(LanguageTag, &str); 1] =
    [(LanguageTag(langid!("de")), include_str!("messages/de.toml"))];

/// A language tag (BCP 47).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanguageTag(LanguageIdentifier);

/// A text that is no language tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a language is a tag such as `fr` or `pt-BR`")]
pub struct ParseLanguageTagError;

/// A language of pages, with its messages.
#[derive(Debug)]
pub struct Language {
    tag: LanguageTag,
    name: String,
    messages: Catalog,
}

/// A language from a file, and the messages that the file does not have.
#[derive(Debug)]
pub struct LoadedLanguage {
    /// The language.
    pub language: Language,
    /// The keys of the messages that another language stands in for.
    pub missing: Vec<String>,
}

/// The languages of a page.
#[derive(Clone, Debug)]
pub struct Languages {
    offered: Vec<Arc<Language>>,
    default: Arc<Language>,
}

impl LanguageTag {
    /// Parses a tag in any case.
    ///
    /// # Errors
    /// [`ParseLanguageTagError`].
    pub fn parse(text: &str) -> Result<Self, ParseLanguageTagError> {
        let parsed = LanguageIdentifier::try_from_str(text);
        parsed.map(Self).map_err(|_| ParseLanguageTagError)
    }
}

impl fmt::Display for LanguageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Language {
    /// English, and then the other shipped languages.
    ///
    /// # Errors
    /// A shipped file is invalid, which tests exclude.
    pub fn shipped() -> Result<Vec<Self>, CatalogError> {
        let english = Self::new(ENGLISH, Catalog::english()?);
        let mut languages = Vec::new();
        for (tag, text) in TRANSLATIONS {
            languages.push(english.translated(tag, text)?.language);
        }
        languages.insert(0, english);
        Ok(languages)
    }

    fn new(tag: LanguageTag, messages: Catalog) -> Self {
        let name = tag.to_string();
        Self {
            tag,
            name,
            messages,
        }
    }

    /// A language whose messages are in a file. This one stands in for messages that it does not
    /// have.
    ///
    /// # Errors
    /// The file is no catalog.
    pub fn translated(&self, tag: LanguageTag, text: &str) -> Result<LoadedLanguage, CatalogError> {
        let missing = self.messages.missing_in(text)?;
        let messages = self.messages.translated(text)?;
        let language = Self::new(tag, messages);
        Ok(LoadedLanguage { language, missing })
    }

    /// Its tag.
    pub const fn tag(&self) -> &LanguageTag {
        &self.tag
    }

    /// Its tag as text.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A message without values, as plain text.
    pub(in crate::proxy) fn plain<'l>(&'l self, key: &'l str) -> &'l str {
        self.messages.plain(key)
    }

    #[cfg(test)]
    pub(in crate::proxy) fn keys(&self) -> impl Iterator<Item = &str> {
        self.messages.keys()
    }

    /// A message with its values, as markup.
    fn html(&self, key: &str, values: &Kwargs) -> Result<String, Error> {
        let unknown = || {
            let detail = format!("there is no message `{key}`");
            Error::new(ErrorKind::InvalidOperation, detail)
        };
        let text = match self.messages.get(key).ok_or_else(unknown)? {
            Message::Text(text) => text,
            Message::Plural(forms) => {
                let category = self.plural_category(values.get("count")?);
                let form = forms.get(&category);
                form.or_else(|| forms.get(&PluralCategory::Other))
                    .ok_or_else(unknown)?
            }
        };
        let mut html = String::new();
        for part in text.parts() {
            match part {
                Part::Html(text) => html.push_str(text),
                Part::Placeholder(name) => html.push_str(&markup(&values.get(name)?)),
            }
        }
        Ok(html)
    }

    fn plural_category(&self, count: u64) -> PluralCategory {
        // The rules are compiled in for each language, so this only selects them.
        let rules = PluralRules::try_new_cardinal((&self.tag.0).into());
        rules.map_or(PluralCategory::Other, |rules| rules.category_for(count))
    }
}

/// A value in a message. Its direction does not change that of the message.
fn markup(value: &Value) -> String {
    match value.as_str() {
        Some(text) if value.is_safe() => text.to_owned(),
        Some(text) => format!("<bdi>{}</bdi>", HtmlEscape(&clean(text))),
        None if value.kind() == ValueKind::Number => value.to_string(),
        None => String::new(),
    }
}

/// The function `t` of the templates.
impl Object for Language {
    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let (key, values): (&str, Kwargs) = from_args(arguments)?;
        self.html(key, &values).map(Value::from_safe_string)
    }
}

impl Languages {
    /// These languages. The first is that of clients which accept none of them.
    pub fn new(offered: Vec<Arc<Language>>) -> Option<Self> {
        let default = Arc::clone(offered.first()?);
        Some(Self { offered, default })
    }

    /// The language for a client with this `Accept-Language`.
    pub(super) fn choose(&self, accept_language: Option<&str>) -> &Arc<Language> {
        let tags: Vec<&str> = self
            .offered
            .iter()
            .map(|language| language.name())
            .collect();
        let found = accept_language.and_then(|accepted| lookup(accepted, &tags));
        found
            .and_then(|index| self.offered.get(index))
            .unwrap_or(&self.default)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Arc<Language>] {
        &self.offered
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    /// A language whose messages are these lines, and English.
    fn language(tag: &str, lines: &str) -> Arc<Language> {
        let english = Language::shipped().unwrap().remove(0);
        let tag = LanguageTag::parse(tag).unwrap();
        Arc::new(english.translated(tag, lines).unwrap().language)
    }

    /// The result of a template with this call of `t`.
    fn shown(language: &Arc<Language>, call: &str, user: &str) -> Result<String, Error> {
        let t = Value::from_dyn_object(Arc::clone(language));
        let values = context! { t => t, user => user };
        Environment::new().render_named_str("test.html", &format!("{{{{ {call} }}}}"), values)
    }

    #[test]
    fn plural_form_is_that_of_the_language() {
        let polish = "[ago.minutes]\none = \"{count} minutę\"\nfew = \"{count} minuty\"\n\
                      many = \"{count} minut\"\nother = \"{count} minuty\"";
        let minutes = |language: &Arc<Language>, count: u64| {
            let call = format!("t('ago.minutes', count={count})");
            shown(language, &call, "").unwrap()
        };
        let polish = language("pl", polish);
        for (count, expected) in [
            (1, "1 minutę"),
            (3, "3 minuty"),
            (12, "12 minut"),
            (22, "22 minuty"),
        ] {
            assert_eq!(minutes(&polish, count), expected);
        }
        let english = language("en", "");
        assert_eq!(minutes(&english, 1), "1 minute ago");
        assert_eq!(minutes(&english, 0), "0 minutes ago");
    }

    #[test]
    fn messages_and_values_are_no_markup() {
        let lines = "[forbidden]\nuser = \"<b>&{user}</b>\"";
        let html = shown(
            &language("en", lines),
            "t('forbidden.user', user=user)",
            "<i>\u{202E}",
        );
        let expected = "&lt;b&gt;&amp;<bdi>&lt;i&gt;\u{FFFD}</bdi>&lt;&#x2f;b&gt;";
        assert_eq!(html.unwrap(), expected);
    }

    #[test]
    fn unknown_message_and_missing_value_are_errors() {
        let english = language("en", "");
        for call in [
            "t('forbidden.users')",
            "t('forbidden.user')",
            "t()",
            "t('ago.minutes')",
        ] {
            assert!(shown(&english, call, "").is_err(), "{call}");
        }
        assert!(shown(&english, "t('action.log_in', more=1)", "").is_ok());
    }
}
