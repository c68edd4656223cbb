//! The log in a Redis stream. An entry starts with its expiry time, like a key's value.
//!
//! Data loss is detected by the epoch: a call that finds no stream or no state starts a new one. An
//! older state of Redis (a restart from a snapshot, or a failover to a replica that lagged behind) is
//! detected by a cursor whose entry is missing without having been trimmed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::entry::{self, DIGITS, digits, seconds_to_keep};
use super::{LogLimits, Redis, bool_of, hex, number_of, unexpected};
use crate::store::{Cursor, LogBatch, LogEntry, LogState, StoreError, StoreTime};
use crate::types::time::Timestamp;

const PUBLISH: &str = concat!(include_str!("log.lua"), include_str!("publish.lua"));
const READ_SINCE: &str = concat!(include_str!("log.lua"), include_str!("read_since.lua"));
const COMPACT: &str = concat!(include_str!("log.lua"), include_str!("compact.lua"));
const LOG_STATE: &str = concat!(include_str!("log.lua"), include_str!("log_state.lua"));

/// The most entries in one command.
const MAX_WRITTEN: usize = 500;
/// The most entries in one batch, but for the last 20 that the script reads at once.
const MAX_READ: usize = 5000;
/// How many entries the script reads at once.
pub(super) const READ_AT_ONCE: usize = 20;
/// A batch ends after so many bytes.
const MAX_READ_BYTES: usize = 1024 * 1024;
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
    more: bool,
    time: StoreTime,
    /// The IDs, with the entries that are valid.
    entries: Vec<(String, Option<LogEntry>)>,
}

impl Redis {
    /// The same with limits of the log that are its own.
    #[must_use]
    pub fn with_log_limits(self, limits: LogLimits) -> Self {
        Self {
            limits: Arc::new(ArcSwap::from_pointee(limits)),
            ..self
        }
    }

    pub(super) async fn publish_entries(&self, entries: Vec<LogEntry>) -> Result<(), StoreError> {
        for part in entries.chunks(MAX_WRITTEN) {
            let mut command = self.log_script(PUBLISH)?;
            let limits = **self.limits.load();
            command
                .arg(seconds_to_keep(limits.max_lifetime))
                .arg(limits.max_entries);
            for entry in part {
                command.arg(text_of(entry)?);
            }
            if !bool_of(&self.execute(&command).await?)? {
                return Err(StoreError::Full);
            }
        }
        Ok(())
    }

    pub(super) async fn read_entries(
        &self,
        since: &Cursor,
        now: Timestamp,
    ) -> Result<LogBatch, StoreError> {
        let mut command = self.log_script(READ_SINCE)?;
        add_cursor(&mut command, since);
        command
            .arg(MAX_READ)
            .arg(DIGITS + MAX_ENTRY)
            .arg(MAX_READ_BYTES);
        let sent = Instant::now();
        let reply = self.execute(&command).await?;
        let page = page(&reply).ok_or_else(|| unexpected(&reply))?;
        self.shared.time.record(page.time, sent);
        let position = match page.entries.last() {
            Some((id, _)) => id.clone(),
            None if page.lost || page.epoch != since.epoch => String::new(),
            None => since.position.clone(),
        };
        let read = page.entries.len();
        let entries = page.entries.into_iter().filter_map(|(_, entry)| entry);
        Ok(LogBatch {
            read,
            entries: entries.filter(|entry| now < entry.ends_at).collect(),
            cursor: Cursor {
                epoch: page.epoch,
                position,
            },
            held: page.held,
            more: page.more,
            lost: page.lost,
        })
    }

    pub(super) async fn state_since(&self, since: &Cursor) -> Result<LogState, StoreError> {
        let mut command = self.log_script(LOG_STATE)?;
        add_cursor(&mut command, since);
        let sent = Instant::now();
        let reply = self.execute(&command).await?;
        let state = log_state(&reply).ok_or_else(|| unexpected(&reply))?;
        self.shared.time.record(state.time, sent);
        Ok(state)
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
            let (part, later) = rest.split_at(rest.len().min(MAX_WRITTEN));
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
            .arg(seconds_to_keep(self.limits.load().max_lifetime));
        Ok(command)
    }
}

fn text_of(entry: &LogEntry) -> Result<Vec<u8>, StoreError> {
    if entry.value.len() > MAX_ENTRY {
        return Err(StoreError::Full);
    }
    Ok([digits(entry.ends_at).as_bytes(), &entry.value].concat())
}

/// Adds the cursor to a script that takes one.
fn add_cursor(command: &mut Cmd, since: &Cursor) {
    let is_valid = since.position.is_empty() || is_id(&since.position);
    let epoch = if is_valid {
        since.epoch.as_str()
    } else {
        NO_EPOCH
    };
    command.arg(epoch).arg(&since.position);
}

/// A number of milliseconds. A clock that was set back gives a negative one.
fn millis(reply: &Value) -> Option<u64> {
    number_of(reply).map(|number| u64::try_from(number).unwrap_or(0))
}

fn log_state(reply: &Value) -> Option<LogState> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [time, intact] = parts.as_slice() else {
        return None;
    };
    Some(LogState {
        time: StoreTime::from_millis(millis(time)?),
        intact_for: Duration::from_millis(millis(intact)?),
    })
}

fn page(reply: &Value) -> Option<Page> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [
        Value::BulkString(epoch),
        Value::Int(lost),
        Value::Int(held),
        Value::Int(more),
        time,
        Value::Array(entries),
    ] = parts.as_slice()
    else {
        return None;
    };
    if entries.len() >= MAX_READ + READ_AT_ONCE {
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
        more: *more == 1,
        time: StoreTime::from_millis(millis(time)?),
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
