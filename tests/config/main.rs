//! The configuration as an operator meets it: the shipped files, what is refused and where, the environment, and the
//! exit codes of the real binary.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::panic,
    reason = "a test's helpers fail the test by panicking"
)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use doorward::config::{
    Config, Diagnosis, Loaded, Problem, ProblemLocation, SealingKey, Severity, load,
};
use doorward::oidc::ClientAuth;
use doorward::types::net::ListenAddr;
use doorward::upstream::UpstreamUrl;
use proptest::proptest;
use tempfile::TempDir;

mod binary;
mod fusionauth;
mod refused;
mod store;

const GOOD: &str = r#"
[server]
listen = "127.0.0.1:8080"
trusted_proxies = ["10.0.0.0/8"]

[session]
key_files = ["doorward.key"]
idle_timeout = "30m"

[store]
url = "memory:"

[providers.login]
issuer = "https://login.example.com"

[apps.forum]
provider = "login"
public_url = "https://forum.example.com"
upstream = "http://127.0.0.1:4000"
client_id = "forum"

[apps.store]
provider = "login"
public_url = "https://store.example.com"
upstream = "http://127.0.0.1:3000"
client_id = "store"
client_secret_file = "store.secret"
scopes = ["openid", "email"]
extra_authorization_params = { prompt = "login" }

[apps.store.headers]
X-Forwarded-User = "{sub}"

[[apps.store.rules]]
paths = ["/assets/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin/**"]
methods = ["GET"]
allow = { roles = ["admin"] }
"#;

/// A folder with a configuration file and everything that it and the shipped ones name.
struct Folder(TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for sub in ["keys", "secrets", "tls"] {
            fs::create_dir(folder.path(sub)).unwrap();
        }
        for key in ["doorward.key", "keys/2026-11.key", "keys/2026-05.key"] {
            SealingKey::generate()
                .unwrap()
                .write_new(&folder.path(key))
                .unwrap();
        }
        for secret in [
            "store.secret",
            "secrets/store",
            "secrets/forum",
            "secrets/redis",
            "secrets/fusionauth",
            "secrets/webhook-password",
        ] {
            folder.write(secret, "hunter2\n");
        }
        for secret in ["secrets/webhook-signature", "secrets/webhook-key"] {
            folder.write(secret, &format!("{}\n", "hunter2 ".repeat(8)));
        }
        let certified =
            rcgen::generate_simple_self_signed(["store.example.com".to_owned()]).unwrap();
        folder.write("tls/cert.pem", &certified.cert.pem());
        folder.write("tls/ca.pem", &certified.cert.pem());
        folder.write("tls/key.pem", &certified.signing_key.serialize_pem());
        folder.write(
            "tls/other-key.pem",
            &rcgen::KeyPair::generate().unwrap().serialize_pem(),
        );
        folder.write("doorward.toml", text);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded, Diagnosis> {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        load(&self.path("doorward.toml"), variables)
    }
}

fn edited(from: &str, to: &str) -> String {
    assert_eq!(
        GOOD.matches(from).count(),
        1,
        "`{from}` must be in the good file once"
    );
    GOOD.replacen(from, to, 1)
}

fn problems(text: &str) -> Vec<Problem> {
    match Folder::with(text).load(&[]) {
        Ok(loaded) => loaded.warnings.problems().to_vec(),
        Err(diagnosis) => diagnosis.problems().to_vec(),
    }
}

fn shown(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{problem:?}\n"))
        .collect()
}

#[test]
fn the_good_file_is_good() {
    let loaded = Folder::with(GOOD).load(&[]).unwrap();
    assert_eq!(loaded.warnings.problems(), []);
    let [forum, store] = loaded.config.apps.as_slice() else {
        panic!("two apps")
    };
    assert_eq!(store.policy.name.as_str(), "store");
    assert_eq!(store.client.scopes, ["openid", "email"]);
    assert_eq!(
        store.client.redirect_uri.as_str(),
        "https://store.example.com/.doorward/callback"
    );
    assert!(
        matches!(&store.client.token_auth, ClientAuth::Basic(secret) if secret.expose() == "hunter2")
    );
    assert!(matches!(forum.client.token_auth, ClientAuth::None));
    assert_eq!(forum.policy.headers.len(), 4);
    assert_eq!(forum.policy.limits.idle.as_secs(), 30 * 60);
    assert!(loaded.config.provider(&store.provider).is_some());
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}

