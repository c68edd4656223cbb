//! Apache configuration as a tree of directives and containers.

use super::super::settings::Position;
use super::super::{ImportError, MAX_BYTES, MAX_SETTINGS};

/// The deepest nesting of containers.
const MAX_DEPTH: usize = 16;

/// A directive or a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) at: Position,
    /// The content of a container.
    pub(super) children: Option<Vec<Node>>,
}

impl Node {
    /// Whether it is a directive or container of this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The first argument, or the empty text.
    pub(super) fn argument(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    pub(super) fn content(&self) -> &[Self] {
        self.children.as_deref().unwrap_or_default()
    }
}

/// Parses a configuration.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Node>, ImportError> {
    if text.len() > MAX_BYTES {
        return Err(ImportError::TooLarge(file.to_owned()));
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut open: Vec<Node> = Vec::new();
    let mut count = 0;
    for Line { number, text } in lines(text) {
        let at = Position::line(file, number, number);
        let malformed = |message: &str| ImportError::Malformed {
            at: at.clone(),
            message: message.to_owned(),
        };
        count += 1;
        if count > MAX_SETTINGS {
            return Err(ImportError::TooMany);
        }
        if let Some(name) = text.strip_prefix("</") {
            let name = name.trim_end_matches('>').trim();
            let closed = open.pop().filter(|node| node.is(name));
            let closed = closed.ok_or_else(|| malformed("this closes no container"))?;
            siblings(&mut nodes, &mut open).push(closed);
            continue;
        }
        let (inner, children) = match text.strip_prefix('<') {
            Some(inner) => {
                let inner = inner.strip_suffix('>');
                (
                    inner.ok_or_else(|| malformed("`>` is missing"))?,
                    Some(Vec::new()),
                )
            }
            None => (text.as_str(), None),
        };
        let mut words = words(inner).into_iter();
        let name = words.next().ok_or_else(|| malformed("a name is missing"))?;
        let node = Node {
            name,
            arguments: words.collect(),
            at: at.clone(),
            children,
        };
        if node.children.is_none() {
            siblings(&mut nodes, &mut open).push(node);
        } else if open.len() < MAX_DEPTH {
            open.push(node);
        } else {
            return Err(malformed("containers are nested too deeply"));
        }
    }
    match open.pop() {
        None => Ok(nodes),
        Some(node) => Err(ImportError::Malformed {
            at: node.at,
            message: "this container is not closed".to_owned(),
        }),
    }
}

/// Where the next node goes.
fn siblings<'n>(nodes: &'n mut Vec<Node>, open: &'n mut [Node]) -> &'n mut Vec<Node> {
    match open.last_mut() {
        Some(node) => node.children.get_or_insert_default(),
        None => nodes,
    }
}

struct Line {
    number: usize,
    text: String,
}

/// The lines that are neither blank nor comments. A backslash at the end continues a line.
fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut numbered = text.lines().enumerate();
    while let Some((index, line)) = numbered.next() {
        let mut whole = line.trim().to_owned();
        let is_comment = whole.starts_with('#');
        while let Some(begun) = whole.strip_suffix('\\') {
            let Some((_, next)) = numbered.next() else {
                whole = begun.to_owned();
                break;
            };
            whole = format!("{} {}", begun.trim_end(), next.trim());
        }
        if !whole.is_empty() && !is_comment {
            let number = index + 1;
            let text = whole;
            found.push(Line { number, text });
        }
    }
    found
}

/// The words of a line. Quotes hold words together; a backslash escapes a quote or a backslash.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let quote = Some(first).filter(|c| matches!(c, '"' | '\''));
        let mut word = String::new();
        let mut characters = rest.chars();
        if quote.is_some() {
            characters.next();
        }
        while let Some(character) = characters.next() {
            let ends = match quote {
                Some(quote) => character == quote,
                None => character.is_whitespace(),
            };
            if ends {
                break;
            }
            let mut ahead = characters.clone();
            match ahead.next() {
                Some(escaped)
                    if character == '\\'
                        && quote.is_some()
                        && matches!(escaped, '"' | '\'' | '\\') =>
                {
                    word.push(escaped);
                    characters = ahead;
                }
                Some(_) | None => word.push(character),
            }
        }
        words.push(word);
        rest = characters.as_str().trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_containers_quotes_and_continuations_are_read() {
        let text = "# comment \\\ncontinued\nServerName a\n<VirtualHost *:443>\n  OIDCScope \"openid \\\"x\\\"\" \\\n 'b c'\n<IfModule x>\nY\n</ifmodule>\n</VirtualHost>\n";
        let nodes = parse("f", text).unwrap();
        let [name, host] = nodes.as_slice() else {
            panic!("{nodes:#?}")
        };
        assert_eq!(
            (name.name.as_str(), name.argument(), name.at.to_string()),
            ("ServerName", "a", "f:3".to_owned())
        );
        assert_eq!(host.argument(), "*:443");
        let [scope, module] = host.content() else {
            panic!("{host:#?}")
        };
        assert_eq!(scope.arguments, ["openid \"x\"", "b c"]);
        assert_eq!(module.content().len(), 1);
    }

    #[test]
    fn malformed_containers_are_reported_with_their_line() {
        let deep = format!("{}{}", "<a>\n".repeat(17), "</a>\n".repeat(17));
        for (text, at) in [
            ("<a>\n", "f:1"),
            ("x\n</a>", "f:2"),
            ("<a>\n</b>", "f:2"),
            ("<a", "f:1"),
            (deep.as_str(), "f:17"),
            ("<>", "f:1"),
        ] {
            let error = parse("f", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{at}: ")), "{error}");
        }
    }
}
