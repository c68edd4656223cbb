//! `[store]`: what is remembered between requests, and where.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::files::Folder;
use super::super::raw::{RawRedis, RawStore};
use super::super::report::{Location, quoted};
use super::super::settings::{StoreConfig, StorePlace};
use super::session::most;
use super::{elements, wait};
use crate::store::{RedisLogin, RedisNode, RedisSettings, RedisTls, Topology};
use crate::types::net::is_loopback_host;
use crate::types::secret::Secret;

const MAX_ENTRIES: u32 = 100_000;
const MAX_REVOKED: u32 = 100_000;
const KEY_PREFIX: &str = "doorward:";
const TIMEOUT: Duration = Duration::from_secs(1);
/// A request that waits for a refresh waits so long at most.
const MAX_TIMEOUT: Duration = Duration::from_secs(5);
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

pub(super) fn check(raw: RawStore, at: &Location<'_>, folder: &Folder) -> Option<StoreConfig> {
    let max_entries = most(raw.max_entries, MAX_ENTRIES, &at.key("max_entries"));
    let max_revoked = most(raw.max_revoked, MAX_REVOKED, &at.key("max_revoked"));
    let url = raw.url.as_deref().unwrap_or("memory:");
    let redis_at = at.key("redis");
    let place = if url == "memory:" {
        if let Some(unused) = raw.redis {
            redis_at.advise(
                "`memory:` uses nothing of this",
                "write `url = \"redis://…\"` to use it",
            );
            redis(unused, None, &redis_at, folder);
        }
        let at = at.key("journal_file");
        let journal_file = raw.journal_file.map(|name| journal(&name, &at, folder));
        journal_file
            .map_or(Some(None), |file| file.map(Some))
            .map(|journal_file| StorePlace::Memory { journal_file })
    } else {
        if raw.journal_file.is_some() {
            let hint =
                "take it away: what is in a Redis is kept there, as far as that is persistent";
            at.key("journal_file")
                .error("a journal is for `memory:`", hint);
        }
        let url = store_url(url, &at.key("url"));
        redis(raw.redis.unwrap_or_default(), url, &redis_at, folder)
            .map(Box::new)
            .map(StorePlace::Redis)
    };
    Some(StoreConfig {
        place: place?,
        max_entries,
        max_revoked,
    })
}

/// Where a journal can be: it need not be there yet.
fn journal(name: &str, at: &Location<'_>, folder: &Folder) -> Option<PathBuf> {
    let path = folder.path(name);
    if name.is_empty()
        || path.is_dir()
        || !path
            .parent()
            .is_some_and(|parent| parent.as_os_str().is_empty() || parent.is_dir())
    {
        let hint = "a file in a folder that is there and that doorward may write to, such as `ended.journal`";
        at.error(format!("{} cannot be a journal", quoted(name)), hint);
        return None;
    }
    Some(path)
}

/// What a URL says of a Redis.
struct RedisUrl {
    tls: bool,
    node: RedisUrlNode,
    database: u32,
    username: Option<String>,
    password: Option<Secret<String>>,
}

/// An address whose port may be left out.
struct RedisUrlNode {
    host: String,
    port: Option<u16>,
}

