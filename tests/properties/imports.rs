//! Import: any text is imported or refused, the result is TOML, and secrets are not in it.

use doorward::import::mod_auth_openidc;
use doorward::import::oauth2_proxy::{self, Source, options::OPTIONS};
use doorward::import::options::KnownOption;
use doorward::import::{ImportError, Imported};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use toml::Table;

const SECRET: &str = "canary-4711";
/// Pieces of both formats, some of them hostile to the output.
const PIECES: [&str; 40] = [
    "\n",
    "\n",
    "\n",
    " ",
    "=",
    "\"",
    "'",
    "\\",
    "[",
    "]",
    "{",
    "}",
    "#",
    ",",
    "<",
    ">",
    "/",
    "*",
    "^",
    "$",
    ".*",
    "(a|b)",
    "\"\n[apps.evil]\nx = \"",
    "'''",
    "\u{0}",
    "é",
    "<Location /a>",
    "</Location>",
    "<VirtualHost *:443>",
    "</VirtualHost>",
    "Require claim a:b",
    "Require not valid-user",
    "AuthType openid-connect",
    "ServerName a.example.com",
    "OIDCRedirectURI https://a.example.com/x/callback",
    "OIDCRemoteUserClaim {email}",
    "<RequireNone>",
    "</RequireNone>",
    "ProxyPass / http://127.0.0.1:1/",
    "<LocationMatch \"^/a/(b|c)/.*$\">",
];

fn examine(result: Result<Imported, ImportError>) {
    let Ok(imported) = result else { return };
    let table: Table = imported
        .config
        .parse()
        .unwrap_or_else(|error| panic!("{error}\n{}", imported.config));
    assert!(table.keys().all(|key| {
        ["server", "log", "session", "store", "providers", "apps"].contains(&key.as_str())
    }));
    for notice in &imported.notices {
        assert!(!notice.to_string().contains(['\n', '\u{0}']));
    }
}

fn pieces() -> impl Strategy<Value = String> {
    let name = || select(OPTIONS).prop_map(|option| option.name.replace('-', "_"));
    let piece = prop_oneof![
        3 => select(PIECES.as_slice()).prop_map(str::to_owned),
        1 => name(),
        1 => name().prop_map(|name| format!("\n{name} = [\"^/a\", \"b\"]\n")),
        1 => any::<String>(),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_imported_or_refused(text in pieces()) {
        let name = "a.cfg";
        let text = text.as_str();
        examine(oauth2_proxy::import(&[Source::Config { name, text }]));
        examine(oauth2_proxy::import(&[Source::VariableFile { name, text }]));
        let arguments: Vec<String> = text.split('\n').map(str::to_owned).collect();
        examine(oauth2_proxy::import(&[Source::Arguments(&arguments)]));
        examine(mod_auth_openidc::import(name, text));
    }

    #[test]
    fn any_values_of_options_are_written_as_values(
        values in vec((select(OPTIONS), any::<String>()), 0..12),
    ) {
        let arguments: Vec<String> = values
            .iter()
            .map(|(option, value)| format!("--{}={value}", option.name))
            .collect();
        examine(oauth2_proxy::import(&[Source::Arguments(&arguments)]));
    }
}

/// Whether the values of this option may be secrets or may have one in a URL.
fn may_be_secret(option: &&KnownOption) -> bool {
    let words = [
        "secret",
        "password",
        "github-token",
        "jwt-key",
        "signature-key",
        "redis-",
    ];
    let has_word = words.iter().any(|word| option.name.contains(word));
    has_word && !option.name.ends_with("-file") && !PLAIN.contains(&option.name)
}

/// Options that such words do not make secret.
const PLAIN: [&str; 3] = [
    "redis-username",
    "redis-ca-path",
    "redis-sentinel-master-name",
];

#[test]
fn secrets_are_not_copied() {
    let secrets: Vec<&KnownOption> = OPTIONS.iter().filter(may_be_secret).collect();
    assert!(secrets.len() > 12, "{secrets:?}");
    for option in secrets {
        for value in [SECRET.to_owned(), format!("redis://a:{SECRET}@b")] {
            for kind in ["sentinel", "cluster", "none"] {
                let arguments = [
                    "--session-store-type=redis".to_owned(),
                    format!("--redis-use-{kind}"),
                    format!("--{}={value}", option.name),
                ];
                let imported = oauth2_proxy::import(&[Source::Arguments(&arguments)]).unwrap();
                let notices = format!("{:?}", imported.notices);
                for text in [imported.config, notices] {
                    assert!(!text.contains(SECRET), "{}: {text}", option.name);
                }
            }
        }
    }
}

#[test]
fn inputs_beyond_the_limits_are_refused() {
    let name = "a";
    let large = "#".repeat(1024 * 1024 + 1);
    let text = large.as_str();
    for result in [
        oauth2_proxy::import(&[Source::Config { name, text }]),
        oauth2_proxy::import(&[Source::VariableFile { name, text }]),
        mod_auth_openidc::import(name, text),
    ] {
        assert!(matches!(result, Err(ImportError::TooLarge(_))));
    }
    let many = "x y\n".repeat(10_001);
    assert!(matches!(
        mod_auth_openidc::import(name, &many),
        Err(ImportError::TooMany)
    ));
}
