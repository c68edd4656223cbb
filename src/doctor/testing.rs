//! Test support: a configuration of one app, and the codes of findings.

use std::fs;

use super::finding::{Findings, Subject};
use super::registration::RegisteredApp;
use crate::config::{self, AppConfig, SealingKey};

/// An app at `https://store.example.com` with these further lines.
pub(super) fn app(lines: &str) -> AppConfig {
    let folder = tempfile::tempdir().unwrap();
    let key = SealingKey::generate().unwrap();
    fs::write(folder.path().join("key"), key.to_text()).unwrap();
    fs::write(folder.path().join("secret"), "not-shown").unwrap();
    let file = folder.path().join("doorward.toml");
    let text = format!(
        r#"
[session]
key_files = ["key"]

[providers.login]
issuer = "https://login.example.com"

[apps.store]
provider = "login"
public_url = "https://store.example.com"
upstream = "http://127.0.0.1:3000"
client_id = "store"
{lines}
"#
    );
    fs::write(&file, text).unwrap();
    let loaded = config::load(&file, []).unwrap_or_else(|problems| panic!("{problems}"));
    loaded.config.apps.into_iter().next().unwrap()
}

/// The same with its registration.
pub(super) fn registered(lines: &str) -> RegisteredApp {
    let app = app(lines);
    RegisteredApp::new(&app, &app.registrations[0])
}

/// `severity code key` of each finding.
pub(super) fn found(judge: impl FnOnce(&mut Findings)) -> Vec<String> {
    let mut findings = Findings::about(Subject::App("x".to_owned()));
    judge(&mut findings);
    let list = findings.into_list();
    let line = |finding: &super::Finding| {
        let severity = super::severity_name(finding.severity);
        let key = finding.key.strip_prefix("apps.x").unwrap();
        format!(
            "{severity} {} {}",
            finding.code,
            key.trim_start_matches('.')
        )
    };
    list.iter().map(line).collect()
}
