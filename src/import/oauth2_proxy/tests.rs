//! Tests of the mapping: access rules, providers, and the precedence of sources.

use toml::{Table, Value};

use super::*;
use crate::import::NoticeKind;

fn imported(text: &str) -> Imported {
    let name = "a.cfg";
    import(&[Source::Config { name, text }]).unwrap()
}

fn table(imported: &Imported) -> Table {
    imported.config.parse().unwrap()
}

/// The `allow` of the last rule, as text.
fn allow(text: &str) -> Option<String> {
    let config = table(&imported(text));
    let rules = config["apps"]["app"].get("rules")?.as_array()?;
    rules.last().map(|rule| rule["allow"].to_string())
}

#[test]
fn users_are_admitted_by_address_and_group() {
    let cases = [
        ("email_domains = ['*']", None),
        (
            "email_domains = ['a.com', '.b.com']",
            Some("{ email_domains = [\"a.com\"] }"),
        ),
        (
            "email_domains = 'a.com'\nauthenticated_emails_file = 'l.txt'",
            Some("{ any = [{ email_domains = [\"a.com\"] }, { emails = { file = \"l.txt\" } }] }"),
        ),
        (
            "email_domains = '*'\nallowed_groups = ['x', 'y']\noidc_groups_claim = 'teams'",
            Some("{ any_of = [\"x\", \"y\"], claim = \"teams\" }"),
        ),
        (
            "email_domains = '*'\nallowed_roles = ['x', 'my.app:y']",
            Some(
                "{ any = [{ any_of = [\"y\"], claim = 'resource_access.my\\.app.roles' }, \
                 { any_of = [\"x\"], claim = \"realm_access.roles\" }] }",
            ),
        ),
        (
            "email_domains = 'a.com'\nallowed_groups = 'x'",
            Some(
                "{ all = [{ email_domains = [\"a.com\"] }, { any_of = [\"x\"], claim = \"groups\" }] }",
            ),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(allow(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn restrictions_without_an_equivalent_admit_nobody() {
    for text in [
        "",
        "email_domains = ['.a.com']",
        "email_domains = ['a.com']\noidc_email_claim = 'upn'",
        "email_domains = '*'\ngithub_org = 'x'",
        "email_domains = '*'\ngoogle_groups = ['x']",
        "email_domains = '*'\nentra_id_allowed_tenants = ['x']",
    ] {
        assert_eq!(allow(text).as_deref(), Some("\"deny\""), "{text}");
        let imported = imported(text);
        let decides = |notice: &crate::import::Notice| {
            notice.kind == NoticeKind::Decide && notice.name == "apps.app.rules"
        };
        assert!(imported.notices.iter().any(decides), "{text}");
    }
}

#[test]
fn providers_have_an_issuer_or_must_be_decided() {
    let cases = [
        ("", Some("https://accounts.google.com")),
        ("provider = 'gitlab'", Some("https://gitlab.com")),
        (
            "provider = 'oidc'\noidc_issuer_url = 'https://a/'",
            Some("https://a/"),
        ),
        ("provider = 'oidc'", None),
        ("provider = 'github'", None),
        (
            "provider = 'login.gov'\noidc_issuer_url = 'https://a'",
            None,
        ),
        ("provider = 'azure'\nazure_tenant = 'common'", None),
        (
            "provider = 'azure'\nazure_tenant = 'a-b'",
            Some("https://login.microsoftonline.com/a-b/v2.0"),
        ),
        (
            "provider = 'entra-id'\noidc_issuer_url = 'https://login.microsoftonline.com/common/v2.0'",
            None,
        ),
    ];
    for (text, expected) in cases {
        let config = table(&imported(text));
        let provider = config.get("providers").map(|providers| &providers["login"]);
        let issuer = provider.and_then(|provider| provider.get("issuer"));
        assert_eq!(issuer.and_then(Value::as_str), expected, "{text}");
    }
}

#[test]
fn flags_replace_variables_and_variables_replace_the_file() {
    let variables = [
        ("OAUTH2_PROXY_CLIENT_ID".to_owned(), "variable".to_owned()),
        ("OAUTH2_PROXY_SCOPE".to_owned(), "openid a".to_owned()),
        ("CLIENT_ID".to_owned(), "other".to_owned()),
    ];
    let flags = [
        "--scope",
        "openid b",
        "--pass-host-header=false",
        "--email-domain=a.com",
        "-email-domain=b.com,c.com",
        "x",
    ];
    let flags = flags.map(str::to_owned);
    let sources = [
        Source::Config {
            name: "a.cfg",
            text: "client_id = 'file'\nscope = 'openid'\nprompt = 'login'",
        },
        Source::VariableFile {
            name: "a.env",
            text: "# comment\nexport OAUTH2_PROXY_PROMPT=\"consent\"\nOTHER=1\n",
        },
        Source::Variables(&variables),
        Source::Arguments(&flags),
    ];
    let imported = import(&sources).unwrap();
    let config = table(&imported);
    let app = &config["apps"]["app"];
    assert_eq!(app["client_id"].as_str(), Some("variable"));
    assert_eq!(app["scopes"].to_string(), "[\"openid\", \"b\"]");
    assert_eq!(
        app["extra_authorization_params"]["prompt"].as_str(),
        Some("consent")
    );
    assert_eq!(app["upstream_host"].as_str(), Some("upstream"));
    assert_eq!(
        app["rules"][0]["allow"].to_string(),
        "{ email_domains = [\"a.com\", \"b.com\", \"c.com\"] }"
    );
    let stray = imported
        .notices
        .iter()
        .find(|notice| notice.name == "argument")
        .unwrap();
    assert_eq!(stray.at.as_ref().unwrap().to_string(), "argument 6");
}

#[test]
fn listeners_follow_the_certificates() {
    let server = |text| table(&imported(text))["server"].clone();
    assert_eq!(server("")["listen"].as_str(), Some("127.0.0.1:4180"));
    assert_eq!(
        server("http_address = 'http://:8080'")["listen"].as_str(),
        Some("0.0.0.0:8080")
    );
    assert_eq!(
        server("http_address = 'unix:///run/a.sock'")["listen"].as_str(),
        Some("unix:/run/a.sock")
    );
    let tls = "tls_cert_file = 'c'\ntls_key_file = 'k'\n";
    assert_eq!(server(tls)["listen"].as_str(), Some("0.0.0.0:443"));
    let both = server(&format!(
        "{tls}http_address = ':80'\nhttps_address = ':443'\nforce_https = true"
    ));
    assert_eq!(both["listeners"].as_array().unwrap().len(), 2);
    assert_eq!(
        both["listeners"][1]["redirect_to_https"].as_bool(),
        Some(true)
    );
    assert_eq!(both["tls"]["key_file"].as_str(), Some("k"));
}

#[test]
fn notices_are_in_the_order_of_the_input() {
    let text = "pass_access_token = true\n\n[table]\nx = 1\n";
    let imported = imported(&format!("unknown = 1\n{text}"));
    let lines: Vec<String> = imported
        .notices
        .iter()
        .filter_map(|notice| notice.at.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(lines, ["a.cfg:1", "a.cfg:2", "a.cfg:4"]);
}
