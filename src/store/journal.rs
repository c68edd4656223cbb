//! Journal: a file with the log of the memory store, one line per entry. An entry is appended and
//! synced before its publication completes. One thread writes; entries that arrive during a sync
//! share the next one.
//!
//! Truncated or damaged lines are skipped and reported. Then, and when the file has grown long, it is
//! rewritten: a new file replaces it atomically.

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

/// The first line: type and version, so that no other file is overwritten.
const FIRST_LINE: &str = r#"{"doorward_journal":1}"#;
/// The longest line, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// How many lines the file may have beyond twice the entries.
const SLACK: usize = 1000;
/// The limit of pending writes.
const MAX_PENDING: usize = 8192;

/// An open journal. Dropping it waits until all entries are on disk.
#[derive(Debug)]
pub(super) struct Journal {
    writes: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
    /// Lines in the file, without the first.
    lines: usize,
}

/// The content of an existing file.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The entries that have not expired, in order.
    pub(super) entries: Vec<LogEntry>,
    /// The number of invalid lines.
    pub(super) invalid_lines: usize,
    /// Whether the file has the entries and nothing else.
    is_clean: bool,
}

/// Receives the result of a write.
pub(super) type Completion = oneshot::Receiver<Result<(), StoreError>>;

#[derive(Debug)]
struct Write {
    operation: Operation,
    done: oneshot::Sender<Result<(), StoreError>>,
}

#[derive(Debug)]
enum Operation {
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
    /// Opens or creates the journal at `path`, and starts the writer thread. Blocks.
    ///
    /// # Errors
    /// The file cannot be read or written, is not a journal, is in use by another process, or has more
    /// than `max_entries`.
    pub(super) fn open(
        path: &Path,
        max_entries: usize,
        now: Timestamp,
    ) -> io::Result<(Self, Recovered)> {
        let (recovered, file) = open(path, max_entries, now)?;
        let writer = Writer {
            file,
            path: path.to_path_buf(),
            is_torn: false,
        };
        let (writes, pending) = mpsc::channel(MAX_PENDING);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(pending))?;
        Ok((
            Self {
                writes: Some(writes),
                thread: Some(thread),
                lines: recovered.entries.len(),
            },
            recovered,
        ))
    }

    /// Whether the file should be rewritten, given the number of current entries.
    pub(super) const fn is_long_for(&self, entries: usize) -> bool {
        self.lines > entries.saturating_mul(2).saturating_add(SLACK)
    }

    /// Queues an append. Writes are executed in order.
    ///
    /// # Errors
    /// An entry is too large, or the queue is full.
    pub(super) fn append(&mut self, entries: &[LogEntry]) -> Result<Completion, StoreError> {
        let mut lines = Vec::new();
        for entry in entries {
            let line = line_of(entry).filter(|line| line.len() <= MAX_LINE);
            lines.extend(line.ok_or(StoreError::Full)?);
        }
        let completion = self.queue(Operation::Append(lines))?;
        self.lines = self.lines.saturating_add(entries.len());
        Ok(completion)
    }

    /// Queues a rewrite of the whole file.
    ///
    /// # Errors
    /// The queue is full.
    pub(super) fn rewrite(&mut self, entries: Vec<LogEntry>) -> Result<Completion, StoreError> {
        let lines = entries.len();
        let completion = self.queue(Operation::Rewrite(entries))?;
        self.lines = lines;
        Ok(completion)
    }

    fn queue(&self, operation: Operation) -> Result<Completion, StoreError> {
        let (done, completion) = oneshot::channel();
        let write = Write { operation, done };
        let queued = self.writes.as_ref().map(|writes| writes.try_send(write));
        match queued {
            Some(Ok(())) => Ok(completion),
            Some(Err(_)) | None => Err(StoreError::Unavailable(
                "too many pending writes to the journal".to_owned(),
            )),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.writes.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread.
            let _ = thread.join();
        }
    }
}

/// The state of the writer thread.
struct Writer {
    file: File,
    path: PathBuf,
    /// The last line may be incomplete.
    is_torn: bool,
}

