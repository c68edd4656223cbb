//! A list in a file that an access rule uses.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::{describe, read_text};
use crate::policy::rule_lists::{ListContent, ListError, ListKind};
use crate::types::files::FileFingerprint;

/// A list in a file that an access rule uses.
#[derive(Clone, Debug)]
pub struct RuleListFile {
    /// The file.
    pub path: PathBuf,
    /// What its entries are.
    pub kind: ListKind,
    /// The file's fingerprint before it was read.
    pub fingerprint: FileFingerprint,
    /// Its content at the start.
    pub content: Arc<ListContent>,
}

/// Why a list cannot be read from its file.
#[derive(Debug, thiserror::Error)]
pub enum RuleListError {
    /// The file cannot be read, or is larger than 1 MiB.
    #[error("it cannot be read: {}", describe(.0))]
    Unreadable(#[from] io::Error),
    /// Its text is not a list.
    #[error("it is not a list: {0}")]
    Invalid(#[from] ListError),
}

impl RuleListFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`RuleListError`].
    pub fn open(path: PathBuf, kind: ListKind) -> Result<Self, RuleListError> {
        // Before the text, so that a change in between is seen by the next check.
        let fingerprint = FileFingerprint::of(&path);
        let (text, _) = read_text(&path)?;
        let content = Arc::new(ListContent::parse(kind, &text)?);
        Ok(Self {
            path,
            kind,
            fingerprint,
            content,
        })
    }
}
