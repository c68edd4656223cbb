//! `[store]`: the memory store with its journal, or Redis.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::files::Folder;
use super::super::raw::{RawRedis, RawStore};
use super::super::report::{Location, quoted};
use super::super::settings::{StoreBackend, StoreConfig};
use super::session::nonzero_limit;
use super::{elements, nonzero};
use crate::store::{RedisLogin, RedisNode, RedisSettings, RedisTls, Topology};
use crate::types::net::is_loopback_host;
use crate::types::secret::Secret;

const MAX_ENTRIES: u32 = 100_000;
const MAX_REVOKED: u32 = 100_000;
const KEY_PREFIX: &str = "doorward:";
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest `timeout`: the time that a request waits for a refresh.
const MAX_TIMEOUT: Duration = Duration::from_secs(5);
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

pub(super) fn check(raw: RawStore, at: &Location<'_>, folder: &Folder) -> Option<StoreConfig> {
    let max_entries = nonzero_limit(raw.max_entries, MAX_ENTRIES, &at.key("max_entries"));
    let max_revoked = nonzero_limit(raw.max_revoked, MAX_REVOKED, &at.key("max_revoked"));
    let url = raw.url.as_deref().unwrap_or("memory:");
    let redis_at = at.key("redis");
    let backend = if url == "memory:" {
        if let Some(unused) = raw.redis {
            redis_at.warning(
                "`[store.redis]` is not used by `memory:`",
                "set `url = \"redis://…\"` to use it",
            );
            redis(unused, None, &redis_at, folder);
        }
        Some(StoreBackend::Memory)
    } else {
        let url = store_url(url, &at.key("url"));
        redis(raw.redis.unwrap_or_default(), url, &redis_at, folder)
            .map(Box::new)
            .map(StoreBackend::Redis)
    };
    let journal_file = raw.journal_file;
    let journal_file = journal_file.map(|name| journal(&name, &at.key("journal_file"), folder));
    Some(StoreConfig {
        backend: backend?,
        journal_file: journal_file.map_or(Some(None), |file| file.map(Some))?,
        max_entries,
        max_revoked,
    })
}

/// The path of a journal, which need not exist yet.
fn journal(name: &str, at: &Location<'_>, folder: &Folder) -> Option<PathBuf> {
    let path = folder.path(name);
    if name.is_empty()
        || path.is_dir()
        || !path
            .parent()
            .is_some_and(|parent| parent.as_os_str().is_empty() || parent.is_dir())
    {
        let hint = "a file in an existing folder that doorward can write to, such as `revocations.journal`";
        at.error(format!("invalid journal path {}", quoted(name)), hint);
        return None;
    }
    Some(path)
}

/// The parts of a Redis URL.
struct RedisUrl {
    tls: bool,
    node: RedisUrlNode,
    database: u32,
    username: Option<String>,
    password: Option<Secret<String>>,
}

/// An address with an optional port.
struct RedisUrlNode {
    host: String,
    port: Option<u16>,
}

fn store_url(text: &str, at: &Location<'_>) -> Option<RedisUrl> {
    const HINT: &str = "use `memory:`, `redis://host:6379`, or with TLS `rediss://host:6379`; \
                        append `/1` for another database";
    let error = |problem: &str| {
        at.error(format!("{} {problem}", quoted(text)), HINT);
        None
    };
    let Ok(url) = Url::parse(text) else {
        return error("is not a store URL");
    };
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return error("is not a store URL"),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return error("has more than an address and a database");
    }
    let Some(node) = node_of(&url) else {
        return error("has no host");
    };
    let database = url.path().trim_start_matches('/');
    let Ok(database) = (if database.is_empty() {
        Ok(0)
    } else {
        database.parse()
    }) else {
        return error("does not end with a database number");
    };
    let decoded = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .ok()
            .map(|text| text.into_owned())
    };
    let username = Some(url.username()).filter(|name| !name.is_empty());
    let username = username.map(decoded);
    let password = url.password().map(decoded);
    if username == Some(None) || password == Some(None) {
        return error("has a user name or password that is not UTF-8 text");
    }
    let password = password.flatten().map(Secret::new);
    if !tls && !is_loopback_host(url.host_str().unwrap_or_default()) {
        if password.is_some() {
            at.warning(
                "the password is sent over the network in plain text",
                "use `rediss://`",
            );
        } else {
            at.advice(
                format!(
                    "{} is on another machine and reached without TLS",
                    quoted(text)
                ),
                "use `rediss://`, or let a firewall or network policy admit only the replicas",
            );
        }
    }
    Some(RedisUrl {
        tls,
        node,
        database,
        username: username.flatten(),
        password,
    })
}

fn node_of(url: &Url) -> Option<RedisUrlNode> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Some(RedisUrlNode {
        host,
        port: url.port(),
    })
}

