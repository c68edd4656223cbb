//! Codes, events, metrics, cookies, endpoints and command-line flags: the book has what the code has, and no other.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory as _;
use doorward::cli::Cli;
use doorward::config::schema;
use doorward::session::cookie::CookieNames;
use doorward::telemetry::metrics::Metrics;
use doorward::types::net::Origin;

use super::book::{Page, page, pages};
use super::protocol_names::PROTOCOL_NAMES;
use super::source::{Literals, is_code, literals};

const CODES: &str = "docs/operations/codes.md";
const CHECK: &str = "docs/operations/check.md";
const EVENTS: &str = "docs/operations/events.md";
const SESSION_LIST: &str = "docs/operations/sessions.md";
const METRICS: &str = "docs/operations/metrics.md";
const SESSIONS: &str = "docs/sessions.md";
const CONCEPTS: &str = "docs/concepts.md";

#[test]
fn codes_events_and_metrics_are_documented_and_no_others() {
    assert_eq!(complaints(&pages(), &literals()), Vec::<String>::new());
}

#[test]
fn undocumented_and_unknown_names_are_found() {
    let table =
        |head: &str, name: &str| format!("| {head} | Meaning |\n| --- | --- |\n| `{name}` | x |\n");
    let pages = [
        Page::parse(CODES, &table("Code", "known_code")),
        Page::parse(CHECK, &table("Code", "unknown_finding")),
        Page::parse(EVENTS, &table("Event", "unknown_event")),
        Page::parse(METRICS, &table("Metric", "doorward_unknown_total")),
    ];
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let literals = Literals {
        all: set(&["known_code", "new_code", "new_event", "doorward_new_total"]),
        codes: set(&["known_code", "forward"]),
        events: set(&["new_event"]),
        event_fields: BTreeMap::new(),
        prose: set(&["something happened"]),
    };
    let expected = [
        "the code `forward` is not in docs/operations/codes.md",
        "the finding `unknown_finding` in docs/operations/check.md does not exist",
        "the event `new_event` is not in docs/operations/events.md",
        "the event `unknown_event` in docs/operations/events.md does not exist",
        "the metric `doorward_new_total` is not in docs/operations/metrics.md",
        "the metric `doorward_unknown_total` in docs/operations/metrics.md does not exist",
        "the event `something happened` is prose; name it by a code",
        "`new_code` is neither documented nor a name of a protocol",
    ];
    assert_eq!(complaints(&pages, &literals), expected);
}

