//! Reads the repository's text files, and reduces Rust source to its code.

use std::path::Path;

/// A text file: its path relative to the repository, and its content.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file of the repository, except build output and installed packages.
pub(crate) fn repository() -> Vec<File> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    assert!(
        files.iter().any(|file| file.path == "src/lib.rs"),
        "`src/lib.rs` was not found"
    );
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        if [".git", "target", "node_modules"].contains(&name.as_str()) || path == "tests/artefacts"
        {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if entry.file_type().unwrap().is_file()
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            files.push(File { path, text });
        }
    }
}

/// `text` with comments, string and character literals, and test modules replaced by spaces. Lines
/// are kept.
pub(crate) fn code(text: &str) -> String {
    without_test_modules(&without_literals(text))
}

/// The number of lines of `text` outside its test modules.
pub(crate) fn lines_without_tests(text: &str) -> usize {
    let bare = without_literals(text);
    let kept = without_test_modules(&bare);
    text.lines().count()
        - bare
            .lines()
            .zip(kept.lines())
            .filter(|(before, after)| before != after)
            .count()
}

/// Files and folders of the test modules that `file` declares: `#[cfg(test)] mod tests;`.
pub(crate) fn test_files(file: &File) -> Vec<String> {
    let folder = file
        .path
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .trim_end_matches("/lib");
    let bare = without_literals(&file.text);
    let declared = bare.split("#[cfg(test)]").skip(1).filter_map(|from| {
        let name = from.split_once(';')?.0.trim().rsplit_once("mod ")?.1;
        name.chars()
            .all(|c| c.is_alphanumeric() || c == '_')
            .then(|| format!("{folder}/{name}"))
    });
    declared
        .flat_map(|path| [format!("{path}.rs"), format!("{path}/")])
        .collect()
}

fn without_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_literal(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// The end of the comment, string or character literal that starts at `at`; `at` if none does.
fn end_of_literal(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let find = |from: usize, end: &[char]| {
        (from..rest.len())
            .find(|&i| rest[i..].starts_with(end))
            .map_or(rest.len(), |i| i + end.len())
    };
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => at + find(2, &['*', '/']),
        ['r', '"' | '#', ..] if !in_word => {
            let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
            if rest.get(1 + hashes) != Some(&'"') {
                return at; // a raw identifier
            }
            let end: Vec<char> = std::iter::once('"')
                .chain(std::iter::repeat_n('#', hashes))
                .collect();
            at + find(2 + hashes, &end)
        }
        ['"', ..] => at + end_of_quote(rest, '"'),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => at + end_of_quote(rest, '\''),
        _ => at,
    }
}

fn end_of_quote(rest: &[char], quote: char) -> usize {
    let mut i = 1;
    while i < rest.len() && rest[i] != quote {
        i += if rest[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(rest.len())
}

fn without_test_modules(bare: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(bare.len());
    let mut rest = bare;
    while let Some((before, from)) = rest.split_once(MARK) {
        let body = from.find('{').filter(|&open| !from[..open].contains(';'));
        let end = body.map_or_else(
            || from.find(';').map_or(from.len(), |end| end + 1),
            |open| closing(from, open),
        );
        out.push_str(before);
        out.extend(
            format!("{MARK}{}", &from[..end])
                .chars()
                .map(|c| if c == '\n' { c } else { ' ' }),
        );
        rest = &from[end..];
    }
    out + rest
}

fn closing(text: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < open) {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

#[test]
fn code_drops_comments_literals_and_tests() {
    for (text, left) in [
        ("a // reqwest::\nb", "a b"),
        ("a /* x\n */ b", "a b"),
        ("f(\"x \\\" // y\", b)", "f( , b)"),
        ("f(r#\"x \" y\"#, r\"z\")", "f( , )"),
        ("f('\"', '\\'', b'x', &'a str)", "f( , , b , &'a str)"),
        ("a #[cfg(test)] mod tests { fn x() { \"}\" } } b", "a b"),
        ("a #[cfg(test)]\nmod tests;\nb { }", "a b { }"),
        ("for x in r { r#type }", "for x in r { r#type }"),
    ] {
        let words: Vec<_> = left.split_whitespace().collect();
        assert_eq!(
            code(text).split_whitespace().collect::<Vec<_>>(),
            words,
            "{text}"
        );
        assert_eq!(code(text).lines().count(), text.lines().count(), "{text}");
    }
    assert_eq!(
        lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"),
        2
    );
}

#[test]
fn test_module_files_are_found() {
    let text = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod testing;\n#[cfg(test)]\nmod inline { use x; }\nmod real;";
    for (path, folder) in [
        ("src/oidc/mod.rs", "src/oidc"),
        ("src/oidc.rs", "src/oidc"),
        ("src/lib.rs", "src"),
    ] {
        let found = test_files(&File {
            path: path.into(),
            text: text.into(),
        });
        let expected =
            ["tests.rs", "tests/", "testing.rs", "testing/"].map(|name| format!("{folder}/{name}"));
        assert_eq!(found, expected, "{path}");
    }
}
