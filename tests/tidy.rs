//! Rules for the source code that the compiler and clippy do not check.
//!
//! Each rule maps a file to complaints. `tidy/rules.rs` shows every rule a bad snippet, so that each
//! is known to fail. Comments, literals and test modules are blanked before code is checked.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's helpers fail the test by panicking"
)]

#[path = "tidy/cycles.rs"]
mod cycles;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/sealed_formats.rs"]
mod sealed_formats;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;

use imports::imports;
use source::{File, code, lines_without_tests, repository, test_files};

/// Layers, lowest first. A module may import from its own layer and from those below it.
const LAYERS: [&[&str]; 9] = [
    &["types", "telemetry", "dns", "limits", "lock", "outage"],
    &["identity"],
    &["session"],
    &["policy"],
    &["oidc", "store", "upstream", "static_files"],
    &["auth", "runtime"],
    &["proxy"],
    &["downstream", "admin"],
    &[
        "config", "cli", "server", "worker", "doctor", "import", "demo", "lib", "main",
    ],
];

/// `(modules, modules that they may not import, reason)`, beyond the layers.
const FORBIDDEN_IMPORTS: [(&[&str], &[&str], &str); 3] = [
    (
        &["oidc", "store", "upstream"],
        &["oidc", "store", "upstream"],
        "clients of external systems do not depend on each other",
    ),
    (
        &["downstream"],
        &["auth", "oidc", "identity", "session", "policy", "store"],
        "connection handling does not depend on authentication",
    ),
    (
        &[
            "server",
            "worker",
            "config",
            "admin",
            "downstream",
            "doctor",
        ],
        &["demo"],
        "only the command line starts the demo",
    ),
];

const PURE_FOLDERS: [&str; 5] = [
    "src/types/",
    "src/identity/",
    "src/import/",
    "src/policy/",
    "src/session/",
];
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
/// Files of those folders that contain one impure item each.
const PURITY_EXCEPTIONS: [(&str, &[&str]); 3] = [
    ("src/types/body.rs", &["hyper"]),
    ("src/types/files.rs", &["std::fs"]),
    ("src/types/time.rs", &["SystemTime"]),
];

