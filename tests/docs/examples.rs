//! Every TOML block is accepted by `check`, but for files of `doorward test`. A block may be a fragment. What it leaves out is filled in:
//!
//! - an app `store`, if it has no app; for each app its required keys, with the block's first provider, or `login`;
//! - each provider that an app names; for each provider an `issuer`;
//! - `session.key_files`, and a trusted proxy that terminates TLS;
//! - every file that it names.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use doorward::config::{SealingKey, Severity, load};
use toml::{Table, Value};

use super::book::{Page, pages};

/// Keys that draw a warning wherever they are used.
const WARNED: [&str; 2] = ["password_grant", "client_secret"];

#[test]
fn every_toml_block_is_accepted_by_check() {
    let pages = pages();
    let blocks = pages
        .iter()
        .flat_map(|page| page.blocks.iter().filter(|block| block.language == "toml"))
        .count();
    assert!(blocks > 40, "only {blocks} TOML blocks were found");
    assert_eq!(complaints(&pages), Vec::<String>::new());
}

#[test]
fn broken_blocks_are_found() {
    let text = "```toml\n[server]\nlisten = 1\n```\n\n```toml\n[apps.store]\nunknown = true\n```\n\n```toml\n[[\n```\n\n\
                ```toml\n[apps.store]\nidle_timeout = \"1h\"\n```\n";
    let found = complaints(&[Page::parse("docs/a.md", text)]);
    assert_eq!(found.len(), 3, "{found:#?}");
    for (complaint, part) in
        found
            .iter()
            .zip(["docs/a.md:1: ", "docs/a.md:6: ", "docs/a.md:11: not TOML"])
    {
        assert!(complaint.starts_with(part), "{complaint}");
    }
}

fn complaints(pages: &[Page]) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in pages {
        for block in page.blocks.iter().filter(|block| block.language == "toml") {
            let is_of_tests = block.text.starts_with("[[requests]]");
            if !is_of_tests && let Err(complaint) = accept(&block.text) {
                complaints.push(format!("{}:{}: {complaint}", page.path, block.line));
            }
        }
    }
    complaints
}

fn accept(text: &str) -> Result<(), String> {
    let fragment: Table = text.parse().map_err(|error| format!("not TOML: {error}"))?;
    let mut config = completed(fragment);
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["store.example.com".to_owned()]).unwrap();
    let pem = [certified.cert.pem(), certified.signing_key.serialize_pem()];
    write_files(&mut config, folder.path(), &pem);
    let file = folder.path().join("doorward.toml");
    fs::write(&file, config.to_string()).unwrap();
    let loaded = load(&file, std::iter::empty::<(OsString, OsString)>())
        .map_err(|refused| refused.to_string())?;
    let warned: Vec<_> = loaded
        .warnings
        .problems()
        .iter()
        // Advice is about what the file cannot show.
        .filter(|problem| problem.severity != Severity::Advice)
        .filter(|problem| !WARNED.contains(&problem.key.rsplit('.').next().unwrap()))
        .map(|problem| format!("{}: {}", problem.key, problem.message))
        .collect();
    if warned.is_empty() {
        Ok(())
    } else {
        Err(warned.join("; "))
    }
}

/// `fragment` with what it leaves out.
pub(crate) fn completed(fragment: Table) -> Table {
    let mut config = fragment;
    fill(
        table(&mut config, "session"),
        "key_files",
        vec!["doorward.key".to_owned()],
    );
    fill(
        table(&mut config, "server"),
        "trusted_proxies",
        vec!["10.0.0.0/8".to_owned()],
    );
    let provider = table(&mut config, "providers")
        .keys()
        .next()
        .map_or("login", String::as_str)
        .to_owned();
    let apps = table(&mut config, "apps");
    if apps.is_empty() {
        table(apps, "store");
    }
    let mut providers = Vec::new();
    for (name, app) in apps.iter_mut() {
        let app = app.as_table_mut().unwrap();
        let several = app.get("providers").and_then(Value::as_array).cloned();
        if several.is_none() {
            fill(app, "provider", provider.as_str());
            fill(app, "client_id", name.as_str());
        }
        fill(app, "public_url", format!("https://{name}.example.com"));
        fill(app, "upstream", "http://127.0.0.1:3000");
        let logins = several.unwrap_or_else(|| vec![app["provider"].clone()]);
        let logins = logins.iter().map(|name| name.as_str().unwrap().to_owned());
        providers.extend(logins);
        let more = app
            .get("bearer")
            .and_then(|bearer| bearer.get("providers"))
            .and_then(Value::as_array);
        providers.extend(
            more.into_iter()
                .flatten()
                .map(|name| name.as_str().unwrap().to_owned()),
        );
    }
    let defined = table(&mut config, "providers");
    for name in &providers {
        table(defined, name);
    }
    for (name, provider) in defined.iter_mut() {
        fill(
            provider.as_table_mut().unwrap(),
            "issuer",
            format!("https://{name}.example.com"),
        );
    }
    config
}

