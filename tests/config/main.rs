//! Configuration loading: shipped files, errors and their locations, environment variables, and the
//! exit codes of the binary.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::panic,
    reason = "a test's helpers fail the test by panicking"
)]

use std::fs;

use doorward::config::{Problem, Severity};
use doorward::oidc::ClientAuth;
use doorward::types::net::ListenAddr;
use doorward::upstream::UpstreamUrl;

mod binary;
mod environment;
mod errors;
mod explain;
mod fusionauth;
mod imports;
mod login_host;
mod pages;
mod several_providers;
mod shared_origin;
mod shipped;
mod store;
mod support;
mod syntax;

use support::{Folder, GOOD, edited, problems};

#[test]
fn valid_file_is_loaded() {
    let loaded = Folder::with(GOOD).load(&[]).unwrap();
    assert_eq!(loaded.warnings.problems(), []);
    let [forum, store] = loaded.config.apps.as_slice() else {
        panic!("two apps")
    };
    assert_eq!(store.policy.name.as_str(), "store");
    assert_eq!(store.registrations[0].client.scopes, ["openid", "email"]);
    assert_eq!(
        store.registrations[0].client.redirect_uri.as_str(),
        "https://store.example.com/.doorward/callback"
    );
    assert!(
        matches!(&store.registrations[0].client.token_auth, ClientAuth::Secret(secret) if secret.expose() == "hunter2")
    );
    assert!(matches!(
        forum.registrations[0].client.token_auth,
        ClientAuth::None
    ));
    assert_eq!(forum.policy.headers.len(), 4);
    assert_eq!(forum.policy.limits.idle.as_secs(), 30 * 60);
    assert!(
        loaded
            .config
            .provider(&store.registrations[0].provider)
            .is_some()
    );
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}

