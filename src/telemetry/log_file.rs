//! Log file that follows its path: after a rotation, which renames or removes the file, it is created
//! again.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A new file is for Doorward, and to read for its group.
const MODE: u32 = 0o640;

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
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl LogFile {
    /// Opens the file, which need not exist.
    ///
    /// # Errors
    /// It cannot be opened for appending.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(MODE).open(path)?;
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
