//! The configuration and the command lines in `deploy/` are accepted by Doorward.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use doorward::cli::{self, Cli, Command, Output};
use doorward::config::{Diagnosis, Loaded, SealingKey, load};
use doorward::types::net::ListenAddr;
use serde_json::Value;
use tempfile::TempDir;

use super::{DOCKERFILE, DOORWARD, UNIT, array, document, text};

const MOUNT: &str = "/var/run/doorward";
const CONFIG: &str = "/etc/doorward/doorward.toml";
const SECRET: &str = "a-secret-of-this-test-only\n";

#[test]
fn sidecar_config_is_valid() {
    let folder = TempDir::new().unwrap();
    let loaded = loaded_with(&folder, &SealingKey::generate().unwrap().to_text(), SECRET).unwrap();
    assert_eq!(loaded.warnings.render(false), "");
    let config = loaded.config;
    assert_eq!(
        config.server.listeners[0].address,
        ListenAddr::Tcp("0.0.0.0:8080".parse().unwrap())
    );
    assert_eq!(
        config.server.admin_listen,
        ListenAddr::Tcp("0.0.0.0:9090".parse().unwrap())
    );
    assert_eq!((config.apps.len(), config.providers.len()), (1, 1));
    assert_eq!(config.apps[0].policy.name.as_str(), "store");
}

#[test]
fn placeholder_key_is_rejected() {
    let folder = TempDir::new().unwrap();
    let placeholder = text(&document("Secret"), "/stringData/session.key").to_owned();
    let refused = loaded_with(&folder, &placeholder, SECRET).unwrap_err();
    let shown = refused.render(false);
    assert_eq!(refused.errors(), 1, "{shown}");
    assert!(
        shown.contains("session.key") && shown.contains("doorward keygen"),
        "{shown}"
    );
    assert!(
        !shown.contains(&placeholder),
        "what stands in a key file is never shown: {shown}"
    );
}

#[test]
fn placeholder_client_secret_is_rejected() {
    let folder = TempDir::new().unwrap();
    let placeholder = text(&document("Secret"), "/stringData/client-secret").to_owned();
    let key = SealingKey::generate().unwrap().to_text();
    let refused = loaded_with(&folder, &key, &placeholder).unwrap_err();
    let shown = refused.render(false);
    assert_eq!(refused.errors(), 1, "{shown}");
    assert!(
        shown.contains("client-secret") && !shown.contains(&placeholder),
        "{shown}"
    );
}

#[test]
fn command_lines_are_valid() {
    let deployment = document("Deployment");
    let words = |values: &[Value]| {
        values
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let of_pod = words(array(&deployment, &format!("{DOORWARD}/args")));
    let of_unit = instruction(UNIT, "ExecStart=")
        .split(' ')
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(of_unit[0], "doorward");
    let json =
        |of: &str| words(&serde_json::from_str::<Vec<Value>>(instruction(DOCKERFILE, of)).unwrap());
    let (entry, command) = (json("ENTRYPOINT "), json("CMD "));
    assert_eq!(entry, ["/doorward"]);
    for arguments in [&of_pod[..], &of_unit[1..], &command] {
        let Ok(Cli {
            command: Command::Run(run),
        }) = parsed(arguments)
        else {
            panic!("not `run`: {arguments:?}")
        };
        assert_eq!(run.config, Some(PathBuf::from(CONFIG)), "{arguments:?}");
    }
    let of_unit = |line: &str| {
        let arguments = instruction(UNIT, line).split(' ').skip(1);
        let arguments: Vec<_> = arguments.map(str::to_owned).collect();
        parsed(&arguments).map(|cli| cli.command)
    };
    assert!(matches!(of_unit("ExecStartPre="), Ok(Command::Check(_))));
    assert!(matches!(of_unit("ExecReload="), Ok(Command::Reload(_))));
    assert!(parsed(&["run".to_owned(), "--confg".to_owned(), CONFIG.to_owned()]).is_err());
}

/// Loads the ConfigMap's file with both secrets, and with `folder` instead of their mount.
fn loaded_with(folder: &TempDir, key: &str, client_secret: &str) -> Result<Loaded, Diagnosis> {
    let config = document("ConfigMap");
    let config = text(&config, "/data/doorward.toml");
    assert!(config.contains(MOUNT), "{config}");
    let here = folder.path().to_str().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o440)).unwrap();
    };
    write("session.key", key);
    write("client-secret", client_secret);
    write("doorward.toml", &config.replace(MOUNT, here));
    load(&folder.path().join("doorward.toml"), [])
}

fn parsed(arguments: &[String]) -> Result<Cli, String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = Output {
        out: &mut out,
        err: &mut err,
        styled: false,
    };
    let words = ["doorward".to_owned()]
        .into_iter()
        .chain(arguments.iter().cloned())
        .map(OsString::from);
    let parsed = cli::parse(words, &mut output);
    parsed.map_err(|_| String::from_utf8_lossy(&err).into_owned())
}

/// The rest of the only line with this beginning.
fn instruction<'a>(file: &'a str, beginning: &str) -> &'a str {
    let mut found = file.lines().filter_map(|line| line.strip_prefix(beginning));
    let first = found.next();
    assert!(found.next().is_none(), "`{beginning}` twice");
    first.unwrap_or_else(|| panic!("no `{beginning}`"))
}
