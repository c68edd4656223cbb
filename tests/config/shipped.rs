//! The shipped files in `config/`: valid, complete, and strict in every table.

use std::fs;
use std::path::{Path, PathBuf};

use doorward::config::{Config, Severity};

use super::support::{Folder, GOOD, problems, shown};

/// The example secret of the reference file is rejected, so another one replaces it.
fn with_secret(text: &str) -> String {
    text.replace("only-an-example", "hunter2")
}

/// The configurations in `config/`, without the files of tests.
fn shipped_files() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let entries = fs::read_dir(shipped).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .filter(|file| !file.to_str().unwrap().ends_with(".tests.toml"))
        .collect()
}

#[test]
fn shipped_files_are_valid() {
    let mut files = shipped_files();
    files.sort();
    assert_eq!(files.len(), 3);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let loaded = Folder::with(&with_secret(&text))
            .load(&[])
            .unwrap_or_else(|error| panic!("{error}"));
        let warnings: Vec<_> = loaded
            .warnings
            .problems()
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        // Besides a warning, advice: the gateway's example has apps on other machines.
        let expected: &[&str] = match file.file_name().unwrap().to_str().unwrap() {
            "reference.toml" => &[
                "store.redis",
                // The login host has no certificate, and the store is in memory.
                "providers.login.login_url",
                "providers.login.login_url",
                "apps.forum.client_secret",
            ],
            "store-and-forum.toml" => &["apps.store.upstream", "apps.forum.upstream"],
            _ => &[],
        };
        assert_eq!(warnings, expected, "{}", file.display());
    }
}

/// The reference shows the key, but nobody can start with its value by mistake.
#[test]
fn secret_of_the_reference_is_rejected() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let text = fs::read_to_string(shipped.join("reference.toml")).unwrap();
    let error = Folder::with(&text).load(&[]).unwrap_err();
    let keys: Vec<_> = error
        .problems()
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["apps.forum.client_secret"], "{error}");
}

#[test]
fn reference_shows_the_defaults() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let read = |name: &str| {
        let text = fs::read_to_string(shipped.join(name)).unwrap();
        let is_left_out =
            |line: &&str| name == "sidecar.toml" && line.starts_with("trusted_proxies");
        let lines: Vec<_> = text.lines().filter(|line| !is_left_out(line)).collect();
        let text = lines.join("\n");
        Folder::with(&with_secret(&text)).load(&[]).unwrap().config
    };
    // The sidecar's file has no other optional keys.
    let (sidecar, reference) = (read("sidecar.toml"), read("reference.toml"));
    let shared = |config: &Config| {
        let (server, provider) = (&config.server, &config.providers[0]);
        let app = config
            .apps
            .iter()
            .find(|app| app.policy.name.as_str() == "store")
            .unwrap();
        let (policy, client, upstream) = (&app.policy, &app.registrations[0].client, &app.upstream);
        format!(
            "{:?}",
            (
                (
                    &server.admin_listen,
                    &server.trusted_proxies,
                    &server.limits,
                    &config.log,
                    config.store.max_entries
                ),
                config.store.max_revoked,
                (
                    &provider.discovery_url,
                    &provider.algorithms,
                    provider.request_timeout,
                    provider.leeway
                ),
                (
                    &policy.aliases,
                    &policy.paths,
                    &policy.headers,
                    &policy.cookies,
                    policy.limits
                ),
                (
                    &client.token_auth,
                    &client.scopes,
                    client.session_jwt,
                    &client.audiences,
                    app.auth
                ),
                (
                    &upstream.host,
                    upstream.connect_timeout,
                    upstream.response_timeout
                ),
            )
        )
    };
    assert_eq!(shared(&sidecar), shared(&reference));
}

#[test]
fn unknown_key_is_rejected_in_every_table() {
    let mut tables = 0;
    for file in shipped_files() {
        let text = fs::read_to_string(file).unwrap();
        let headers = text
            .match_indices("\n[")
            .map(|(at, _)| at + 1)
            .collect::<Vec<_>>();
        for at in headers {
            let end = at + text[at..].find('\n').unwrap();
            let header = text[at..end].split('#').next().unwrap().trim();
            // In a table of headers every key is a header name, so its value has the wrong type.
            let entry = if header.ends_with(".headers]") {
                "Unknown = 1"
            } else {
                "unknown = \"x\""
            };
            let edited = with_secret(&format!("{}\n{entry}{}", &text[..end], &text[end..]));
            let found = problems(&edited);
            let errors: Vec<_> = found
                .iter()
                .filter(|problem| problem.severity == Severity::Error)
                .collect();
            assert_eq!(errors.len(), 1, "{header}: {}", shown(&found));
            assert!(
                errors[0].key.to_lowercase().ends_with(".unknown"),
                "{header}: {errors:?}"
            );
            tables += 1;
        }
    }
    assert!(tables > 20, "{tables}");
    for (text, key) in [("unknown = 1\n", "unknown"), ("[unknowns]\n", "unknowns")] {
        let found = problems(&format!("{text}{GOOD}"));
        assert_eq!(found.len(), 1, "{}", shown(&found));
        assert_eq!(found[0].key, key);
    }
}
