//! `[store]`: Redis.

use super::super::Import;
use super::super::redis_url::RedisUrl;
use super::super::settings::{Scope, Setting};

const STORE: [&str; 1] = ["store"];
const REDIS: [&str; 2] = ["store", "redis"];
const PASSWORD_FILE: &str = "secrets/redis";

/// Maps the cache, if it is Redis. There is one store: the first virtual host that has one names it.
pub(super) fn map(import: &mut Import, scopes: &[Option<Scope>]) {
    let scopes = if scopes.is_empty() {
        &[None][..]
    } else {
        scopes
    };
    let mut caches = Vec::new();
    for scope in scopes {
        let mut take = |name| import.settings.take_in(name, *scope);
        caches.push(Cache {
            kind: take("OIDCCacheType"),
            server: take("OIDCRedisCacheServer"),
            password: take("OIDCRedisCachePassword"),
            username: take("OIDCRedisCacheUsername"),
            database: take("OIDCRedisCacheDatabase"),
        });
    }
    let is_redis = |cache: &Cache| {
        cache
            .kind
            .as_ref()
            .is_some_and(|kind| kind.text().eq_ignore_ascii_case("redis"))
    };
    // Any other cache is of one machine, as `memory:` is.
    if let Some(cache) = caches.into_iter().find(is_redis) {
        map_cache(import, cache);
    }
}

/// The settings of a cache.
struct Cache {
    kind: Option<Setting>,
    server: Option<Setting>,
    password: Option<Setting>,
    username: Option<Setting>,
    database: Option<Setting>,
}

fn map_cache(import: &mut Import, cache: Cache) {
    let address = cache.server.as_ref().map(|server| {
        let scheme = if server.text().contains("://") {
            ""
        } else {
            "redis://"
        };
        let database = cache.database.as_ref().map_or("", Setting::text);
        let is_number = !database.is_empty() && database.bytes().all(|byte| byte.is_ascii_digit());
        let database = if is_number {
            format!("/{database}")
        } else {
            String::new()
        };
        format!("{scheme}{}{database}", server.text())
    });
    match address.as_deref().and_then(RedisUrl::parse) {
        Some(address) => import.document.set(&STORE, "url", address.url),
        None => {
            let at = cache.server.or(cache.kind).map(|setting| setting.at);
            let message = "set the address, such as `redis://host:6379`";
            import.decide(&STORE, "url", at.as_ref(), message);
        }
    }
    if let Some(name) = cache.username {
        import.document.set(&REDIS, "username", name.text());
    }
    if let Some(password) = cache.password {
        import.document.set(&REDIS, "password_file", PASSWORD_FILE);
        let message = format!(
            "put the password of `{}` into the file {PASSWORD_FILE}",
            password.written
        );
        import.left_to_do("store.redis.password_file", Some(&password.at), message);
    }
}
