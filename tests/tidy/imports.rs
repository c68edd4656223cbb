//! The paths that a file names: `use` declarations and paths in code, relative to the crate's root.

use crate::source::{File, code};

/// A path from the crate's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// The name that a `use` declaration brings into scope; `*` for a glob. `None` in code.
    pub(crate) name: Option<String>,
    pub(crate) is_public: bool,
}

/// The module path of a source file: `src/a/b.rs` and `src/a/b/mod.rs` are `[a, b]`, `src/lib.rs`
/// and `src/main.rs` are empty.
pub(crate) fn module_path(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    match inner {
        "lib" | "main" => Vec::new(),
        _ => inner.split('/').map(str::to_owned).collect(),
    }
}

/// Every path into the crate in the code of `file`, tests left out.
pub(crate) fn imports(file: &File) -> Vec<Import> {
    let module = module_path(&file.path);
    let code = code(&file.text);
    let mut imports = Vec::new();
    let mut rest = String::with_capacity(code.len());
    let mut from = 0;
    for (start, end, is_public) in use_declarations(&code) {
        let line = line_of(&code, start);
        for (path, name) in use_tree(&code[start..end]) {
            imports.extend(absolute(&module, &path).map(|path| Import {
                line,
                path,
                name: Some(name),
                is_public,
            }));
        }
        rest.push_str(&code[from..start]);
        rest.extend(
            code[start..end]
                .chars()
                .map(|c| if c == '\n' { c } else { ' ' }),
        );
        from = end;
    }
    rest.push_str(&code[from..]);
    let children = child_modules(&rest);
    // A `use` declaration may name a child module without `self::`.
    for (start, end, is_public) in use_declarations(&code) {
        for (path, name) in use_tree(&code[start..end]) {
            if path.first().is_some_and(|first| children.contains(first)) {
                let path = [module.clone(), path].concat();
                let line = line_of(&code, start);
                imports.push(Import {
                    line,
                    path,
                    name: Some(name),
                    is_public,
                });
            }
        }
    }
    for (line, path) in code_paths(&rest) {
        let path = match path.first() {
            Some(first) if children.contains(first) => Some([module.clone(), path].concat()),
            _ => absolute(&module, &path),
        };
        imports.extend(path.map(|path| Import {
            line,
            path,
            name: None,
            is_public: false,
        }));
    }
    imports
}

/// The path of every name that `use` declarations of `code` bring into scope, with its line.
pub(crate) fn use_paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let declarations = use_declarations(code).into_iter();
    declarations
        .flat_map(|(start, end, _)| {
            let line = line_of(code, start);
            use_tree(&code[start..end])
                .into_iter()
                .map(move |(path, _)| (line, path))
        })
        .collect()
}

/// The code of `file` without its `use` declarations.
pub(crate) fn code_without_use(file: &File) -> String {
    let mut code = code(&file.text);
    for (start, end, _) in use_declarations(&code) {
        let blank: String = code[start..end]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        // A declaration is ASCII, so its length in bytes stays.
        code.replace_range(start..end, &blank);
    }
    code
}

/// Resolves `crate::`, `doorward::`, `self::` and `super::` against `module`; `None` for other crates.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|word| *word == "super").count();
    match path.first()?.as_str() {
        "crate" | "doorward" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let parent = module.len().checked_sub(supers)?;
            Some([&module[..parent], &path[supers..]].concat())
        }
        _ => None,
    }
}

/// Start, end and visibility of each `use` declaration; the range is that of its tree.
fn use_declarations(code: &str) -> Vec<(usize, usize, bool)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].trim_end();
        let starts_item = before.is_empty()
            || before.ends_with([';', '{', '}', ']'])
            || ["pub", ")"].iter().any(|end| before.ends_with(end));
        let is_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if let Some(length) = code[at..].find(';')
            && starts_item
            && is_word
        {
            let is_public = before.ends_with("pub") || before.ends_with(')');
            found.push((at + "use ".len(), at + length, is_public));
        }
    }
    found
}

