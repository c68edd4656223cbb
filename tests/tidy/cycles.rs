//! Import cycles: in each folder, the graph of its files and sub-folders must be acyclic.
//!
//! A path counts as an import of the file that defines the item: re-exports are followed, and are
//! not imports themselves. An import by a file deep in a folder is an import by that folder. A
//! `mod.rs` is not in its own folder's graph: it composes the files of the folder, which use the
//! types that it declares.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::{Import, code_without_use, imports, module_path};
use crate::source::{File, code, test_files};
use crate::{has_word, is_in};

/// More re-exports of re-exports than any path has.
const MAX_REEXPORTS: usize = 20;

/// The files and imports of the library.
struct Crate<'a> {
    /// Module path to file path.
    files: BTreeMap<Vec<String>, &'a str>,
    /// Code by file path.
    code: BTreeMap<&'a str, String>,
    imports: BTreeMap<&'a str, Vec<Import>>,
}

/// An import of one file by another.
#[derive(Clone, Debug)]
struct Edge<'a> {
    from: &'a str,
    line: usize,
    to: &'a str,
}

/// One complaint for each set of files or folders that import each other.
pub(crate) fn cycles(files: &[File]) -> Vec<String> {
    let edges = Crate::read(files).edges();
    let mut folders = BTreeMap::<String, BTreeMap<String, Vec<(String, &Edge)>>>::new();
    for edge in &edges {
        if let Some((folder, from, to)) = siblings(edge.from, edge.to) {
            let graph = folders.entry(folder).or_default();
            graph.entry(from).or_default().push((to, edge));
        }
    }
    folders
        .iter()
        .flat_map(|(folder, graph)| cycles_of(folder, graph))
        .collect()
}

impl<'a> Crate<'a> {
    fn read(files: &'a [File]) -> Self {
        let rust = |file: &&File| file.path.starts_with("src/") && file.path.ends_with(".rs");
        let tests: Vec<String> = files.iter().filter(rust).flat_map(test_files).collect();
        let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
        let is_read = |file: &&File| !is_in(&file.path, &tests) && file.path != "src/main.rs";
        let read: Vec<&File> = files.iter().filter(rust).filter(is_read).collect();
        Self {
            files: read
                .iter()
                .map(|file| (module_path(&file.path), file.path.as_str()))
                .collect(),
            code: read
                .iter()
                .map(|file| (file.path.as_str(), code(&file.text)))
                .collect(),
            imports: read
                .iter()
                .map(|file| (file.path.as_str(), imports(file)))
                .collect(),
        }
    }

    fn edges(&self) -> Vec<Edge<'a>> {
        let mut edges = Vec::new();
        for (from, imports) in &self.imports {
            let text = self.code.get(from).map_or("", String::as_str);
            let file = File {
                path: (*from).to_owned(),
                text: text.to_owned(),
            };
            let body = code_without_use(&file);
            for import in imports {
                // A re-export is an import only if the file itself uses the name too.
                let is_used = import
                    .name
                    .as_ref()
                    .is_none_or(|name| has_word(&body, name));
                if import.is_public && !is_used {
                    continue;
                }
                if let Some(to) = self.definition(&import.path, MAX_REEXPORTS)
                    && to != *from
                {
                    edges.push(Edge {
                        from,
                        line: import.line,
                        to,
                    });
                }
            }
        }
        edges
    }

    /// The file that defines the item at `path`.
    fn definition(&self, path: &[String], reexports_left: usize) -> Option<&'a str> {
        let depth = (0..=path.len())
            .rev()
            .find(|depth| self.files.contains_key(&path[..*depth]))?;
        let file = *self.files.get(&path[..depth])?;
        let (Some(item), Some(left)) = (path.get(depth), reexports_left.checked_sub(1)) else {
            return Some(file);
        };
        let imports = self.imports.get(file)?;
        let named = imports
            .iter()
            .find(|import| import.name.as_deref() == Some(item));
        if let Some(import) = named {
            let target = [&import.path[..], &path[depth + 1..]].concat();
            return self.definition(&target, left);
        }
        let globs = imports
            .iter()
            .filter(|import| import.name.as_deref() == Some("*"));
        let from_glob = globs.filter_map(|import| {
            let target = [&import.path[..], &path[depth..]].concat();
            let found = self.definition(&target, left)?;
            (found != file && self.declares(found, item)).then_some(found)
        });
        Some(from_glob.into_iter().next().unwrap_or(file))
    }

    fn declares(&self, file: &str, item: &str) -> bool {
        const KEYWORDS: [&str; 8] = [
            "struct",
            "enum",
            "trait",
            "fn",
            "type",
            "const",
            "static",
            "macro_rules!",
        ];
        let declares = |line: &str| {
            KEYWORDS.iter().any(|keyword| {
                let after = line
                    .split_once(keyword)
                    .map(|(_, after)| after.trim_start());
                after.is_some_and(|after| after.starts_with(item) && has_word(after, item))
            })
        };
        self.code
            .get(file)
            .is_some_and(|code| code.lines().any(declares))
    }
}

