//! The file that keeps the feed of one process through a restart: a line for each item, appended and synced before
//! anybody is told that it was announced. One thread writes; what comes while it syncs goes with the next sync.
//!
//! A line that was cut off by a crash, or that something else damaged, is passed over and reported; the file is then
//! written anew, as it is when it has grown long: beside the old one, which is replaced as a whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{LogEntry, StoreError};
use crate::types::time::Timestamp;

/// The first line: kind and version, so that no other file is ever taken for a journal and written over.
const FIRST_LINE: &str = r#"{"doorward_journal":1}"#;
/// Longest line that is read, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// How many lines more than twice what is needed the file may have.
const SLACK: usize = 1000;
/// Most orders that wait for the disk.
const WAITING: usize = 8192;

/// The writing end. Dropped, it waits until everything is on the disk.
#[derive(Debug)]
pub(super) struct Journal {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// Lines in the file, but for the first.
    lines: usize,
}

/// What was in the file.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// In the order in which it was announced; nothing that has ended.
    pub(super) items: Vec<LogEntry>,
    /// Lines that could not be read.
    pub(super) unreadable: usize,
    /// Whether the file is just the items.
    is_exact: bool,
}

/// Tells how it went.
pub(super) type Written = oneshot::Receiver<Result<(), StoreError>>;

#[derive(Debug)]
struct Order {
    work: Work,
    done: oneshot::Sender<Result<(), StoreError>>,
}

#[derive(Debug)]
enum Work {
    Append(Vec<u8>),
    Rewrite(Vec<LogEntry>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ends_at: Timestamp,
    value: String,
}

impl Journal {
    /// Opens the journal at `path`, or begins one, and starts the thread. Blocks.
    ///
    /// # Errors
    /// The file cannot be read or written, is no journal, is in use by another process, or has more than `most` items.
    pub(super) fn open(path: &Path, most: usize, now: Timestamp) -> io::Result<(Self, Kept)> {
        let (kept, file) = open(path, most, now)?;
        let writer = Writer {
            file,
            path: path.to_path_buf(),
            is_torn: false,
        };
        let (orders, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(waiting))?;
        Ok((
            Self {
                orders: Some(orders),
                thread: Some(thread),
                lines: kept.items.len(),
            },
            kept,
        ))
    }

    /// Whether the file has grown long, for so many items that matter.
    pub(super) const fn is_long_for(&self, items: usize) -> bool {
        self.lines > items.saturating_mul(2).saturating_add(SLACK)
    }

    /// Appends `item`. Nothing waits here: what is ordered first is done first.
    ///
    /// # Errors
    /// The item is too large, or the disk is far behind.
    pub(super) fn append(&mut self, item: &LogEntry) -> Result<Written, StoreError> {
        let line = line_of(item)
            .filter(|line| line.len() <= MAX_LINE)
            .ok_or(StoreError::Full)?;
        let written = self.order(Work::Append(line))?;
        self.lines = self.lines.saturating_add(1);
        Ok(written)
    }

    /// Makes `items` all that is in it.
    ///
    /// # Errors
    /// The disk is far behind.
    pub(super) fn rewrite(&mut self, items: Vec<LogEntry>) -> Result<Written, StoreError> {
        let lines = items.len();
        let written = self.order(Work::Rewrite(items))?;
        self.lines = lines;
        Ok(written)
    }

