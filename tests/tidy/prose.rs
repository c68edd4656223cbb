//! Banned words and phrases: wordplay that hides what the code does from a search, and references
//! to documents outside the repository.

use crate::source::File;

/// Lower-case phrases match in any case, also as parts of identifiers (`AT_REST`); others match as
/// written.
const BANNED: [&str; 18] = [
    "Afterwards",
    "DESIGN section",
    "DESIGN.md",
    "LESSONS",
    "NAMES.md",
    "Strangers",
    "Whose",
    "at rest",
    "is not ours",
    "issue #",
    "lest",
    "of our own",
    "of ours",
    "patience",
    "the house",
    "there is none",
    "under way",
    "who asks",
];

/// Files whose text is not prose of this project, and this list.
const EXEMPT: [&str; 5] = [
    "Cargo.lock",
    "LICENSE",
    "fuzz/Cargo.lock",
    "fuzz/corpus/",
    "tests/tidy/prose.rs",
];

/// A run of letters and digits.
struct Word<'a> {
    text: &'a str,
    start: usize,
}

pub(crate) fn banned_phrases(file: &File) -> Vec<String> {
    if crate::is_in(&file.path, &EXEMPT) {
        return Vec::new();
    }
    let words = words(&file.text);
    let mut complaints = Vec::new();
    for phrase in BANNED {
        let wanted: Vec<&str> = phrase.split([' ', '.']).collect();
        let found = (0..words.len()).filter(|at| matches(&file.text, &words[*at..], &wanted));
        complaints.extend(found.map(|at| {
            let line = file.text[..words[at].start].matches('\n').count() + 1;
            format!(
                "{}:{line}: `{phrase}` is banned: name the thing plainly",
                file.path
            )
        }));
    }
    complaints
}

fn words(text: &str) -> Vec<Word<'_>> {
    let pieces = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| Word {
            text: piece,
            start: piece.as_ptr() as usize - text.as_ptr() as usize,
        })
        .collect()
}

/// Whether `words` begins with the phrase; line breaks and comment markers may stand between.
fn matches(text: &str, words: &[Word<'_>], phrase: &[&str]) -> bool {
    if phrase.last() == Some(&"#") {
        let number = words
            .get(1)
            .is_some_and(|word| word.text.parse::<u32>().is_ok());
        return number && words[0].text == "issue" && gap(text, &words[0], &words[1]);
    }
    words.len() >= phrase.len()
        && phrase.iter().zip(words).all(|(wanted, word)| {
            let is_lower = !wanted.contains(char::is_uppercase);
            word.text == *wanted || (is_lower && word.text.to_lowercase() == *wanted)
        })
        && words[..phrase.len()]
            .windows(2)
            .all(|pair| gap(text, &pair[0], &pair[1]))
}

fn gap(text: &str, before: &Word<'_>, after: &Word<'_>) -> bool {
    let between = &text[before.start + before.text.len()..after.start];
    between.len() < 40
        && between
            .chars()
            .all(|c| c.is_whitespace() || "_-./!#*>".contains(c))
}

#[test]
fn banned_phrases_are_found() {
    let complaints = |path: &str, text: &str| {
        banned_phrases(&File {
            path: path.into(),
            text: text.into(),
        })
        .len()
    };
    for text in [
        "// Judges who asks.",
        "/// Requests that are under\n/// way.",
        "const AT_REST: u8 = 1;",
        "enum Whose {}",
        "# Lest it be lost",
        "see issue 10",
        "see issue #10",
        "as DESIGN.md says",
        "LESSONS",
        "IDLE_PATIENCE",
    ] {
        assert_eq!(complaints("docs/a.md", text), 1, "{text}");
        assert_eq!(complaints("tests/tidy/prose.rs", text), 0, "{text}");
    }
    for text in [
        "the session whose token expired",
        "let (at, rest) = split_at(rest);",
        "a warehouse, the least, requests in flight",
        "an issue with 10 causes",
        "under the way",
    ] {
        assert_eq!(complaints("src/a.rs", text), 0, "{text}");
    }
}
