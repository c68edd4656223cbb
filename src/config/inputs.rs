//! Inputs of a configuration: its values and the files that it names. Computes the difference to
//! another configuration, without secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use figment::value::{Dict, Value};

use super::source::{has_credentials, names_a_secret};
use crate::types::files::FileFingerprint;

/// The longest value that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// The placeholder of a secret.
const MASK: &str = "***";

/// Tables with values that may be secrets, such as credentials for an app.
const SECRET_TABLES: [&str; 2] = ["request_headers", "response_headers"];

type Digest = [u8; SHA256_OUTPUT_LEN];

/// The values and files of a configuration.
#[derive(Clone, Default)]
pub struct Inputs {
    values: BTreeMap<String, InputValue>,
    files: Vec<InputFile>,
}

/// A value, as it is shown.
#[derive(Clone)]
struct InputValue {
    shown: String,
    digest: Digest,
}

/// A file, as it was when it was read.
#[derive(Clone)]
pub(super) struct InputFile {
    /// The key that names it. Empty for the configuration file.
    key: String,
    path: PathBuf,
    fingerprint: FileFingerprint,
    /// Of its content. `None`: it was not read, or its values count.
    digest: Option<Digest>,
}

/// A value or file that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The value before. `None`: the key was not set.
    pub old: Option<String>,
    /// The new value. `None`: the key is not set.
    pub new: Option<String>,
}

impl Inputs {
    /// A configuration without values, which could not be parsed.
    pub(super) fn unparsed(file: Option<InputFile>) -> Self {
        Self {
            values: BTreeMap::new(),
            files: file.into_iter().collect(),
        }
    }

    pub(super) fn new(values: &Value, files: Vec<InputFile>) -> Self {
        let mut found = BTreeMap::new();
        add_value(values, &mut Vec::new(), &mut found);
        Self {
            values: found,
            files,
        }
    }

    /// Whether no file has changed since it was read.
    pub fn are_current(&self) -> bool {
        self.files
            .iter()
            .all(|file| FileFingerprint::of(&file.path) == file.fingerprint)
    }

    /// The fingerprints of the files now, in their order.
    pub fn fingerprints(&self) -> Vec<FileFingerprint> {
        let paths = self.files.iter().map(|file| file.path.as_path());
        paths.map(FileFingerprint::of).collect()
    }

    /// The fingerprints of the files when they were read, in their order.
    pub fn fingerprints_read(&self) -> Vec<FileFingerprint> {
        let files = self.files.iter();
        files.map(|file| file.fingerprint.clone()).collect()
    }

    /// The differences to an earlier configuration, by key.
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let of = |inputs: &Self, key: &String| inputs.values.get(key).cloned();
        let keys = self.values.keys().chain(before.values.keys());
        let mut changes: BTreeMap<&String, Change> = BTreeMap::new();
        for key in keys {
            let (old, new) = (of(before, key), of(self, key));
            let digest = |value: &Option<InputValue>| value.as_ref().map(|value| value.digest);
            if digest(&old) != digest(&new) {
                let change = Change {
                    key: key.clone(),
                    old: old.map(|value| value.shown),
                    new: new.map(|value| value.shown),
                };
                changes.insert(key, change);
            }
        }
        for file in self.files.iter().filter(|file| !file.key.is_empty()) {
            let mut others = before.files.iter();
            let other = others.find(|other| other.key == file.key && other.path == file.path);
            if other.is_some_and(|other| other.digest != file.digest) {
                let path = file.path.display();
                let change = Change {
                    key: file.key.clone(),
                    old: Some(format!("content of {path}")),
                    new: Some(format!("new content of {path}")),
                };
                changes.entry(&file.key).or_insert(change);
            }
        }
        changes.into_values().collect()
    }

    /// Identifies the configuration, in 16 hexadecimal digits. The sealing keys are part of it, so
    /// no secret can be guessed from it.
    pub fn hash(&self) -> String {
        let mut context = Context::new(&SHA256);
        let mut add = |name: &str, digest: &[u8]| {
            context.update(name.as_bytes());
            context.update(&[0]);
            context.update(digest);
        };
        for (key, value) in &self.values {
            add(key, &value.digest);
        }
        for file in &self.files {
            if let Some(digest) = &file.digest {
                add(&file.key, digest);
            }
        }
        let hash = context.finish();
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        format!("{:016x}", u64::from_be_bytes(first))
    }
}

impl fmt::Debug for Inputs {
    /// A hash of a secret alone would allow to guess it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inputs").field(&self.hash()).finish()
    }
}

impl InputFile {
    /// A file that is about to be read for `key`.
    pub(super) fn before_reading(key: String, path: &Path) -> Self {
        Self {
            key,
            path: path.to_path_buf(),
            fingerprint: FileFingerprint::of(path),
            digest: None,
        }
    }

    /// The same with its content.
    pub(super) fn with_content(self, content: &[u8]) -> Self {
        Self {
            digest: Some(digest_of(content)),
            ..self
        }
    }
}

