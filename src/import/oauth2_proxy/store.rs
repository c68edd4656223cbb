//! `[store]`: Redis.

use super::super::Import;
use super::super::document::list;
use super::super::redis_url::RedisUrl;
use super::super::settings::SettingValue;

const STORE: [&str; 1] = ["store"];
const REDIS: [&str; 2] = ["store", "redis"];
const PASSWORD_FILE: &str = "secrets/redis";
const SENTINEL_PASSWORD_FILE: &str = "secrets/redis-sentinel";

/// Maps the store, if it is Redis.
pub(super) fn map(import: &mut Import) {
    let is_redis = import
        .settings
        .take("session-store-type")
        .is_some_and(|setting| setting.text() == "redis");
    if !is_redis {
        // Options of Redis have no effect there either, and are reported.
        return;
    }
    let uses_sentinel = import.settings.take_switch("redis-use-sentinel", false);
    let uses_cluster = import.settings.take_switch("redis-use-cluster", false);
    let flag = if uses_sentinel {
        "redis-sentinel-connection-urls"
    } else if uses_cluster {
        "redis-cluster-connection-urls"
    } else {
        "redis-connection-url"
    };
    let mut password = import.settings.take_value("redis-password");
    let mut username = import
        .settings
        .take_value("redis-username")
        .map(|value| value.text);
    let mut urls = Vec::new();
    for value in import.settings.take_values(flag) {
        let Some(url) = RedisUrl::parse(&value.text) else {
            import.not_mapped(&value, "not an address such as `redis://host:6379`");
            continue;
        };
        username = username.or_else(|| url.username.clone());
        if url.has_password {
            password = password.or(Some(value));
        }
        urls.push(url);
    }
    let mut urls = urls.into_iter();
    match urls.next() {
        Some(url) => import.document.set(&STORE, "url", url.url),
        None => import.decide(
            &STORE,
            "url",
            None,
            "set the address, such as `redis://host:6379`",
        ),
    }
    let nodes: Vec<String> = urls.map(|url| url.node).collect();
    if !nodes.is_empty() {
        import.document.set(&REDIS, "nodes", list(nodes));
    }
    if uses_cluster && !uses_sentinel {
        import.document.set(&REDIS, "cluster", true);
    }
    if let Some(name) = username {
        import.document.set(&REDIS, "username", name);
    }
    if let Some(value) = password {
        password_file(import, &value, "password_file", PASSWORD_FILE);
    }
    if let Some(value) = import.settings.take_value("redis-ca-path") {
        import.document.set(&REDIS, "ca_file", value.text);
    }
    if uses_sentinel {
        match import.settings.take_value("redis-sentinel-master-name") {
            Some(value) => import.document.set(&REDIS, "sentinel_master", value.text),
            None => import.decide(&REDIS, "sentinel_master", None, "name the master"),
        }
        if let Some(value) = import.settings.take_value("redis-sentinel-password") {
            password_file(
                import,
                &value,
                "sentinel_password_file",
                SENTINEL_PASSWORD_FILE,
            );
        }
    }
}

fn password_file(import: &mut Import, value: &SettingValue, key: &str, file: &str) {
    import.document.set(&REDIS, key, file);
    let message = format!(
        "put the password of `{}` into the file {file}",
        value.written
    );
    import.left_to_do(format!("store.redis.{key}"), Some(&value.at), message);
}