/// Checks the whole table. `None` if it or `url` is invalid.
fn redis(
    raw: RawRedis,
    url: Option<RedisUrl>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<RedisSettings> {
    let topology = topology(&raw, at, folder);
    let more_nodes = more_nodes(&raw, &topology, at);
    let ca = raw.ca_file.map(|name| {
        let at = at.key("ca_file");
        if url.as_ref().is_some_and(|url| !url.tls) {
            at.error(
                "the store does not use TLS",
                "remove the key, or use a `url` such as `rediss://…`",
            );
        }
        folder
            .certificates(&at, &name)
            .map(|certificates| certificates.pem)
    });
    let key_prefix = key_prefix(raw.key_prefix, &at.key("key_prefix"));
    let timeout = raw
        .timeout
        .map_or(TIMEOUT, |duration| nonzero(duration, &at.key("timeout")));
    if timeout > MAX_TIMEOUT {
        let hint = "at most `\"5s\"`, the time that a request waits for a refresh";
        at.key("timeout")
            .error(format!("{} s is too long", timeout.as_secs()), hint);
    }
    let in_file = login(
        raw.username,
        raw.password_file,
        at,
        "username",
        "password_file",
        folder,
    );

    let url = url?;
    if raw.cluster == Some(true) && url.database != 0 {
        at.key("cluster").error(
            "Redis Cluster only has database 0",
            "remove the database number from the `url` of the store",
        );
    }
    let in_url = url.password.map(|password| RedisLogin {
        username: url.username.clone(),
        password,
    });
    if in_url.is_none() && url.username.is_some() {
        at.sibling("url").error(
            "a user name needs a password",
            "set both here, or both in `[store.redis]`",
        );
    }
    let login = match (in_url, in_file) {
        (Some(_), Some(_)) => {
            at.key("password_file").error(
                "the `url` of the store has a password too",
                "keep one of the two, preferably the file",
            );
            return None;
        }
        (in_url, in_file) => in_url.or(in_file.map_or(Some(None), |login| login.map(Some))?),
    };
    let port = match topology.as_ref()? {
        Topology::Sentinel { .. } => SENTINEL_PORT,
        Topology::Single | Topology::Cluster => REDIS_PORT,
    };
    let tls = url.tls.then_some(RedisTls {
        ca_certificates: ca.map_or(Some(None), |pem| pem.map(Some))?,
    });
    let nodes = std::iter::once(url.node).chain(more_nodes);
    let nodes = nodes
        .map(|node| RedisNode {
            host: node.host,
            port: node.port.unwrap_or(port),
        })
        .collect();
    Some(RedisSettings {
        nodes,
        topology: topology?,
        tls,
        login,
        database: url.database,
        key_prefix,
        timeout,
    })
}

fn topology(raw: &RawRedis, at: &Location<'_>, folder: &Folder) -> Option<Topology> {
    for (key, is_set) in [
        ("sentinel_username", raw.sentinel_username.is_some()),
        (
            "sentinel_password_file",
            raw.sentinel_password_file.is_some(),
        ),
    ] {
        if is_set && raw.sentinel_master.is_none() {
            at.key(key).error(
                "Sentinel is not used",
                "set `sentinel_master`, the name of the master at the Sentinels",
            );
        }
    }
    let login = login(
        raw.sentinel_username.clone(),
        raw.sentinel_password_file.clone(),
        at,
        "sentinel_username",
        "sentinel_password_file",
        folder,
    );
    let is_cluster = raw.cluster == Some(true);
    match &raw.sentinel_master {
        Some(_) if is_cluster => {
            let hint = "remove one of the two: a Cluster does not use Sentinels";
            at.key("sentinel_master")
                .error("`cluster` is set too", hint);
            None
        }
        Some(master) if master.is_empty() || master.contains(char::is_whitespace) => {
            let hint = "as in the Sentinel command `sentinel monitor NAME …`";
            at.key("sentinel_master")
                .error(format!("invalid name {}", quoted(master)), hint);
            None
        }
        Some(master) => {
            let login = login.map_or(Some(None), |login| login.map(Some))?;
            Some(Topology::Sentinel {
                master: master.clone(),
                login,
            })
        }
        None if is_cluster => Some(Topology::Cluster),
        None => Some(Topology::Single),
    }
}

fn more_nodes(raw: &RawRedis, topology: &Option<Topology>, at: &Location<'_>) -> Vec<RedisUrlNode> {
    let at = at.key("nodes");
    if let (Some(Topology::Single), Some(nodes)) = (topology, &raw.nodes)
        && !nodes.is_empty()
    {
        let hint = "remove the key, or set `cluster = true` or `sentinel_master`";
        at.error("more nodes need a Cluster or Sentinels", hint);
    }
    let mut found = Vec::new();
    for (at, text) in elements(raw.nodes.clone(), &at) {
        let url = Url::parse(&format!("redis://{text}")).ok();
        let address = url.filter(|url| {
            url.username().is_empty() && url.password().is_none() && url.path().is_empty()
        });
        let address = address.filter(|url| url.query().is_none() && url.fragment().is_none());
        match address.and_then(|url| node_of(&url)) {
            Some(node) => found.push(node),
            None => at.error(
                format!("{} is not a host and port", quoted(&text)),
                "for example `redis-2.internal:6379`",
            ),
        }
    }
    found
}

/// The login of two keys. `None` if neither is set, `Some(None)` if it is invalid.
fn login(
    username: Option<String>,
    file: Option<String>,
    at: &Location<'_>,
    username_key: &str,
    file_key: &str,
    folder: &Folder,
) -> Option<Option<RedisLogin>> {
    match (username, file) {
        (None, None) => None,
        (Some(_), None) => {
            let hint = format!("set `{file_key}` to a file with the password");
            at.key(username_key)
                .error("a user name needs a password", hint);
            Some(None)
        }
        (username, Some(file)) => {
            let password = folder.secret(&at.key(file_key), &file);
            Some(password.map(|password| RedisLogin {
                username,
                password: Secret::new(String::clone(&password)),
            }))
        }
    }
}

fn key_prefix(raw: Option<String>, at: &Location<'_>) -> String {
    let Some(prefix) = raw else {
        return KEY_PREFIX.to_owned();
    };
    let is_valid =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'-' | b'/');
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_valid) {
        let hint = "at most 64 letters, digits and `:._-/`, such as `doorward:`";
        at.error(format!("invalid key prefix {}", quoted(&prefix)), hint);
    }
    prefix
}