/// Adds `value` by its path. A list of tables has a key for each; any other list is one value.
fn add_value(value: &Value, path: &mut Vec<String>, found: &mut BTreeMap<String, InputValue>) {
    let mut add_at = |step: String, value: &Value| {
        path.push(step);
        add_value(value, path, found);
        path.pop();
    };
    match value {
        Value::Dict(_, table) if !table.is_empty() => {
            for (key, value) in table {
                add_at(key.clone(), value);
            }
        }
        Value::Array(_, elements) if elements.iter().any(|one| one.as_dict().is_some()) => {
            for (index, value) in elements.iter().enumerate() {
                add_at(index.to_string(), value);
            }
        }
        Value::Dict(..)
        | Value::Array(..)
        | Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..) => {
            let text = text_of(value);
            let shown = if is_secret(path, value, &text) {
                MASK.to_owned()
            } else {
                text.chars().take(MAX_SHOWN).collect()
            };
            let digest = digest_of(text.as_bytes());
            found.insert(path.join("."), InputValue { shown, digest });
        }
    }
}

fn is_secret(path: &[String], value: &Value, text: &str) -> bool {
    let in_secret_table = || {
        path.iter()
            .any(|step| SECRET_TABLES.contains(&step.as_str()))
    };
    // `password_grant = true` is not a secret.
    let is_flag = matches!(value, Value::Bool(..));
    !is_flag
        && (path.iter().any(|step| names_a_secret(step))
            || has_credentials(text)
            || in_secret_table())
}

fn text_of(value: &Value) -> String {
    let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
    match value {
        Value::String(_, text) => text.clone(),
        Value::Char(_, character) => character.to_string(),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_default(),
        Value::Array(_, elements) => list(elements.iter().map(text_of).collect()),
        Value::Dict(_, table) => dict_text(table),
        Value::Empty(..) => String::new(),
    }
}

fn dict_text(table: &Dict) -> String {
    let entries = table
        .iter()
        .map(|(key, value)| format!("{key} = {}", text_of(value)));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

fn digest_of(bytes: &[u8]) -> Digest {
    let hash = digest(&SHA256, bytes);
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(toml: &str, secret: &str) -> Inputs {
        let (source, errors) = super::super::source::Source::parse("x.toml".into(), toml);
        assert!(errors.is_empty(), "{toml}");
        let key = "apps.store.client_secret_file".to_owned();
        let file = InputFile::before_reading(key, Path::new("secret.txt"));
        Inputs::new(
            &Value::from(source.values().0),
            vec![file.with_content(secret.as_bytes())],
        )
    }

    fn changes(before: &str, after: &str) -> Vec<String> {
        let changes = inputs(after, "s").changes_since(&inputs(before, "s"));
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let line = |change: Change| {
            format!(
                "{}: {} > {}",
                change.key,
                shown(change.old),
                shown(change.new)
            )
        };
        changes.into_iter().map(line).collect()
    }

    #[test]
    fn changed_keys_are_named_with_both_values() {
        assert_eq!(
            changes(
                "[server]\nworkers = 2\nlisten = \"[::]:80\" # text\n[a]\nb = [1, 2]",
                "[server]\nworkers = 3\nlisten = '[::]:80'\n[[apps.store.rules]]\npaths = [\"/x\"]",
            ),
            [
                "a.b: [1, 2] > -",
                "apps.store.rules.0.paths: - > [/x]",
                "server.workers: 2 > 3"
            ]
        );
    }

    #[test]
    fn secrets_are_masked_but_their_change_is_seen() {
        for (before, after) in [
            ("[a]\nclient_secret = 'one'", "[a]\nclient_secret = 'two'"),
            (
                "[s]\nurl = 'redis://u:one@h'",
                "[s]\nurl = 'redis://u:two@h'",
            ),
            (
                "[a.request_headers.set]\nAuthorization = 'Basic one'",
                "[a.request_headers.set]\nAuthorization = 'Basic two'",
            ),
            (
                "[s]\nurls = ['redis://u:one@h']",
                "[s]\nurls = ['redis://u:two@h']",
            ),
        ] {
            let changes = changes(before, after);
            assert!(changes[0].ends_with(": *** > ***"), "{changes:?}");
        }
        let changes = inputs("", "hunter2").changes_since(&inputs("", "hunter3"));
        assert_eq!(changes[0].key, "apps.store.client_secret_file");
        assert!(!format!("{changes:?}").contains("hunter"));
    }

    #[test]
    fn hash_depends_on_values_and_contents_only() {
        let hash = |toml: &str, secret: &str| inputs(toml, secret).hash();
        let one = hash("a.b = 1\na.c = 2", "s");
        assert_eq!(one.len(), 16);
        assert_eq!(one, hash("# the same\n[a]\nc = 2\nb = 1", "s"));
        assert_ne!(one, hash("a.b = 1\na.c = 3", "s"));
        assert_ne!(one, hash("a.b = 1\na.c = 2", "t"));
    }
}
