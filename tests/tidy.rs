//! The house keeps its own rules: this reads the source and fails where one is broken.
//!
//! Each rule is a function from a file's path and text to complaints, and is shown a bad snippet to prove that it can
//! fail. Comments, strings and test modules are blanked first, so that only code is judged. A folder that does not
//! exist yet breaks no rule.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's helpers fail the test by panicking"
)]

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;

use source::{File, code, lines_without_tests, repository, test_files};

/// The floors of the house. A module may import from its own floor and from those below.
const FLOORS: [&[&str]; 7] = [
    &["types", "telemetry"],
    &["policy", "session"],
    &["oidc", "store", "upstream"],
    &["auth", "control"],
    &["proxy"],
    &["wire", "admin"],
    &["config", "cli", "server", "worker", "demo", "lib", "main"],
];

/// Beyond the floors: who may not import whom, and why.
const MAX_ANONYMOUS_TASKS: [(&[&str], &[&str], &str); 3] = [
    (
        FLOORS[2],
        FLOORS[2],
        "the outside worlds never import each other",
    ),
    (
        &["wire"],
        &["auth", "oidc", "session", "policy", "store"],
        "the wire knows nothing of auth",
    ),
    (
        &["server", "worker", "config", "admin", "wire"],
        &["demo"],
        "the demo is a guest: only the command line starts it",
    ),
];

const PURE_FOLDERS: [&str; 3] = ["src/types/", "src/policy/", "src/session/"];
const IMPURE: [&str; 24] = [
    "async",
    "await",
    "tokio",
    "reqwest",
    "hyper",
    "redis",
    "rustls",
    "tracing",
    "println",
    "eprintln",
    "thread_local",
    "static mut",
    "static ref",
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "Instant",
    "SystemTime",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "aws_lc_rs::rand",
];
/// Files of those folders that exist to hold one impure thing.
const IMPURE_BY_NAME: [(&str, &[&str]); 3] = [
    ("src/types/body.rs", &["hyper"]),
    ("src/types/files.rs", &["std::fs"]),
    ("src/types/time.rs", &["SystemTime"]),
];

/// Words that may stand in the named places only: each is a single door.
const DOORS: [(&str, &[&str], &str); 12] = [
    (
        "reqwest",
        &["src/oidc/http.rs"],
        "there is one HTTP client to the provider",
    ),
    (
        "SystemTime::now",
        &["src/types/time.rs"],
        "there is one clock",
    ),
    (
        "std::env",
        &[
            "src/config/",
            "src/cli.rs",
            "src/cli/",
            "src/main.rs",
            "src/demo/files.rs",
        ],
        "the configuration reads the environment",
    ),
    (
        "figment",
        &["src/config/"],
        "the configuration is read in one place",
    ),
    (
        "redis::",
        &["src/store/"],
        "Redis is an implementation of the store",
    ),
    (
        "jsonwebtoken",
        &["src/oidc/", "src/demo/", "src/server.rs", "src/cli.rs"],
        "there is one verifier of tokens",
    ),
    (
        "minijinja",
        &["src/proxy/pages.rs", "src/demo/"],
        "pages are made in one place",
    ),
    (
        "Response::builder",
        &[
            "src/proxy/respond.rs",
            "src/admin.rs",
            "src/admin/",
            "src/demo/",
        ],
        "one place words our answers",
    ),
    (
        "tokio::spawn",
        SPAWNERS,
        "a task that nobody waits for needs a reason",
    ),
    (
        "spawn_local",
        SPAWNERS,
        "a task that nobody waits for needs a reason",
    ),
    (
        "task::spawn",
        SPAWNERS,
        "a task that nobody waits for needs a reason",
    ),
    (
        "process::exit",
        &["src/main.rs"],
        "only the program ends the program",
    ),
];
const SPAWNERS: &[&str] = &[
    "src/admin.rs",
    "src/admin/",
    "src/control.rs",
    "src/control/",
    "src/demo/",
    "src/server.rs",
    "src/server/",
    "src/store/redis/link.rs",
    "src/upstream/",
    "src/wire/",
    "src/worker.rs",
];

const PERMIT_MAKER: &str = "src/policy/decide.rs";
const MAX_LINES: usize = 500;
const MAX_LINES_WITH_TESTS: usize = 600;

