//! The commands of the binary: output and exit codes.

use std::fs;
use std::process::{Command, Output};

use doorward::config::SealingKey;

use super::support::{Folder, GOOD};

fn doorward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_exits_with_0_or_78() {
    let folder = Folder::with(GOOD);
    let file = folder.path("doorward.toml");
    let good = doorward(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).ends_with("doorward.toml: valid: 2 apps, 1 provider\n"));
    assert_eq!(text(&good.stderr), "");

    folder.write("doorward.toml", "[server]\nlisten = 1\n");
    let bad = doorward(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(78));
    assert_eq!(text(&bad.stdout), "");
    let shown = text(&bad.stderr);
    assert!(
        shown.contains("doorward.toml:2:10") && shown.contains("invalid: 3 errors"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "no colors without a terminal");

    let run = doorward(&["run", "--config", file.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(78));
    assert_eq!(text(&run.stderr), shown);

    let absent = doorward(&["check", "--config", "/absent/doorward.toml"]);
    assert_eq!(absent.status.code(), Some(78));
    assert!(
        text(&absent.stderr).contains("no such file"),
        "{}",
        text(&absent.stderr)
    );
}

#[test]
fn strict_check_names_warnings_as_its_reason() {
    let anybody =
        "\n[[apps.store.rules]]\npaths = [\"/a\"]\nallow = { claim = \"x\", any_of = [\"*\"] }\n";
    let folder = Folder::with(&format!("{GOOD}{anybody}"));
    let file = folder.path("doorward.toml");
    let arguments = ["check", "--config", file.to_str().unwrap()];
    assert_eq!(doorward(&arguments).status.code(), Some(0));
    let strict = doorward(&[&arguments[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(78));
    let shown = text(&strict.stderr);
    assert!(
        shown.ends_with("failed: 1 warning, with `--strict`\n"),
        "{shown}"
    );
}

#[test]
fn process_environment_is_read() {
    let folder = Folder::with(GOOD);
    let ended = Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args([
            "check",
            "--config",
            folder.path("doorward.toml").to_str().unwrap(),
        ])
        .env_clear()
        .env("DOORWARD_SERVER__WORKRS", "3")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(78));
    assert!(text(&ended.stderr).contains("DOORWARD_SERVER__WORKRS"));
}

#[test]
fn invalid_command_line_exits_with_64_and_help_with_0() {
    let wrong: [&[&str]; 8] = [
        &["chekc"],
        &[],
        &["check"],
        &["check", "--confg", "x"],
        &["keygen", "extra"],
        &["run"],
        &["demo", "--port", "http"],
        &["demo", "--jwt-lifetime", "5 minutes"],
    ];
    for arguments in wrong {
        let ended = doorward(arguments);
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}");
        assert!(
            text(&ended.stderr).contains("--help") || text(&ended.stderr).contains("Usage"),
            "{arguments:?}: {}",
            text(&ended.stderr)
        );
        assert_eq!(text(&ended.stdout), "");
    }
    for (arguments, part) in [
        (
            ["--version"],
            concat!("doorward ", env!("CARGO_PKG_VERSION")),
        ),
        (["--help"], "keygen"),
    ] {
        let ended = doorward(&arguments);
        assert_eq!(ended.status.code(), Some(0));
        assert!(text(&ended.stdout).contains(part));
    }
}

#[test]
fn keygen_makes_keys_that_sign_assertions() {
    for algorithm in ["es256", "eddsa"] {
        let printed = doorward(&["keygen", "--assertion", algorithm]);
        assert_eq!(printed.status.code(), Some(0));
        let key = text(&printed.stdout);
        assert!(key.lines().all(|line| line.len() <= 64), "{algorithm}");
        let folder = Folder::with(&format!(
            "{GOOD}\n[assertion]\nkey_files = [\"new.key\"]\n[apps.forum.assertion]\n"
        ));
        folder.write("new.key", &key);
        let loaded = folder.load(&[]).unwrap();
        assert_eq!(loaded.config.assertion_keys.len(), 1);
    }
}

#[test]
fn keygen_does_not_overwrite_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.key");
    let first = doorward(&["keygen", "--out", file.to_str().unwrap()]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let key = fs::read_to_string(&file).unwrap();
    assert!(SealingKey::parse(&key).is_ok());
    assert!(!text(&first.stdout).contains("doorward-key-1:"));

    let second = doorward(&["keygen", "--out", file.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("exists already"));
    assert_eq!(fs::read_to_string(&file).unwrap(), key);

    let printed = doorward(&["keygen"]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(SealingKey::parse(&text(&printed.stdout)).is_ok());
    assert_ne!(text(&printed.stdout), key);
}
