//! Message catalogs: the texts of pages in one language, from a TOML file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use icu_plurals::PluralCategory;
use minijinja::HtmlEscape;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The English messages, which all others are compared with.
const ENGLISH: &str = include_str!("messages/en.toml");
/// The longest message in bytes.
const MAX_MESSAGE: usize = 2000;

/// The key of the direction of the text.
const DIRECTION: &str = "layout.direction";

/// The messages of a language by their keys, such as `error.busy.title`.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog(BTreeMap<String, Message>);

/// A message.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// One text.
    Text(Text),
    /// A text for each plural category of the language.
    Plural(BTreeMap<PluralCategory, Text>),
}

/// A text with placeholders.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// As it is in the file.
    plain: String,
    parts: Vec<Part>,
}

/// A part of a text.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Escaped text.
    Html(String),
    /// The name of a value.
    Placeholder(String),
}

/// Why a file is no catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct CatalogError {
    /// The line, from 1.
    pub line: usize,
    /// The cause.
    pub cause: CatalogErrorCause,
}

/// An error in a file of messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogErrorCause {
    /// It is not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// Doorward has no message with this key.
    #[error("there is no message `{0}`")]
    UnknownKey(String),
    /// A message is neither text nor a table of plural forms.
    #[error("the message `{0}` is neither text nor plural forms with `other`")]
    NotText(String),
    /// A message is empty or too long.
    #[error("the message `{0}` is not 1 to {MAX_MESSAGE} bytes long")]
    Length(String),
    /// A brace without its counterpart.
    #[error("the message `{0}` has a brace without its counterpart")]
    Brace(String),
    /// A placeholder that the message does not have.
    #[error("the message `{key}` has no value `{{{placeholder}}}`")]
    UnknownPlaceholder {
        /// The message.
        key: String,
        /// The placeholder.
        placeholder: String,
    },
    /// The direction of the text is unknown.
    #[error("`{DIRECTION}` is neither `ltr` nor `rtl`")]
    Direction,
}

/// A message with its position.
struct Found {
    message: Message,
    span: Range<usize>,
}

impl Catalog {
    /// The shipped English messages.
    ///
    /// # Errors
    /// They are invalid, which tests exclude.
    pub(super) fn english() -> Result<Self, CatalogError> {
        let found = parse(ENGLISH)?.into_iter();
        Ok(Self(
            found.map(|(key, found)| (key, found.message)).collect(),
        ))
    }

    /// The messages in `text`, a translation of this catalog, which has its messages where the
    /// translation has none.
    ///
    /// # Errors
    /// See [`CatalogErrorCause`].
    pub(super) fn translated(&self, text: &str) -> Result<Self, CatalogError> {
        let mut messages = self.0.clone();
        for (key, Found { message, span }) in parse(text)? {
            let error = |cause| error_at(text, &span, cause);
            let Some(original) = self.0.get(&key) else {
                return Err(error(CatalogErrorCause::UnknownKey(key)));
            };
            let known = original.placeholders();
            let used = message.placeholders();
            if let Some(placeholder) = used.difference(&known).next() {
                let placeholder = (*placeholder).to_owned();
                return Err(error(CatalogErrorCause::UnknownPlaceholder {
                    key,
                    placeholder,
                }));
            }
            if key == DIRECTION && !matches!(message.plain(), Some("ltr" | "rtl")) {
                return Err(error(CatalogErrorCause::Direction));
            }
            messages.insert(key, message);
        }
        Ok(Self(messages))
    }

    /// The keys of this catalog that `text` has no messages for.
    ///
    /// # Errors
    /// It is no catalog.
    pub(super) fn missing_in(&self, text: &str) -> Result<Vec<String>, CatalogError> {
        let found = parse(text)?;
        let missing = self.0.keys().filter(|key| !found.contains_key(*key));
        Ok(missing.cloned().collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Message> {
        self.0.get(key)
    }

    /// A message without values, as plain text.
    pub(super) fn plain<'c>(&'c self, key: &'c str) -> &'c str {
        self.get(key).and_then(Message::plain).unwrap_or(key)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Message {
    fn plain(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(&text.plain),
            Self::Plural(_) => None,
        }
    }

    /// The names of its values.
    fn placeholders(&self) -> BTreeSet<&str> {
        match self {
            Self::Text(text) => text.placeholders().collect(),
            Self::Plural(forms) => forms.values().flat_map(Text::placeholders).collect(),
        }
    }
}

impl Text {
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Html(_) => None,
            Part::Placeholder(name) => Some(name.as_str()),
        })
    }
}

fn error_at(text: &str, span: &Range<usize>, cause: CatalogErrorCause) -> CatalogError {
    let before = text.get(..span.start).unwrap_or_default();
    CatalogError {
        line: before.matches('\n').count() + 1,
        cause,
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, Found>, CatalogError> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let cause = CatalogErrorCause::Syntax(error.message().to_owned());
        error_at(text, &span, cause)
    })?;
    let mut found = BTreeMap::new();
    add_table(text, table.get_ref(), "", &mut found)?;
    Ok(found)
}