    fn order(&self, work: Work) -> Result<Written, StoreError> {
        let (done, written) = oneshot::channel();
        let order = Order { work, done };
        let ordered = self.orders.as_ref().map(|orders| orders.try_send(order));
        match ordered {
            Some(Ok(())) => Ok(written),
            Some(Err(_)) | None => Err(StoreError::Unavailable(
                "the journal's disk is far behind".to_owned(),
            )),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was already reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Writer {
    file: File,
    path: PathBuf,
    /// The last line may not be whole.
    is_torn: bool,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Order>) {
        while let Some(first) = waiting.blocking_recv() {
            let (mut lines, mut appended) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(Order { work, done }) = next {
                match work {
                    Work::Append(line) => {
                        lines.extend(line);
                        appended.push(done);
                    }
                    Work::Rewrite(items) => {
                        self.append(&mut lines, &mut appended);
                        let rewritten = self.rewrite(&items);
                        // Whoever ordered it may not be waiting any more.
                        let _ = done.send(rewritten);
                    }
                }
                next = waiting.try_recv().ok();
            }
            self.append(&mut lines, &mut appended);
        }
    }

    fn append(
        &mut self,
        lines: &mut Vec<u8>,
        appended: &mut Vec<oneshot::Sender<Result<(), StoreError>>>,
    ) {
        if self.is_torn {
            lines.insert(0, b'\n');
        }
        let written = self
            .file
            .write_all(lines)
            .and_then(|()| self.file.sync_data());
        self.is_torn = written.is_err();
        let written = written.map_err(|error| failure(&error));
        for done in appended.drain(..) {
            let _ = done.send(written.clone());
        }
        lines.clear();
    }

    fn rewrite(&mut self, items: &[LogEntry]) -> Result<(), StoreError> {
        self.file = rewrite(&self.path, items).map_err(|error| failure(&error))?;
        self.is_torn = false;
        Ok(())
    }
}

fn failure(error: &io::Error) -> StoreError {
    if error.kind() == ErrorKind::StorageFull {
        return StoreError::Full;
    }
    StoreError::Unavailable(format!("the journal cannot be written: {error}"))
}

fn open(path: &Path, most: usize, now: Timestamp) -> io::Result<(Kept, File)> {
    let there = match fs::metadata(path) {
        // Asked before it is opened: opening a pipe would wait for its other end.
        Ok(there) if !there.is_file() => return Err(io::Error::other("it is no ordinary file")),
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((Kept::default(), rewrite(path, &[])?));
        }
        Err(error) => return Err(error),
    };
    let file = OpenOptions::new().read(true).append(true).open(path)?;
    lock(&file)?;
    if fs::metadata(path)?.ino() != file.metadata()?.ino() {
        return Err(in_use());
    }
    if there.len() == 0 {
        return Ok((Kept::default(), rewrite(path, &[])?));
    }
    let kept = read(BufReader::new(&file), most, now)?;
    let is_private = there.mode() & 0o077 == 0;
    let file = if kept.is_exact && is_private {
        file
    } else {
        rewrite(path, &kept.items)?
    };
    Ok((kept, file))
}

fn read(mut lines: impl io::BufRead, most: usize, now: Timestamp) -> io::Result<Kept> {
    let mut kept = Kept {
        is_exact: true,
        ..Kept::default()
    };
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        // What is longer comes in several parts, none of which is a line.
        lines.by_ref().take(MAX_LINE as u64).read_until(b'\n', line)
    };
    next(&mut line)?;
    if line.trim_ascii_end() != FIRST_LINE.as_bytes() {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "it is not a journal of this version",
        ));
    }
    let mut ended = 0;
    while next(&mut line)? > 0 {
        kept.is_exact &= line.ends_with(b"\n");
        match item_of(&line) {
            Some(item) if now < item.ends_at => kept.items.push(item),
            Some(_) => ended += 1,
            None => kept.unreadable += 1,
        }
        if kept.items.len() > most {
            return Err(io::Error::other(format!(
                "it has more than {most} lines that still matter"
            )));
        }
    }
    kept.is_exact &= ended == 0 && kept.unreadable == 0;
    Ok(kept)
}

/// Writes a file beside the old one, and puts it in its place.
fn rewrite(path: &Path, items: &[LogEntry]) -> io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        // What a crash left behind.
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    lock(&file)?;
    let mut text = BufWriter::new(&file);
    writeln!(text, "{FIRST_LINE}")?;
    for line in items.iter().filter_map(line_of) {
        text.write_all(&line)?;
    }
    text.flush()?;
    drop(text);
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// For as long as it is open, nobody else has it.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn in_use() -> io::Error {
    io::Error::new(ErrorKind::ResourceBusy, "another process uses it")
}

