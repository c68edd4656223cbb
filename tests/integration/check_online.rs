//! `doorward check --online`: names what is wrong around a valid configuration, by the real binary
//! against a provider, an app and a Redis, each with one fault. It changes nothing there.

use std::process::{Command, Output};
use std::sync::Arc;

use doorward::types::time::SystemClock;
use serde_json::{Value, json};

use crate::support::backend::{Answer, Backend};
use crate::support::folder::Folder;
use crate::support::provider::{Client, FakeProvider};
use crate::support::real_provider::{RealProvider, registration, secret_of};
use crate::support::redis::RedisServer;
use crate::support::tls::Authority;

const SECRET: &str = "a-secret-of-this-test-only";
/// The key of each test's configuration, and another that Redis does not know.
const SECRETS: [&str; 3] = [SECRET, "doorward-key-1:", "wr0ng"];

/// Environment variables that change the configuration.
type Variables = Vec<(&'static str, String)>;

/// A deployment in which everything is right.
struct Sound {
    provider: FakeProvider,
    backend: Backend,
    redis: RedisServer,
    folder: Folder,
}

impl Sound {
    fn new() -> Self {
        let provider = FakeProvider::start_as("login.localhost", Arc::new(SystemClock));
        let mut client = Client::of_app("store", "http://store.localhost:8080");
        client.secret = Some(SECRET.to_owned());
        provider.register(client);
        provider.behave(|behaviour| {
            let backchannel_logout = ("backchannel_logout_supported", json!(true));
            behaviour.discovery_members.push(backchannel_logout);
        });
        let backend = Backend::start();
        let redis = RedisServer::start_persistent();
        let config = format!(
            r#"
[session]
key_files = ["doorward.key"]

[store]
url = "{}"

[providers.login]
issuer = "{}"

[apps.store]
provider = "login"
public_url = "http://store.localhost:8080"
upstream = "{}"
client_id = "store"
client_secret_file = "store.secret"
"#,
            redis.url(),
            provider.issuer(),
            backend.url(),
        );
        Self {
            provider,
            backend,
            redis,
            folder: Folder::with("doorward.toml", &config),
        }
    }

    fn check(&self, arguments: &[&str], variables: &Variables) -> Output {
        let config = self.folder.path("doorward.toml");
        Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["check", "--online", "--config"])
            .arg(config)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the binary starts")
    }
}

fn findings(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect()
}

fn one(name: &'static str, value: impl Into<String>) -> Variables {
    vec![(name, value.into())]
}

const ISSUER: &str = "DOORWARD_PROVIDERS__LOGIN__ISSUER";
const DISCOVERY_URL: &str = "DOORWARD_PROVIDERS__LOGIN__DISCOVERY_URL";
const PROVIDER_CA: &str = "DOORWARD_PROVIDERS__LOGIN__CA_FILE";
const UPSTREAM: &str = "DOORWARD_APPS__STORE__UPSTREAM";