#[test]
fn every_shipped_file_is_good() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files: Vec<_> = fs::read_dir(shipped)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let loaded = Folder::with(&text)
            .load(&[])
            .unwrap_or_else(|refused| panic!("{refused}"));
        let advice: Vec<_> = loaded
            .warnings
            .problems()
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        let of_the_reference: &[&str] = &["store.redis", "apps.forum.client_secret"];
        let expected = if file.ends_with("reference.toml") {
            of_the_reference
        } else {
            &[]
        };
        assert_eq!(advice, expected, "{}", file.display());
    }
}

#[test]
fn the_reference_shows_the_defaults() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let read = |name: &str| {
        let text = fs::read_to_string(shipped.join(name)).unwrap();
        Folder::with(&text).load(&[]).unwrap().config
    };
    // The sidecar's file leaves everything to its default.
    let (small, full) = (read("sidecar.toml"), read("reference.toml"));
    let shared = |config: &Config| {
        let (server, provider) = (&config.server, &config.providers[0]);
        let app = config
            .apps
            .iter()
            .find(|app| app.policy.name.as_str() == "store")
            .unwrap();
        let (policy, client, upstream) = (&app.policy, &app.client, &app.upstream);
        format!(
            "{:?}",
            (
                (
                    &server.admin_listen,
                    &server.trusted_proxies,
                    &server.limits,
                    config.log,
                    config.store.max_entries
                ),
                config.store.max_revoked,
                (
                    &provider.discovery_url,
                    &provider.algorithms,
                    provider.request_timeout,
                    provider.leeway
                ),
                (
                    &policy.aliases,
                    &policy.prefix,
                    &policy.headers,
                    &policy.cookies,
                    policy.limits
                ),
                (
                    &client.token_auth,
                    &client.scopes,
                    client.session_jwt,
                    &client.audiences,
                    app.auth
                ),
                (
                    upstream.preserve_host,
                    upstream.connect_timeout,
                    upstream.response_timeout
                ),
            )
        )
    };
    assert_eq!(shared(&small), shared(&full));
}

#[test]
fn a_stray_key_is_refused_in_every_table_of_every_shipped_file() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut tables = 0;
    for entry in fs::read_dir(shipped).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let headers = text
            .match_indices("\n[")
            .map(|(at, _)| at + 1)
            .collect::<Vec<_>>();
        for at in headers {
            let end = at + text[at..].find('\n').unwrap();
            let header = text[at..end].split('#').next().unwrap().trim();
            // In a table of headers every key is a header's name; there a value of a wrong kind is what is strange.
            let stray = if header.ends_with(".headers]") {
                "Stray = 1"
            } else {
                "stray = \"x\""
            };
            let strange = format!("{}\n{stray}{}", &text[..end], &text[end..]);
            let found = problems(&strange);
            let errors: Vec<_> = found
                .iter()
                .filter(|problem| problem.severity == Severity::Error)
                .collect();
            assert_eq!(errors.len(), 1, "{header}: {}", shown(&found));
            assert!(
                errors[0].key.to_lowercase().ends_with(".stray"),
                "{header}: {errors:?}"
            );
            tables += 1;
        }
    }
    assert!(tables > 20, "{tables}");
    for (text, key) in [("stray = 1\n", "stray"), ("[strays]\n", "strays")] {
        let found = problems(&format!("{text}{GOOD}"));
        assert_eq!(found.len(), 1, "{}", shown(&found));
        assert_eq!(found[0].key, key);
    }
}