/// The folder that holds both files, and the file or sub-folder of it that each belongs to; `None`
/// if one of them is the folder's `mod.rs`.
fn siblings(from: &str, to: &str) -> Option<(String, String, String)> {
    let (from, to) = (unit(from), unit(to));
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let name = |path: &[&str]| path.get(common).map(|name| (*name).to_owned());
    Some((from[..common].join("/"), name(&from)?, name(&to)?))
}

/// The path of a file or folder without what marks it as Rust: `src/a.rs` and `src/a/mod.rs` are
/// both `src/a`.
fn unit(file: &str) -> Vec<&str> {
    file.trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .split('/')
        .collect()
}

type Graph<'a, 'b> = BTreeMap<String, Vec<(String, &'b Edge<'a>)>>;

/// A shortest cycle of each strongly connected component.
fn cycles_of(folder: &str, graph: &Graph<'_, '_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut complaints = Vec::new();
    for start in graph.keys() {
        if seen.contains(start) {
            continue;
        }
        let Some(cycle) = shortest_cycle(graph, start) else {
            continue;
        };
        seen.extend(cycle.iter().map(|(name, _)| name.clone()));
        let steps: Vec<String> = cycle
            .iter()
            .map(|(name, edge)| format!("{name} ({}:{} imports {})", edge.from, edge.line, edge.to))
            .collect();
        complaints.push(format!(
            "{folder}/: import cycle: {} -> {start}",
            steps.join(" -> ")
        ));
    }
    complaints
}

/// The nodes of a shortest path from `start` back to it, each with the edge that leaves it.
fn shortest_cycle<'a, 'b>(
    graph: &Graph<'a, 'b>,
    start: &str,
) -> Option<Vec<(String, &'b Edge<'a>)>> {
    let mut queue = VecDeque::from([start.to_owned()]);
    let mut reached_by = BTreeMap::<String, (String, &Edge)>::new();
    while let Some(node) = queue.pop_front() {
        for (next, edge) in graph.get(&node).into_iter().flatten() {
            if reached_by.contains_key(next) {
                continue;
            }
            reached_by.insert(next.clone(), (node.clone(), edge));
            queue.push_back(next.clone());
        }
    }
    let mut cycle = Vec::new();
    let mut node = start.to_owned();
    loop {
        let (before, edge) = reached_by.get(&node)?;
        cycle.push((before.clone(), *edge));
        if before == start {
            cycle.reverse();
            return Some(cycle);
        }
        node.clone_from(before);
    }
}

#[test]
fn cycles_are_found() {
    let file = |(path, text): &(&str, &str)| File {
        path: (*path).into(),
        text: (*text).into(),
    };
    let complaints = |files: &[(&str, &str)]| cycles(&files.iter().map(file).collect::<Vec<_>>());
    let cyclic: [&[(&str, &str)]; 5] = [
        // Two files of one folder.
        &[
            ("src/a/b.rs", "use super::c::C;"),
            ("src/a/c.rs", "fn f() { crate::a::b::f() }"),
        ],
        // Three files.
        &[
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "use crate::c::C;"),
            ("src/c.rs", "use crate::a::A;"),
        ],
        // Two folders, through different files.
        &[
            ("src/a/mod.rs", ""),
            ("src/b/mod.rs", ""),
            ("src/a/x.rs", "use crate::b::y::Y;"),
            ("src/a/z.rs", ""),
            ("src/b/y.rs", ""),
            ("src/b/w.rs", "use crate::a::z::Z;"),
        ],
        // Behind a re-export.
        &[
            ("src/a/mod.rs", "mod b;\nmod c;\npub use c::C;"),
            ("src/a/b.rs", "use super::C;\npub struct B;"),
            ("src/a/c.rs", "use super::b::B;\npub struct C;"),
        ],
        // Behind a glob.
        &[
            ("src/a/mod.rs", "mod b;\nmod c;\npub use self::c::*;"),
            ("src/a/b.rs", "use super::C;\npub struct B;"),
            ("src/a/c.rs", "use super::b::B;\npub struct C;"),
        ],
    ];
    for files in cyclic {
        assert_eq!(
            complaints(files).len(),
            1,
            "{files:?}: {:?}",
            complaints(files)
        );
    }
    let acyclic: [&[(&str, &str)]; 4] = [
        &[
            ("src/a/b.rs", "use super::c::C;"),
            ("src/a/c.rs", "// use super::b::B;"),
        ],
        // Re-exports are no imports.
        &[
            ("src/a/mod.rs", "mod b;\npub use b::B;\npub struct A;"),
            ("src/a/b.rs", "use super::A;\npub struct B;"),
        ],
        // Tests may import what they test.
        &[
            ("src/a.rs", "#[cfg(test)]\nmod tests { use crate::b::B; }"),
            ("src/b.rs", "use crate::a::A;"),
        ],
        // A folder's own file composes its files.
        &[
            (
                "src/a/mod.rs",
                "mod b;\nmod c;\npub struct A;\nfn f() { b::f() }",
            ),
            ("src/a/b.rs", "use super::{A, c};"),
            ("src/a/c.rs", "use super::A;"),
        ],
    ];
    for files in acyclic {
        assert_eq!(complaints(files), Vec::<String>::new(), "{files:?}");
    }
}