/// Adds the messages of a table whose keys begin with `prefix`.
fn add_table(
    text: &str,
    table: &DeTable<'_>,
    prefix: &str,
    found: &mut BTreeMap<String, Found>,
) -> Result<(), CatalogError> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let message = match value.get_ref() {
            DeValue::String(content) => Message::Text(
                parse_text(content, &key).map_err(|cause| error_at(text, &value.span(), cause))?,
            ),
            DeValue::Table(table) if !table.contains_key("other") => {
                add_table(text, table, &format!("{key}."), found)?;
                continue;
            }
            DeValue::Table(table) => Message::Plural(plural_forms(text, table, &key)?),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                return Err(not_text(text, value, key));
            }
        };
        let span = value.span();
        found.insert(key, Found { message, span });
    }
    Ok(())
}

fn not_text(text: &str, value: &Spanned<DeValue<'_>>, key: String) -> CatalogError {
    error_at(text, &value.span(), CatalogErrorCause::NotText(key))
}

fn plural_forms(
    text: &str,
    table: &DeTable<'_>,
    key: &str,
) -> Result<BTreeMap<PluralCategory, Text>, CatalogError> {
    let mut forms = BTreeMap::new();
    for (name, value) in table {
        let category = PluralCategory::get_for_cldr_string(name.get_ref());
        let (Some(category), DeValue::String(content)) = (category, value.get_ref()) else {
            return Err(not_text(text, value, key.to_owned()));
        };
        let form = parse_text(content, key);
        forms.insert(
            category,
            form.map_err(|cause| error_at(text, &value.span(), cause))?,
        );
    }
    Ok(forms)
}

fn parse_text(plain: &str, key: &str) -> Result<Text, CatalogErrorCause> {
    if plain.is_empty() || plain.len() > MAX_MESSAGE {
        return Err(CatalogErrorCause::Length(key.to_owned()));
    }
    let brace = || CatalogErrorCause::Brace(key.to_owned());
    let mut parts = Vec::new();
    let mut rest = plain;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(brace)?;
        if before.contains('}') || name.contains('{') {
            return Err(brace());
        }
        parts.push(Part::Html(HtmlEscape(before).to_string()));
        parts.push(Part::Placeholder(name.to_owned()));
        rest = after;
    }
    if rest.contains('}') {
        return Err(brace());
    }
    parts.push(Part::Html(HtmlEscape(rest).to_string()));
    Ok(Text {
        plain: plain.to_owned(),
        parts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> (usize, CatalogErrorCause) {
        let error = Catalog::english().unwrap().translated(text).unwrap_err();
        (error.line, error.cause)
    }

    #[test]
    fn translation_replaces_messages_and_keeps_the_others() {
        let english = Catalog::english().unwrap();
        let text = "[action]\nlog_in = \"Se connecter\"\n";
        let french = english.translated(text).unwrap();
        assert_eq!(french.plain("action.log_in"), "Se connecter");
        assert_eq!(french.plain("action.log_out"), "Log out");
        let missing = english.missing_in(text).unwrap();
        assert_eq!(missing.len(), english.keys().count() - 1);
        assert!(missing.contains(&"action.log_out".to_owned()));
        assert!(!missing.contains(&"action.log_in".to_owned()));
    }

    #[test]
    fn errors_name_line_and_key() {
        use CatalogErrorCause as Cause;
        let key = || "action.log_in".to_owned();
        assert!(matches!(cause("\n[action\n"), (2, Cause::Syntax(_))));
        let unknown = Cause::UnknownKey("action.login".to_owned());
        assert_eq!(cause("[action]\nlogin = \"x\""), (2, unknown));
        assert_eq!(cause("[action]\nlog_in = 1"), (2, Cause::NotText(key())));
        assert_eq!(cause("[action]\nlog_in = \"\""), (2, Cause::Length(key())));
        let long = format!("[action]\n\n\nlog_in = \"{}\"", "x".repeat(MAX_MESSAGE + 1));
        assert_eq!(cause(&long), (4, Cause::Length(key())));
        for text in ["{", "}", "{a", "a}", "{a{b}", "a}{b}"] {
            let file = format!("[action]\nlog_in = \"{text}\"");
            assert_eq!(cause(&file), (2, Cause::Brace(key())), "{text}");
        }
        let placeholder = Cause::UnknownPlaceholder {
            key: "forbidden.user".to_owned(),
            placeholder: "token".to_owned(),
        };
        assert_eq!(
            cause("[forbidden]\nuser = \"{user} {token}\""),
            (2, placeholder)
        );
        assert_eq!(cause("[layout]\ndirection = \"up\""), (2, Cause::Direction));
        let plural = "[ago.minutes]\nsome = \"x\"\nother = \"x\"";
        let key = "ago.minutes".to_owned();
        assert_eq!(cause(plural), (2, Cause::NotText(key)));
    }
}
