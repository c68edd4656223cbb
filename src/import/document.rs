//! The configuration that is written: tables in the order in which they were begun, with comments.
//! The `toml` crate writes all values; names that are not plain are written as values too.

use toml::{Table, Value};

use super::Notice;

/// The longest comment or message, in characters.
const MAX_TEXT: usize = 400;
/// The width of comments.
const WIDTH: usize = 100;

/// A configuration file.
#[derive(Debug, Default)]
pub(super) struct Document {
    sections: Vec<Section>,
}

/// A table.
#[derive(Debug)]
struct Section {
    path: Vec<String>,
    /// Whether it is an element of an array of tables.
    is_element: bool,
    lines: Vec<Line>,
}

/// An element of an array of tables.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) comments: Vec<String>,
    pub(super) entries: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
enum Line {
    Entry { key: String, value: Value },
    Comment(String),
}

impl Document {
    /// Begins the table at `path`, if it is new.
    pub(super) fn begin(&mut self, path: &[&str]) {
        self.add(path, None);
    }

    /// Sets a key of the table at `path`.
    pub(super) fn set(&mut self, path: &[&str], key: &str, value: impl Into<Value>) {
        let line = Line::entry(key, value);
        self.add(path, Some(line));
    }

    /// Adds a comment to the table at `path`.
    pub(super) fn comment(&mut self, path: &[&str], text: String) {
        self.add(path, Some(Line::Comment(text)));
    }

    /// Adds an element to the array of tables at `path`.
    pub(super) fn push(&mut self, path: &[&str], element: Element) {
        let comments = element.comments.into_iter().map(Line::Comment);
        let entries = element.entries.into_iter();
        let entries = entries.map(|(key, value)| Line::entry(key, value));
        self.sections.push(Section {
            path: owned(path),
            is_element: true,
            lines: comments.chain(entries).collect(),
        });
    }

    fn add(&mut self, path: &[&str], line: Option<Line>) {
        let is_it = |section: &&mut Section| !section.is_element && section.path == path;
        match self.sections.iter_mut().find(is_it) {
            Some(section) => section.lines.extend(line),
            None => self.sections.push(Section {
                path: owned(path),
                is_element: false,
                lines: line.into_iter().collect(),
            }),
        }
    }

    /// The text, with the notices above.
    pub(super) fn render(&self, title: &str, notices: &[Notice]) -> String {
        let mut text = comment(title);
        if !notices.is_empty() {
            text.push_str("#\n");
        }
        for notice in notices {
            text.push_str(&comment(&notice.to_string()));
        }
        for section in &self.sections {
            section.render(&mut text);
        }
        text
    }
}

impl Line {
    fn entry(key: &str, value: impl Into<Value>) -> Self {
        Self::Entry {
            key: key.to_owned(),
            value: value.into(),
        }
    }
}

impl Section {
    fn render(&self, text: &mut String) {
        let path: Vec<String> = self.path.iter().map(|key| key_text(key)).collect();
        let path = path.join(".");
        text.push_str(&if self.is_element {
            format!("\n[[{path}]]\n")
        } else {
            format!("\n[{path}]\n")
        });
        for line in &self.lines {
            text.push_str(&match line {
                Line::Entry { key, value } => format!("{} = {value}\n", key_text(key)),
                Line::Comment(words) => comment(words),
            });
        }
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|key| (*key).to_owned()).collect()
}

/// An inline table.
pub(super) fn inline<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.into_iter();
    let table: Table = entries
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    Value::Table(table)
}

/// A list of texts.
pub(super) fn list<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Value {
    let texts = texts.into_iter().map(|text| Value::String(text.into()));
    Value::Array(texts.collect())
}

/// A key: bare if possible, otherwise in quotes.
fn key_text(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(is_bare) {
        return key.to_owned();
    }
    // A text of one line is a string that a key may be.
    Value::String(one_line(key)).to_string()
}

/// The text in one line, without control characters, and shortened.
pub(super) fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(MAX_TEXT).map(visible).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

/// The text as a comment of one or more lines.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in one_line(text).split(' ').filter(|word| !word.is_empty()) {
        if line.len() > 2 && line.chars().count() + word.chars().count() >= WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#  ");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push_str(&line);
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_input_cannot_leave_its_value_or_comment() {
        let evil = "\"\n[apps.evil]\n'''\"\"\" # \u{7f}\u{0}\r x = 1";
        let mut document = Document::default();
        let path = ["apps", evil];
        document.set(&path, "client_id", evil);
        document.set(&path, evil, list([evil, "b"]));
        document.set(&path, "allow", inline([("claim", evil.into())]));
        document.comment(&path, evil.to_owned());
        let paths = ("paths", list([evil]));
        let element = Element {
            comments: vec![evil.to_owned()],
            entries: vec![paths],
        };
        document.push(&["apps", "a", "rules"], element);
        let text = document.render(evil, &[]);
        let table: Table = text
            .parse()
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(table.keys().collect::<Vec<_>>(), ["apps"]);
        let apps = table["apps"].as_table().unwrap();
        assert_eq!(apps.len(), 2, "{text}");
        let app = &apps[&one_line(evil)];
        assert_eq!(app["client_id"].as_str(), Some(evil));
        assert_eq!(app["allow"]["claim"].as_str(), Some(evil));
        assert_eq!(app[&one_line(evil)][0].as_str(), Some(evil));
    }
}
