//! Log file that follows its path: after a rotation, which renames or removes the file, it is created
//! again.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A new file is for Doorward, and to read for its group.
const MODE: u32 = 0o640;

/// The error of a FIFO that no process has open. The system's message names a device.
const NO_READER: &str = "it is a FIFO that no process reads";

/// A file to which lines are appended.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    id: FileId,
    /// Whether the last line is incomplete. It is completed before the next file is opened.
    is_within_line: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl LogFile {
    /// Opens the file, which need not exist. Without waiting: a FIFO has a reader already, and one that is
    /// full is an error of the write.
    ///
    /// # Errors
    /// It cannot be opened for appending.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(MODE);
        options.custom_flags(libc::O_NONBLOCK);
        let file = match options.open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                return Err(io::Error::new(error.kind(), NO_READER));
            }
            opened => opened?,
        };
        Ok(Self {
            id: FileId::of(&file.metadata()?),
            path: path.to_owned(),
            file,
            is_within_line: false,
        })
    }

    fn is_current(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(FileId::of(&metadata) == self.id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !self.is_within_line && !self.is_current()? {
            *self = Self::open(&self.path)?;
        }
        let written = self.file.write(lines)?;
        if let Some(last) = lines.get(..written).and_then(<[u8]>::last) {
            self.is_within_line = *last != b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_or_removed_file_is_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &rotated).unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        fs::remove_file(&path).unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    /// Without a reader the process would never start.
    #[test]
    fn fifo_without_reader_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let error = LogFile::open(&path).unwrap_err();
        assert_eq!(error.to_string(), NO_READER);
        let mut reader = OpenOptions::new();
        let reader = reader.read(true).custom_flags(libc::O_NONBLOCK);
        let _reader = reader.open(&path).unwrap();
        let mut log = LogFile::open(&path).unwrap();
        let full = std::iter::repeat_with(|| log.write(&[b'x'; 4096]));
        let full = full.take(1000).find_map(Result::err);
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn line_is_completed_in_the_file_where_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"on").unwrap();
        fs::rename(&path, &rotated).unwrap();
        log.write_all(b"e\n").unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn folder_that_is_gone_is_an_error_until_it_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("logs");
        fs::create_dir(&inside).unwrap();
        let path = inside.join("log");
        let mut log = LogFile::open(&path).unwrap();
        fs::remove_dir_all(&inside).unwrap();
        assert!(log.write(b"one\n").is_err());
        fs::create_dir(&inside).unwrap();
        log.write_all(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode & !MODE, 0, "{mode:o}");
    }
}
