//! The shipped binary: built without the demo and without symbols.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DOCKERFILE, UNIT};

/// How the Dockerfile and the comments of the systemd unit build.
const BUILD: &str = "cargo build --profile dist --locked --no-default-features";

/// Symbols of the demo, and of the code that signs its tokens.
const SYMBOLS: [&str; 3] = [
    "doorward::demo",
    "jsonwebtoken::encoding::encode",
    "EncodingKey::from_",
];

/// Texts of the demo: its users, whose passwords are their names, its login form, its files.
const STRINGS: [&str; 6] = [
    "Alice Archer",
    "Bob Baker",
    "Names and passwords:",
    "who is an administrator",
    "login.localhost",
    "src/demo/",
];

#[test]
fn production_binary_contains_no_demo() {
    let binary = production_binary();
    let (symbols, strings) = (symbols(&binary), strings(&binary));
    assert!(
        symbols.contains("doorward::proxy"),
        "the symbols are readable"
    );
    for symbol in SYMBOLS {
        assert!(
            !symbols.contains(symbol),
            "the symbol `{symbol}` is in the binary"
        );
    }
    for string in STRINGS {
        assert!(!strings.contains(string), "`{string}` is in the binary");
    }

    let output = Command::new(&binary)
        .arg("demo")
        .env_clear()
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{message}");
    assert!(
        message.contains("unrecognized subcommand 'demo'"),
        "{message}"
    );
}

#[cfg(feature = "demo")]
#[test]
fn default_binary_contains_the_demo() {
    // Shows that the test above would find it.
    let binary = Path::new(env!("CARGO_BIN_EXE_doorward"));
    let (symbols, strings) = (symbols(binary), strings(binary));
    for symbol in SYMBOLS {
        assert!(
            symbols.contains(symbol),
            "the symbol `{symbol}` is not in the binary"
        );
    }
    for string in STRINGS {
        assert!(strings.contains(string), "`{string}` is not in the binary");
    }
}

#[test]
fn shipped_builds_have_no_symbols_and_no_demo() {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let dist = &manifest["profile"]["dist"];
    assert_eq!(dist["inherits"].as_str(), Some("release"));
    assert_eq!(dist["strip"].as_str(), Some("symbols"));
    for (file, text) in [("Dockerfile", DOCKERFILE), ("doorward.service", UNIT)] {
        let builds: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("cargo build"))
            .collect();
        assert!(!builds.is_empty(), "{file} does not say how to build");
        assert!(
            builds.iter().all(|line| line.contains(BUILD)),
            "{file}: {builds:?}"
        );
        assert!(
            text.contains("target/dist/doorward"),
            "{file} installs another binary"
        );
    }
}

/// Builds the binary without the demo, beside the one that the other tests run.
///
/// It is compiled with the dev profile, which keeps the symbols, in the same build directory: only
/// the crate itself is compiled again. The test target brings in the features of the tests'
/// dependencies, as `cargo test` does; without it every dependency would be compiled once more.
fn production_binary() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = temporary.join("production");
    let arguments = [
        "--locked",
        "--offline",
        "--no-default-features",
        "--bin",
        "doorward",
        "--test",
        "tidy",
    ];
    let built = Command::new(env!("CARGO"))
        .arg("build")
        .args(arguments)
        .env("CARGO_TARGET_DIR", &output)
        .env("CARGO_BUILD_BUILD_DIR", temporary.parent().unwrap())
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    output.join("debug/doorward")
}

fn symbols(binary: &Path) -> String {
    output_of("nm", &["--demangle"], binary)
}

fn strings(binary: &Path) -> String {
    output_of("strings", &["--all"], binary)
}

fn output_of(program: &str, arguments: &[&str], binary: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(binary).output();
    let output =
        output.unwrap_or_else(|error| panic!("`{program}` of binutils does not start: {error}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