#[test]
fn the_house_is_tidy() {
    let files = repository();
    let hidden = hidden_from_demo(&files);
    let tests: Vec<String> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .flat_map(test_files)
        .collect();
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    let mut complaints: Vec<String> = files.iter().flat_map(strange_words).collect();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        complaints.extend(opening(file).into_iter().chain(size(file)));
        if file.path.starts_with("src/") && !is_in(&file.path, &tests) {
            complaints.extend(
                [
                    floors(file),
                    purity(file),
                    doors(file),
                    permits(file),
                    allows(file),
                ]
                .concat(),
            );
            complaints.extend(demo_is_a_guest(file, &hidden));
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The promise that nothing else can make a `Permit` is kept by a `compile_fail` doctest, once there is a `Permit`.
#[test]
fn the_one_door_has_its_doctest() {
    let files = repository();
    if files.iter().any(|file| file.path == PERMIT_MAKER) {
        let pinned =
            |file: &File| file.path.starts_with("src/") && file.text.contains("```compile_fail");
        assert!(
            files
                .iter()
                .any(|file| pinned(file) && file.text.contains("Permit")),
            "no `compile_fail` doctest"
        );
    }
}

fn opening(file: &File) -> Vec<String> {
    let opens = file.text.starts_with("//! ");
    complain(
        !opens,
        file,
        1,
        "a file starts with `//!`: what lives here and why so",
    )
}

fn size(file: &File) -> Vec<String> {
    let (whole, bare) = (file.text.lines().count(), lines_without_tests(&file.text));
    let long = bare > MAX_LINES || whole > MAX_LINES_WITH_TESTS;
    complain(
        long,
        file,
        whole,
        &format!(
            "{bare} lines, {whole} with tests: at most {MAX_LINES} and {MAX_LINES_WITH_TESTS}"
        ),
    )
}

fn floors(file: &File) -> Vec<String> {
    let module = top_module(&file.path);
    let Some(floor) = floor_of(module) else {
        return complain(
            true,
            file,
            1,
            &format!("`{module}` has no floor: give it one in tests/tidy.rs"),
        );
    };
    let mut complaints = Vec::new();
    for (line, path) in imports(file) {
        let other = path[0].as_str();
        let Some(below) = floor_of(other) else {
            continue;
        };
        complaints.extend(complain(
            below > floor,
            file,
            line,
            &format!("floor {floor} imports `{other}` of floor {below}"),
        ));
        for (_, _, why) in MAX_ANONYMOUS_TASKS
            .iter()
            .filter(|(from, to, _)| from.contains(&module) && to.contains(&other))
        {
            complaints.extend(complain(
                module != other,
                file,
                line,
                &format!("imports `{other}`: {why}"),
            ));
        }
    }
    complaints
}

fn purity(file: &File) -> Vec<String> {
    let says_so = file.path != "src/lib.rs"
        && file
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .any(|line| has_word(line, "PURE"));
    if !says_so
        && !PURE_FOLDERS
            .iter()
            .any(|folder| file.path.starts_with(folder))
    {
        return Vec::new();
    }
    let excused = IMPURE_BY_NAME
        .iter()
        .find(|(path, _)| *path == file.path)
        .map_or(&[][..], |(_, words)| words);
    let banned = IMPURE.iter().filter(|word| !excused.contains(word));
    let globals = ["Atomic", "Cell", "ArcSwap"];
    lines(file, |line| {
        let global = has_word(line, "static") && globals.iter().any(|state| line.contains(state));
        let socket = line.contains("std::net")
            && ["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"]
                .iter()
                .any(|s| line.contains(s));
        let word = banned.clone().find(|word| has_word(line, word));
        word.copied()
            .or(global.then_some("a global"))
            .or(socket.then_some("a socket"))
            .map(|what| format!("{what} in a pure file: no async, I/O, clock, log or globals here"))
    })
}

fn doors(file: &File) -> Vec<String> {
    lines(file, |line| {
        let (word, _, why) = DOORS
            .iter()
            .find(|(word, places, _)| has_word(line, word) && !is_in(&file.path, places))?;
        Some(format!("`{word}` here: {why}"))
    })
}

/// A `Permit` is made by a struct expression, which is neither its declaration, an `impl`, nor a function's result.
fn permits(file: &File) -> Vec<String> {
    if file.path == PERMIT_MAKER {
        return Vec::new();
    }
    lines(file, |line| {
        let (before, after) = line.split_once("Permit")?;
        let made = has_word(line, "Permit") && after.trim_start().starts_with('{');
        let before = before.trim_end();
        let named = ["struct", "impl", "for", "->", ">"]
            .iter()
            .any(|word| before.ends_with(word));
        (made && !named).then(|| format!("a `Permit` is made in {PERMIT_MAKER} only"))
    })
}

fn allows(file: &File) -> Vec<String> {
    lines(file, |line| {
        let allows = line.contains("#[allow(") || line.contains("#![allow(");
        allows.then(|| "`#[allow]`: keep the lint, or `#[expect]` it with a reason".to_owned())
    })
}

/// The demo is written as a user of the library would write it, so it must not reach what `pub(…)` hides.
fn demo_is_a_guest(file: &File, hidden: &BTreeSet<(String, String)>) -> Vec<String> {
    if top_module(&file.path) != "demo" {
        return Vec::new();
    }
    let reach = imports(file)
        .into_iter()
        .filter(|(_, path)| path[0] != "demo")
        .flat_map(|(line, path)| {
            let found = path
                .iter()
                .find(|word| hidden.contains(&(path[0].clone(), (*word).clone())));
            found.map(|word| {
                complain(
                    true,
                    file,
                    line,
                    &format!("the demo uses the public API only, not `{word}`"),
                )
            })
        });
    reach.flatten().collect()
}

/// What is declared `pub(crate)` and the like, with the top module that holds it; and the private modules of `lib.rs`.
fn hidden_from_demo(files: &[File]) -> BTreeSet<(String, String)> {
    let mut hidden = BTreeSet::new();
    for file in files
        .iter()
        .filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"))
    {
        for line in code(&file.text).lines().map(str::trim_start) {
            let restricted = line
                .strip_prefix("pub(")
                .and_then(|rest| rest.split_once(')'))
                .map(|(_, item)| item);
            let keywords = [
                "const", "async", "unsafe", "fn", "struct", "enum", "type", "trait", "static",
                "mod", "use",
            ];
            if let Some(name) = restricted.and_then(|item| {
                words(item)
                    .into_iter()
                    .find(|word| !keywords.contains(word))
            }) {
                hidden.insert((top_module(&file.path).to_owned(), name.to_owned()));
            }
            if let (Some(name), "src/lib.rs") = (line.strip_prefix("mod "), file.path.as_str()) {
                let name = name.trim_end_matches([';', ' ']).to_owned();
                hidden.insert((name.clone(), name));
            }
        }
    }
    hidden
}

/// Names of the machine that this was built on, of registries and of tools have no business here. Cargo itself writes
/// the registry into the lock file.
fn strange_words(file: &File) -> Vec<String> {
    if file.path == "Cargo.lock" {
        return Vec::new();
    }
    let paths = [
        ["/wo", "rk/"],
        ["/tm", "p/dw"],
        ["/ro", "ot/"],
        [".libr", "ary/"],
    ]
    .map(|part| part.concat());
    let hosts = [
        ["index.crat", "es.io"],
        ["static.crat", "es.io"],
        ["registry.npm", "js.org"],
        ["py", "pi.org"],
        ["proxy.gol", "ang.org"],
    ];
    let tools = [
        ["cla", "ude"],
        ["anthr", "opic"],
        ["chat", "gpt"],
        ["cop", "ilot"],
        ["open", "ai"],
    ]
    .map(|part| part.concat());
    let hosts = hosts.map(|part| part.concat());
    let mut complaints = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let path = paths.iter().find(|path| starts_a_path(line, path));
        let found = path.or_else(|| hosts.iter().find(|host| lower.contains(*host)));
        let found = found.or_else(|| tools.iter().find(|tool| has_word(&lower, tool)));
        complaints.extend(
            found
                .into_iter()
                .flat_map(|word| complain(true, file, index + 1, &format!("`{word}` is not ours"))),
        );
    }
    complaints
}

fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.~*}".contains(c)))
}

