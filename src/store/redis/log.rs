//! The log in a Redis stream. An entry starts with its expiry time, like a key's value.
//!
//! Data loss is detected by the epoch: a call that finds no stream or no state starts a new one. An
//! older state of Redis (a restart from a snapshot, or a failover to a replica that lagged behind) is
//! detected by a cursor whose entry is missing without having been trimmed.

use bytes::Bytes;
use redis::{Cmd, Value};

use super::entry::{self, DIGITS, digits, seconds_to_keep};
use super::{Redis, bool_of, hex, unexpected};
use crate::store::{Cursor, LogBatch, LogEntry, StoreError};
use crate::types::time::Timestamp;

const PUBLISH: &str = concat!(include_str!("log.lua"), include_str!("publish.lua"));
const READ_SINCE: &str = concat!(include_str!("log.lua"), include_str!("read_since.lua"));
const COMPACT: &str = concat!(include_str!("log.lua"), include_str!("compact.lua"));

/// The most entries in one command or reply.
const PAGE_SIZE: usize = 500;
/// The largest entry, in bytes.
const MAX_ENTRY: usize = 16 * 1024;
/// The ID before the first entry of a stream.
const BEGINNING: &str = "0-0";
/// An epoch that never exists.
const NO_EPOCH: &str = "?";

/// The keys of a log. The hash tag puts both into one slot of a Cluster.
#[derive(Debug)]
pub(super) struct LogKeys {
    state: String,
    stream: String,
}

impl LogKeys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            state: format!("{prefix}{{feed}}:state"),
            stream: format!("{prefix}{{feed}}:items"),
        }
    }
}

/// One reply of the script that reads the log.
struct Page {
    epoch: String,
    lost: bool,
    held: usize,
    /// The IDs, with the entries that are valid.
    entries: Vec<(String, Option<LogEntry>)>,
}

impl Redis {
    pub(super) async fn publish_entry(&self, entry: LogEntry) -> Result<(), StoreError> {
        let mut command = self.log_script(PUBLISH)?;
        command
            .arg(seconds_to_keep(self.limits.max_lifetime))
            .arg(self.limits.max_entries)
            .arg(text_of(&entry)?);
        if bool_of(&self.execute(&command).await?)? {
            Ok(())
        } else {
            Err(StoreError::Full)
        }
    }

    pub(super) async fn read_entries(
        &self,
        since: &Cursor,
        now: Timestamp,
    ) -> Result<LogBatch, StoreError> {
        let mut batch = LogBatch {
            cursor: since.clone(),
            ..LogBatch::default()
        };
        loop {
            let page = self.page_after(&batch.cursor).await?;
            if page.lost {
                batch.entries.clear();
                batch.lost = !since.epoch.is_empty();
            }
            if page.lost || page.epoch != batch.cursor.epoch {
                batch.cursor = Cursor {
                    epoch: page.epoch,
                    position: String::new(),
                };
            }
            batch.held = page.held;
            let is_last = page.entries.len() < PAGE_SIZE;
            for (id, entry) in page.entries {
                batch.cursor.position = id;
                batch
                    .entries
                    .extend(entry.filter(|entry| now < entry.ends_at));
            }
            if is_last {
                return Ok(batch);
            }
        }
    }

    async fn page_after(&self, since: &Cursor) -> Result<Page, StoreError> {
        let mut command = self.log_script(READ_SINCE)?;
        let is_valid = since.position.is_empty() || is_id(&since.position);
        command
            .arg(if is_valid {
                since.epoch.as_str()
            } else {
                NO_EPOCH
            })
            .arg(&since.position);
        command.arg(PAGE_SIZE).arg(DIGITS + MAX_ENTRY);
        let reply = self.execute(&command).await?;
        page(&reply).ok_or_else(|| unexpected(&reply))
    }

    pub(super) async fn compact_entries(
        &self,
        until: &Cursor,
        entries: Vec<LogEntry>,
    ) -> Result<(), StoreError> {
        let texts: Vec<Vec<u8>> = entries.iter().map(text_of).collect::<Result<_, _>>()?;
        let position = if is_id(&until.position) {
            until.position.as_str()
        } else {
            BEGINNING
        };
        let mut rest = texts.as_slice();
        loop {
            // The last part removes the old entries. A failure before that only leaves duplicates.
            let (part, later) = rest.split_at(rest.len().min(PAGE_SIZE));
            let mut command = self.log_script(COMPACT)?;
            command
                .arg(&until.epoch)
                .arg(position)
                .arg(i32::from(later.is_empty()))
                .arg(part);
            // False if the log was lost.
            if !bool_of(&self.execute(&command).await?)? || later.is_empty() {
                return Ok(());
            }
            rest = later;
        }
    }

    /// The common part of the scripts on the log.
    fn log_script(&self, script: &str) -> Result<Cmd, StoreError> {
        let mut epoch = [0; 16];
        aws_lc_rs::rand::fill(&mut epoch).map_err(|_| {
            StoreError::Unavailable("the random number generator failed".to_owned())
        })?;
        let mut command = redis::cmd("EVAL");
        command
            .arg(script)
            .arg(2)
            .arg(&self.log.state)
            .arg(&self.log.stream);
        command
            .arg(hex(&epoch))
            .arg(seconds_to_keep(self.limits.max_lifetime));
        Ok(command)
    }
}

fn text_of(entry: &LogEntry) -> Result<Vec<u8>, StoreError> {
    if entry.value.len() > MAX_ENTRY {
        return Err(StoreError::Full);
    }
    Ok([digits(entry.ends_at).as_bytes(), &entry.value].concat())
}

fn page(reply: &Value) -> Option<Page> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [
        Value::BulkString(epoch),
        Value::Int(lost),
        Value::Int(held),
        Value::Array(entries),
    ] = parts.as_slice()
    else {
        return None;
    };
    if entries.len() > PAGE_SIZE {
        return None;
    }
    let epoch = std::str::from_utf8(epoch)
        .ok()
        .filter(|epoch| (1..=64).contains(&epoch.len()))?;
    let entries = entries.iter().map(|entry| {
        let Value::Array(entry) = entry else {
            return None;
        };
        let [Value::BulkString(id), Value::BulkString(text)] = entry.as_slice() else {
            return None;
        };
        let id = std::str::from_utf8(id).ok().filter(|id| is_id(id))?;
        let entry = entry::read_end(text).filter(|(_, value)| value.len() <= MAX_ENTRY);
        let entry = entry.map(|(ends_at, value)| LogEntry {
            value: Bytes::copy_from_slice(value),
            ends_at,
        });
        Some((id.to_owned(), entry))
    });
    Some(Page {
        epoch: epoch.to_owned(),
        lost: *lost == 1,
        held: usize::try_from(*held).ok()?,
        entries: entries.collect::<Option<_>>()?,
    })
}

/// Whether the text is an ID of a stream entry.
fn is_id(text: &str) -> bool {
    let number = |part: &str| {
        (1..=20).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.split_once('-')
        .is_some_and(|(time, sequence)| number(time) && number(sequence))
}
