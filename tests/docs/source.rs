//! The string literals of the code that is shipped: codes, events and metrics are scattered among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Literals of the code below `src/`, without comments, tests, the demo, the import and the configuration's own texts.
pub(crate) struct Literals {
    /// All that have the form of a code: lower case, digits and `_`.
    pub(crate) all: BTreeSet<String>,
    /// Those in the bodies of functions named `code`.
    pub(crate) codes: BTreeSet<String>,
    /// The last argument of each `tracing` macro.
    pub(crate) events: BTreeSet<String>,
    /// The fields of each such event.
    pub(crate) event_fields: BTreeMap<String, BTreeSet<String>>,
    /// Such arguments that are not a code.
    pub(crate) prose: BTreeSet<String>,
}

/// Folders and files that hold nothing for operators to look up.
const LEFT_OUT: [&str; 3] = ["src/demo/", "src/config/", "src/import/"];

pub(crate) fn literals() -> Literals {
    let mut found = Literals {
        all: BTreeSet::new(),
        codes: BTreeSet::new(),
        events: BTreeSet::new(),
        event_fields: BTreeMap::new(),
        prose: BTreeSet::new(),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    collect(root, "src", &mut found);
    assert!(
        found.all.len() > 300 && found.codes.len() > 100 && found.events.len() > 50,
        "the source was not read"
    );
    found
}

fn collect(root: &Path, folder: &str, found: &mut Literals) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        if entry.file_type().unwrap().is_dir() {
            if name != "tests" {
                collect(root, &path, found);
            }
        } else if name.ends_with(".rs")
            && !matches!(name.as_str(), "tests.rs" | "testing.rs")
            && !LEFT_OUT.iter().any(|left_out| path.starts_with(left_out))
        {
            read(&fs::read_to_string(entry.path()).unwrap(), found);
        }
    }
}

/// Collects the literals of one file.
fn read(text: &str, found: &mut Literals) {
    let code = without_tests(text);
    let tokens = tokens(code);
    let (mut depth, mut code_until, mut expects_body) = (0_usize, None, false);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Word(word) if word == "code" && is_word(&tokens, at, "fn") => {
                expects_body = true
            }
            Token::Word(word) if word == "tracing" => match event(&tokens[at..]) {
                Some(event) if is_code(&event.name) => {
                    let fields = found.event_fields.entry(event.name.clone());
                    fields.or_default().extend(event.fields);
                    found.events.insert(event.name);
                }
                Some(event) => _ = found.prose.insert(event.name),
                None => {}
            },
            Token::Sign('{') => {
                depth += 1;
                if std::mem::take(&mut expects_body) {
                    code_until = Some(depth);
                }
            }
            Token::Sign('}') => {
                if code_until == Some(depth) {
                    code_until = None;
                }
                depth = depth.saturating_sub(1);
            }
            Token::Literal(literal) if is_code(literal) => {
                found.all.insert(literal.clone());
                if code_until.is_some() {
                    found.codes.insert(literal.clone());
                }
            }
            Token::Word(_) | Token::Literal(_) | Token::Sign(_) => {}
        }
    }
}

/// The text before the test module that ends a file.
fn without_tests(text: &str) -> &str {
    let modules = text.match_indices("#[cfg(test)]\nmod ");
    let mut blocks = modules.filter(|(at, _)| {
        let declaration = text[*at..].lines().nth(1).unwrap_or_default();
        declaration.ends_with('{')
    });
    blocks.next().map_or(text, |(at, _)| &text[..at])
}

/// Whether `word` stands before the token at `at`.
fn is_word(tokens: &[Token], at: usize, word: &str) -> bool {
    matches!(at.checked_sub(1).map(|before| &tokens[before]), Some(Token::Word(before)) if before == word)
}

/// An event that the code logs.
struct LoggedEvent {
    name: String,
    fields: Vec<String>,
}

/// The event that `tracing::level!(field = …, %field, "name")` logs.
fn event(tokens: &[Token]) -> Option<LoggedEvent> {
    let [
        _,
        Token::Sign(':'),
        Token::Sign(':'),
        Token::Word(level),
        Token::Sign('!'),
        Token::Sign('('),
        rest @ ..,
    ] = tokens
    else {
        return None;
    };
    if !["error", "warn", "info", "debug", "trace"].contains(&level.as_str()) {
        return None;
    }
    let arguments = arguments(rest)?;
    let (last, fields) = arguments.split_last()?;
    let [Token::Literal(name)] = last else {
        return None;
    };
    let fields = fields.iter().filter_map(|tokens| field(tokens)).collect();
    let name = name.clone();
    Some(LoggedEvent { name, fields })
}

