//! The environment on top of the file: `DOORWARD_APPS__STORE__CLIENT_ID` is `apps.store.client_id`.
//!
//! Only names with `__` in them are read: an orchestrator that knows a service called `doorward` sets variables such
//! as `DOORWARD_SERVICE_HOST` and `DOORWARD_PORT_80_TCP` by itself, and every key of ours lies within a table.

use std::ffi::OsString;

use figment::value::{Dict, Tag, Value};

use super::source::names_a_secret;

const PREFIX: &str = "DOORWARD_";
const BETWEEN_LEVELS: &str = "__";

/// The variables that are ours.
#[derive(Default)]
pub(super) struct Environment {
    variables: Vec<Variable>,
}

/// One variable that sets one key.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) path: Vec<String>,
    text: String,
}

impl Environment {
    /// Takes what is ours of `variables`; gives the names of those of ours that are not UTF-8 too. Names are
    /// brought to the spelling of keys in `file`: case does not count, and `_` stands for `-` as well.
    pub(super) fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        file: &Dict,
    ) -> (Self, Vec<String>) {
        let mut ours = Vec::new();
        let mut unreadable = Vec::new();
        for (name, text) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            let Some(levels) = name
                .strip_prefix(PREFIX)
                .filter(|rest| rest.contains(BETWEEN_LEVELS))
            else {
                continue;
            };
            let path = spelt_as_in(file, levels.split(BETWEEN_LEVELS));
            match text.into_string() {
                Ok(text) => ours.push(Variable { name, path, text }),
                Err(_) => unreadable.push(name),
            }
        }
        // A variable that sets a table comes before those that set keys in it.
        ours.sort_by(|a, b| a.path.cmp(&b.path));
        (Self { variables: ours }, unreadable)
    }

    /// The values: numbers, booleans, lists in brackets and tables in braces are read as such.
    pub(super) fn values(&self) -> Dict {
        let mut dict = Dict::new();
        for variable in &self.variables {
            put(&mut dict, &variable.path, variable.value());
        }
        dict
    }

    /// The variable that set what is at `path`: itself, a table that it is in, or a key within it.
    pub(super) fn setter(&self, path: &[String]) -> Option<&Variable> {
        let sets = |variable: &&Variable| path.starts_with(&variable.path);
        let lies_within = |variable: &&Variable| variable.path.starts_with(path);
        self.variables
            .iter()
            .rev()
            .find(sets)
            .or_else(|| self.variables.iter().find(lies_within))
    }

    /// The text of the variable that set exactly `path`: for a key that takes text, whatever it looks like.
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

fn spelt_as_in<'a>(file: &Dict, levels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut table = Some(file);
    let mut path = Vec::new();
    for level in levels {
        let wanted = level.to_ascii_lowercase();
        let same =
            |key: &&String| key.to_ascii_lowercase().replace('-', "_") == wanted.replace('-', "_");
        let key = table
            .and_then(|table| table.keys().find(same))
            .cloned()
            .unwrap_or(wanted);
        table = table
            .and_then(|table| table.get(&key))
            .and_then(Value::as_dict);
        path.push(key);
    }
    path
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
    fn levels_lie_between_double_underscores_and_spell_as_the_file_does() {
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
    fn what_an_orchestrator_sets_by_itself_is_not_ours() {
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
    fn a_secret_is_taken_as_it_is() {
        let environment = read(&[("DOORWARD_APPS__A__CLIENT_SECRET", " [007] ")]);
        let values = environment.values();
        let secret = values["apps"].find_ref("a.client_secret").unwrap();
        assert_eq!(secret.as_str(), Some(" [007] "));
    }
}
