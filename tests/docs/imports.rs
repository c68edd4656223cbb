//! The migration guides: their tables are those of `doorward import`, and their examples are its
//! input and output.

use std::fs;
use std::path::Path;

use doorward::import::mod_auth_openidc::{self, options::DIRECTIVES};
use doorward::import::oauth2_proxy::{self, Source, options::OPTIONS};
use doorward::import::options::KnownOption;

use super::book::{Page, page, pages};

const OAUTH2_PROXY: &str = "docs/migration/oauth2-proxy.md";
const MOD_AUTH_OPENIDC: &str = "docs/migration/mod-auth-openidc.md";

#[test]
fn guides_have_every_option_as_the_import_treats_it() {
    for (path, options, prefix) in [
        (OAUTH2_PROXY, OPTIONS, "--"),
        (MOD_AUTH_OPENIDC, DIRECTIVES, ""),
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        assert_eq!(
            complaints(&text, options, prefix),
            Vec::<String>::new(),
            "{path}"
        );
    }
}

#[test]
fn wrong_and_missing_rows_are_found() {
    let options = &OPTIONS[..3];
    let mut text: String = options
        .iter()
        .map(|option| row(option, "--") + "\n")
        .collect();
    assert_eq!(complaints(&text, options, "--"), Vec::<String>::new());
    text = text.replace("built in", "mapped");
    assert!(!complaints(&text, options, "--").is_empty());
}

fn complaints(text: &str, options: &[KnownOption], prefix: &str) -> Vec<String> {
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| {
            let name = line
                .strip_prefix("| `")
                .and_then(|rest| rest.strip_prefix(prefix));
            let name = name.and_then(|rest| rest.split('`').next());
            name.is_some_and(|name| options.iter().any(|option| option.name == name))
                && line.matches(" | ").count() >= 3
        })
        .collect();
    let expected: Vec<String> = options.iter().map(|option| row(option, prefix)).collect();
    let missing = expected.iter().filter(|row| !rows.contains(&row.as_str()));
    let wrong = rows
        .iter()
        .filter(|row| !expected.iter().any(|expected| expected == *row));
    let missing = missing.map(|row| format!("is not there: {row}"));
    missing
        .chain(wrong.map(|row| format!("is wrong: {row}")))
        .collect()
}

fn row(option: &KnownOption, prefix: &str) -> String {
    let KnownOption {
        name,
        treatment,
        equivalent,
        note,
        ..
    } = option;
    let note = if note.is_empty() {
        String::new()
    } else {
        format!(" {note}")
    };
    format!(
        "| `{prefix}{name}` | {} | {equivalent} |{note} |",
        treatment.word()
    )
}

/// The example of a guide.
struct Example<'p> {
    input: &'p str,
    output: &'p str,
}

/// The first TOML block and the text block before it.
fn example(page: &Page) -> Example<'_> {
    let output = page
        .blocks
        .iter()
        .position(|block| block.language == "toml");
    let (before, rest) = page.blocks.split_at(output.unwrap());
    let input = before.iter().rfind(|block| block.language == "text");
    Example {
        input: &input.unwrap().text,
        output: &rest[0].text,
    }
}

#[test]
fn examples_are_input_and_output_of_the_import() {
    let pages = pages();
    let Example { input, output } = example(page(&pages, OAUTH2_PROXY));
    let source = Source::Config {
        name: "oauth2-proxy.cfg",
        text: input,
    };
    let imported = oauth2_proxy::import(&[source]).unwrap();
    assert_eq!(output, imported.config, "\n{}", imported.config);

    let Example { input, output } = example(page(&pages, MOD_AUTH_OPENIDC));
    let imported = mod_auth_openidc::import("openidc.conf", input).unwrap();
    assert_eq!(output, imported.config, "\n{}", imported.config);
}
