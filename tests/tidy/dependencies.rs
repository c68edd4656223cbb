//! What we build on: licences, and crates that must not come in, from `cargo metadata`.
//!
//! Metadata also lists what only a weak feature (`ring?/alloc`) mentions and nothing builds, so the ways from our crate
//! are walked along enabled features only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Node, Package, PackageId};

/// Crates that may not be built, not even for tests: one crypto library, one TLS library.
const BANNED: [&str; 6] = [
    "ring",
    "openssl",
    "openssl-sys",
    "native-tls",
    "tokio-native-tls",
    "hyper-tls",
];
/// `(crate, feature)` that may not be on.
const BANNED_FEATURES: [(&str, &str); 3] = [
    ("jsonwebtoken", "rust_crypto"),
    ("rustls", "ring"),
    ("reqwest", "native-tls"),
];

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
/// For crates that only tests use: nothing of them is shipped.
const LICENCES_OF_TESTS: [&str; 1] = ["MPL-2.0"];

#[test]
fn every_licence_is_on_the_list() {
    let metadata = metadata();
    let shipped = built(&metadata, false);
    let tests = built(&metadata, true);
    assert!(
        shipped.len() > 50 && tests.len() > shipped.len(),
        "the walk lost its way"
    );
    for (id, way) in &tests {
        let licence = metadata[*id].license.as_deref().unwrap_or("none");
        let also = if shipped.contains_key(id) {
            &[][..]
        } else {
            &LICENCES_OF_TESTS[..]
        };
        assert!(
            is_allowed(licence, also),
            "`{licence}` is not on the list: {way}"
        );
    }
}

#[test]
fn no_banned_crate_or_feature_is_built() {
    let metadata = metadata();
    let built = built(&metadata, true);
    for (id, way) in &built {
        let name = metadata[*id].name.as_str();
        assert!(!BANNED.contains(&name), "banned: {way}");
        for (_, feature) in BANNED_FEATURES.iter().filter(|(of, _)| *of == name) {
            assert!(
                !node(&metadata, id)
                    .features
                    .iter()
                    .any(|on| **on == *feature),
                "`{feature}` is on: {way}"
            );
        }
    }
    // The walk does see the crates that these rules are about.
    for name in ["aws-lc-rs", "jsonwebtoken", "rustls", "reqwest"] {
        assert!(
            built.keys().any(|id| metadata[*id].name.as_str() == name),
            "{name}"
        );
    }
}

#[test]
fn the_lints_and_the_lock_file_stay() {
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
fn licence_expressions_are_weighed() {
    for licence in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(MIT OR GPL-2.0) AND ISC",
        "ISC AND (Apache-2.0 OR X)",
    ] {
        assert!(is_allowed(licence, &[]), "{licence}");
    }
    for licence in [
        "",
        "none",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT AND X) OR Y",
        "MIT AND (X OR Y)",
        "MPL-2.0",
    ] {
        assert!(!is_allowed(licence, &[]), "{licence}");
    }
    assert!(is_allowed("MPL-2.0", &LICENCES_OF_TESTS));
    assert!(
        is_allowed("Apache-2.0 WITH LLVM-exception", &[]) && !is_allowed("GPL-2.0 WITH MIT", &[])
    );
}

#[test]
fn an_optional_dependency_counts_when_a_feature_turns_it_on() {
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
        assert_eq!(turns_on(&table, &[on.to_owned()], "ring"), builds, "{on}");
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

/// Every crate that is built, with a shortest way that leads to it.
fn built(metadata: &Metadata, with_tests: bool) -> BTreeMap<&PackageId, String> {
    let root = &metadata.root_package().unwrap().id;
    let mut ways = BTreeMap::from([(root, "doorward".to_owned())]);
    let mut queue = VecDeque::from([root]);
    while let Some(id) = queue.pop_front() {
        let node = node(metadata, id);
        let way = ways[id].clone();
        for dependency in &node.deps {
            let tests_only = dependency
                .dep_kinds
                .iter()
                .all(|kind| kind.kind == DependencyKind::Development);
            let wanted = if tests_only {
                with_tests && id == root
            } else {
                is_on(&metadata[id], node, metadata, &dependency.pkg)
            };
            if wanted && !ways.contains_key(&dependency.pkg) {
                ways.insert(
                    &dependency.pkg,
                    format!("{way} > {}", metadata[&dependency.pkg].name),
                );
                queue.push_back(&dependency.pkg);
            }
        }
    }
    ways
}

fn is_on(package: &Package, node: &Node, metadata: &Metadata, dependency: &PackageId) -> bool {
    let name = metadata[dependency].name.as_str();
    let declared: Vec<_> = package
        .dependencies
        .iter()
        .filter(|declared| declared.name == name)
        .collect();
    let on: Vec<String> = node.features.iter().map(ToString::to_string).collect();
    declared.iter().any(|declared| {
        let called = declared.rename.as_deref().unwrap_or(name);
        !declared.optional || turns_on(&package.features, &on, called)
    })
}

fn turns_on(table: &BTreeMap<String, Vec<String>>, on: &[String], dependency: &str) -> bool {
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

/// Whether an SPDX expression leaves us a choice of listed licences; `/` is an old `OR`, and `AND` binds tighter.
fn is_allowed(expression: &str, also: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().collect::<VecDeque<_>>();
    any_of(&mut words, also) && words.is_empty()
}

fn any_of(words: &mut VecDeque<&str>, also: &[&str]) -> bool {
    let mut allowed = all_of(words, also);
    while words.front() == Some(&"OR") {
        words.pop_front();
        allowed |= all_of(words, also);
    }
    allowed
}

fn all_of(words: &mut VecDeque<&str>, also: &[&str]) -> bool {
    let mut allowed = one(words, also);
    while words.front() == Some(&"AND") {
        words.pop_front();
        allowed &= one(words, also);
    }
    allowed
}

fn one(words: &mut VecDeque<&str>, also: &[&str]) -> bool {
    let Some(word) = words.pop_front() else {
        return false;
    };
    if word == "(" {
        let allowed = any_of(words, also);
        return words.pop_front() == Some(")") && allowed;
    }
    let mut licence = word.to_owned();
    if words.front() == Some(&"WITH") {
        words.pop_front();
        licence = format!("{licence} WITH {}", words.pop_front().unwrap_or_default());
    }
    LICENCES.contains(&licence.as_str()) || also.contains(&licence.as_str())
}