#[test]
fn fields_of_events_are_documented_and_no_others() {
    let found = field_complaints(page(&pages(), EVENTS), &literals().event_fields);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn undocumented_and_unknown_fields_are_found() {
    let page = Page::parse(
        EVENTS,
        "| Event | Fields |\n| --- | --- |\n| `known` | `app`, `old` |\n| `plain` | – |\n",
    );
    let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let logged = BTreeMap::from([
        ("known".to_owned(), fields(&["app", "new"])),
        ("plain".to_owned(), fields(&[])),
    ]);
    let expected = ["`known` has the fields app, new, and docs/operations/events.md says app, old"];
    assert_eq!(field_complaints(&page, &logged), expected);
}

/// Complaints about events whose column `Fields` differs from what the code logs.
fn field_complaints(page: &Page, logged: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut complaints = Vec::new();
    for row in &page.rows {
        let Some(column) = row.head.iter().position(|head| head == "Fields") else {
            continue;
        };
        let documented: BTreeSet<String> = row.cells[column].code.iter().cloned().collect();
        for (name, fields) in row.cells[0]
            .code
            .iter()
            .filter_map(|name| logged.get_key_value(name))
        {
            if *fields != documented {
                complaints.push(format!(
                    "`{name}` has the fields {}, and {EVENTS} says {}",
                    list(fields),
                    list(&documented)
                ));
            }
        }
    }
    complaints
}

fn complaints(pages: &[Page], literals: &Literals) -> Vec<String> {
    let codes = first_cells(page(pages, CODES), "Code");
    let findings = first_cells(page(pages, CHECK), "Code");
    let events = first_cells(page(pages, EVENTS), "Event");
    let metrics = first_cells(page(pages, METRICS), "Metric");
    let is_metric = |name: &&String| name.starts_with("doorward_") && !name.ends_with('_');
    let known_metrics: BTreeSet<String> = literals.all.iter().filter(is_metric).cloned().collect();
    let mut complaints = Vec::new();
    let mut compare = |what: &str,
                       page: &str,
                       documented: &BTreeSet<String>,
                       least: &BTreeSet<String>,
                       most: &BTreeSet<String>| {
        complaints.extend(
            least
                .difference(documented)
                .map(|name| format!("the {what} `{name}` is not in {page}")),
        );
        complaints.extend(
            documented
                .difference(most)
                .map(|name| format!("the {what} `{name}` in {page} does not exist")),
        );
    };
    compare("code", CODES, &codes, &literals.codes, &literals.all);
    compare("finding", CHECK, &findings, &BTreeSet::new(), &literals.all);
    compare("event", EVENTS, &events, &literals.events, &literals.all);
    compare("metric", METRICS, &metrics, &known_metrics, &known_metrics);
    let keys: BTreeSet<&str> = schema::tables()
        .iter()
        .flat_map(|table| table.keys.iter().copied())
        .collect();
    let others = literals
        .all
        .iter()
        .filter(|name| name.contains('_') && !name.starts_with("doorward_"));
    let fields = fields(pages);
    let undocumented = others.filter(|name| {
        let is_documented = [&codes, &findings, &events, &fields]
            .iter()
            .any(|names| names.contains(*name));
        !is_documented && !literals.events.contains(*name) && !keys.contains(name.as_str())
    });
    let unknown = undocumented.filter(|name| !PROTOCOL_NAMES.contains(&name.as_str()));
    complaints.extend(
        literals
            .prose
            .iter()
            .map(|text| format!("the event `{text}` is prose; name it by a code")),
    );
    complaints.extend(
        unknown.map(|name| format!("`{name}` is neither documented nor a name of a protocol")),
    );
    complaints
}

/// The code in all tables of the pages about events and metrics: fields, labels and their values.
fn fields(pages: &[Page]) -> BTreeSet<String> {
    let rows = [EVENTS, METRICS]
        .iter()
        .flat_map(|path| &page(pages, path).rows);
    let cells = rows.flat_map(|row| &row.cells);
    cells.flat_map(|cell| cell.code.iter().cloned()).collect()
}

/// The code in the first cells of the tables whose first column has this head.
fn first_cells(page: &Page, head: &str) -> BTreeSet<String> {
    let rows = page
        .rows
        .iter()
        .filter(|row| row.head.first().is_some_and(|first| first == head));
    rows.flat_map(|row| row.cells[0].code.iter().cloned())
        .collect()
}

#[test]
fn the_list_of_protocol_names_has_no_leftovers() {
    let literals = literals();
    let left: Vec<_> = PROTOCOL_NAMES
        .iter()
        .filter(|name| !literals.all.contains(**name))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn types_and_labels_of_metrics_are_documented() {
    let pages = pages();
    let mut documented = BTreeSet::new();
    for row in page(&pages, METRICS)
        .rows
        .iter()
        .filter(|row| row.head[0] == "Metric")
    {
        let [name, kind, labels, _] = row.cells.as_slice() else {
            panic!("four cells in line {}", row.line)
        };
        documented.insert((name.text.clone(), kind.text.clone(), labels.code.clone()));
    }
    let families = Metrics::FAMILIES.iter().map(|family| {
        let kinds = ["Counter", "Gauge", "Histogram"];
        let kind = kinds
            .iter()
            .find(|kind| family.holder.contains(**kind))
            .unwrap();
        let labels = family
            .labels
            .iter()
            .map(|label| (*label).to_owned())
            .collect();
        (family.name.to_owned(), kind.to_ascii_lowercase(), labels)
    });
    assert_eq!(documented, families.collect());
}

#[test]
fn metrics_in_text_and_queries_exist() {
    let pages = pages();
    let known = first_cells(page(&pages, METRICS), "Metric");
    for page in &pages {
        for (name, line) in words(page, "doorward_") {
            let is_token = name == "doorward_"
                || ["doorward_at_", "doorward_rt_", "doorward_dt_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(&name);
            let is_known = known.contains(&name) || known.contains(family) || is_cookie(&name);
            assert!(
                is_token || is_known,
                "{}:{line}: there is no `{name}`",
                page.path
            );
        }
    }
}

#[test]
fn cookies_are_documented_and_no_others() {
    let pages = pages();
    let documented = first_cells(page(&pages, SESSIONS), "Cookie");
    let documented: BTreeSet<&str> = documented
        .iter()
        .map(|name| name.trim_end_matches('…'))
        .collect();
    let names = cookie_names("https://store.example.com");
    assert_eq!(documented, names.iter().map(String::as_str).collect());
    for page in &pages {
        for prefix in ["__Host-doorward_", "__Secure-doorward_"] {
            for (name, line) in words(page, prefix) {
                assert!(
                    names
                        .iter()
                        .any(|known| name == *known
                            || known.ends_with('_') && name.starts_with(known)),
                    "{}:{line}: there is no `{name}`",
                    page.path
                );
            }
        }
    }
}

fn is_cookie(name: &str) -> bool {
    let mut known = cookie_names("http://localhost").into_iter();
    known.any(|known| name == known.trim_end_matches('_'))
}

fn cookie_names(origin: &str) -> Vec<String> {
    let origin = Origin::parse(origin).unwrap();
    let names = CookieNames::new("doorward", &origin, &Default::default());
    vec![
        names.jwt,
        names.refresh,
        names.activity,
        names.browser,
        names.device,
        names.device_network,
        names.login,
        names.hint,
        names.login_loop,
        names.user,
        names.provider,
        names.upstream,
        names.signed_in,
    ]
}

#[test]
fn command_line_flags_are_documented_and_no_others() {
    let pages = pages();
    let command = Cli::command();
    let mut flags = BTreeSet::from(["--help".to_owned(), "--version".to_owned()]);
    for subcommand in command.get_subcommands() {
        let nested = subcommand.get_subcommands();
        let arguments = nested
            .chain([subcommand])
            .flat_map(|command| command.get_arguments());
        flags.extend(arguments.filter_map(|flag| Some(format!("--{}", flag.get_long()?))));
        let written = format!("doorward {}", subcommand.get_name());
        let commands = page(&pages, "docs/commands.md");
        assert!(
            commands
                .spans
                .iter()
                .any(|span| span.text.starts_with(&written)),
            "`{written}` is not documented"
        );
    }
    let commands = page(&pages, "docs/commands.md");
    for flag in &flags {
        let is_documented = commands
            .spans
            .iter()
            .any(|span| span.text.split([' ', '[']).any(|word| word == flag));
        assert!(is_documented, "{flag} is not in {}", commands.path);
    }
    for page in &pages {
        let blocks = page
            .blocks
            .iter()
            .flat_map(|block| block.text.lines().map(|text| (text, block.line)));
        let spans = page
            .spans
            .iter()
            .map(|span| (span.text.as_str(), span.line));
        for (text, line) in blocks.chain(spans).filter(|(text, _)| runs_doorward(text)) {
            let (_, arguments) = text.split_once("doorward ").unwrap();
            // The rest is for another program.
            let arguments = arguments.split(" -- ").next().unwrap();
            let arguments = arguments.split(['#', '&', '|', ';']).next().unwrap();
            for flag in arguments
                .split([' ', '[', ']', '='])
                .filter(|word| word.starts_with("--"))
            {
                assert!(
                    flags.contains(flag),
                    "{}:{line}: there is no {flag}",
                    page.path
                );
            }
        }
    }
}

fn runs_doorward(text: &str) -> bool {
    ["run", "check", "import", "keygen", "revoke", "demo"]
        .iter()
        .any(|command| text.contains(&format!("doorward {command}")))
}

/// The words in the code of a page that begin with `prefix`, with their lines.
fn words(page: &Page, prefix: &str) -> Vec<(String, usize)> {
    let blocks = page
        .blocks
        .iter()
        .map(|block| (block.text.as_str(), block.line));
    let spans = page
        .spans
        .iter()
        .map(|span| (span.text.as_str(), span.line));
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut words = Vec::new();
    for (text, line) in blocks.chain(spans) {
        for word in text
            .split(|c| !in_word(c))
            .filter(|word| word.starts_with(prefix))
        {
            words.push((word.to_owned(), line));
        }
    }
    words
}

#[test]
fn endpoints_are_documented_and_no_others() {
    let pages = pages();
    let documented = first_cells(page(&pages, CONCEPTS), "Endpoint");
    let endpoints: BTreeSet<String> = doorward::policy::route::Endpoint::PATHS
        .iter()
        .map(|(path, _)| format!("/.doorward{path}"))
        .collect();
    assert_eq!(documented, endpoints);
    for page in &pages {
        for span in page
            .spans
            .iter()
            .filter_map(|span| Some((span.text.split_once("/.doorward/")?.1, span.line)))
        {
            let path: String = span
                .0
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '.'))
                .collect();
            // Of one of several providers.
            let path = match path.split_once("callback/") {
                Some(("", _)) => "callback".to_owned(),
                _ => path,
            };
            assert!(
                endpoints.contains(&format!("/.doorward/{path}")),
                "{}:{}: there is no {}",
                page.path,
                span.1,
                span.0
            );
        }
    }
}

/// Names of other protocols and software that running text mentions.
const FOREIGN_NAMES: [&str; 11] = [
    "auth_request",
    "auth_request_set",
    "authorization_encrypted_response_alg",
    "client_secret_post",
    "ext_authz",
    "forward_auth",
    "headers_to_remove",
    "large_client_header_buffers",
    "proxy_buffer_size",
    "response_headers_to_add",
    "x_forwarded_user",
];

/// A name in running text, such as a key or a code, is the name of something: so stale names are found.
#[test]
fn names_in_text_exist() {
    let pages = pages();
    let mut known: BTreeSet<String> = BTreeSet::new();
    known.extend(
        schema::tables()
            .iter()
            .flat_map(|table| table.keys)
            .map(|key| (*key).to_owned()),
    );
    known.extend(first_cells(page(&pages, CODES), "Code"));
    known.extend(first_cells(page(&pages, CHECK), "Code"));
    known.extend(first_cells(page(&pages, EVENTS), "Event"));
    known.extend(first_cells(page(&pages, SESSION_LIST), "Member"));
    known.extend(
        PROTOCOL_NAMES
            .iter()
            .chain(&FOREIGN_NAMES)
            .map(|name| (*name).to_owned()),
    );
    known.extend(fields(&pages));
    let is_about_doorward = |page: &&Page| !page.path.starts_with("docs/migration/");
    let mut unknown = Vec::new();
    for page in pages.iter().filter(is_about_doorward) {
        for span in &page.spans {
            let name = span.text.split(['=', ' ']).next().unwrap();
            let is_stem = name.ends_with('_') && known.iter().any(|code| code.starts_with(name));
            if is_code(name)
                && name.contains('_')
                && !name.starts_with("doorward_")
                && !known.contains(name)
                && !is_stem
            {
                unknown.push(format!("{}:{}: {name}", page.path, span.line));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}
