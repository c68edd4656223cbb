//! Environment variables that override the file.

use std::ffi::OsString;

use doorward::config::{ProblemLocation, load};
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
