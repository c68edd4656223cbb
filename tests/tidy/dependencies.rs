//! Dependencies: licences, sources, banned crates and features, and minimum Rust versions, from
//! `cargo metadata`.
//!
//! Metadata also lists packages that only a weak feature (`ring?/alloc`) mentions and that are not
//! built, so the graph is walked along enabled features only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Node, Package, PackageId};
use spdx::{Expression, Licensee, ParseMode};

/// Crates that may not be built, not even for tests: one crypto library, one TLS library.
const BANNED: [&str; 6] = [
    "ring",
    "openssl",
    "openssl-sys",
    "native-tls",
    "tokio-native-tls",
    "hyper-tls",
];
/// `(crate, feature)` that may not be enabled.
const BANNED_FEATURES: [(&str, &str); 3] = [
    ("jsonwebtoken", "rust_crypto"),
    ("rustls", "ring"),
    ("reqwest", "native-tls"),
];

/// SPDX identifiers of the licences that dependencies may have.
const LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Also permitted for crates that only tests use: those are not shipped.
const LICENCES_OF_TESTS: [&str; 1] = ["MPL-2.0"];

#[test]
fn every_licence_is_permitted() {
    let metadata = metadata();
    let shipped = built(&metadata, false);
    let tests = built(&metadata, true);
    assert!(
        shipped.len() > 50 && tests.len() > shipped.len(),
        "the dependency walk is incomplete"
    );
    for (id, path) in &tests {
        let licence = metadata[*id].license.as_deref().unwrap_or_default();
        let also = if shipped.contains_key(id) {
            &[][..]
        } else {
            &LICENCES_OF_TESTS[..]
        };
        assert!(
            is_permitted(licence, also),
            "`{licence}` is not permitted: {path}"
        );
    }
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let metadata = metadata();
    let root = &metadata.root_package().unwrap().id;
    for (id, path) in built(&metadata, true) {
        let source = metadata[id].source.as_ref();
        let is_registry = source.is_some_and(|source| source.is_crates_io());
        assert!(
            id == root || is_registry,
            "{source:?} is not crates.io: {path}"
        );
    }
}

/// Holds for what is shipped: `cargo install` on the declared version must work.
#[test]
fn no_dependency_needs_a_newer_rust() {
    let metadata = metadata();
    let declared = metadata
        .root_package()
        .unwrap()
        .rust_version
        .clone()
        .unwrap();
    let mut compared = 0;
    for (id, path) in built(&metadata, false) {
        if let Some(needed) = &metadata[id].rust_version {
            assert!(
                *needed <= declared,
                "needs Rust {needed}, not {declared}: {path}"
            );
            compared += 1;
        }
    }
    assert!(
        compared > 50,
        "only {compared} dependencies declare a Rust version"
    );
}

#[test]
fn no_banned_crate_or_feature_is_built() {
    let metadata = metadata();
    let built = built(&metadata, true);
    for (id, path) in &built {
        let name = metadata[*id].name.as_str();
        assert!(!BANNED.contains(&name), "banned: {path}");
        for (_, feature) in BANNED_FEATURES.iter().filter(|(of, _)| *of == name) {
            assert!(
                !node(&metadata, id)
                    .features
                    .iter()
                    .any(|enabled| **enabled == *feature),
                "`{feature}` is enabled: {path}"
            );
        }
    }
    // The crates that these rules are about are in the graph.
    for name in ["aws-lc-rs", "jsonwebtoken", "rustls", "reqwest"] {
        assert!(
            built.keys().any(|id| metadata[*id].name.as_str() == name),
            "{name}"
        );
    }
}

#[test]
fn lints_and_lock_file_are_kept() {
    let manifest = include_str!("../../Cargo.toml");
    for lint in [
        "unwrap_used",
        "expect_used",
        "panic",
        "indexing_slicing",
        "string_slice",
        "todo",
        "print_stdout",
    ] {
        assert!(
            manifest.contains(&format!("\n{lint} = \"deny\"\n")),
            "{lint}"
        );
    }
    assert!(manifest.contains("\nunsafe_code = \"forbid\"\n"));
    assert!(!include_str!("../../.gitignore").contains("Cargo.lock"));
}