fn table<'t>(parent: &'t mut Table, name: &str) -> &'t mut Table {
    let entry = parent.entry(name).or_insert_with(|| Table::new().into());
    entry
        .as_table_mut()
        .unwrap_or_else(|| panic!("`{name}` is not a table"))
}

fn fill(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.entry(key).or_insert_with(|| value.into());
}

/// Writes every file that `config` names into `folder`, and makes absolute names relative. `pem`: a certificate and its key.
pub(crate) fn write_files(config: &mut Table, folder: &Path, pem: &[String; 2]) {
    for (key, value) in config.iter_mut() {
        match value {
            Value::String(name) if key == "file" => write_list(name, folder),
            Value::String(name) if key.ends_with("_file") => write_file(key, name, folder, pem),
            Value::Array(names) if key.ends_with("key_files") => {
                for name in names {
                    if let Value::String(name) = name {
                        write_file(key, name, folder, pem);
                    }
                }
            }
            Value::Table(files) if key == "message_files" => {
                for name in files.iter().filter_map(|(_, file)| file.as_str()) {
                    write_messages(name, folder);
                }
            }
            Value::String(name) if key == "template_folder" => {
                fs::create_dir_all(folder.join(&*name)).unwrap();
            }
            Value::String(name) if key == "files" => {
                *name = name.trim_start_matches('/').to_owned();
                fs::create_dir_all(folder.join(&*name)).unwrap();
            }
            Value::Table(table) => write_files(table, folder, pem),
            Value::Array(tables) => {
                for table in tables.iter_mut().filter_map(Value::as_table_mut) {
                    write_files(table, folder, pem);
                }
            }
            _ => {}
        }
    }
}

fn write_messages(name: &str, folder: &Path) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let messages = include_str!("../../src/proxy/pages/messages/en.toml");
    fs::write(&path, messages).unwrap();
}

fn write_list(name: &mut String, folder: &Path) {
    *name = name.trim_start_matches('/').to_owned();
    let path = folder.join(&*name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "entry@example.com\n").unwrap();
}

/// The key of a file, always the same, because configurations are compared.
fn sealing_key(name: &str) -> String {
    let mut bytes = [7; 32];
    for (byte, letter) in bytes.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    SealingKey::from_bytes(bytes).to_text().to_string()
}

fn write_file(
    key: &str,
    name: &mut String,
    folder: &Path,
    [certificate, private_key]: &[String; 2],
) {
    *name = name.trim_start_matches('/').to_owned();
    let path = folder.join(&*name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = match key {
        "dpop_key_files" => rcgen::KeyPair::generate().unwrap().serialize_pem(),
        "key_files" if name.starts_with("assertion") => private_key.clone(),
        "key_files" => sealing_key(name),
        "key_file" | "upstream_key_file" | "client_key_file" | "request_object_key_file" => {
            private_key.clone()
        }
        "journal_file" | "metadata_file" => return,
        "client_assertion_file" => "a.b.c".to_owned(),
        "logo_file" => "<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_owned(),
        key if key.ends_with("ca_file") || key.ends_with("cert_file") => certificate.clone(),
        _ => "a secret of 64 bytes: ".repeat(3)[..64].to_owned(),
    };
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}