fn line_of(item: &LogEntry) -> Option<Vec<u8>> {
    let line = Line {
        ends_at: item.ends_at,
        value: URL_SAFE_NO_PAD.encode(&item.value),
    };
    let mut text = serde_json::to_vec(&line).ok()?;
    text.push(b'\n');
    Some(text)
}

fn item_of(line: &[u8]) -> Option<LogEntry> {
    let Line { ends_at, value } = serde_json::from_slice(line).ok()?;
    Some(LogEntry {
        value: URL_SAFE_NO_PAD.decode(value).ok()?.into(),
        ends_at,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::store::contract::{Shared, is_kept_by};
    use crate::store::{Cursor, Memory, Store};

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn item(text: &str, ends_at: u64) -> LogEntry {
        LogEntry {
            value: text.to_owned().into(),
            ends_at: at(ends_at),
        }
    }

    fn memory(path: &Path, now: u64) -> io::Result<Memory> {
        Memory::new(5000).with_journal(path, at(now))
    }

    async fn said(store: &Memory, now: u64) -> Vec<String> {
        let read_since = store.read_since(&Cursor::default(), at(now)).await.unwrap();
        read_since
            .items
            .iter()
            .map(|item| String::from_utf8_lossy(&item.value).into_owned())
            .collect()
    }

    /// A folder, and where a journal may be in it.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ended.journal");
        (folder, path)
    }

    #[tokio::test]
    async fn a_memory_with_a_journal_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let count = std::cell::Cell::new(0);
        is_kept_by(|| {
            count.set(count.get() + 1);
            let store: Arc<dyn Store> =
                Arc::new(memory(&folder.path().join(count.get().to_string()), 0).unwrap());
            Shared {
                one: Arc::clone(&store),
                other: store,
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_announced_is_known_after_a_restart_until_it_ends() {
        let (_folder, path) = place();
        let store = memory(&path, 0).unwrap();
        for (text, ends_at) in [("a", 10), ("b", 20), ("c", 30)] {
            store.publish(item(text, ends_at), at(0)).await.unwrap();
        }
        drop(store);
        let store = memory(&path, 5).unwrap();
        assert_eq!(said(&store, 5).await, ["a", "b", "c"]);
        let read = store.read_since(&Cursor::default(), at(5)).await.unwrap();
        store.publish(item("d", 40), at(5)).await.unwrap();
        store
            .compact(&read.cursor, vec![item("a to c", 30)], at(5))
            .await
            .unwrap();
        drop(store);
        let store = memory(&path, 10).unwrap();
        assert_eq!(said(&store, 10).await, ["d", "a to c"]);
        drop(store);
        assert_eq!(said(&memory(&path, 30).unwrap(), 30).await, ["d"]);
        assert_eq!(
            fs::read_to_string(&path).unwrap().lines().count(),
            2,
            "what had ended is gone from the file"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[tokio::test]
    async fn what_was_cut_off_or_damaged_takes_nothing_else_with_it() {
        let (_folder, path) = place();
        let good = |text| String::from_utf8(line_of(&item(text, 10)).unwrap()).unwrap();
        let (a, b, c) = (good("a"), good("b"), good("c"));
        let huge = "x".repeat(3 * MAX_LINE);
        for (text, whole, unreadable) in [
            (
                format!("{FIRST_LINE}\n{a}{b}{}", c.get(..20).unwrap()),
                vec!["a", "b"],
                1,
            ),
            (
                format!("{FIRST_LINE}\n{a}{}", b.trim_end()),
                vec!["a", "b"],
                0,
            ),
            (
                format!("{FIRST_LINE}\n{a}\0\0\0\n\n{{}}\n{b}[1,2]\n{c}"),
                vec!["a", "b", "c"],
                4,
            ),
            (format!("{FIRST_LINE}\n{huge}\n{a}"), vec!["a"], 4),
            (format!("{FIRST_LINE}\n"), vec![], 0),
            (String::new(), vec![], 0),
        ] {
            fs::write(&path, &text).unwrap();
            let (journal, kept) = Journal::open(&path, 10, at(0)).unwrap();
            drop(journal);
            assert_eq!(kept.unreadable, unreadable, "{text:.200}");
            let store = memory(&path, 0).unwrap();
            assert_eq!(said(&store, 0).await, whole);
            store.publish(item("later", 10), at(0)).await.unwrap();
            drop(store);
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert_eq!(lines, whole.len() + 2, "the file was put right");
        }
    }

    #[test]
    fn no_other_file_is_taken_for_a_journal() {
        let (folder, path) = place();
        for foreign in ["root:x:0:0\n", "{\"doorward_journal\":2}\n", "\n"] {
            fs::write(&path, foreign).unwrap();
            assert_eq!(memory(&path, 0).unwrap_err().kind(), ErrorKind::InvalidData);
            assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
        }
        assert!(memory(folder.path(), 0).is_err(), "a folder");
        assert!(memory(&folder.path().join("absent/journal"), 0).is_err());
        let many: String = (0..10_001)
            .map(|_| String::from_utf8(line_of(&item("a", 10)).unwrap()).unwrap())
            .collect();
        fs::write(&path, format!("{FIRST_LINE}\n{many}")).unwrap();
        assert!(
            memory(&path, 0)
                .unwrap_err()
                .to_string()
                .contains("more than 10000")
        );
        assert!(memory(&path, 10).is_ok());
    }

    #[test]
    fn a_journal_has_one_writer() {
        let (_folder, path) = place();
        let first = memory(&path, 0).unwrap();
        assert_eq!(
            memory(&path, 0).unwrap_err().kind(),
            ErrorKind::ResourceBusy
        );
        drop(first);
        assert!(memory(&path, 0).is_ok());
    }

    #[tokio::test]
    async fn the_file_does_not_grow_with_what_has_ended() {
        let (_folder, path) = place();
        let store = memory(&path, 0).unwrap();
        for now in 0..2_500 {
            store
                .publish(item(&now.to_string(), now + 10), at(now))
                .await
                .unwrap();
            store.sweep(at(now));
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < SLACK + 100, "{lines}");
        drop(store);
        assert_eq!(said(&memory(&path, 2_500).unwrap(), 2_500).await.len(), 9);
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_is_told_and_a_torn_line_spoils_no_other() {
        let (folder, path) = place();
        let (file, full) = (
            rewrite(&path, &[]).unwrap(),
            File::create("/dev/full").unwrap(),
        );
        let mut writer = Writer {
            file: full,
            path: path.clone(),
            is_torn: false,
        };
        let append = |writer: &mut Writer, text: &str| {
            let (done, written) = oneshot::channel();
            writer.append(&mut line_of(&item(text, 10)).unwrap(), &mut vec![done]);
            written
        };
        assert_eq!(
            append(&mut writer, "a").await.unwrap(),
            Err(StoreError::Full)
        );
        writer.file = file;
        writer.file.write_all(b"{\"ends_at\":10,\"val").unwrap();
        assert_eq!(append(&mut writer, "b").await.unwrap(), Ok(()));
        drop(writer);
        let store = memory(&path, 0).unwrap();
        assert_eq!(said(&store, 0).await, ["b"]);
        drop(folder);
        let read = store.read_since(&Cursor::default(), at(0)).await.unwrap();
        let lost = store
            .compact(&read.cursor, vec![item("c", 10)], at(0))
            .await;
        assert!(
            matches!(lost, Err(StoreError::Unavailable(why)) if why.contains("journal cannot be written"))
        );
    }
}
