//! Environment variables without `__` that look like keys: `DOORWARD_APPS_STORE_CLIENT_ID` for
//! `DOORWARD_APPS__STORE__CLIENT_ID`. They would be ignored silently.

use figment::value::{Dict, Value};

use super::environment::{PREFIX, SEPARATOR};
use super::schema::{Table, tables};

/// A name that the operator chooses, in [`Table::path`].
const ANY_NAME: &str = "NAME";

/// A variable that sets nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FlatVariable {
    pub(super) name: String,
    /// The variable that was probably meant.
    pub(super) meant: Option<String>,
}

/// Finds out whether the variable `name` was probably meant to set a key, by the keys of the schema
/// and the names in `file`.
pub(super) fn flat_variable(name: &str, file: &Dict) -> Option<FlatVariable> {
    let rest = name.strip_prefix(PREFIX)?;
    if rest.contains(SEPARATOR) || is_of_kubernetes(rest) {
        return None;
    }
    let words: Vec<String> = rest.split('_').map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for table in tables() {
        for key in table.keys {
            let pattern: Vec<&str> = path_of(&table).chain([*key]).collect();
            found.extend(levels(&words, &pattern).filter(|levels| levels.len() > 1));
        }
    }
    // A name that exists tells where it ends.
    let best = found.into_iter().max_by_key(|levels| {
        let names_known = has_table(file, levels);
        (names_known, levels.len())
    });
    let meant = best.map(|levels| format!("{PREFIX}{}", levels.join(SEPARATOR).to_uppercase()));
    let is_in_table = words.len() > 1
        && tables()
            .iter()
            .filter(|table| table.path.is_empty())
            .any(|root| words.first().is_some_and(|word| root.keys.contains(word)));
    (meant.is_some() || is_in_table).then(|| FlatVariable {
        name: name.to_owned(),
        meant,
    })
}

fn path_of(table: &Table) -> impl Iterator<Item = &'static str> {
    table.path.split('.').filter(|level| !level.is_empty())
}

/// Splits `words` into the levels of `pattern`, if they fit.
fn levels(words: &[&str], pattern: &[&str]) -> Option<Vec<String>> {
    let Some((level, pattern)) = pattern.split_first() else {
        return words.is_empty().then(Vec::new);
    };
    let lengths = if *level == ANY_NAME {
        1..=words.len()
    } else {
        let length = level.split('_').count();
        length..=length
    };
    lengths.into_iter().find_map(|length| {
        let (own, rest) = words.split_at_checked(length)?;
        let text = own.join("_");
        let fits = *level == ANY_NAME || text == *level;
        let below = fits.then(|| levels(rest, pattern)).flatten()?;
        Some(std::iter::once(text).chain(below).collect())
    })
}

/// Whether the first two levels are a table in the file, such as `apps.store`.
fn has_table(file: &Dict, levels: &[String]) -> bool {
    let [first, second, ..] = levels else {
        return false;
    };
    let table = file.get(first).and_then(Value::as_dict);
    table.is_some_and(|table| {
        let mut names = table.keys();
        names.any(|name| name.to_ascii_lowercase().replace('-', "_") == *second)
    })
}

/// Whether Kubernetes sets such a variable for a service whose name begins with `doorward`.
fn is_of_kubernetes(rest: &str) -> bool {
    let is_port = |(_, port): (&str, &str)| {
        let number = port.split('_').next().unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    rest.ends_with("SERVICE_HOST")
        || rest.ends_with("SERVICE_PORT")
        || rest.contains("SERVICE_PORT_")
        || rest == "PORT"
        || rest.ends_with("_PORT")
        || rest.rsplit_once("PORT_").is_some_and(is_port)
        || rest.split_once("PORT_").is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_variable_is_resolved_by_the_schema() {
        let app = |name: &str| (name.to_owned(), Value::from(Dict::new()));
        let apps = Dict::from([app("store"), app("my-store")]);
        let file = Dict::from([("apps".to_owned(), Value::from(apps))]);
        for (name, meant) in [
            ("APPS_STORE_CLIENT_ID", Some("APPS__STORE__CLIENT_ID")),
            ("APPS_MY_STORE_UPSTREAM", Some("APPS__MY_STORE__UPSTREAM")),
            ("APPS_OTHER_PUBLIC_URL", Some("APPS__OTHER__PUBLIC_URL")),
            (
                "APPS_STORE_BEARER_AUDIENCES",
                Some("APPS__STORE__BEARER__AUDIENCES"),
            ),
            ("LOG_LEVEL", Some("LOG__LEVEL")),
            ("SERVER_ADMIN_LISTEN", Some("SERVER__ADMIN_LISTEN")),
            ("STORE_URL", Some("STORE__URL")),
            ("APPS_STORE_CLEINT_ID", None),
        ] {
            let found = flat_variable(&format!("{PREFIX}{name}"), &file);
            let found = found.unwrap_or_else(|| panic!("{name} is ignored"));
            let meant = meant.map(|meant| format!("{PREFIX}{meant}"));
            assert_eq!(found.meant, meant, "{name}");
        }
    }

    #[test]
    fn variables_of_others_are_not_flat() {
        for name in [
            "DOORWARD_APPS__STORE__CLIENT_ID",
            "DOORWARD_SERVICE_HOST",
            "DOORWARD_SERVICE_PORT",
            "DOORWARD_SERVICE_PORT_ADMIN",
            "DOORWARD_PORT",
            "DOORWARD_PORT_80_TCP",
            "DOORWARD_STORE_SERVICE_HOST",
            "DOORWARD_STORE_PORT_6379_TCP_ADDR",
            "DOORWARD_APPS_PORT",
            "DOORWARD_IMAGE",
            "DOORWARD_STORE",
            "APPS_STORE_CLIENT_ID",
        ] {
            assert_eq!(flat_variable(name, &Dict::new()), None, "{name}");
        }
    }
}