/// A fault, and the finding that must name it.
struct Fault {
    name: &'static str,
    seed: fn(&mut Sound) -> Variables,
    finding: &'static str,
    /// A part of the message or the hint.
    says: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "wrong issuer",
        seed: |sound| {
            let issuer = sound.provider.issuer();
            vec![
                (ISSUER, format!("{issuer}/realms/other")),
                (
                    DISCOVERY_URL,
                    format!("{issuer}/.well-known/openid-configuration"),
                ),
            ]
        },
        finding: "error discovery_issuer_mismatch providers.login.issuer",
        says: "they differ by the path",
    },
    Fault {
        name: "issuer without a discovery document",
        seed: |sound| one(ISSUER, format!("{}/realms/other", sound.provider.issuer())),
        finding: "error provider_status providers.login.issuer",
        says: "/realms/other/.well-known/openid-configuration responded with status 404",
    },
    Fault {
        name: "slash",
        seed: |sound| one(ISSUER, format!("{}/", sound.provider.issuer())),
        finding: "error discovery_issuer_mismatch providers.login.issuer",
        says: "they differ by a trailing slash",
    },
    Fault {
        name: "case",
        seed: |sound| one(ISSUER, sound.provider.issuer().replace("login", "Login")),
        finding: "error discovery_issuer_mismatch providers.login.issuer",
        says: "they differ by case",
    },
    Fault {
        name: "http and https",
        seed: |sound| {
            let secure = sound.provider.issuer().replace("http:", "https:");
            let behave = |behaviour: &mut crate::support::provider::Behaviour| {
                behaviour.discovery_issuer = Some(secure);
            };
            sound.provider.behave(behave);
            Variables::new()
        },
        finding: "error discovery_issuer_mismatch providers.login.issuer",
        says: "they differ by the scheme",
    },
    Fault {
        name: "secret",
        seed: |sound| {
            sound.folder.write("wrong.secret", "wr0ng");
            one("DOORWARD_APPS__STORE__CLIENT_SECRET_FILE", "wrong.secret")
        },
        finding: "error client_secret_rejected apps.store.client_secret_file",
        says: "invalid_client",
    },
    Fault {
        name: "redirect URI",
        seed: |_| {
            let other = "http://shop.localhost:8080";
            one("DOORWARD_APPS__STORE__PUBLIC_URL", other)
        },
        finding: "error redirect_uri_rejected apps.store.public_url",
        says: "http://shop.localhost:8080/.doorward/callback",
    },
    Fault {
        name: "client",
        seed: |_| one("DOORWARD_APPS__STORE__CLIENT_ID", "st0re"),
        finding: "error client_unknown apps.store.client_id",
        says: "`st0re`",
    },
    Fault {
        name: "scope",
        seed: |_| {
            let scopes = r#"["openid", "offline_access", "payroll"]"#;
            one("DOORWARD_APPS__STORE__SCOPES", scopes)
        },
        finding: "warning scope_not_announced apps.store.scopes",
        says: "`payroll`",
    },
    Fault {
        name: "rejected scope",
        seed: |sound| authorization_error(sound, "invalid_scope"),
        finding: "error scope_rejected apps.store.scopes",
        says: "invalid_scope",
    },
    Fault {
        name: "rejected audience",
        seed: |sound| authorization_error(sound, "invalid_target"),
        finding: "error audience_rejected apps.store.extra_authorization_params",
        says: "invalid_target",
    },
    Fault {
        name: "audience",
        seed: |_| {
            let resource = r#"{resource="urn:orders"}"#;
            vec![
                (
                    "DOORWARD_APPS__STORE__EXTRA_AUTHORIZATION_PARAMS",
                    resource.to_owned(),
                ),
                ("DOORWARD_APPS__STORE__SESSION_JWT", "access".to_owned()),
            ]
        },
        finding: "warning audience_mismatch apps.store.audiences",
        says: "`urn:orders`",
    },
    Fault {
        name: "algorithm",
        seed: |_| one("DOORWARD_PROVIDERS__LOGIN__ALGORITHMS", r#"["RS256"]"#),
        finding: "error keys_not_for_algorithms providers.login.algorithms",
        says: "`RS256`",
    },
    Fault {
        name: "PKCE",
        seed: |sound| {
            sound.provider.behave(|behaviour| {
                let plain = ("code_challenge_methods_supported", json!(["plain"]));
                behaviour.discovery_members.push(plain);
            });
            Variables::new()
        },
        finding: "error pkce_not_supported providers.login",
        says: "`plain` only",
    },
    Fault {
        name: "clock",
        seed: |sound| {
            let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
            sound.provider.behave(|behaviour| behaviour.date = date);
            Variables::new()
        },
        finding: "error clock_differs providers.login.leeway",
        says: "the provider is behind",
    },
    Fault {
        name: "CA",
        seed: |sound| {
            let authority = Authority::fresh();
            let certificate = authority.certificate_for(&["127.0.0.1"]);
            sound.backend = Backend::start_tls(&certificate);
            sound.folder.write("ca.pem", &Authority::fresh().pem());
            vec![
                (ISSUER, sound.backend.url()),
                (PROVIDER_CA, "ca.pem".to_owned()),
            ]
        },
        finding: "error certificate_authority_unknown providers.login.ca_file",
        says: "/.well-known/openid-configuration",
    },
    Fault {
        name: "name in the provider's certificate",
        seed: |sound| {
            let authority = Authority::fresh();
            let certificate = authority.certificate_for(&["other.localhost"]);
            sound.backend = Backend::start_tls(&certificate);
            sound.folder.write("ca.pem", &authority.pem());
            vec![
                (ISSUER, sound.backend.url()),
                (PROVIDER_CA, "ca.pem".to_owned()),
            ]
        },
        finding: "error certificate_name_mismatch providers.login.issuer",
        says: "/.well-known/openid-configuration",
    },
    Fault {
        name: "provider",
        seed: |sound| {
            sound.provider.stop();
            Variables::new()
        },
        finding: "error provider_unreachable providers.login.issuer",
        says: "http://login.localhost:",
    },
    Fault {
        name: "proxy",
        seed: |sound| {
            sound.provider.stop();
            one("HTTPS_PROXY", "http://user:wr0ng@proxy.localhost:3128")
        },
        finding: "warning proxy_not_used providers.login.issuer",
        says: "`HTTPS_PROXY`",
    },
    Fault {
        name: "upstream",
        seed: |_| one(UPSTREAM, "http://127.0.0.1:1"),
        finding: "error upstream_connect_refused apps.store.upstream",
        says: "refused",
    },
    Fault {
        name: "upstream of a route",
        seed: |sound| {
            let file = sound.folder.path("doorward.toml");
            let text = std::fs::read_to_string(file).expect("the file");
            let route =
                "[[apps.store.routes]]\npath = \"/wiki/**\"\nupstream = \"http://127.0.0.1:1\"\n";
            sound
                .folder
                .write("doorward.toml", &format!("{text}\n{route}"));
            Variables::new()
        },
        finding: "error upstream_connect_refused apps.store.upstream",
        says: "http://127.0.0.1:1: ",
    },
    Fault {
        name: "certificate of the upstream",
        seed: |sound| {
            let authority = Authority::fresh();
            let certificate = authority.expired_certificate_for(&["127.0.0.1"]);
            sound.backend = Backend::start_tls(&certificate);
            sound.folder.write("ca.pem", &authority.pem());
            vec![
                (UPSTREAM, sound.backend.url()),
                (
                    "DOORWARD_APPS__STORE__UPSTREAM_CA_FILE",
                    "ca.pem".to_owned(),
                ),
            ]
        },
        finding: "error certificate_expired apps.store.upstream",
        says: "renew",
    },
    Fault {
        name: "host of the upstream",
        seed: |sound| {
            sound.backend.respond_to_all(Answer {
                status: 421,
                ..Answer::default()
            });
            Variables::new()
        },
        finding: "warning upstream_rejects_host apps.store.upstream_host",
        says: "421",
    },
    Fault {
        name: "host",
        seed: |_| {
            let host = "https://store.example.invalid";
            one("DOORWARD_APPS__STORE__PUBLIC_URL", host)
        },
        finding: "warning host_unresolved apps.store.public_url",
        says: "`store.example.invalid`",
    },
    Fault {
        name: "store down",
        seed: |sound| {
            sound.redis.stop();
            Variables::new()
        },
        finding: "error store_unavailable store.url",
        says: "redis-cli",
    },
    Fault {
        name: "store password",
        seed: |sound| {
            sound.redis.command(&["CONFIG", "SET", "requirepass", "x"]);
            sound.folder.write("wrong.secret", "wr0ng");
            one("DOORWARD_STORE__REDIS__PASSWORD_FILE", "wrong.secret")
        },
        finding: "error store_login_rejected store.redis.password_file",
        says: "password",
    },
    Fault {
        name: "store rights",
        seed: |sound| {
            let password = format!(">{SECRET}");
            let rights = ["~doorward:*", "+@all", "-hset"];
            let user = ["ACL", "SETUSER", "doorward", "on", &password];
            sound.redis.command(&[&user[..], &rights].concat());
            vec![
                ("DOORWARD_STORE__REDIS__USERNAME", "doorward".to_owned()),
                (
                    "DOORWARD_STORE__REDIS__PASSWORD_FILE",
                    "secrets/redis".to_owned(),
                ),
            ]
        },
        finding: "error store_command_denied store.redis.username",
        says: "`HSET`",
    },
    Fault {
        name: "eviction policy",
        seed: |sound| {
            for (name, value) in [("maxmemory-policy", "allkeys-lru"), ("maxmemory", "50mb")] {
                sound.redis.command(&["CONFIG", "SET", name, value]);
            }
            Variables::new()
        },
        finding: "error store_evicts store.url",
        says: "`allkeys-lru`",
    },
    Fault {
        name: "persistence",
        seed: |sound| {
            sound.redis.command(&["CONFIG", "SET", "appendonly", "no"]);
            Variables::new()
        },
        finding: "warning store_not_persistent store.url",
        says: "appendonly yes",
    },
    Fault {
        name: "certificate expired",
        seed: |sound| {
            let names = ["store.localhost"];
            let certificate = Authority::fresh().expired_certificate_for(&names);
            sound.folder.write("cert.pem", &certificate.chain_pem);
            sound.folder.write("key.pem", &certificate.key_pem);
            vec![
                ("DOORWARD_SERVER__TLS__CERT_FILE", "cert.pem".to_owned()),
                ("DOORWARD_SERVER__TLS__KEY_FILE", "key.pem".to_owned()),
            ]
        },
        finding: "warning configuration server.tls.cert_file",
        says: "the certificate has expired",
    },
    Fault {
        name: "key unreadable",
        seed: |_| one("DOORWARD_SESSION__KEY_FILES", r#"["absent.key"]"#),
        finding: "error configuration session.key_files.0",
        says: "absent.key",
    },
];

fn authorization_error(sound: &Sound, error: &'static str) -> Variables {
    sound
        .provider
        .behave(|behaviour| behaviour.authorize_error = Some(error));
    Variables::new()
}

#[test]
fn sound_deployment_has_neither_errors_nor_warnings() {
    let sound = Sound::new();
    let output = sound.check(&["--strict"], &Variables::new());
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("valid: 1 app, 1 provider"), "{said}");
    assert!(said.ends_with("online: 0 errors, 0 warnings\n"), "{said}");
    assert_eq!(sound.redis.command(&["DBSIZE"]), "0");
    assert_eq!(sound.provider.forms_shown(), 0);
    assert_eq!(sound.backend.count(), 1, "a loopback app is asked once");
    assert_eq!(sound.backend.last().target, "/");
}

