//! Tests of the mapping: sections in their order, and requirements that are never widened.

use toml::Table;

use super::*;
use crate::import::NoticeKind;

/// The rules: paths and `allow`.
fn rules(text: &str) -> Vec<String> {
    let imported = import("a.conf", text).unwrap();
    let config: Table = imported.config.parse().unwrap();
    let (_, app) = config["apps"].as_table().unwrap().iter().next().unwrap();
    let rules = app.get("rules").and_then(|rules| rules.as_array());
    let rules = rules.map_or(&[][..], Vec::as_slice);
    rules
        .iter()
        .map(|rule| {
            let paths: Vec<&str> = rule["paths"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|path| path.as_str())
                .collect();
            format!("{} {}", paths.join(","), rule["allow"])
        })
        .collect()
}

/// The `allow` of a section with these requirements.
fn allow(requirements: &str) -> String {
    let text = format!("<Location />\nAuthType openid-connect\n{requirements}\n</Location>");
    let rules = rules(&text);
    rules.first().unwrap().trim_start_matches("/** ").to_owned()
}

#[test]
fn requirements_become_conditions() {
    let cases = [
        ("Require valid-user", "\"authenticated\""),
        ("Require all granted", "\"public\""),
        ("Require all denied", "\"deny\""),
        ("Require claim roles:admin", "{ roles = [\"admin\"] }"),
        (
            "Require claim a.b:x",
            "{ any_of = [\"x\"], claim = \"a.b\" }",
        ),
        (
            "require CLAIM email~^.+@example\\.com$",
            "{ email_domains = [\"example.com\"] }",
        ),
        (
            "Require claim roles:a\nRequire claim roles:b",
            "{ any = [{ roles = [\"a\"] }, { roles = [\"b\"] }] }",
        ),
        (
            "<RequireAll>\nRequire valid-user\nRequire claim roles:a\nRequire not claim roles:b\n</RequireAll>",
            "{ all = [{ roles = [\"a\"] }, { not = { roles = [\"b\"] } }] }",
        ),
        (
            "<RequireAll>\nRequire claim roles:a\n<RequireNone>\nRequire claim x:1\nRequire claim x:2\n</RequireNone>\n</RequireAll>",
            "{ all = [{ roles = [\"a\"] }, { not = { any = [{ any_of = [\"1\"], claim = \"x\" }, { any_of = [\"2\"], claim = \"x\" }] } }] }",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(allow(text), expected, "{text}");
    }
}

#[test]
fn requirements_without_an_equivalent_never_admit_more() {
    for text in [
        "Require claims_expr .x",
        "Require claim email~^x",
        "Require user bob",
        "Require host example.com",
        "<RequireAll>\nRequire valid-user\nRequire host example.com\n</RequireAll>",
        "<RequireNone>\nRequire host example.com\n</RequireNone>",
        "<RequireAll>\nRequire valid-user\nRequire not host example.com\n</RequireAll>",
        "<RequireAll>\nRequire valid-user\nRequire not claim email~^.+@example\\.com$\n</RequireAll>",
        "Require valid-user\n<If \"true\">\nRequire claim a:b\n</If>",
    ] {
        assert_eq!(allow(text), "\"deny\"", "{text}");
    }
    // One of several choices is left out.
    assert_eq!(
        allow("Require host a\nRequire claim roles:a"),
        "{ roles = [\"a\"] }"
    );
}

#[test]
fn last_section_of_apache_is_the_first_rule() {
    let section = |path: &str, requirement: &str| {
        format!("<Location {path}>\nAuthType openid-connect\nRequire {requirement}\n</Location>\n")
    };
    let text = section("/", "valid-user")
        + &section("/a", "all granted")
        + &section("/a/b/", "claim roles:x");
    assert_eq!(
        rules(&text),
        [
            "/a/b/** { roles = [\"x\"] }",
            "/a/** \"public\"",
            "/** \"authenticated\""
        ]
    );
    // A later section for all paths overrides the earlier ones.
    let text = section("/a", "all granted") + &section("/", "claim roles:x");
    assert_eq!(rules(&text), ["/** { roles = [\"x\"] }"]);
}

#[test]
fn sections_whose_paths_are_unknown_close_what_they_may_be_about() {
    let text = "<Location />\nRequire all granted\n</Location>\n<LocationMatch \"^/a.b\">\nRequire claim roles:x\n</LocationMatch>\n";
    assert_eq!(rules(text), ["/** \"deny\""]);
    let text = "<Directory /var/www>\nRequire claim roles:x\n</Directory>\n";
    assert_eq!(rules(text), ["/** \"deny\""]);
    let text = "<Location />\nAuthType Basic\nRequire valid-user\n</Location>\n";
    assert_eq!(rules(text), ["/** \"deny\""]);
}

#[test]
fn paths_outside_of_all_sections_are_left_to_decide() {
    let text = "<Location /admin>\nAuthType openid-connect\nRequire valid-user\n</Location>\n";
    let imported = import("a.conf", text).unwrap();
    let decides = |notice: &&crate::import::Notice| {
        notice.kind == NoticeKind::Decide && notice.message.contains("outside of the sections")
    };
    assert_eq!(imported.notices.iter().filter(decides).count(), 1);
}

#[test]
fn each_virtual_host_is_an_app_and_hosts_share_a_provider() {
    let host = |name: &str, issuer: &str| {
        format!(
            "<VirtualHost *:443>\nServerName {name}\nOIDCProviderMetadataURL {issuer}/.well-known/openid-configuration\n\
             OIDCRedirectURI /r/callback\nOIDCClientID {name}\n</VirtualHost>\n"
        )
    };
    let text = [
        host("store.example.com", "https://a"),
        host("store.example.org", "https://a"),
        host("forum.example.com", "https://b"),
    ];
    let imported = import("a.conf", &text.concat()).unwrap();
    let config: Table = imported.config.parse().unwrap();
    let apps = config["apps"].as_table().unwrap();
    let of = |name: &str, key: &str| apps[name][key].as_str().unwrap().to_owned();
    assert_eq!(
        apps.keys().collect::<Vec<_>>(),
        ["forum", "store", "store-2"]
    );
    assert_eq!(of("store-2", "public_url"), "https://store.example.org");
    assert_eq!(of("store-2", "endpoint_prefix"), "/r");
    assert_eq!(of("store-2", "client_id"), "store.example.org");
    assert_eq!(
        (of("store", "provider"), of("store-2", "provider")),
        ("login".to_owned(), "login".to_owned())
    );
    assert_eq!(of("forum", "provider"), "login-2");
}