fn store_url(text: &str, at: &Location<'_>) -> Option<RedisUrl> {
    const HINT: &str = "`memory:`, `redis://host:6379` or, with TLS, `rediss://host:6379`; `/1` behind it for another \
                        database";
    let error = |what: &str| {
        at.error(format!("{} {what}", quoted(text)), HINT);
        None
    };
    let Ok(url) = Url::parse(text) else {
        return error("is not a store");
    };
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return error("is not a store"),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return error("has more than address and database");
    }
    let Some(node) = node_of(&url) else {
        return error("names no host");
    };
    let database = url.path().trim_start_matches('/');
    let Ok(database) = (if database.is_empty() {
        Ok(0)
    } else {
        database.parse()
    }) else {
        return error("ends with something that is no number of a database");
    };
    let decoded = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .ok()
            .map(|text| text.into_owned())
    };
    let username = Some(url.username()).filter(|name| !name.is_empty());
    let (username, password) = (username.map(decoded), url.password().map(decoded));
    if username == Some(None) || password == Some(None) {
        return error("has a user name or password that is not UTF-8 text");
    }
    let password = password.flatten().map(Secret::new);
    if !tls && password.is_some() && !is_loopback_host(url.host_str().unwrap_or_default()) {
        at.advise(
            "the password goes over the network as it is",
            "use `rediss://`",
        );
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

/// Checks everything; `None` if there is no usable `url`, or something needed could not be made.
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
                "there is no TLS to this store",
                "take the key away, or make the store's `url` `rediss://…`",
            );
        }
        folder
            .certificates(&at, &name)
            .map(|certificates| certificates.pem)
    });
    let key_prefix = key_prefix(raw.key_prefix, &at.key("key_prefix"));
    let timeout = raw
        .timeout
        .map_or(TIMEOUT, |span| wait(span, &at.key("timeout")));
    if timeout > MAX_TIMEOUT {
        let hint = "at most `\"5s\"`: so long does a request wait for a refresh";
        at.key("timeout")
            .error(format!("{} s is too long", timeout.as_secs()), hint);
    }
    let in_file = password(
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
            "a Cluster has the database 0 only",
            "take the number away from the store's `url`",
        );
    }
    let in_url = url.password.map(|password| RedisLogin {
        username: url.username.clone(),
        password,
    });
    if in_url.is_none() && url.username.is_some() {
        at.beside("url").error(
            "there is a user name without a password",
            "give both here, or both in `[store.redis]`",
        );
    }
    let login = match (in_url, in_file) {
        (Some(_), Some(_)) => {
            at.key("password_file").error(
                "the store's `url` has a password too",
                "give it once, better in a file",
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
    let (name, file) = (
        raw.sentinel_username.clone(),
        raw.sentinel_password_file.clone(),
    );
    for key in ["sentinel_username", "sentinel_password_file"] {
        let given = if key == "sentinel_username" {
            name.is_some()
        } else {
            file.is_some()
        };
        if given && raw.sentinel_master.is_none() {
            at.key(key).error(
                "there is no Sentinel",
                "name what the Sentinels call the Redis: `sentinel_master`",
            );
        }
    }
    let login = password(
        name,
        file,
        at,
        "sentinel_username",
        "sentinel_password_file",
        folder,
    );
    let is_cluster = raw.cluster == Some(true);
    match &raw.sentinel_master {
        Some(_) if is_cluster => {
            let hint = "a Cluster needs no Sentinels: take one of the two away";
            at.key("sentinel_master")
                .error("`cluster` is set too", hint);
            None
        }
        Some(master) if master.is_empty() || master.contains(char::is_whitespace) => {
            let hint = "as in `sentinel monitor NAME …`";
            at.key("sentinel_master")
                .error(format!("{} cannot be a name", quoted(master)), hint);
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
        let hint = "several are the nodes of a Cluster (`cluster = true`) or Sentinels (`sentinel_master = \"…\"`)";
        at.error("there is one Redis, in the store's `url`", hint);
    }
    let mut found = Vec::new();
    for (at, text) in elements(raw.nodes.clone(), &at) {
        let url = Url::parse(&format!("redis://{text}")).ok();
        let bare = url.filter(|url| {
            url.username().is_empty() && url.password().is_none() && url.path().is_empty()
        });
        let bare = bare.filter(|url| url.query().is_none() && url.fragment().is_none());
        match bare.and_then(|url| node_of(&url)) {
            Some(node) => found.push(node),
            None => at.error(
                format!("{} is no host and port", quoted(&text)),
                "such as `redis-2.internal:6379`",
            ),
        }
    }
    found
}

/// The login that two keys give; `None` if there is none, `Some(None)` if it cannot be had.
fn password(
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
            let hint = format!("put the password into a file, and name it as `{file_key}`");
            at.key(username_key)
                .error("there is a user name without a password", hint);
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
    let good =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'-' | b'/');
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(good) {
        let hint = "such as `doorward:`: letters, digits and `:._-/`, at most 64 of them";
        at.error(
            format!("{} cannot be what keys begin with", quoted(&prefix)),
            hint,
        );
    }
    prefix
}
