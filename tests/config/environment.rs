//! Environment variables that override the file.

use std::ffi::OsString;

use doorward::config::{ConfigSource, ProblemLocation, SealingKey, load};
use doorward::oidc::ClientAuth;

use super::support::{Folder, GOOD};

#[test]
fn environment_overrides_the_file() {
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
    assert_eq!(store.registrations[0].client.client_id.as_str(), "012345");
    assert_eq!(config.server.workers.get(), 3);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert!(!config.log.access);
    assert_eq!(store.policy.limits.idle.as_secs(), 300);
    assert!(
        matches!(&forum.registrations[0].client.token_auth, ClientAuth::Secret(secret) if secret.expose() == "12345")
    );
    assert_eq!(store.policy.headers.len(), 1);
    assert_eq!(
        store.policy.headers[0].claims().collect::<Vec<_>>(),
        ["email"]
    );
}

#[test]
fn variable_with_single_underscores_is_an_error_with_the_right_name() {
    let folder = Folder::with(GOOD);
    let name = "DOORWARD_APPS_STORE_CLIENT_ID";
    let diagnosis = folder.load(&[(name, "other")]).unwrap_err();
    let text = diagnosis.to_string();
    for part in [name, "DOORWARD_APPS__STORE__CLIENT_ID"] {
        assert!(text.contains(part), "{text}");
    }
    let misspelt = folder.load(&[("DOORWARD_APPS_STORE_CLEINT_ID", "other")]);
    let warnings = misspelt.unwrap().warnings.to_string();
    assert!(
        warnings.contains("DOORWARD_APPS_STORE_CLEINT_ID"),
        "{warnings}"
    );
}

#[test]
fn environment_problem_names_the_variable() {
    let cases = [
        (
            "DOORWARD_SERVER__WORKRS",
            "3",
            "unknown key `workrs`",
            "`workers`",
        ),
        (
            "DOORWARD_SEVER__LISTEN",
            "127.0.0.1:1",
            "unknown key `sever`",
            "`server`",
        ),
        (
            "DOORWARD_SERVER__WORKERS",
            "many",
            "found `many`, expected an integer",
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
            "unknown provider `logn`",
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
        let error = Folder::with(GOOD).load(&[(name, value)]).unwrap_err();
        let [problem] = error.problems() else {
            panic!("{error}")
        };
        assert_eq!(problem.location, ProblemLocation::Variable(name.to_owned()));
        assert!(problem.message.contains(message), "{problem:?}");
        assert!(
            problem.hint.as_deref().unwrap_or_default().contains(hint),
            "{problem:?}"
        );
        assert!(
            error
                .render(false)
                .contains(&format!("environment variable {name}")),
            "{error}"
        );
    }
}

#[test]
fn variable_that_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = Folder::with(GOOD);
    let variable = (
        OsString::from("DOORWARD_SERVER__LISTEN"),
        OsString::from_vec(vec![0xff]),
    );
    let error = load(&folder.path("doorward.toml"), [variable]).unwrap_err();
    assert!(
        error.problems()[0]
            .message
            .contains("`DOORWARD_SERVER__LISTEN` is not UTF-8"),
        "{error}"
    );
}

/// A configuration of variables, with the session key `key`.
fn variables(key: &str) -> Vec<(OsString, OsString)> {
    [
        ("DOORWARD_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("DOORWARD_SESSION__KEY_FILES", "[\"env:SESSION_KEY\"]"),
        ("SESSION_KEY", key),
        ("DOORWARD_PROVIDERS__COMPANY_LOGIN__ISSUER", "https://login.example.com"),
        ("DOORWARD_APPS__MY_STORE__PROVIDER", "company-login"),
        ("DOORWARD_APPS__MY_STORE__PUBLIC_URL", "https://store.example.com"),
        ("DOORWARD_APPS__MY_STORE__UPSTREAM", "http://127.0.0.1:3000"),
        ("DOORWARD_APPS__MY_STORE__CLIENT_ID", "store"),
        ("DOORWARD_APPS__MY_STORE__CLIENT_SECRET_FILE", "env:STORE_SECRET"),
        ("STORE_SECRET", "a-secret-of-this-test-only"),
        ("DOORWARD_APPS__MY_STORE__HEADERS__X_FORWARDED_USER", "{sub}"),
        (
            "DOORWARD_APPS__MY_STORE__RULES",
            "[{paths=[\"/assets/**\"], allow=\"public\"}, {paths=[\"/admin/**\"], allow={roles=[\"admin\"]}}]",
        ),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into()
}

#[test]
fn variables_alone_are_a_configuration() {
    let key = SealingKey::generate().unwrap();
    let loaded = ConfigSource::new(None, variables(&key.to_text())).load();
    let loaded = loaded.unwrap_or_else(|invalid| panic!("{}", invalid.diagnosis));
    assert_eq!(loaded.warnings.to_string(), "");
    let config = loaded.config;
    assert_eq!(config.keys, [key]);
    let [app] = config.apps.as_slice() else {
        panic!("one app")
    };
    assert_eq!(app.policy.name.as_str(), "my-store");
    assert_eq!(app.registrations[0].provider.as_str(), "company-login");
    assert!(
        matches!(&app.registrations[0].client.token_auth, ClientAuth::Secret(secret) if secret.expose() == "a-secret-of-this-test-only")
    );
    assert_eq!(app.policy.headers.len(), 1);
    assert!(app.policy.rules.claims().any(|claim| claim == "roles"));
}

#[test]
fn variable_in_place_of_a_file_is_checked_like_a_file() {
    let key = SealingKey::generate().unwrap().to_text();
    for (name, value, message) in [
        (
            "SESSION_KEY",
            None,
            "the environment variable `SESSION_KEY` is not set",
        ),
        (
            "SESSION_KEY",
            Some("hunter2"),
            "`env:SESSION_KEY`: not a key file",
        ),
        ("STORE_SECRET", Some("two\nlines"), "does not hold a secret"),
        (
            "DOORWARD_SERVER__TLS__CERT_FILE",
            Some("env:STORE_SECRET"),
            "holds no valid certificates",
        ),
    ] {
        let mut variables = variables(&key);
        variables.retain(|(known, _)| known != name);
        variables.extend(value.map(|value| (name.into(), value.into())));
        let invalid = ConfigSource::new(None, variables).load().unwrap_err();
        let shown = invalid.diagnosis.to_string();
        assert!(shown.contains(message), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn tls_keys_are_files() {
    let folder = Folder::with(GOOD);
    let key = SealingKey::generate().unwrap().to_text();
    let certificate = std::fs::read_to_string(folder.path("tls/cert.pem")).unwrap();
    let mut variables = variables(&key);
    for (name, value) in [
        ("CERTIFICATE", certificate.as_str()),
        ("DOORWARD_SERVER__TLS__CERT_FILE", "env:CERTIFICATE"),
        (
            "DOORWARD_SERVER__TLS__KEY_FILE",
            folder.path("tls/key.pem").to_str().unwrap(),
        ),
    ] {
        variables.push((name.into(), value.into()));
    }
    let invalid = ConfigSource::new(None, variables).load().unwrap_err();
    let shown = invalid.diagnosis.to_string();
    assert!(shown.contains("are read from files only"), "{shown}");
}
