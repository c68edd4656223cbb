//! What replicas tell each other, in a Redis stream. The first second of an item is its end, as in an entry.
//!
//! A memory that was lost shows in the epoch: whoever finds no feed, or nothing known of it, begins a new one. An older
//! state that Redis came back with (a restart from a snapshot, a replica that became the master and had not heard the
//! last) shows in what somebody has read and is not there any more, without having been removed on purpose.

use bytes::Bytes;
use redis::{Cmd, Value};

use super::entry::{self, DIGITS, digits, seconds_to_keep};
use super::{Redis, hex, unexpected, yes_or_no};
use crate::store::{Cursor, LogBatch, LogEntry, StoreError};
use crate::types::time::Timestamp;

const PUBLISH: &str = concat!(include_str!("feed.lua"), include_str!("publish.lua"));
const READ_SINCE: &str = concat!(include_str!("feed.lua"), include_str!("read_since.lua"));
const COMPACT: &str = concat!(include_str!("feed.lua"), include_str!("compact.lua"));

/// Most items in one command or answer.
const AT_ONCE: usize = 500;
/// Largest item, in bytes.
const MAX_ITEM: usize = 16 * 1024;
/// Where a stream begins.
const BEGINNING: &str = "0-0";
/// No epoch that there is.
const NO_EPOCH: &str = "?";

/// The keys of a feed. The braces make a Cluster keep both at one place.
#[derive(Debug)]
pub(super) struct Feed {
    state: String,
    stream: String,
}

impl Feed {
    pub(super) fn new(keys: &str) -> Self {
        Self {
            state: format!("{keys}{{feed}}:state"),
            stream: format!("{keys}{{feed}}:items"),
        }
    }
}

/// A part of the news.
struct Page {
    epoch: String,
    lost: bool,
    held: usize,
    /// The ids, and the items as far as they are some.
    items: Vec<(String, Option<LogEntry>)>,
}

impl Redis {
    pub(super) async fn publish_entry(&self, item: LogEntry) -> Result<(), StoreError> {
        let mut command = self.feed_script(PUBLISH)?;
        command
            .arg(seconds_to_keep(self.limits.longest_life))
            .arg(self.limits.max_items)
            .arg(text_of(&item)?);
        if yes_or_no(&self.ask(&command).await?)? {
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
        let mut read_since = LogBatch {
            cursor: since.clone(),
            ..LogBatch::default()
        };
        loop {
            let page = self.page_after(&read_since.cursor).await?;
            if page.lost {
                read_since.items.clear();
                read_since.lost = !since.epoch.is_empty();
            }
            if page.lost || page.epoch != read_since.cursor.epoch {
                read_since.cursor = Cursor {
                    epoch: page.epoch,
                    position: String::new(),
                };
            }
            read_since.held = page.held;
            let is_last = page.items.len() < AT_ONCE;
            for (id, item) in page.items {
                read_since.cursor.position = id;
                read_since
                    .items
                    .extend(item.filter(|item| now < item.ends_at));
            }
            if is_last {
                return Ok(read_since);
            }
        }
    }

    async fn page_after(&self, since: &Cursor) -> Result<Page, StoreError> {
        let mut command = self.feed_script(READ_SINCE)?;
        let readable = since.position.is_empty() || is_id(&since.position);
        command
            .arg(if readable {
                since.epoch.as_str()
            } else {
                NO_EPOCH
            })
            .arg(&since.position);
        command.arg(AT_ONCE).arg(DIGITS + MAX_ITEM);
        let answer = self.ask(&command).await?;
        page(&answer).ok_or_else(|| unexpected(&answer))
    }

    pub(super) async fn compact_entries(
        &self,
        until: &Cursor,
        items: Vec<LogEntry>,
    ) -> Result<(), StoreError> {
        let texts: Vec<Vec<u8>> = items.iter().map(text_of).collect::<Result<_, _>>()?;
        let position = if is_id(&until.position) {
            until.position.as_str()
        } else {
            BEGINNING
        };
        let mut rest = texts.as_slice();
        loop {
            // The old ones go with the last of the new ones: whoever breaks off in between leaves some twice.
            let (these, later) = rest.split_at(rest.len().min(AT_ONCE));
            let mut command = self.feed_script(COMPACT)?;
            command
                .arg(&until.epoch)
                .arg(position)
                .arg(i32::from(later.is_empty()))
                .arg(these);
            // No: this is another memory.
            if !yes_or_no(&self.ask(&command).await?)? || later.is_empty() {
                return Ok(());
            }
            rest = later;
        }
    }

    /// A script on the feed, as far as all have it in common.
    fn feed_script(&self, script: &str) -> Result<Cmd, StoreError> {
        let mut epoch = [0; 16];
        aws_lc_rs::rand::fill(&mut epoch)
            .map_err(|_| StoreError::Unavailable("the system gives no randomness".to_owned()))?;
        let mut command = redis::cmd("EVAL");
        command
            .arg(script)
            .arg(2)
            .arg(&self.feed.state)
            .arg(&self.feed.stream);
        command
            .arg(hex(&epoch))
            .arg(seconds_to_keep(self.limits.longest_life));
        Ok(command)
    }
}

fn text_of(item: &LogEntry) -> Result<Vec<u8>, StoreError> {
    if item.value.len() > MAX_ITEM {
        return Err(StoreError::Full);
    }
    Ok([digits(item.ends_at).as_bytes(), &item.value].concat())
}

fn page(answer: &Value) -> Option<Page> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [
        Value::BulkString(epoch),
        Value::Int(lost),
        Value::Int(held),
        Value::Array(items),
    ] = parts.as_slice()
    else {
        return None;
    };
    if items.len() > AT_ONCE {
        return None;
    }
    let epoch = std::str::from_utf8(epoch)
        .ok()
        .filter(|epoch| (1..=64).contains(&epoch.len()))?;
    let items = items.iter().map(|item| {
        let Value::Array(item) = item else {
            return None;
        };
        let [Value::BulkString(id), Value::BulkString(text)] = item.as_slice() else {
            return None;
        };
        let id = std::str::from_utf8(id).ok().filter(|id| is_id(id))?;
        let item = entry::read_end(text).filter(|(_, value)| value.len() <= MAX_ITEM);
        let item = item.map(|(ends_at, value)| LogEntry {
            value: Bytes::copy_from_slice(value),
            ends_at,
        });
        Some((id.to_owned(), item))
    });
    Some(Page {
        epoch: epoch.to_owned(),
        lost: *lost == 1,
        held: usize::try_from(*held).ok()?,
        items: items.collect::<Option<_>>()?,
    })
}

/// Whether a text is the id of a stream's item.
fn is_id(text: &str) -> bool {
    let number = |part: &str| {
        (1..=20).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.split_once('-')
        .is_some_and(|(time, sequence)| number(time) && number(sequence))
}