/// Every path from the crate's root that `file` mentions, with its line.
fn imports(file: &File) -> Vec<(usize, Vec<String>)> {
    let depth = file
        .path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .split('/')
        .count();
    let code = code(&file.text);
    ["crate::", "doorward::", &"super::".repeat(depth)]
        .iter()
        .flat_map(|root| paths(&code, root))
        .collect()
}

/// Every path below `root`, such as `std::`, as its words, with its line; groups are unfolded.
fn paths(code: &str, root: &str) -> Vec<(usize, Vec<String>)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let starts = code
        .match_indices(root)
        .filter(|(at, _)| !code[..*at].ends_with(inside));
    let found = starts.flat_map(|(at, _)| {
        let line = code[..at].matches('\n').count() + 1;
        unfold(&code[at + root.len()..])
            .into_iter()
            .map(move |path| (line, path))
    });
    found.filter(|(_, path)| !path.is_empty()).collect()
}

/// `a::{b, c::d}::…` as `a b`, `a c d`; the first word decides the floor.
fn unfold(path: &str) -> Vec<Vec<String>> {
    let end = path
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(path.len());
    let head: Vec<String> = path[..end]
        .split("::")
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let Some(group) = path[end..].strip_prefix('{') else {
        return vec![head];
    };
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
    let tails = parts.iter().flat_map(|part| unfold(part.trim()));
    tails.map(|tail| [head.clone(), tail].concat()).collect()
}

fn top_module(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner
        .split('/')
        .next()
        .unwrap_or(inner)
        .trim_end_matches(".rs")
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places
        .iter()
        .any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(inside)
            && (word.ends_with(':') || !line[at + word.len()..].starts_with(inside))
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect()
}

/// Judges each line of code; what a group such as `std::{env, fs}` names is judged with the line it begins on.
fn lines(file: &File, judge: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let code = code(&file.text);
    let mut lines: Vec<String> = code.lines().map(str::to_owned).collect();
    for root in ["std::", "tokio::"] {
        for (line, path) in paths(&code, root) {
            lines[line - 1].push_str(&format!(" {root}{}", path.join("::")));
        }
    }
    let found = lines
        .iter()
        .enumerate()
        .filter_map(|(index, line)| Some((index, judge(line)?)));
    found
        .flat_map(|(index, what)| complain(true, file, index + 1, &what))
        .collect()
}

fn complain(bad: bool, file: &File, line: usize, what: &str) -> Vec<String> {
    if bad {
        vec![format!("{}:{line}: {what}", file.path)]
    } else {
        Vec::new()
    }
}