impl Writer {
    fn run(mut self, mut pending: mpsc::Receiver<Write>) {
        while let Some(first) = pending.blocking_recv() {
            let mut lines = Vec::new();
            let mut appended = Vec::new();
            let mut next = Some(first);
            while let Some(Write { operation, done }) = next {
                match operation {
                    Operation::Append(line) => {
                        lines.extend(line);
                        appended.push(done);
                    }
                    Operation::Rewrite(entries) => {
                        self.append(&mut lines, &mut appended);
                        let rewritten = self.rewrite(&entries);
                        // The receiver may be gone.
                        let _ = done.send(rewritten);
                    }
                }
                next = pending.try_recv().ok();
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
        let result = self
            .file
            .write_all(lines)
            .and_then(|()| self.file.sync_data());
        self.is_torn = result.is_err();
        let result = result.map_err(|error| failure(&error));
        for done in appended.drain(..) {
            let _ = done.send(result.clone());
        }
        lines.clear();
    }

    fn rewrite(&mut self, entries: &[LogEntry]) -> Result<(), StoreError> {
        self.file = rewrite(&self.path, entries).map_err(|error| failure(&error))?;
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

fn open(path: &Path, max_entries: usize, now: Timestamp) -> io::Result<(Recovered, File)> {
    let metadata = match fs::metadata(path) {
        // Before opening it, because opening a named pipe blocks.
        Ok(metadata) if !metadata.is_file() => {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((Recovered::default(), rewrite(path, &[])?));
        }
        Err(error) => return Err(error),
    };
    let file = OpenOptions::new().read(true).append(true).open(path)?;
    lock(&file)?;
    if fs::metadata(path)?.ino() != file.metadata()?.ino() {
        return Err(in_use());
    }
    if metadata.len() == 0 {
        return Ok((Recovered::default(), rewrite(path, &[])?));
    }
    let recovered = read(BufReader::new(&file), max_entries, now)?;
    let is_private = metadata.mode() & 0o077 == 0;
    let file = if recovered.is_clean && is_private {
        file
    } else {
        rewrite(path, &recovered.entries)?
    };
    Ok((recovered, file))
}

fn read(mut lines: impl io::BufRead, max_entries: usize, now: Timestamp) -> io::Result<Recovered> {
    let mut recovered = Recovered {
        is_clean: true,
        ..Recovered::default()
    };
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        // A longer line is split into parts, none of which is valid.
        lines.by_ref().take(MAX_LINE as u64).read_until(b'\n', line)
    };
    next(&mut line)?;
    if line.trim_ascii_end() != FIRST_LINE.as_bytes() {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "not a journal of this version",
        ));
    }
    let mut expired = 0;
    while next(&mut line)? > 0 {
        recovered.is_clean &= line.ends_with(b"\n");
        match entry_of(&line) {
            Some(entry) if now < entry.ends_at => recovered.entries.push(entry),
            Some(_) => expired += 1,
            None => recovered.invalid_lines += 1,
        }
        if recovered.entries.len() > max_entries {
            return Err(io::Error::other(format!(
                "it has more than {max_entries} current entries"
            )));
        }
    }
    recovered.is_clean &= expired == 0 && recovered.invalid_lines == 0;
    Ok(recovered)
}

/// Writes a new file, and replaces the old one by it.
fn rewrite(path: &Path, entries: &[LogEntry]) -> io::Result<File> {
    let mut new_path = path.as_os_str().to_owned();
    new_path.push(".new");
    let new_path = PathBuf::from(new_path);
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        // A crash may have left a file.
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&new_path)?;
    lock(&file)?;
    let mut text = BufWriter::new(&file);
    writeln!(text, "{FIRST_LINE}")?;
    for line in entries.iter().filter_map(line_of) {
        text.write_all(&line)?;
    }
    text.flush()?;
    drop(text);
    file.sync_all()?;
    fs::rename(&new_path, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// Locks the file until it is closed.
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

fn line_of(entry: &LogEntry) -> Option<Vec<u8>> {
    let line = Line {
        ends_at: entry.ends_at,
        value: URL_SAFE_NO_PAD.encode(&entry.value),
    };
    let mut text = serde_json::to_vec(&line).ok()?;
    text.push(b'\n');
    Some(text)
}

fn entry_of(line: &[u8]) -> Option<LogEntry> {
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
    use crate::store::contract::{Replicas, check};
    use crate::store::{Cursor, Memory, Store};

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn entry(text: &str, ends_at: u64) -> LogEntry {
        LogEntry {
            value: text.to_owned().into(),
            ends_at: at(ends_at),
        }
    }

    fn memory(path: &Path, now: u64) -> io::Result<Memory> {
        Memory::new(5000).with_journal(path, at(now))
    }

    async fn published(store: &Memory, now: u64) -> Vec<String> {
        let batch = store.read_since(&Cursor::default(), at(now)).await.unwrap();
        batch
            .entries
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
            .collect()
    }

    /// A folder, and a path in it.
    fn journal_path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ended.journal");
        (folder, path)
    }

    #[tokio::test]
    async fn memory_store_with_journal_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let count = std::cell::Cell::new(0);
        check(|| {
            count.set(count.get() + 1);
            let store: Arc<dyn Store> =
                Arc::new(memory(&folder.path().join(count.get().to_string()), 0).unwrap());
            Replicas {
                one: Arc::clone(&store),
                other: store,
            }
        })
        .await;
    }

