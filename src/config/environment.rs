//! Environment variables that override the file: `DOORWARD_APPS__STORE__CLIENT_ID` is
//! `apps.store.client_id`.
//!
//! A file is not needed: the variables can set every key.
//!
//! Only names with `__` are read, because every key is in a table. Kubernetes sets variables such as
//! `DOORWARD_SERVICE_HOST` and `DOORWARD_PORT_80_TCP` for a service named `doorward`.

use std::ffi::{OsStr, OsString};

use figment::value::{Dict, Tag, Value};

use super::source::names_a_secret;

/// Tables of headers: an identity header's name, or a table of edits with its keys.
const HEADERS: &str = "headers";
const EDITS: [&str; 2] = ["set", "add"];

pub(super) const PREFIX: &str = "DOORWARD_";
pub(super) const SEPARATOR: &str = "__";

/// The variables that set keys.
#[derive(Default)]
pub(super) struct Environment {
    variables: Vec<Variable>,
    /// The names of other variables that begin with the prefix.
    others: Vec<String>,
}

/// A variable that sets one key.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) path: Vec<String>,
    text: String,
}

/// Whether a variable of this name sets a key.
pub(super) fn sets_a_key(name: &OsStr) -> bool {
    let levels = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    levels.is_some_and(|levels| levels.contains(SEPARATOR))
}

impl Environment {
    /// Selects the variables that set keys. Also returns the names of those that are not UTF-8.
    /// Names are matched with the keys in `file`: case is ignored, and `_` also matches `-`.
    pub(super) fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        file: &Dict,
    ) -> (Self, Vec<String>) {
        let mut selected = Vec::new();
        let mut others = Vec::new();
        let mut not_utf8 = Vec::new();
        for (name, text) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            let Some(levels) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if !levels.contains(SEPARATOR) {
                others.push(name);
                continue;
            }
            let path = key_path(file, levels.split(SEPARATOR));
            match text.into_string() {
                Ok(text) => selected.push(Variable { name, path, text }),
                Err(_) => not_utf8.push(name),
            }
        }
        // A variable that sets a table applies before those that set keys in it.
        selected.sort_by(|a, b| a.path.cmp(&b.path));
        let environment = Self {
            variables: selected,
            others,
        };
        (environment, not_utf8)
    }

    /// The names of variables that begin with the prefix and set nothing.
    pub(super) fn others(&self) -> &[String] {
        &self.others
    }

    /// The values. Numbers, booleans, arrays in brackets and tables in braces are parsed.
    pub(super) fn values(&self) -> Dict {
        let mut dict = Dict::new();
        for variable in &self.variables {
            put(&mut dict, &variable.path, variable.value());
        }
        dict
    }

    /// The variable that set the value at `path`, a table that contains it, or a key in it.
    pub(super) fn setter(&self, path: &[String]) -> Option<&Variable> {
        let sets = |variable: &&Variable| path.starts_with(&variable.path);
        let sets_part = |variable: &&Variable| variable.path.starts_with(path);
        self.variables
            .iter()
            .rev()
            .find(sets)
            .or_else(|| self.variables.iter().find(sets_part))
    }

    /// The unparsed text of the variable that set exactly `path`.
    pub(super) fn text_at(&self, path: &[String]) -> Option<&str> {
        self.variables
            .iter()
            .rev()
            .find(|variable| variable.path == path)
            .map(|variable| variable.text.as_str())
    }
}

impl Variable {
    fn value(&self) -> Value {
        if self.path.last().is_some_and(|key| names_a_secret(key)) {
            return Value::String(Tag::Default, self.text.clone());
        }
        match self.text.parse() {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

fn key_path<'a>(file: &Dict, levels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut table = Some(file);
    let mut path = Vec::new();
    for level in levels {
        let wanted = level.to_ascii_lowercase();
        let is_same =
            |key: &&String| key.to_ascii_lowercase().replace('-', "_") == wanted.replace('-', "_");
        let known = table.and_then(|table| table.keys().find(is_same));
        let key = match known {
            Some(key) => key.clone(),
            None if has_hyphenated_keys(&path) => wanted.replace('_', "-"),
            None => wanted,
        };
        table = table
            .and_then(|table| table.get(&key))
            .and_then(Value::as_dict);
        path.push(key);
    }
    path
}

/// Whether the keys of the table at `path` are names of apps, providers or headers, which have `-`
/// where a variable has `_`.
fn has_hyphenated_keys(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["apps" | "providers"] | [.., HEADERS] => true,
        [.., table, edit] => table.ends_with(HEADERS) && EDITS.contains(edit),
        [_] | [] => false,
    }
}

fn put(dict: &mut Dict, path: &[String], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        dict.insert(key.clone(), value);
        return;
    }
    let table = dict
        .entry(key.clone())
        .or_insert_with(|| Value::from(Dict::new()));
    if !matches!(table, Value::Dict(..)) {
        *table = Value::from(Dict::new());
    }
    if let Value::Dict(_, table) = table {
        put(table, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        let file = Dict::from([(
            "apps".to_owned(),
            Value::from(Dict::from([(
                "my-Store".to_owned(),
                Value::from(Dict::new()),
            )])),
        )]);
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).into(), (*text).into()));
        Environment::read(variables, &file).0
    }

    #[test]
    fn variable_name_is_matched_with_the_keys_of_the_file() {
        let environment = read(&[("DOORWARD_APPS__MY_STORE__CLIENT_ID", "12345")]);
        let path: Vec<String> = ["apps", "my-Store", "client_id"].map(str::to_owned).into();
        assert_eq!(environment.text_at(&path), Some("12345"));
        assert_eq!(
            environment.setter(&path[..1]).unwrap().name,
            "DOORWARD_APPS__MY_STORE__CLIENT_ID"
        );
        assert!(environment.setter(&["server".to_owned()]).is_none());
    }

    #[test]
    fn new_names_have_hyphens() {
        for (variable, path) in [
            ("APPS__NEW_ONE__CLIENT_ID", "apps.new-one.client_id"),
            ("PROVIDERS__NEW_ONE__CA_FILE", "providers.new-one.ca_file"),
            ("APPS__A__HEADERS__X_USER", "apps.a.headers.x-user"),
            (
                "APPS__A__REQUEST_HEADERS__SET__X_A",
                "apps.a.request_headers.set.x-a",
            ),
            (
                "APPS__A__EXTRA_AUTHORIZATION_PARAMS__MAX_AGE",
                "apps.a.extra_authorization_params.max_age",
            ),
        ] {
            let environment = read(&[(&format!("{PREFIX}{variable}"), "1")]);
            assert_eq!(environment.variables[0].path.join("."), path);
        }
    }

    #[test]
    fn variables_of_kubernetes_are_ignored() {
        let names = [
            "DOORWARD_SERVICE_HOST",
            "DOORWARD_PORT_80_TCP",
            "DOORWARD_PORT",
            "HOME",
            "XDOORWARD_A__B",
        ];
        let variables: Vec<_> = names
            .iter()
            .map(|name| (*name, "tcp://10.0.0.1:80"))
            .collect();
        assert!(read(&variables).values().is_empty());
    }

    #[test]
    fn secret_is_not_parsed() {
        let environment = read(&[("DOORWARD_APPS__A__CLIENT_SECRET", " [007] ")]);
        let values = environment.values();
        let secret = values["apps"].find_ref("a.client_secret").unwrap();
        assert_eq!(secret.as_str(), Some(" [007] "));
    }
}