#[test]
fn ten_mistakes_are_ten_problems_each_in_its_line() {
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
public_url = "https://store.example.com/cart"
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
        .map(|problem| (problem.place.line().unwrap(), problem.key.as_str()))
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
        "hint: write it as text",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    for secret in ["hunter2", "hunter3"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn what_is_dangerous_is_said_out_loud_and_then_done() {
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
fn another_cookie_name_makes_room_on_one_host() {
    let text = edited(
        "https://store.example.com\"",
        "https://forum.example.com:8443\"\ncookie_name = \"shop\"",
    );
    assert!(Folder::with(&text).load(&[]).is_ok());
}

#[test]
fn certificate_and_key_belong_together() {
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
    let refused = folder.load(&[]).unwrap_err();
    assert!(
        refused.problems()[0]
            .message
            .contains("certificate and the key cannot be used together"),
        "{refused}"
    );
}

#[test]
fn an_empty_or_huge_secret_is_refused_and_a_public_one_advised() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::with(GOOD);
    for (text, message) in [
        ("", "is empty"),
        ("\n", "is empty"),
        (&*"x".repeat(5000), "more than a secret"),
    ] {
        folder.write("store.secret", text);
        let refused = folder.load(&[]).unwrap_err();
        assert!(refused.problems()[0].message.contains(message), "{refused}");
    }
    folder.write("store.secret", "hunter2");
    fs::set_permissions(
        folder.path("store.secret"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let loaded = folder.load(&[]).unwrap();
    let [advice] = loaded.warnings.problems() else {
        panic!("{}", loaded.warnings)
    };
    assert_eq!(advice.severity, Severity::Advice);
    assert!(advice.message.contains("every user"), "{advice:?}");
}

#[test]
fn unix_sockets_are_addresses_too() {
    let text = GOOD
        .replace("\"127.0.0.1:8080\"", "\"unix:/run/doorward.sock\"")
        .replace("\"http://127.0.0.1:4000\"", "\"unix:/run/forum.sock\"");
    let config = Folder::with(&text).load(&[]).unwrap().config;
    assert_eq!(
        config.server.listen,
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
fn the_environment_wins_over_the_file() {
    let config = Folder::with(GOOD)
        .load(&[
            ("DOORWARD_APPS__STORE__CLIENT_ID", "012345"),
            ("DOORWARD_SERVER__WORKERS", "3"),
            (
                "DOORWARD_SERVER__TRUSTED_PROXIES",
                "[\"192.168.0.0/16\", \"fd00::/8\"]",
            ),
            ("DOORWARD_LOG__ACCESS", "false"),
            ("DOORWARD_SESSION__IDLE_TIMEOUT", "5m"),
            ("DOORWARD_APPS__FORUM__CLIENT_SECRET", "12345"),
            ("DOORWARD_APPS__STORE__HEADERS__X_FORWARDED_USER", "{email}"),
            ("DOORWARD_SERVICE_HOST", "10.0.0.1"),
            ("DOORWARD_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ])
        .unwrap()
        .config;
    let [forum, store] = config.apps.as_slice() else {
        panic!("two apps")
    };
    assert_eq!(store.client.client_id.as_str(), "012345");
    assert_eq!(config.server.workers.get(), 3);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert!(!config.log.access);
    assert_eq!(store.policy.limits.idle.as_secs(), 300);
    assert!(
        matches!(&forum.client.token_auth, ClientAuth::Basic(secret) if secret.expose() == "12345")
    );
    assert_eq!(store.policy.headers.len(), 1);
    assert_eq!(
        store.policy.headers[0].claims().collect::<Vec<_>>(),
        ["email"]
    );
}

#[test]
fn a_problem_of_the_environment_names_the_variable() {
    let cases = [
        (
            "DOORWARD_SERVER__WORKRS",
            "3",
            "no such key: `workrs`",
            "`workers`",
        ),
        (
            "DOORWARD_SEVER__LISTEN",
            "127.0.0.1:1",
            "no such key: `sever`",
            "`server`",
        ),
        (
            "DOORWARD_SERVER__WORKERS",
            "many",
            "found `many`, expected a whole number",
            "",
        ),
        (
            "DOORWARD_SESSION__IDLE_TIMEOUT",
            "90",
            "found `90`, expected a duration",
            "\"90s\"",
        ),
        (
            "DOORWARD_APPS__STORE__PROVIDER",
            "logn",
            "there is no provider `logn`",
            "`login`",
        ),
        (
            "DOORWARD_APPS__STORE__SCOPES",
            "[email]",
            "`openid` is missing",
            "ID token",
        ),
    ];
    for (name, value, message, hint) in cases {
        let refused = Folder::with(GOOD).load(&[(name, value)]).unwrap_err();
        let [problem] = refused.problems() else {
            panic!("{refused}")
        };
        assert_eq!(problem.place, ProblemLocation::Variable(name.to_owned()));
        assert!(problem.message.contains(message), "{problem:?}");
        assert!(
            problem.hint.as_deref().unwrap_or_default().contains(hint),
            "{problem:?}"
        );
        assert!(
            refused
                .render(false)
                .contains(&format!("environment variable {name}")),
            "{refused}"
        );
    }
}

#[test]
fn a_file_that_is_not_toml_is_shown_with_each_broken_line() {
    let refused = Folder::with("[server]\nlisten = \nworkers = 4\nmax_connections = = 5\n")
        .load(&[])
        .unwrap_err();
    let lines: Vec<_> = refused
        .problems()
        .iter()
        .map(|problem| problem.place.line())
        .collect();
    assert_eq!(lines, [Some(2), Some(4)], "{refused}");
    assert!(
        refused
            .problems()
            .iter()
            .all(|problem| problem.message.starts_with("not TOML: "))
    );
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let texts = [
        "",
        "\u{feff}",
        "=",
        "[[",
        "[a]\n[a]\n",
        "\0",
        "a = \"\u{1F980}",
        "apps = 1",
        "apps = []",
        "[apps]\nx = 1",
    ];
    for text in texts {
        let refused = Folder::with(text).load(&[]).unwrap_err();
        assert!(refused.errors() > 0);
        assert!(!refused.render(true).is_empty(), "{text}");
    }
    let folder = Folder::with("");
    fs::write(folder.path("doorward.toml"), [0xff, 0xfe]).unwrap();
    assert!(
        folder.load(&[]).unwrap_err().problems()[0]
            .message
            .contains("it is not text")
    );
}

#[test]
fn a_variable_that_is_not_text_is_named() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = Folder::with(GOOD);
    let variable = (
        OsString::from("DOORWARD_SERVER__LISTEN"),
        OsString::from_vec(vec![0xff]),
    );
    let refused = load(&folder.path("doorward.toml"), [variable]).unwrap_err();
    assert!(
        refused.problems()[0]
            .message
            .contains("`DOORWARD_SERVER__LISTEN` is not UTF-8"),
        "{refused}"
    );
}

proptest! {
    /// One slip of the finger anywhere: no panic, never refused without a word, and the secret is never shown.
    #[test]
    fn one_slip_never_shows_a_secret(at in 0..1000usize, cut in 0..3usize, typed in "[a-z=\"'.#@\\[\\]{}\n ]?") {
        const SECRET: &str = "q7Zx-vault-9Kd";
        let good = format!("{GOOD}\n[apps.blog]\nprovider = \"login\"\npublic_url = \"https://blog.example.com\"\n\
            upstream = \"http://127.0.0.1:5000\"\nclient_id = \"blog\"\nclient_secret = \"{SECRET}\"\nendpoint_prefix = 1\n");
        // Half of the slips are near the secret.
        let at = if at % 2 == 0 { good.len() - 1 - (at % 80) } else { at % good.len() };
        let cut = cut.min(good.len() - at);
        let slipped = format!("{}{typed}{}", &good[..at], &good[at + cut..]);
        FOLDER.with(|folder| {
            folder.write("doorward.toml", &slipped);
            match folder.load(&[]) {
                Ok(loaded) => assert!(!format!("{loaded:?}").contains(SECRET)),
                Err(refused) => {
                    assert!(refused.errors() > 0, "refused without a word:\n{slipped}");
                    let shown = refused.render(false);
                    for window in SECRET.as_bytes().windows(6) {
                        let part = std::str::from_utf8(window).unwrap();
                        assert!(!shown.contains(part), "{part} of the secret is shown:\n{shown}");
                    }
                }
            }
        });
    }
}

thread_local! {
    static FOLDER: Folder = Folder::with(GOOD);
}
