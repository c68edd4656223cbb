//! `[store]`: URLs, `[store.redis]` and the journal, and that no password is shown.

use doorward::config::{Severity, StoreBackend, StoreConfig};
use doorward::store::{RedisNode, RedisSettings, Topology};

use super::support::{Folder, GOOD, edited, problems, shown};

fn store(lines: &str) -> StoreConfig {
    let loaded = Folder::with(&edited("url = \"memory:\"", lines))
        .load(&[])
        .unwrap_or_else(|error| panic!("{error}"));
    loaded.config.store
}

fn redis(lines: &str) -> RedisSettings {
    match store(lines).backend {
        StoreBackend::Redis(settings) => *settings,
        StoreBackend::Memory => panic!("not Redis"),
    }
}

fn node(host: &str, port: u16) -> RedisNode {
    RedisNode {
        host: host.to_owned(),
        port,
    }
}

#[test]
fn memory_store_is_the_default() {
    let store = store("max_entries = 7");
    assert!(
        matches!(store.backend, StoreBackend::Memory)
            && store.journal_file.is_none()
            && store.max_entries == 7
    );
}

#[test]
fn journal_path_is_relative_to_the_configuration() {
    for url in ["memory:", "redis://cache"] {
        let lines = format!("url = \"{url}\"\njournal_file = \"ended.journal\"");
        let folder = Folder::with(&edited("url = \"memory:\"", &lines));
        let config = folder.load(&[]).unwrap().config;
        let expected = Some(folder.path("ended.journal"));
        assert_eq!(config.store.journal_file, expected, "{url}");
    }
}

#[test]
fn url_alone_uses_defaults() {
    let settings = redis("url = \"redis://redis.internal\"");
    assert_eq!(settings.nodes, [node("redis.internal", 6379)]);
    assert!(
        matches!(settings.topology, Topology::Single)
            && settings.tls.is_none()
            && settings.login.is_none()
    );
    assert_eq!(
        (
            settings.database,
            settings.key_prefix.as_str(),
            settings.timeout.as_secs()
        ),
        (0, "doorward:", 1)
    );
}

#[test]
fn url_has_login_host_and_database() {
    let settings = redis("url = \"rediss://door%40ward:hunt%2Fer4@[::1]:7000/12\"");
    assert_eq!(settings.nodes, [node("::1", 7000)]);
    assert_eq!(settings.database, 12);
    assert!(
        settings
            .tls
            .is_some_and(|tls| tls.ca_certificates.is_none())
    );
    let login = settings.login.unwrap();
    assert_eq!(login.username.as_deref(), Some("door@ward"));
    assert_eq!(login.password.expose(), "hunt/er4");
}

#[test]
fn password_and_ca_are_read_from_files() {
    let settings = redis(
        "url = \"rediss://cache:6380\"\n[store.redis]\nusername = \"doorward\"\npassword_file = \"secrets/redis\"\n\
         ca_file = \"tls/ca.pem\"\nkey_prefix = \"blue:\"\ntimeout = \"3s\"",
    );
    let login = settings.login.unwrap();
    assert_eq!(
        (login.username.as_deref(), login.password.expose().as_str()),
        (Some("doorward"), "hunter2")
    );
    assert!(
        settings
            .tls
            .unwrap()
            .ca_certificates
            .unwrap()
            .starts_with(b"-----BEGIN CERTIFICATE-----")
    );
    assert_eq!(
        (settings.key_prefix.as_str(), settings.timeout.as_secs()),
        ("blue:", 3)
    );
}

#[test]
fn cluster_and_sentinel_have_several_nodes() {
    let settings =
        redis("url = \"redis://a\"\n[store.redis]\ncluster = true\nnodes = [\"b:1\", \"[::2]\"]");
    assert_eq!(
        settings.nodes,
        [node("a", 6379), node("b", 1), node("::2", 6379)]
    );
    assert!(matches!(settings.topology, Topology::Cluster));
    let settings = redis(
        "url = \"redis://a/2\"\n[store.redis]\nsentinel_master = \"login-store\"\nnodes = [\"b\"]\n\
         sentinel_username = \"s\"\nsentinel_password_file = \"secrets/redis\"",
    );
    assert_eq!(
        (settings.nodes.as_slice(), settings.database),
        ([node("a", 26379), node("b", 26379)].as_slice(), 2)
    );
    let Topology::Sentinel { master, login } = settings.topology else {
        panic!("no Sentinels")
    };
    let login = login.unwrap();
    assert_eq!(
        (master.as_str(), login.username.as_deref()),
        ("login-store", Some("s"))
    );
    assert!(
        settings.login.is_none(),
        "the login at the Sentinels is separate"
    );
}

#[test]
fn url_from_environment_is_masked() {
    let folder = Folder::with(GOOD);
    let config = folder
        .load(&[("DOORWARD_STORE__URL", "rediss://:hunter3@cache")])
        .unwrap()
        .config;
    let StoreBackend::Redis(settings) = &config.store.backend else {
        panic!("not Redis")
    };
    assert_eq!(
        settings.login.as_ref().unwrap().password.expose(),
        "hunter3"
    );
    assert!(!format!("{config:?}").contains("hunter3"), "{config:?}");
    let error = folder
        .load(&[("DOORWARD_STORE__URL", "rediss://:hunter3@cache/x")])
        .unwrap_err();
    assert!(!error.render(false).contains("hunter3"), "{error}");
}

#[test]
fn password_of_invalid_url_is_not_shown() {
    let wrong = [
        "redis://:hunter3@a/x",
        "redis://u:hun/hunter3@a",
        "redis://u:#hunter3@a",
        "http://u:hunter3@a",
    ];
    for url in wrong {
        let error = Folder::with(&edited("\"memory:\"", &format!("{url:?}")))
            .load(&[])
            .unwrap_err();
        assert!(!error.render(false).contains("hunter3"), "{error}");
        assert!(
            !format!("{:?}", error.problems()).contains("hunter3"),
            "{error}"
        );
    }
}

#[test]
fn unused_table_and_plain_password_are_warned_about() {
    let warnings = |lines: &str| problems(&edited("url = \"memory:\"", lines));
    let unused = warnings("[store.redis]\ntimeout = \"2s\"");
    assert_eq!(
        (unused.len(), unused[0].key.as_str(), unused[0].severity),
        (1, "store.redis", Severity::Warning)
    );
    let open = warnings("url = \"redis://:hunter2@cache\"");
    assert!(
        open.len() == 1 && open[0].severity == Severity::Warning,
        "{}",
        shown(&open)
    );
    assert!(
        open[0].message.contains("in plain text"),
        "{}",
        shown(&open)
    );
    let reachable = warnings("url = \"redis://cache\"");
    assert!(
        reachable.len() == 1 && reachable[0].severity == Severity::Advice,
        "{}",
        shown(&reachable)
    );
    for url in [
        "redis://127.0.0.1",
        "redis://:hunter2@127.0.0.1",
        "redis://:hunter2@[::1]",
        "rediss://:hunter2@cache",
    ] {
        assert_eq!(warnings(&format!("url = {url:?}")), [], "{url}");
    }
}