    #[tokio::test]
    async fn entries_survive_a_restart_until_they_expire() {
        let (_folder, path) = journal_path();
        let store = memory(&path, 0).unwrap();
        for (text, ends_at) in [("a", 10), ("b", 20), ("c", 30)] {
            store
                .publish(vec![entry(text, ends_at)], at(0))
                .await
                .unwrap();
        }
        drop(store);
        let store = memory(&path, 5).unwrap();
        assert_eq!(published(&store, 5).await, ["a", "b", "c"]);
        let read = store.read_since(&Cursor::default(), at(5)).await.unwrap();
        store.publish(vec![entry("d", 40)], at(5)).await.unwrap();
        store
            .compact(&read.cursor, vec![entry("a to c", 30)], at(5))
            .await
            .unwrap();
        drop(store);
        let store = memory(&path, 10).unwrap();
        assert_eq!(published(&store, 10).await, ["d", "a to c"]);
        drop(store);
        assert_eq!(published(&memory(&path, 30).unwrap(), 30).await, ["d"]);
        assert_eq!(
            fs::read_to_string(&path).unwrap().lines().count(),
            2,
            "expired entries are removed from the file"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[tokio::test]
    async fn damaged_lines_do_not_affect_others() {
        let (_folder, path) = journal_path();
        let good = |text| String::from_utf8(line_of(&entry(text, 10)).unwrap()).unwrap();
        let (a, b, c) = (good("a"), good("b"), good("c"));
        let huge = "x".repeat(3 * MAX_LINE);
        for (text, valid, invalid_lines) in [
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
            let (journal, recovered) = Journal::open(&path, 10, at(0)).unwrap();
            drop(journal);
            assert_eq!(recovered.invalid_lines, invalid_lines, "{text:.200}");
            let store = memory(&path, 0).unwrap();
            assert_eq!(published(&store, 0).await, valid);
            store
                .publish(vec![entry("later", 10)], at(0))
                .await
                .unwrap();
            drop(store);
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert_eq!(lines, valid.len() + 2, "the file was repaired");
        }
    }

    #[test]
    fn other_files_are_rejected_and_unchanged() {
        let (folder, path) = journal_path();
        for other in ["root:x:0:0\n", "{\"doorward_journal\":2}\n", "\n"] {
            fs::write(&path, other).unwrap();
            assert_eq!(memory(&path, 0).unwrap_err().kind(), ErrorKind::InvalidData);
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
        assert!(memory(folder.path(), 0).is_err(), "a folder");
        assert!(memory(&folder.path().join("absent/journal"), 0).is_err());
        let many: String = (0..10_001)
            .map(|_| String::from_utf8(line_of(&entry("a", 10)).unwrap()).unwrap())
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
    fn second_writer_is_rejected() {
        let (_folder, path) = journal_path();
        let first = memory(&path, 0).unwrap();
        assert_eq!(
            memory(&path, 0).unwrap_err().kind(),
            ErrorKind::ResourceBusy
        );
        drop(first);
        assert!(memory(&path, 0).is_ok());
    }

    #[tokio::test]
    async fn file_does_not_grow_with_expired_entries() {
        let (_folder, path) = journal_path();
        let store = memory(&path, 0).unwrap();
        for now in 0..2_500 {
            store
                .publish(vec![entry(&now.to_string(), now + 10)], at(now))
                .await
                .unwrap();
            store.sweep(at(now));
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < SLACK + 100, "{lines}");
        drop(store);
        assert_eq!(
            published(&memory(&path, 2_500).unwrap(), 2_500).await.len(),
            9
        );
    }

    #[tokio::test]
    async fn write_error_is_reported_and_torn_line_is_isolated() {
        let (folder, path) = journal_path();
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
            writer.append(&mut line_of(&entry(text, 10)).unwrap(), &mut vec![done]);
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
        assert_eq!(published(&store, 0).await, ["b"]);
        drop(folder);
        let read = store.read_since(&Cursor::default(), at(0)).await.unwrap();
        let lost = store
            .compact(&read.cursor, vec![entry("c", 10)], at(0))
            .await;
        assert!(
            matches!(lost, Err(StoreError::Unavailable(why)) if why.contains("journal cannot be written"))
        );
    }
}