#[test]
fn licence_expressions_are_evaluated() {
    for licence in [
        "MIT",
        "GPL-3.0-only OR MIT",
        "MIT/GPL-3.0",
        "(MIT OR GPL-2.0-only) AND ISC",
        "ISC AND (Apache-2.0 OR GPL-3.0-only)",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_permitted(licence, &[]), "{licence}");
    }
    for licence in [
        "",
        "unknown",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "MIT AND (GPL-3.0-only OR MPL-2.0)",
        "GPL-2.0-only WITH LLVM-exception",
        "MPL-2.0",
    ] {
        assert!(!is_permitted(licence, &[]), "{licence}");
    }
    assert!(is_permitted("MPL-2.0", &LICENCES_OF_TESTS));
}

#[test]
fn optional_dependency_is_built_when_a_feature_enables_it() {
    let features = |features: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
        features
            .iter()
            .map(|(on, of)| ((*on).into(), of.iter().map(|of| (*of).into()).collect()))
            .collect()
    };
    let table = features(&[
        ("weak", &["ring?/std"]),
        ("strong", &["ring/std"]),
        ("dep", &["dep:ring"]),
        ("ring", &[]),
    ]);
    for (on, builds) in [
        ("weak", false),
        ("strong", true),
        ("dep", true),
        ("ring", true),
        ("other", false),
    ] {
        assert_eq!(enables(&table, &[on.to_owned()], "ring"), builds, "{on}");
    }
}

fn metadata() -> Metadata {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = [
        "--locked".to_owned(),
        "--filter-platform".to_owned(),
        target,
    ];
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(options)
        .exec()
        .unwrap()
}

/// Every crate that is built, with a shortest path to it in the dependency graph.
fn built(metadata: &Metadata, with_tests: bool) -> BTreeMap<&PackageId, String> {
    let root = &metadata.root_package().unwrap().id;
    let mut paths = BTreeMap::from([(root, "doorward".to_owned())]);
    let mut queue = VecDeque::from([root]);
    while let Some(id) = queue.pop_front() {
        let node = node(metadata, id);
        let path = paths[id].clone();
        for dependency in &node.deps {
            let tests_only = dependency
                .dep_kinds
                .iter()
                .all(|kind| kind.kind == DependencyKind::Development);
            let is_built = if tests_only {
                with_tests && id == root
            } else {
                is_enabled(&metadata[id], node, metadata, &dependency.pkg)
            };
            if is_built && !paths.contains_key(&dependency.pkg) {
                paths.insert(
                    &dependency.pkg,
                    format!("{path} > {}", metadata[&dependency.pkg].name),
                );
                queue.push_back(&dependency.pkg);
            }
        }
    }
    paths
}

fn is_enabled(package: &Package, node: &Node, metadata: &Metadata, dependency: &PackageId) -> bool {
    let name = metadata[dependency].name.as_str();
    let declared: Vec<_> = package
        .dependencies
        .iter()
        .filter(|declared| declared.name == name)
        .collect();
    let on: Vec<String> = node.features.iter().map(ToString::to_string).collect();
    declared.iter().any(|declared| {
        let called = declared.rename.as_deref().unwrap_or(name);
        !declared.optional || enables(&package.features, &on, called)
    })
}

fn enables(table: &BTreeMap<String, Vec<String>>, on: &[String], dependency: &str) -> bool {
    let (strong, explicit) = (format!("{dependency}/"), format!("dep:{dependency}"));
    let of_features: BTreeSet<&String> =
        on.iter().filter_map(|on| table.get(on)).flatten().collect();
    on.iter().any(|on| on == dependency)
        || of_features
            .iter()
            .any(|of| **of == explicit || of.starts_with(&strong))
}

fn node<'a>(metadata: &'a Metadata, id: &PackageId) -> &'a Node {
    metadata
        .resolve
        .as_ref()
        .unwrap()
        .nodes
        .iter()
        .find(|node| node.id == *id)
        .unwrap()
}

/// Whether the SPDX expression can be satisfied by permitted licences.
fn is_permitted(expression: &str, also: &[&str]) -> bool {
    // Old manifests separate alternatives with `/`, which the lax mode accepts.
    let Ok(expression) = Expression::parse_mode(expression, ParseMode::LAX) else {
        return false;
    };
    let permitted: Vec<Licensee> = LICENCES
        .iter()
        .chain(also)
        .map(|licence| Licensee::parse(licence).unwrap())
        .collect();
    expression.evaluate(|required| permitted.iter().any(|licence| licence.satisfies(required)))
}
