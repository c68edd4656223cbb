//! `doorward import`: configurations of other products, and what the configuration check says of the
//! results.

use std::collections::BTreeSet;

use doorward::import::mod_auth_openidc::{self, options::DIRECTIVES};
use doorward::import::oauth2_proxy::{self, Source, options::OPTIONS};
use doorward::import::options::{KnownOption, Treatment};
use doorward::import::{Imported, NoticeKind};

use super::support::Folder;

const STORE: &str = include_str!("imports/store.cfg");
const STORE_IMPORTED: &str = include_str!("imports/store.toml");
const SHOP: &str = include_str!("imports/shop.conf");
const SHOP_IMPORTED: &str = include_str!("imports/shop.toml");

fn store(text: &str) -> Imported {
    let name = "store.cfg";
    oauth2_proxy::import(&[Source::Config { name, text }]).unwrap()
}

fn names(options: &[KnownOption]) -> BTreeSet<&str> {
    options.iter().map(|option| option.name).collect()
}

#[test]
fn every_published_option_is_in_the_table() {
    let reference: BTreeSet<&str> = include_str!("imports/oauth2-proxy-7.15-reference.txt")
        .lines()
        .collect();
    let source: BTreeSet<&str> = include_str!("imports/oauth2-proxy-7.15-source.txt")
        .lines()
        .collect();
    assert_eq!(reference.len(), 144);
    assert!(reference.is_subset(&source));
    assert_eq!(names(OPTIONS), source);
    let directives: BTreeSet<&str> = include_str!("imports/mod_auth_openidc-2.4.20.txt")
        .lines()
        .collect();
    assert_eq!(directives.len(), 146);
    assert_eq!(names(DIRECTIVES), directives);
}

#[test]
fn every_mapped_option_is_used_or_its_reason_is_told() {
    // An option that is not mapped in one configuration may be in another; none is silently lost.
    for option in OPTIONS {
        let key = option.name.replace('-', "_");
        let imported = store(&format!("{key} = \"canary\"\n"));
        let is_told = imported.notices.iter().any(|notice| notice.name == key);
        match option.treatment {
            Treatment::Refused | Treatment::Missing | Treatment::ByHand => {
                assert!(is_told, "{key}");
                assert!(!imported.is_complete());
            }
            Treatment::Mapped | Treatment::BuiltIn => {}
        }
    }
}

#[test]
fn store_behind_oauth2_proxy_is_imported() {
    let imported = store(STORE);
    assert_eq!(imported.config, STORE_IMPORTED, "\n{}", imported.config);
    assert!(!imported.is_complete());
    assert!(!imported.config.contains("canary"));
    let loaded = Folder::with(&imported.config).load(&[]).unwrap();
    let [app] = loaded.config.apps.as_slice() else {
        panic!("one app")
    };
    assert_eq!(
        app.registrations[0].client.redirect_uri.as_str(),
        "https://store.example.com/oauth2/callback"
    );
}

#[test]
fn alpha_configuration_is_imported() {
    let imported = oauth2_proxy::import(&[
        Source::Config {
            name: "alpha.cfg",
            text: include_str!("imports/alpha.cfg"),
        },
        Source::Alpha {
            name: "alpha.yaml",
            text: include_str!("imports/alpha.yaml"),
        },
    ]);
    let imported = imported.unwrap();
    let expected = include_str!("imports/alpha.toml");
    assert_eq!(imported.config, expected, "\n{}", imported.config);
    assert!(!imported.is_complete());
    assert!(!imported.config.contains("canary"));
    let loaded = Folder::with(&imported.config).load(&[]).unwrap();
    assert_eq!(loaded.config.apps.len(), 1);
}

#[test]
fn malformed_alpha_configuration_names_the_line() {
    for (text, line) in [("a: b\nc: [", 2), ("a: b\nc: d: e", 2), ("a: *unknown", 1)] {
        let name = "alpha.yaml";
        let error = oauth2_proxy::import(&[Source::Alpha { name, text }]).unwrap_err();
        assert_eq!(error.to_string(), format!("alpha.yaml:{line}: not YAML"));
    }
}

#[test]
fn repeated_aliases_do_not_multiply_an_alpha_configuration() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in "bcdefghij".chars().zip("abcdefghi".chars()) {
        let aliases = vec![format!("*{before}"); 10].join(", ");
        text.push_str(&format!("{name}: &{name} [{aliases}]\n"));
    }
    let name = "alpha.yaml";
    assert!(oauth2_proxy::import(&[Source::Alpha { name, text: &text }]).is_err());
}

#[test]
fn apache_virtual_host_is_imported() {
    let imported = mod_auth_openidc::import("shop.conf", SHOP).unwrap();
    assert_eq!(imported.config, SHOP_IMPORTED, "\n{}", imported.config);
    assert!(!imported.config.contains("canary"));
    let loaded = Folder::with(&imported.config).load(&[]).unwrap();
    assert_eq!(loaded.config.apps.len(), 1);
}

#[test]
fn complete_import_has_nothing_to_decide() {
    let text = "provider = \"oidc\"\noidc_issuer_url = \"https://login.example.com\"\nclient_id = \"store\"\n\
        client_secret_file = \"secrets/store\"\nredirect_url = \"https://store.example.com/oauth2/callback\"\n\
        upstreams = \"http://127.0.0.1:3000\"\nemail_domains = \"*\"\n";
    let imported = store(text);
    assert!(imported.is_complete(), "{:#?}", imported.notices);
    Folder::with(&imported.config).load(&[]).unwrap();
}

#[test]
fn empty_input_is_all_decisions_and_admits_nobody() {
    let imported = store("");
    let decisions: Vec<&str> = imported
        .notices
        .iter()
        .filter(|notice| notice.kind == NoticeKind::Decide)
        .map(|notice| notice.name.as_str())
        .collect();
    assert_eq!(
        decisions,
        [
            "apps.app.public_url",
            "apps.app.upstream",
            "apps.app.client_id",
            "apps.app.rules"
        ]
    );
    assert!(imported.config.contains("allow = \"deny\""));
    assert!(Folder::with(&imported.config).load(&[]).is_err());
}
