//! A list in a file that an access rule uses.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::{describe, read_text};
use super::inputs::InputFile;
use super::report::Location;
use crate::policy::rule_lists::{ListContent, ListError, ListKind};

/// A list in a file that an access rule uses.
#[derive(Clone, Debug)]
pub struct RuleListFile {
    /// The file.
    pub path: PathBuf,
    /// The kind of its entries.
    pub kind: ListKind,
    /// Its content.
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
    /// Reads the file at `path` for the key at `at`.
    pub(super) fn read(
        path: PathBuf,
        kind: ListKind,
        at: &Location<'_>,
    ) -> Result<Self, RuleListError> {
        let file = InputFile::before_reading(at.key_path(), &path);
        let text = match read_text(&path) {
            Ok((text, _)) => text,
            Err(error) => {
                at.note_file(file);
                return Err(error.into());
            }
        };
        at.note_file(file.with_content(text.as_bytes()));
        let content = Arc::new(ListContent::parse(kind, &text)?);
        Ok(Self {
            path,
            kind,
            content,
        })
    }
}
