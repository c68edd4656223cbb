//! The configuration reference against the configuration: every key, no other, and the defaults and values it states.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use doorward::config::{Config, load, schema};
use toml::{Table, Value};

use super::book::{Page, Row, page, pages};
use super::examples::{completed, write_files};

const REFERENCE: &str = "docs/configuration.md";

/// Configurations in which every key can be used: a key is tried in each of them.
const BASES: [&str; 8] = [
    r#"
    [server.tls]
    cert_file = "tls/cert.pem"
    key_file = "tls/key.pem"
    [providers.login]
    metadata_file = "login.metadata"
    [providers.login.proxy]
    url = "http://proxy.example.com:3128"
    [[apps.store.app_cookies]]
    name = "SESSION"
    [apps.store.native]
    password_grant = true
    [apps.store.bearer]
    opaque_tokens = "introspect"
    [apps.store.health_check]
    path = "/health"
    [[apps.store.rules]]
    paths = ["/a"]
    allow = "public"
    [[apps.store.routes]]
    path = "/a/**"
    upstream = "http://127.0.0.1:3001"
    [apps.store.routes.health_check]
    path = "/health"
    [apps.store.client_limits]
    address = { requests_per_second = 50 }
    session = { requests_per_second = 20 }
    [assertion]
    key_files = ["assertion.key"]
    [apps.store.assertion]
    audience = "store"
    "#,
    r#"
    [[apps.store.routes]]
    path = "/a"
    redirect = { to = "/b" }
    "#,
    r#"
    [[apps.store.routes]]
    path = "/a"
    respond = { body = "a" }
    "#,
    r#"
    [[apps.store.routes]]
    path = "/a"
    files = "static"
    "#,
    r#"
    [store]
    url = "redis://127.0.0.1"
    [apps.store]
    client_secret = "secret"
    app_logout_path = "/logout"
    upstream_protocol = "http2"
    "#,
    r#"
    [providers.login]
    kind = "fusionauth"
    [providers.login.webhooks]
    signature = "jwks"
    [apps.store]
    session_jwt = "access"
    "#,
    r#"
    [[server.listeners]]
    address = "127.0.0.1:8081"
    [apps.store.token_exchange]
    audience = "https://orders.example.com"
    "#,
    r#"
    [apps.store]
    public_url = "https://*.apps.example.com"
    [apps.store.basic]
    realm = "Store"
    [[apps.store.rules]]
    paths = ["/dav/**"]
    allow = "authenticated"
    auth_methods = ["basic"]
    "#,
];

#[test]
fn every_key_is_documented_and_no_other() {
    assert_eq!(
        key_complaints(page(&pages(), REFERENCE)),
        Vec::<String>::new()
    );
}