/// `(API, files that may use it, reason)`.
const SINGLE_OWNERS: [(&str, &[&str], &str); 12] = [
    (
        "reqwest",
        &["src/oidc/http.rs", "src/oidc/http/build.rs"],
        "one HTTP client calls the provider",
    ),
    ("SystemTime::now", &["src/types/time.rs"], "one clock"),
    (
        "std::env",
        &[
            "src/config/",
            "src/cli.rs",
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
        "one verifier of tokens",
    ),
    (
        "minijinja",
        &["src/proxy/pages.rs", "src/proxy/pages/", "src/demo/"],
        "pages are rendered in one place",
    ),
    (
        "Response::builder",
        &[
            "src/proxy/respond.rs",
            "src/admin.rs",
            "src/admin/",
            "src/demo/",
        ],
        "responses are built in one place",
    ),
    ("tokio::spawn", SPAWNERS, "a detached task needs a reason"),
    ("spawn_local", SPAWNERS, "a detached task needs a reason"),
    ("task::spawn", SPAWNERS, "a detached task needs a reason"),
    (
        "process::exit",
        &["src/main.rs"],
        "only `main` ends the process",
    ),
];
const SPAWNERS: &[&str] = &[
    "src/admin.rs",
    "src/admin/",
    "src/demo/",
    "src/dns.rs",
    "src/dns/",
    "src/downstream/",
    "src/runtime.rs",
    "src/server.rs",
    "src/server/",
    "src/store/redis/connection.rs",
    "src/upstream/",
    "src/worker.rs",
];

const PERMIT_OWNER: &str = "src/policy/decide.rs";
const MAX_LINES: usize = 500;
const MAX_LINES_WITH_TESTS: usize = 600;

#[test]
fn source_follows_the_rules() {
    let files = repository();
    let rust: Vec<&File> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .collect();
    let hidden = hidden_from_demo(&files);
    let tests: Vec<String> = rust.iter().flat_map(|file| test_files(file)).collect();
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    let mut complaints = Vec::new();
    for file in rust {
        complaints.extend(module_doc(file));
        if !file.path.starts_with("src/") || is_in(&file.path, &tests) {
            complaints.extend(size_of_tests(file));
        } else {
            complaints.extend(size(file));
            for rule in [layers, purity, single_owners, permits, allows] {
                complaints.extend(rule(file));
            }
            complaints.extend(demo_uses_public_api(file, &hidden));
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn imports_have_no_cycles() {
    let cycles = cycles::cycles(&repository());
    assert!(cycles.is_empty(), "{cycles:#?}");
}

#[test]
fn prose_has_no_banned_phrases() {
    let complaints: Vec<String> = repository()
        .iter()
        .flat_map(prose::banned_phrases)
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// A `compile_fail` doctest shows that no other module can create a `Permit`.
#[test]
fn permit_has_its_compile_fail_doctest() {
    let shows_it = |file: &File| {
        file.path.starts_with("src/")
            && file.text.contains("```compile_fail")
            && file.text.contains("Permit")
    };
    assert!(
        repository().iter().any(shows_it),
        "no `compile_fail` doctest of `Permit`"
    );
}

fn module_doc(file: &File) -> Vec<String> {
    let has_doc = file.text.starts_with("//! ");
    complain(
        !has_doc,
        file,
        1,
        "a file starts with a `//!` line that says what it contains",
    )
}

fn size(file: &File) -> Vec<String> {
    let (all, bare) = (file.text.lines().count(), lines_without_tests(&file.text));
    let is_long = bare > MAX_LINES || all > MAX_LINES_WITH_TESTS;
    let limits = format!("at most {MAX_LINES} and {MAX_LINES_WITH_TESTS}");
    complain(
        is_long,
        file,
        all,
        &format!("{bare} lines, {all} with tests: {limits}"),
    )
}

/// The limit of files that contain tests only.
fn size_of_tests(file: &File) -> Vec<String> {
    let all = file.text.lines().count();
    let what = format!("{all} lines: at most {MAX_LINES_WITH_TESTS}");
    complain(all > MAX_LINES_WITH_TESTS, file, all, &what)
}

fn layers(file: &File) -> Vec<String> {
    let module = top_module(&file.path);
    let Some(layer) = layer_of(module) else {
        let what = format!("`{module}` has no layer: add it to `LAYERS` in tests/tidy.rs");
        return complain(true, file, 1, &what);
    };
    let mut complaints = Vec::new();
    for import in imports(file) {
        let Some(other) = import.path.first().map(String::as_str) else {
            continue;
        };
        let Some(below) = layer_of(other) else {
            continue;
        };
        let what = format!("layer {layer} imports `{other}` of layer {below}");
        complaints.extend(complain(below > layer, file, import.line, &what));
        for (from, to, reason) in FORBIDDEN_IMPORTS {
            let is_forbidden = module != other && from.contains(&module) && to.contains(&other);
            let what = format!("imports `{other}`: {reason}");
            complaints.extend(complain(is_forbidden, file, import.line, &what));
        }
    }
    complaints
}

fn purity(file: &File) -> Vec<String> {
    let docs = file.text.lines().take_while(|line| line.starts_with("//!"));
    let claims_purity =
        file.path != "src/lib.rs" && docs.into_iter().any(|line| has_word(line, "PURE"));
    if !claims_purity && !is_in(&file.path, &PURE_FOLDERS) {
        return Vec::new();
    }
    let exception = PURITY_EXCEPTIONS
        .iter()
        .find(|(path, _)| *path == file.path);
    let permitted = exception.map_or(&[][..], |(_, words)| words);
    let banned = IMPURE.iter().filter(|word| !permitted.contains(word));
    let globals = ["Atomic", "Cell", "ArcSwap"];
    let sockets = ["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"];
    lines(file, |line| {
        let is_global =
            has_word(line, "static") && globals.iter().any(|state| line.contains(state));
        let is_socket =
            line.contains("std::net") && sockets.iter().any(|socket| line.contains(socket));
        let word = banned.clone().find(|word| has_word(line, word)).copied();
        word.or(is_global.then_some("a global"))
            .or(is_socket.then_some("a socket"))
            .map(|what| format!("{what} in a pure file: no async, I/O, clock, log or globals"))
    })
}

fn single_owners(file: &File) -> Vec<String> {
    lines(file, |line| {
        let (api, _, reason) = SINGLE_OWNERS
            .iter()
            .find(|(api, owners, _)| has_word(line, api) && !is_in(&file.path, owners))?;
        Some(format!("`{api}` is used here: {reason}"))
    })
}

/// Finds struct expressions of `Permit`: not its declaration, an `impl` or a function's result.
fn permits(file: &File) -> Vec<String> {
    if file.path == PERMIT_OWNER {
        return Vec::new();
    }
    lines(file, |line| {
        let (before, after) = line.split_once("Permit")?;
        let is_expression = has_word(line, "Permit") && after.trim_start().starts_with('{');
        let before = before.trim_end();
        let is_item = ["struct", "impl", "for", "->", ">"]
            .iter()
            .any(|word| before.ends_with(word));
        (is_expression && !is_item).then(|| format!("only {PERMIT_OWNER} creates a `Permit`"))
    })
}

fn allows(file: &File) -> Vec<String> {
    lines(file, |line| {
        let allows = line.contains("#[allow(") || line.contains("#![allow(");
        allows.then(|| "`#[allow]`: follow the lint, or `#[expect]` it with a reason".to_owned())
    })
}

/// The demo is an example of how to use the library, so it may not use restricted items.
fn demo_uses_public_api(file: &File, hidden: &BTreeSet<(String, String)>) -> Vec<String> {
    if top_module(&file.path) != "demo" {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for import in imports(file) {
        let Some(module) = import.path.first().filter(|module| *module != "demo") else {
            continue;
        };
        let is_hidden = |word: &&String| hidden.contains(&(module.clone(), (*word).clone()));
        if let Some(word) = import.path.iter().find(is_hidden) {
            let what = format!("the demo uses the public API only, not `{word}`");
            complaints.extend(complain(true, file, import.line, &what));
        }
    }
    complaints
}

/// Items declared `pub(crate)` and the like, each with its top module; and private top modules.
fn hidden_from_demo(files: &[File]) -> BTreeSet<(String, String)> {
    const KEYWORDS: [&str; 11] = [
        "const", "async", "unsafe", "fn", "struct", "enum", "type", "trait", "static", "mod", "use",
    ];
    let mut hidden = BTreeSet::new();
    let is_source = |file: &&File| file.path.starts_with("src/") && file.path.ends_with(".rs");
    for file in files.iter().filter(is_source) {
        for line in code(&file.text).lines().map(str::trim_start) {
            let restricted = line
                .strip_prefix("pub(")
                .and_then(|rest| rest.split_once(')'));
            let name = restricted.and_then(|(_, item)| {
                words(item)
                    .into_iter()
                    .find(|word| !KEYWORDS.contains(word))
            });
            if let Some(name) = name {
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

fn top_module(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner
        .split('/')
        .next()
        .unwrap_or(inner)
        .trim_end_matches(".rs")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether `path` is one of the files, or in one of the folders (which end with `/`).
fn is_in(path: &str, places: &[&str]) -> bool {
    places
        .iter()
        .any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let ends = word.ends_with(':') || !line[at + word.len()..].starts_with(inside);
        !line[..at].ends_with(inside) && ends
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect()
}

/// Checks each line of code. The members of a group such as `std::{env, fs}` are checked with the
/// line on which the group begins.
fn lines(file: &File, check: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let code = code(&file.text);
    let mut lines: Vec<String> = code.lines().map(str::to_owned).collect();
    for (line, path) in imports::use_paths(&code) {
        if ["std", "tokio"].contains(&path[0].as_str()) {
            lines[line - 1].push_str(&format!(" {}", path.join("::")));
        }
    }
    let found = lines.iter().enumerate();
    found
        .filter_map(|(index, line)| Some((index, check(line)?)))
        .flat_map(|(index, what)| complain(true, file, index + 1, &what))
        .collect()
}

fn complain(is_bad: bool, file: &File, line: usize, what: &str) -> Vec<String> {
    if is_bad {
        vec![format!("{}:{line}: {what}", file.path)]
    } else {
        Vec::new()
    }
}
