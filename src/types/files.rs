//! File fingerprints: detect a changed file by its metadata, without reading it. They resolve
//! symbolic links, because Kubernetes updates mounted volumes by replacing one.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The resolved path and metadata of a file; `None` if it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFingerprint(Option<(PathBuf, Identity)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl FileFingerprint {
    /// The fingerprint of the file at `path`, after resolving symbolic links.
    pub fn of(path: &Path) -> Self {
        let found = path
            .canonicalize()
            .and_then(|path| path.metadata().map(|metadata| (path, metadata)))
            .ok();
        Self(found.map(|(path, metadata)| {
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            (
                path,
                Identity {
                    device: metadata.dev(),
                    inode: metadata.ino(),
                    length: metadata.len(),
                    modified,
                },
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_changes_with_link_target() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        let one = folder.path().join("one");
        let two = folder.path().join("two");
        assert_eq!(FileFingerprint::of(&link), FileFingerprint(None));
        for file in [&one, &two] {
            std::fs::write(file, "same").unwrap();
        }
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let before = FileFingerprint::of(&link);
        assert_eq!(FileFingerprint::of(&link), before);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert_ne!(FileFingerprint::of(&link), before);
    }
}