/// The arguments of a macro call, of which `tokens` are what follows its opening parenthesis.
fn arguments(tokens: &[Token]) -> Option<Vec<&[Token]>> {
    let mut open = 1_usize;
    let mut arguments = Vec::new();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(' | '{' | '[') => open += 1,
            Token::Sign(')' | '}' | ']') => open -= 1,
            Token::Word(_) | Token::Literal(_) | Token::Sign(_) => {}
        }
        if open == 0 || (open == 1 && *token == Token::Sign(',')) {
            if at > start {
                arguments.push(&tokens[start..at]);
            }
            start = at + 1;
        }
        if open == 0 {
            return Some(arguments);
        }
    }
    None
}

/// The name of a field: of `name = value`, `%name`, `?name` or `name`.
fn field(tokens: &[Token]) -> Option<String> {
    tokens.iter().find_map(|token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Literal(_) | Token::Sign(_) => None,
    })
}

pub(crate) fn is_code(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Literal(String),
    Sign(char),
}

/// Words, string literals and signs, without comments and characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => at = find(&chars, at, '\n'),
            '"' => {
                let start = at + 1;
                at = start;
                while chars[at] != '"' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                tokens.push(Token::Literal(chars[start..at].iter().collect()));
                at += 1;
            }
            'r' if matches!(chars.get(at + 1), Some('"' | '#')) && !follows_word(&chars, at) => {
                let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
                if chars.get(at + 1 + hashes) != Some(&'"') {
                    at += 1;
                    continue;
                }
                let start = at + 2 + hashes;
                let closing: Vec<char> = std::iter::once('"')
                    .chain(std::iter::repeat_n('#', hashes))
                    .collect();
                let length = chars[start..]
                    .windows(closing.len())
                    .position(|window| window == closing)
                    .unwrap();
                at = start + length + closing.len();
            }
            '\'' if chars.get(at + 1) == Some(&'\\') => at = find(&chars, at + 3, '\'') + 1,
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 3,
            c if c.is_alphanumeric() || c == '_' => {
                let start = at;
                while chars
                    .get(at)
                    .is_some_and(|c| c.is_alphanumeric() || *c == '_')
                {
                    at += 1;
                }
                tokens.push(Token::Word(chars[start..at].iter().collect()));
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                at += 1;
            }
        }
    }
    tokens
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at.checked_sub(1)
        .is_some_and(|before| chars[before].is_alphanumeric() || chars[before] == '_')
}

fn find(chars: &[char], from: usize, wanted: char) -> usize {
    chars[from..]
        .iter()
        .position(|c| *c == wanted)
        .map_or(chars.len(), |offset| from + offset)
}

#[test]
fn literals_of_codes_and_events_are_told_apart() {
    let text = r##"
        /// "in_a_comment"
        pub const fn code(self) -> &'static str {
            match self { Self::A => "first_code", Self::B { c: '"' } => r#"raw"#, _ => { "second" } }
        }
        fn other() { "no_code"; tracing::warn!(app = %f("x_y", 1), code = code(), %error, "event_name",); tracing::info!(a = 1);
            tracing::error!("it broke"); }
        #[cfg(test)]
mod declared;
        const A: &str = "after_a_declaration";
        #[cfg(test)]
mod tests {
            "in_a_test" }
    "##;
    let mut found = Literals {
        all: BTreeSet::new(),
        codes: BTreeSet::new(),
        events: BTreeSet::new(),
        event_fields: BTreeMap::new(),
        prose: BTreeSet::new(),
    };
    read(text, &mut found);
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(found.codes, set(&["first_code", "second"]));
    assert_eq!(found.events, set(&["event_name"]));
    let fields = BTreeMap::from([("event_name".to_owned(), set(&["app", "code", "error"]))]);
    assert_eq!(found.event_fields, fields);
    assert_eq!(found.prose, set(&["it broke"]));
    assert_eq!(
        found.all,
        set(&[
            "after_a_declaration",
            "event_name",
            "first_code",
            "no_code",
            "second",
            "x_y"
        ])
    );
}