#[test]
fn all_mistakes_are_reported_with_their_lines() {
    let text = r#"[server]
listen = "localhost:8080"
wrokers = 4
[session]
key_files = ["missing.key"]
idle_timeout = 90
[store]
url = "redis://user:hunter3@cache/x"
[providers.login]
issuer = "http://login.example.com"
[apps.store]
provider = "logn"
public_url = "https://store.example.com/cart/"
upstream = "127.0.0.1:3000"
client_id = 12345
client_secret = "hunter2"
[[apps.store.rules]]
paths = ["/ok", "admin"]
allow = "everybody"
"#;
    let diagnosis = Folder::with(text).load(&[]).unwrap_err();
    let found: Vec<_> = diagnosis
        .problems()
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| (problem.location.line().unwrap(), problem.key.as_str()))
        .collect();
    let expected = [
        (2, "server.listen"),
        (3, "server.wrokers"),
        (5, "session.key_files.0"),
        (6, "session.idle_timeout"),
        (8, "store.url"),
        (10, "providers.login.issuer"),
        (12, "apps.store.provider"),
        (13, "apps.store.public_url"),
        (14, "apps.store.upstream"),
        (15, "apps.store.client_id"),
        (18, "apps.store.rules.0.paths.1"),
        (19, "apps.store.rules.0.allow"),
    ];
    assert_eq!(found, expected);
    let shown = diagnosis.render(false);
    for part in [
        "did you mean `workers`?",
        "did you mean `login`?",
        "doorward.toml:18:17",
        "hint: use a string",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    for secret in ["hunter2", "hunter3"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn http_is_allowed_by_dangerous_keys() {
    let text = GOOD
        .replace(
            "https://forum.example.com\"",
            "http://forum.example.com\"\ndangerously_allow_http_public_url = true",
        )
        .replace(
            "https://login.example.com\"",
            "http://login.example.com\"\ndangerously_allow_http_issuer = true",
        );
    let loaded = Folder::with(&text).load(&[]).unwrap();
    assert!(loaded.config.providers[0].allow_insecure_http);
    assert!(!loaded.config.apps[0].policy.origin.is_secure());
}

#[test]
fn apps_on_one_host_need_different_cookie_names() {
    let text = edited(
        "https://store.example.com\"",
        "https://forum.example.com:8443\"\ncookie_name = \"shop\"",
    );
    assert!(Folder::with(&text).load(&[]).is_ok());
}

#[test]
fn certificates_that_clients_reject_get_warnings() {
    let tls = "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n";
    let text = edited("trusted_proxies = [\"10.0.0.0/8\"]\n", tls);
    let folder = Folder::with(&text);
    let warnings = || {
        let loaded = folder.load(&[]).unwrap();
        let problems = loaded.warnings.problems().to_vec();
        assert!(
            problems
                .iter()
                .all(|problem| problem.severity == Severity::Warning)
        );
        let key = |problem: &Problem| format!("{}: {}", problem.key, problem.message);
        problems.iter().map(key).collect::<Vec<_>>()
    };
    let issue = |hosts: &[&str], last_day: (i32, u8, u8)| {
        let hosts = hosts.iter().map(|host| (*host).to_owned());
        let mut parameters = rcgen::CertificateParams::new(hosts.collect::<Vec<_>>()).unwrap();
        let (year, month, day) = last_day;
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate().unwrap();
        folder.write("tls/cert.pem", &parameters.self_signed(&key).unwrap().pem());
        folder.write("tls/key.pem", &key.serialize_pem());
    };
    assert_eq!(warnings(), Vec::<String>::new());
    issue(&["*.example.com"], (2020, 1, 1));
    assert_eq!(
        warnings(),
        ["server.tls.cert_file: the certificate has expired"]
    );
    issue(&["forum.example.com"], (4096, 1, 1));
    assert_eq!(
        warnings(),
        ["apps.store.public_url: no certificate is valid for `store.example.com`"]
    );
    // Behind a proxy that ends TLS, clients never see the certificate.
    let behind = text.replace(tls, &format!("trusted_proxies = [\"10.0.0.0/8\"]\n{tls}"));
    folder.write("doorward.toml", &behind);
    assert_eq!(warnings(), Vec::<String>::new());
}

#[test]
fn certificate_of_other_key_is_rejected() {
    let folder = Folder::with(&format!(
        "{GOOD}\n[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n"
    ));
    let loaded = folder.load(&[]).unwrap();
    assert_eq!(
        loaded.config.server.tls.unwrap().certificates.files()[0].cert_file,
        folder.path("tls/cert.pem")
    );
    let other = rcgen::generate_simple_self_signed(["store.example.com".to_owned()]).unwrap();
    folder.write("tls/key.pem", &other.signing_key.serialize_pem());
    let error = folder.load(&[]).unwrap_err();
    assert!(
        error.problems()[0]
            .message
            .contains("certificate and the key cannot be used together"),
        "{error}"
    );
}

#[test]
fn secret_files_are_checked() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::with(GOOD);
    for (text, message) in [
        ("", "is empty"),
        ("\n", "is empty"),
        (&*"x".repeat(5000), "does not hold a secret"),
        ("hunter2 \n", "begins or ends with a blank"),
        ("\thunter2", "begins or ends with a blank"),
        ("hunter2\u{a0}", "begins or ends with a blank"),
        ("\u{feff}\n", "is empty"),
    ] {
        folder.write("store.secret", text);
        let error = folder.load(&[]).unwrap_err();
        assert!(error.problems()[0].message.contains(message), "{error}");
    }
    // Editors for Windows write a byte order mark and another line ending.
    for text in ["\u{feff}hunter2", "\u{feff}hunter2\r\n", "hunter2"] {
        folder.write("store.secret", text);
        let store = folder.load(&[]).unwrap().config.apps.pop().unwrap();
        assert!(
            matches!(&store.registrations[0].client.token_auth, ClientAuth::Secret(secret) if secret.expose() == "hunter2")
        );
    }
    fs::set_permissions(
        folder.path("store.secret"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let loaded = folder.load(&[]).unwrap();
    let [warning] = loaded.warnings.problems() else {
        panic!("{}", loaded.warnings)
    };
    assert_eq!(warning.severity, Severity::Warning);
    assert!(warning.message.contains("every user"), "{warning:?}");
}

#[test]
fn untrusted_proxy_is_a_warning() {
    let untrusted = edited("trusted_proxies = [\"10.0.0.0/8\"]", "");
    let found = problems(&untrusted);
    let [warning] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(warning.key, "server.trusted_proxies");
    assert_eq!(warning.severity, Severity::Warning);
    assert!(warning.message.contains("count as one"), "{warning:?}");
    let tls = "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n[session]";
    assert_eq!(problems(&untrusted.replace("[session]", tls)), []);
    let socket = untrusted.replace("127.0.0.1:8080", "unix:/run/doorward.sock");
    assert_eq!(problems(&socket), []);
}

#[test]
fn placeholder_in_a_secret_file_is_rejected() {
    let folder = Folder::with(GOOD);
    for placeholder in ["only-an-example\n", "REPLACE with the client secret\n"] {
        folder.write("store.secret", placeholder);
        let error = folder.load(&[]).unwrap_err();
        assert!(
            error.problems()[0]
                .message
                .contains("contains a placeholder"),
            "{error}"
        );
    }
}

#[test]
fn plain_http_to_another_machine_gets_advice() {
    let found = |upstream: &str| problems(&edited("http://127.0.0.1:4000", upstream));
    for upstream in [
        "http://forum.internal:4000",
        "http://forum",
        "http://10.0.0.7",
    ] {
        let advice = found(upstream);
        assert!(
            advice.len() == 1
                && advice[0].severity == Severity::Advice
                && advice[0].key == "apps.forum.upstream",
            "{}",
            support::shown(&advice)
        );
    }
    for upstream in [
        "http://localhost:4000",
        "http://[::1]:4000",
        "https://forum.internal",
        "unix:/run/forum.sock",
    ] {
        assert_eq!(found(upstream), [], "{upstream}");
    }
    let loaded = Folder::with(&edited("http://127.0.0.1:4000", "http://forum"))
        .load(&[])
        .unwrap();
    assert!(loaded.warnings.render(false).contains("advice"));
    assert_eq!(loaded.warnings.without_advice().problems(), []);
}

#[test]
fn listeners_are_read_and_http_aliases_allowed() {
    let tls = "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n[session]";
    let listeners = "forwarded_proto = true\n\
        [[server.listeners]]\naddress = \"0.0.0.0:8443\"\n\
        [[server.listeners]]\naddress = \"0.0.0.0:8080\"\nredirect_to_https = true\n\
        [[server.listeners]]\naddress = \"unix:/run/a.sock\"\ntls = false\nunix_socket_mode = \"0660\"\n";
    let trusting = "trusted_proxies = [\"10.0.0.0/8\"]\n";
    let text = GOOD
        .replace("listen = \"127.0.0.1:8080\"\n", "")
        .replace(trusting, &format!("{trusting}{listeners}"))
        .replace("[session]", tls)
        .replace(
            "client_id = \"forum\"",
            "client_id = \"forum\"\nhsts = true\naliases = [\"http://www.forum.example.com\"]",
        );
    let loaded = Folder::with(&text).load(&[]).unwrap();
    assert_eq!(loaded.warnings.without_advice().problems(), []);
    let config = loaded.config;
    let found: Vec<_> = config
        .server
        .listeners
        .iter()
        .map(|one| (one.address.to_string(), one.tls, one.redirects_to_https))
        .collect();
    let expected = [
        ("0.0.0.0:8443".to_owned(), true, false),
        ("0.0.0.0:8080".to_owned(), false, true),
        ("unix:/run/a.sock".to_owned(), false, false),
    ];
    assert_eq!(found, expected);
    assert_eq!(config.server.listeners[2].socket_access.mode, Some(0o660));
    assert!(config.apps[0].policy.hsts);
}

#[test]
fn wildcard_host_is_read_and_its_registration_explained() {
    let with = |lines: &str, upstream: &str| {
        GOOD.replace(
            "\"https://forum.example.com\"",
            &format!("\"https://*.forum.example.com\"\n{lines}"),
        )
        .replace("http://127.0.0.1:4000", upstream)
    };
    let domain = "http://{label}.apps.localhost:4000";
    let loaded = Folder::with(&with("", domain)).load(&[]).unwrap();
    let shown = loaded.warnings.render(false);
    assert!(
        shown.contains("`https://{label}.forum.example.com/.doorward/callback` for every host"),
        "{shown}"
    );
    assert_eq!(loaded.warnings.without_advice().problems(), []);
    let app = &loaded.config.apps[0];
    assert!(app.policy.hosts.wildcard().unwrap().labels.is_none());
    assert_eq!(app.upstream.by_label.as_ref().unwrap().max_labels, 1000);
    let listed = "wildcard_labels = [\"blue\", \"green\"]\nwildcard_max_hosts = 5";
    let loaded = Folder::with(&with(listed, "unix:/run/{label}.sock"))
        .load(&[])
        .unwrap();
    let shown = loaded.warnings.render(false);
    assert!(
        shown.contains("`https://blue.forum.example.com/.doorward/callback`"),
        "{shown}"
    );
    assert_eq!(
        loaded.config.apps[0]
            .upstream
            .by_label
            .as_ref()
            .unwrap()
            .max_labels,
        5
    );
    for (lines, upstream, message) in [
        ("", "unix:/run/{label}.sock", "lets clients choose any host"),
        ("", "http://{label}:4000", "lets clients choose any host"),
        (
            "",
            "http://app-{label}.localhost:4000",
            "lets clients choose any host",
        ),
        (
            "",
            "http://apps.localhost:{label}",
            "not an address with a label",
        ),
        ("wildcard_labels = []", domain, "no label is listed"),
        (
            "wildcard_labels = [\"xn--a\"]",
            domain,
            "is not a host label",
        ),
        ("wildcard_labels = [\"A\"]", domain, "is not a host label"),
        ("wildcard_max_hosts = 0", domain, "hosts in memory"),
    ] {
        let found = problems(&with(lines, upstream));
        let is_named = |problem: &Problem| problem.message.contains(message);
        assert!(found.iter().any(is_named), "{message}: {found:?}");
    }
}

#[test]
fn wildcard_host_needs_a_wildcard_certificate() {
    let tls = "[server.tls]\ncert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n[session]";
    let text = GOOD
        .replace(
            "\"https://forum.example.com\"",
            "\"https://*.forum.example.com\"",
        )
        .replace("trusted_proxies = [\"10.0.0.0/8\"]", "")
        .replace("[session]", tls);
    let loaded = Folder::with(&text).load(&[]).unwrap();
    let warnings = loaded.warnings.without_advice();
    let [warning] = warnings.problems() else {
        panic!("{warnings}");
    };
    assert!(
        warning
            .message
            .contains("no certificate is valid for `*.forum.example.com`"),
        "{warning:?}"
    );
}

#[test]
fn hsts_that_is_never_sent_is_a_warning() {
    let text = GOOD.replace(
        "client_id = \"forum\"",
        "client_id = \"forum\"\nhsts = true",
    );
    let [problem] = &problems(&text)[..] else {
        panic!("one warning");
    };
    assert!(problem.message.contains("never sent"), "{problem:?}");
}

#[test]
fn unix_sockets_are_addresses() {
    let text = GOOD
        .replace("\"127.0.0.1:8080\"", "\"unix:/run/doorward.sock\"")
        .replace("\"http://127.0.0.1:4000\"", "\"unix:/run/forum.sock\"");
    let config = Folder::with(&text).load(&[]).unwrap().config;
    assert_eq!(
        config.server.listeners[0].address,
        ListenAddr::Unix("/run/doorward.sock".into())
    );
    assert_eq!(
        config.apps[0].upstream.url,
        UpstreamUrl::Unix("/run/forum.sock".into())
    );
    let itself = text.replace("unix:/run/forum.sock", "unix:/run/doorward.sock");
    assert!(problems(&itself)[0].message.contains("doorward itself"));
}

#[test]
fn upstream_is_one_address_or_a_list() {
    let list = "[\"http://127.0.0.1:4000\", \"unix:/run/forum.sock\"]";
    let text = GOOD.replace("\"http://127.0.0.1:4000\"", list);
    let config = Folder::with(&text).load(&[]).unwrap().config;
    let urls: Vec<_> = config.apps[0].upstream.urls().collect();
    let expected = ["http://127.0.0.1:4000", "unix:/run/forum.sock"];
    assert_eq!(urls, expected.map(|url| url.parse().unwrap()).each_ref());
    let variables = [("DOORWARD_APPS__FORUM__UPSTREAM", list)];
    let config = Folder::with(GOOD).load(&variables).unwrap().config;
    assert_eq!(config.apps[0].upstream.urls().count(), 2);
}

/// The keys and messages of the warnings about a file.
fn warnings(text: &str) -> Vec<(String, String)> {
    let found = problems(text);
    let warned = |problem: &Problem| problem.severity == Severity::Warning;
    assert!(found.iter().all(warned), "{}", support::shown(&found));
    let parts = |problem: Problem| (problem.key, problem.message);
    found.into_iter().map(parts).collect()
}

#[test]
fn rules_that_never_match_are_warnings() {
    let paths = |first: &str, second: &str| {
        GOOD.replace("\"/assets/**\"", first)
            .replace("\"/admin/**\"", second)
    };
    for (first, second, message) in [
        (
            "\"/*/x\"",
            "\"/a/x\"",
            "never matches, because an earlier rule has `/*/x`",
        ),
        (
            "\"/**/x\"",
            "\"/a/b/x\"",
            "never matches, because an earlier rule has `/**/x`",
        ),
        (
            "\"/%61/**\"",
            "\"/a/b\"",
            "never matches, because an earlier rule has `/%61/**`",
        ),
        ("\"/a\"", "\"/.doorward/login\"", "doorward's own endpoints"),
    ] {
        let found = warnings(&paths(first, second));
        let [(key, warning)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(key, "apps.store.rules.1.paths.0");
        assert!(warning.contains(message), "{warning}");
    }
    let found = warnings(&edited("methods = [\"GET\"]", "methods = [\"TRACE\"]"));
    assert_eq!(found[0].0, "apps.store.rules.1.methods");
    let upper = paths("\"/A/*\"", "\"/a/b\"");
    assert_eq!(problems(&upper), []);
    let folded = upper.replace("scopes =", "case_insensitive_paths = true\nscopes =");
    assert_eq!(warnings(&folded).len(), 1);
}

#[test]
fn conditions_that_mean_something_else_are_warnings() {
    let allow = |condition: &str| edited("{ roles = [\"admin\"] }", condition);
    for (condition, key, message) in [
        (
            "{ claim = \"groups\", any_of = [\"staff-*\"] }",
            "apps.store.rules.1.allow.any_of.0",
            "`*` has no meaning",
        ),
        (
            "{ any = [{ roles = [\"*\"] }, \"authenticated\"] }",
            "apps.store.rules.1.allow.any.0.roles.0",
            "`*` has no meaning",
        ),
        (
            "{ not = { from = [\"192.0.2.0/24\", \"10.1.0.0/16\"] } }",
            "apps.store.rules.1.allow.not.from.1",
            "a proxy is no client",
        ),
    ] {
        let found = warnings(&allow(condition));
        let [(found_key, found_message)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(found_key, key);
        assert!(found_message.contains(message), "{found_message}");
    }
    let folder = Folder::with(&allow("{ emails = { file = \"lists/guests.txt\" } }"));
    folder.write("lists/guests.txt", "# nobody yet\n");
    let loaded = folder.load(&[]).unwrap();
    assert!(loaded.warnings.problems()[0].message.contains("is empty"));
}

#[test]
fn provider_at_which_anybody_can_register_is_a_warning() {
    let with = |issuer: &str, rule: &str| {
        let text = edited("https://login.example.com", issuer);
        format!("{text}\n{rule}")
    };
    let of_store = |text: &str| {
        let found = warnings(text);
        found.iter().any(|(key, message)| {
            key == "apps.store.provider" && message.contains("anybody can register")
        })
    };
    for issuer in [
        "https://accounts.google.com",
        "https://login.microsoftonline.com/common/v2.0",
        "https://login.microsoftonline.com/organizations/v2.0",
        "https://github.com",
    ] {
        assert!(of_store(&with(issuer, "")), "{issuer}");
    }
    let tenant = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";
    assert!(!of_store(&with(tenant, "")));
    let last = |allow: &str| format!("[[apps.store.rules]]\npaths = [\"/**\"]\nallow = {allow}\n");
    let google = |allow: &str| of_store(&with("https://accounts.google.com", &last(allow)));
    assert!(google("\"authenticated\""));
    assert!(!google("{ email_domains = [\"example.com\"] }"));
    assert!(!google("{ claim = \"hd\", any_of = [\"example.com\"] }"));
    assert!(!google("\"public\""));
}