#[test]
fn missing_and_unknown_keys_are_found() {
    let pages = pages();
    let text = fs::read_to_string(format!("{}/{REFERENCE}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(key_complaints(page(&pages, REFERENCE)).is_empty());
    for (from, to, complaint) in [
        (
            "| `workers` |",
            "| `wrokers` |",
            "`wrokers` of [server] is not a key",
        ),
        (
            "| `workers` |",
            "| `wrokers` |",
            "`workers` of [server] is not documented",
        ),
        (
            "## `[store.redis]`",
            "## `[store.rediss]`",
            "[store.rediss] is not a table",
        ),
        (
            "| `max_backoff` |",
            "| `dpop_nonce` |",
            "`dpop_nonce` of [apps.NAME.native] is not a key",
        ),
        ("## `[log]`", "## Log", "[log] has no heading"),
    ] {
        let found = key_complaints(&Page::parse(REFERENCE, &text.replacen(from, to, 1)));
        assert!(
            found.iter().any(|found| found.contains(complaint)),
            "{complaint}: {found:?}"
        );
    }
}

#[test]
fn stated_defaults_are_the_defaults() {
    let pages = pages();
    let stated: Vec<_> = keys(page(&pages, REFERENCE))
        .into_iter()
        .filter_map(|key| key.stated_default())
        .collect();
    assert!(
        stated.len() > 70,
        "only {} defaults are stated",
        stated.len()
    );
    let wrong: Vec<_> = stated
        .iter()
        .filter_map(|(key, default)| default_complaint(key, default))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_wrong_default_is_found() {
    let key = |table: &str, name: &str| Key {
        table: table.to_owned(),
        name: name.to_owned(),
        kind: Vec::new(),
        default: None,
    };
    for (key, value) in [
        (key("server", "keep_alive_timeout"), Value::from("76s")),
        (key("store.redis", "timeout"), Value::from("2s")),
        (
            key("providers.NAME", "require_registration"),
            Value::from(false),
        ),
        (
            key("apps.NAME.native", "failures_per_account"),
            Value::from(6),
        ),
        (key("apps.NAME.app_cookies", "path"), Value::from("/x")),
    ] {
        assert!(default_complaint(&key, &value).is_some(), "{}", key.name);
    }
}

#[test]
fn stated_values_are_the_accepted_values() {
    let pages = pages();
    let listed: Vec<_> = keys(page(&pages, REFERENCE))
        .into_iter()
        .filter(|key| key.kind.len() > 1)
        .collect();
    assert!(
        listed.len() > 15,
        "only {} keys list their values",
        listed.len()
    );
    for key in &listed {
        let stated: BTreeSet<&str> = key.kind.iter().map(String::as_str).collect();
        let accepted = accepted_values(key);
        assert_eq!(
            stated,
            accepted.iter().map(String::as_str).collect(),
            "`{}` of [{}]",
            key.name,
            key.table
        );
    }
}

#[test]
fn environment_variables_of_the_examples_are_read() {
    let pages = pages();
    let rows = page(&pages, REFERENCE).rows.iter();
    let variables: Vec<_> = rows
        .filter(|row| row.head.iter().any(|head| head == "Environment variable"))
        .collect();
    assert!(variables.len() > 4);
    for row in variables {
        let (name, value) = row.cells[1].code[0].split_once('=').unwrap();
        let value = value.trim_matches('\'');
        let folder = tempfile::tempdir().unwrap();
        let loaded = with_base(folder.path(), BASES[0], |_| {}, &[(name, value)]);
        assert!(loaded.is_ok(), "{name}: {:?}", loaded.err());
        let misspelled = with_base(
            folder.path(),
            BASES[0],
            |_| {},
            &[(&*format!("{name}X"), value)],
        );
        assert!(misspelled.is_err() || name.contains("HEADERS"), "{name}");
    }
}

/// A documented key.
struct Key {
    /// The table: `apps.NAME.bearer`.
    table: String,
    name: String,
    /// The values that its type lists.
    kind: Vec<String>,
    default: Option<String>,
}

impl Key {
    /// The default, if the page states it as one TOML value.
    fn stated_default(self) -> Option<(Self, Value)> {
        let default = format!("x = {}", self.default.as_ref()?)
            .parse::<Table>()
            .ok()?
            .remove("x")?;
        Some((self, default))
    }
}

/// The documented keys.
fn keys(page: &Page) -> Vec<Key> {
    page.rows
        .iter()
        .filter(|row| row.head.first().is_some_and(|head| head == "Key") && row.head.len() == 4)
        .map(key)
        .collect()
}

fn key(row: &Row) -> Key {
    let table = row.below.iter().rev().find_map(|heading| table_of(heading));
    let [name, kind, default, _] = row.cells.as_slice() else {
        panic!("four cells in line {}", row.line)
    };
    let quoted = kind
        .code
        .iter()
        .filter_map(|code| code.strip_prefix('"')?.strip_suffix('"').map(str::to_owned));
    let is_one_value = default.code.len() == 1 && default.code[0] == default.text;
    Key {
        table: table.unwrap_or_else(|| "no table".to_owned()),
        name: name.code[0].clone(),
        kind: quoted.collect(),
        default: is_one_value.then(|| default.text.clone()),
    }
}

/// The table that a heading names: `[server.tls]`, `[[apps.NAME.rules]]`.
fn table_of(heading: &str) -> Option<String> {
    let inner = heading.trim_start_matches('[');
    (inner != heading).then(|| inner.split(']').next().unwrap().to_owned())
}

fn key_complaints(page: &Page) -> Vec<String> {
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut complaints = Vec::new();
    for key in keys(page) {
        if !documented
            .entry(key.table.clone())
            .or_default()
            .insert(key.name.clone())
        {
            complaints.push(format!(
                "`{}` of [{}] is documented twice",
                key.name, key.table
            ));
        }
    }
    let headings: Vec<_> = page
        .headings
        .iter()
        .filter_map(|heading| table_of(heading))
        .collect();
    let mut known = BTreeSet::new();
    for table in schema::tables() {
        known.insert(table.path);
        if table.path.is_empty() {
            let missing = table.keys.iter().filter(|key| {
                !headings
                    .iter()
                    .any(|path| path.split('.').next() == Some(**key))
            });
            complaints.extend(missing.map(|key| format!("[{key}] has no heading")));
            continue;
        }
        if !headings.iter().any(|path| path == table.path) {
            complaints.push(format!("[{}] has no heading", table.path));
        }
        let here = documented.get(table.path).cloned().unwrap_or_default();
        let code: BTreeSet<String> = table.keys.iter().map(|key| (*key).to_owned()).collect();
        complaints.extend(
            code.difference(&here)
                .map(|key| format!("`{key}` of [{}] is not documented", table.path)),
        );
        complaints.extend(
            here.difference(&code)
                .map(|key| format!("`{key}` of [{}] is not a key", table.path)),
        );
    }
    complaints.extend(
        documented
            .keys()
            .filter(|path| !known.contains(path.as_str()))
            .map(|path| format!("[{path}] is not a table")),
    );
    complaints
}

/// The fault of a stated default: setting it changes the configuration, or it cannot be set at all.
fn default_complaint(key: &Key, default: &Value) -> Option<String> {
    let mut tried = 0;
    let folder = tempfile::tempdir().unwrap();
    for base in BASES {
        let without = with_base(folder.path(), base, |config| change(config, key, None), &[]);
        let with = with_base(
            folder.path(),
            base,
            |config| change(config, key, Some(default.clone())),
            &[],
        );
        let (Ok(without), Ok(with)) = (without, with) else {
            continue;
        };
        tried += 1;
        if format!("{without:?}") != format!("{with:?}") {
            return Some(format!(
                "`{default}` is not the default of `{}` in [{}]",
                key.name, key.table
            ));
        }
    }
    (tried == 0).then(|| {
        format!(
            "`{}` of [{}] cannot be set to `{default}`",
            key.name, key.table
        )
    })
}

/// The values that a key of fixed values accepts, from the message about a value that it does not.
fn accepted_values(key: &Key) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let wrong = |config: &mut Table| change(config, key, Some(Value::from(1)));
    let refused = with_base(folder.path(), BASES[0], wrong, &[]).unwrap_err();
    let (_, listed) = refused
        .split_once("expected one of")
        .unwrap_or_else(|| panic!("{}: {refused}", key.name));
    listed
        .lines()
        .next()
        .unwrap()
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Sets a key, or takes it away.
fn change(config: &mut Table, key: &Key, value: Option<Value>) {
    let path = key
        .table
        .replace("apps.NAME", "apps.store")
        .replace("providers.NAME", "providers.login");
    let mut table = config;
    for step in path.split('.') {
        let next = table.entry(step).or_insert_with(|| Table::new().into());
        table = match next {
            Value::Array(tables) => tables[0].as_table_mut().unwrap(),
            next => next.as_table_mut().unwrap(),
        };
    }
    match value {
        Some(value) => _ = table.insert(key.name.clone(), value),
        None => _ = table.remove(&key.name),
    }
}

/// Loads `base` with a change, with all of its files in `folder`.
fn with_base(
    folder: &Path,
    base: &str,
    change: impl FnOnce(&mut Table),
    variables: &[(&str, &str)],
) -> Result<Config, String> {
    let mut config = completed(base.parse().unwrap());
    change(&mut config);
    write_files(&mut config, folder, &pem());
    let file = folder.join("doorward.toml");
    fs::write(&file, config.to_string()).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load(&file, variables)
        .map(|loaded| loaded.config)
        .map_err(|refused| refused.to_string())
}

/// One certificate for all, so that two configurations with it are equal.
fn pem() -> [String; 2] {
    static PEM: OnceLock<[String; 2]> = OnceLock::new();
    PEM.get_or_init(|| {
        let certified =
            rcgen::generate_simple_self_signed(["store.example.com".to_owned()]).unwrap();
        [certified.cert.pem(), certified.signing_key.serialize_pem()]
    })
    .clone()
}