/// `a::{b, c::d as e, f::*}` as paths with the names that they bring into scope.
fn use_tree(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    let end = tree.find('{').unwrap_or(tree.len());
    let (head, group) = tree.split_at(end);
    let (head, alias) = head.split_once(" as ").unwrap_or((head, ""));
    let mut words: Vec<String> = head
        .split("::")
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    let Some(group) = group.strip_prefix('{') else {
        let is_self = words.len() > 1 && words.last().is_some_and(|word| word == "self");
        if is_self {
            words.pop();
        }
        let last = words.last().cloned().unwrap_or_default();
        let name = if alias.is_empty() {
            last.clone()
        } else {
            alias.trim().to_owned()
        };
        if last == "*" {
            words.pop();
        }
        return if words.is_empty() {
            Vec::new()
        } else {
            vec![(words, name)]
        };
    };
    split_group(group)
        .iter()
        .flat_map(|part| use_tree(part))
        .map(|(tail, name)| {
            let is_self = tail == ["self"];
            let path = if is_self {
                words.clone()
            } else {
                [words.clone(), tail].concat()
            };
            let name = match words.last() {
                Some(last) if is_self && name == "self" => last.clone(),
                _ => name,
            };
            (path, name)
        })
        .collect()
}

/// The members of a group up to its closing brace.
fn split_group(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                parts.last_mut().unwrap().push(c);
            }
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The modules that `code` declares as files: `mod name;`.
fn child_modules(code: &str) -> Vec<String> {
    let declared = code.match_indices("mod ").filter_map(|(at, keyword)| {
        let is_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name = code[at + keyword.len()..].split_once(';')?.0.trim();
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        (is_word && is_name && !name.is_empty()).then(|| name.to_owned())
    });
    declared.collect()
}

/// Paths of at least two words in code that holds no `use` declarations, with their lines.
fn code_paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("::").map(|at| from + at) {
        let start = code[..at].rfind(|c: char| !inside(c)).map_or(0, |before| {
            before + code[before..].chars().next().unwrap().len_utf8()
        });
        let end = code[at..]
            .find(|c: char| !inside(c))
            .map_or(code.len(), |end| at + end);
        let words: Vec<String> = code[start..end]
            .split("::")
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        if words.len() > 1 && !code[start..end].starts_with("::") {
            found.push((line_of(code, start), words));
        }
        from = end;
    }
    found
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[test]
fn imports_are_absolute() {
    let text = "use std::fmt;\n\
        use crate::types::{net::{self, Origin as O}, time::*};\n\
        pub(crate) use super::store::Store;\n\
        mod child;\n\
        use child::Item;\n\
        fn f() { super::super::policy::decide(); child::g(); other::h(); self::child::i() }\n\
        #[cfg(test)]\nmod tests { use crate::demo; }\n\
        // use crate::cli;\n";
    let file = File {
        path: "src/oidc/keys.rs".into(),
        text: text.into(),
    };
    let found: Vec<(usize, String, Option<String>, bool)> = imports(&file)
        .into_iter()
        .map(|import| {
            (
                import.line,
                import.path.join("::"),
                import.name,
                import.is_public,
            )
        })
        .collect();
    let expected = [
        (2, "types::net", Some("net"), false),
        (2, "types::net::Origin", Some("O"), false),
        (2, "types::time", Some("*"), false),
        (3, "oidc::store::Store", Some("Store"), true),
        (5, "oidc::keys::child::Item", Some("Item"), false),
        (6, "policy::decide", None, false),
        (6, "oidc::keys::child::g", None, false),
        (6, "oidc::keys::child::i", None, false),
    ];
    let expected = expected.map(|(line, path, name, is_public)| {
        (line, path.to_owned(), name.map(str::to_owned), is_public)
    });
    assert_eq!(found, expected);
}
