//! Inspection of a Redis for a diagnosis: its version, persistence and eviction policy, its time, and
//! the commands that its user may not run. It leaves no key behind.

use redis::Value;
use tokio::time::Instant;

use super::{Redis, number_of, unexpected};
use crate::store::{StoreError, StoreTime};

const INSPECT: &str = include_str!("inspect.lua");

/// The most servers of a Cluster, and the most failed commands, that are reported.
const MAX_REPORTED: usize = 100;
/// The longest value of `INFO` and the longest error, in characters.
const MAX_TEXT: usize = 200;

/// The report of one server by `INFO`. A member is `None` if the server does not report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// `redis_version`.
    pub version: Option<String>,
    /// `maxmemory_policy`.
    pub eviction_policy: Option<String>,
    /// `maxmemory` in bytes; 0 without a limit.
    pub max_memory: Option<u64>,
    /// `aof_enabled`: whether it has an append-only file.
    pub has_append_only_file: Option<bool>,
    /// `connected_slaves`: the number of replicas that follow it.
    pub replicas: Option<u64>,
}

/// The result of running each command that the store needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandCheck {
    /// The time of the server.
    pub time: Option<StoreTime>,
    /// The commands that failed.
    pub failed: Vec<FailedCommand>,
}

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCommand {
    /// Its name, such as `HSET`.
    pub name: String,
    /// The error of Redis.
    pub error: String,
}

impl FailedCommand {
    /// Whether the user lacks the right. Versions of Redis word it differently within scripts.
    pub fn is_denied(&self) -> bool {
        ["NOPERM", "The user executing the script can't"]
            .iter()
            .any(|words| self.error.contains(words))
    }
}

impl Redis {
    /// The report of the server: one element, or one for each master of a Cluster.
    ///
    /// # Errors
    /// Redis does not respond, or its user may not run `INFO`.
    pub async fn server_info(&self) -> Result<Vec<ServerInfo>, StoreError> {
        let reply = self.execute(&redis::cmd("INFO")).await?;
        let texts = texts(&reply);
        if texts.is_empty() {
            return Err(unexpected(&reply));
        }
        Ok(texts.iter().map(|text| ServerInfo::parse(text)).collect())
    }

    /// Runs each command that the store needs, on a key that does not exist before and after.
    ///
    /// # Errors
    /// Redis does not respond, or its user may not run scripts or access the keys of the store.
    pub async fn check_commands(&self) -> Result<CommandCheck, StoreError> {
        let key = format!("check:{}", self.shared.call_ids.next());
        let mut command = redis::cmd("EVAL");
        command.arg(INSPECT).arg(1).arg(self.key(&key));
        let sent = Instant::now();
        let reply = self.execute(&command).await?;
        let check = CommandCheck::parse(&reply).ok_or_else(|| unexpected(&reply))?;
        if let Some(time) = check.time {
            self.shared.time.record(time, sent);
        }
        Ok(check)
    }
}

impl ServerInfo {
    fn parse(info: &str) -> Self {
        let member = |name: &str| {
            let line = info
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| printable(value.trim()))
        };
        let number = |name| member(name).and_then(|value| value.parse().ok());
        Self {
            version: member("redis_version"),
            eviction_policy: member("maxmemory_policy"),
            max_memory: number("maxmemory"),
            has_append_only_file: number("aof_enabled").map(|enabled: u64| enabled != 0),
            replicas: number("connected_slaves"),
        }
    }
}

impl CommandCheck {
    fn parse(reply: &Value) -> Option<Self> {
        let Value::Array(parts) = reply else {
            return None;
        };
        let [time, Value::Array(failed)] = parts.as_slice() else {
            return None;
        };
        let (pairs, _) = failed.as_chunks::<2>();
        let failed = pairs.iter().take(MAX_REPORTED).map(|[name, error]| {
            Some(FailedCommand {
                name: text(name)?,
                error: text(error)?,
            })
        });
        Some(Self {
            time: u64::try_from(number_of(time)?)
                .ok()
                .map(StoreTime::from_millis),
            failed: failed.collect::<Option<_>>()?,
        })
    }
}

/// The texts of a reply: one, or in a Cluster one for each server.
fn texts(reply: &Value) -> Vec<String> {
    if let Value::Map(servers) = reply {
        let infos = servers.iter().take(MAX_REPORTED);
        return infos.filter_map(|(_, info)| whole_text(info)).collect();
    }
    whole_text(reply).into_iter().collect()
}

fn text(value: &Value) -> Option<String> {
    whole_text(value).map(|text| printable(&text))
}

fn whole_text(value: &Value) -> Option<String> {
    if let Value::BulkString(bytes) = value {
        return Some(String::from_utf8_lossy(bytes).into_owned());
    }
    if let Value::SimpleString(text) | Value::VerbatimString { text, .. } = value {
        return Some(text.clone());
    }
    None
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_TEXT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_members_are_read_exactly() {
        let info = "# Server\r\nredis_version:7.2.4\r\n# Memory\r\nmaxmemory_human:0B\r\n\
                    maxmemory:1048576\r\nmaxmemory_policy:allkeys-lru\r\n# Persistence\r\n\
                    aof_enabled:1\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n";
        let expected = ServerInfo {
            version: Some("7.2.4".to_owned()),
            eviction_policy: Some("allkeys-lru".to_owned()),
            max_memory: Some(1_048_576),
            has_append_only_file: Some(true),
            replicas: Some(2),
        };
        assert_eq!(ServerInfo::parse(info), expected);
        assert_eq!(ServerInfo::parse("x:1"), ServerInfo::default());
    }
}