#[test]
fn every_seeded_fault_is_named() {
    let missed: Vec<String> = FAULTS
        .iter()
        .filter_map(|fault| {
            let mut sound = Sound::new();
            let variables = (fault.seed)(&mut sound);
            let output = sound.check(&["--format", "json"], &variables);
            let complaint = complaint(fault, &output);
            if let Ok(keys) = sound.redis.try_command(&["DBSIZE"]) {
                assert!(keys == "0" || keys.contains("NOAUTH"), "{keys}");
            }
            complaint.map(|complaint| format!("{}: {complaint}", fault.name))
        })
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

/// The expected parts that the output lacks.
fn complaint(fault: &Fault, output: &Output) -> Option<String> {
    let findings = findings(output);
    let written = String::from_utf8_lossy(&output.stdout);
    if let Some(secret) = SECRETS.iter().find(|secret| written.contains(*secret)) {
        return Some(format!("shows `{secret}`: {written}"));
    }
    let member = |finding: &Value, name: &str| finding[name].as_str().map(str::to_owned);
    let title = |finding: &Value| ["severity", "code", "key"].map(|name| member(finding, name));
    let wanted: Vec<Option<String>> = fault
        .finding
        .split(' ')
        .map(|word| Some(word.to_owned()))
        .collect();
    let found = findings.iter().find(|finding| title(finding)[..] == wanted);
    let Some(found) = found else {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Some(format!("not `{}`: {written}{errors}", fault.finding));
    };
    let text = format!("{} {}", found["message"], found["hint"]);
    if !text.contains(fault.says) {
        return Some(format!("not `{}` in {text}", fault.says));
    }
    let has_error = |of_configuration: bool| {
        findings.iter().any(|finding| {
            finding["severity"] == "error"
                && (finding["subject"] == "configuration") == of_configuration
        })
    };
    let exit = match (has_error(true), has_error(false)) {
        (true, _) => 78,
        (false, true) => 69,
        (false, false) => 0,
    };
    let code = output.status.code();
    (code != Some(exit)).then(|| format!("exit code {code:?}, not {exit}: {written}"))
}

#[test]
fn warnings_fail_a_strict_check() {
    let sound = Sound::new();
    sound.redis.command(&["CONFIG", "SET", "appendonly", "no"]);
    for (arguments, exit) in [(&[][..], 0), (&["--strict"], 69)] {
        let output = sound.check(arguments, &Variables::new());
        let shown = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{shown}");
        assert!(
            shown.contains("warning[store_not_persistent]: store.url: "),
            "{shown}"
        );
        assert!(
            shown.contains("  = hint: `CONFIG SET appendonly yes`"),
            "{shown}"
        );
    }
}

/// The certified provider words its pages itself, and does not say in its metadata what a client may.
#[test]
fn certified_provider_tells_client_secret_and_redirect_uri_apart() {
    let public_url = "http://store.localhost:8080";
    let provider = RealProvider::start(&json!({ "clients": [registration("store", public_url)] }));
    let sound = Sound::new();
    sound.folder.write("store.secret", &secret_of("store"));
    sound.folder.write("wrong.secret", "wr0ng");
    let client_id = "DOORWARD_APPS__STORE__CLIENT_ID";
    let secret_file = "DOORWARD_APPS__STORE__CLIENT_SECRET_FILE";
    let url = "DOORWARD_APPS__STORE__PUBLIC_URL";
    for (change, expected) in [
        (None, [].as_slice()),
        (
            Some((client_id, "st0re")),
            &["client_secret_rejected", "client_unknown"],
        ),
        (
            Some((secret_file, "wrong.secret")),
            &["client_secret_rejected"],
        ),
        (
            Some((url, "http://shop.localhost:8080")),
            &["redirect_uri_rejected"],
        ),
    ] {
        let mut variables = one(ISSUER, provider.issuer());
        variables.extend(change.map(|(name, value)| (name, value.to_owned())));
        let output = sound.check(&["--format", "json"], &variables);
        let findings = findings(&output);
        let errors = findings
            .iter()
            .filter(|finding| finding["severity"] == "error");
        let codes: Vec<&str> = errors.filter_map(|error| error["code"].as_str()).collect();
        assert_eq!(codes, expected, "{change:?}: {findings:#?}");
    }
    assert_eq!(provider.count("form", None), 0);
}
