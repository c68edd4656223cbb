//! The files of lists that conditions use. Each is read once, however many conditions name it.

use std::cell::RefCell;

use super::super::files::Folder;
use super::super::raw_rules::RawListFile;
use super::super::report::{Location, quoted};
use super::super::rule_list_file::{RuleListError, RuleListFile};
use crate::policy::rule_lists::{ListId, ListKind};

/// The files found so far.
pub(super) struct RuleListFiles<'f> {
    folder: &'f Folder,
    files: RefCell<Vec<RuleListFile>>,
}

impl<'f> RuleListFiles<'f> {
    pub(super) const fn new(folder: &'f Folder) -> Self {
        Self {
            folder,
            files: RefCell::new(Vec::new()),
        }
    }

    /// The list in a file.
    pub(super) fn add(
        &self,
        kind: ListKind,
        raw: RawListFile,
        at: &Location<'_>,
    ) -> Option<ListId> {
        let name = at.required(
            "file",
            raw.file,
            "the path of a file with an entry in each line",
        )?;
        let at = at.key("file");
        let path = self.folder.path(&name);
        let known = self
            .files
            .borrow()
            .iter()
            .position(|file| file.path == path && file.kind == kind);
        if let Some(index) = known {
            return Some(ListId::new(index));
        }
        let file = match RuleListFile::read(path.clone(), kind, &at) {
            Ok(file) => file,
            Err(error) => {
                let hint = match &error {
                    RuleListError::Unreadable(_) => format!("the path is `{}`", path.display()),
                    RuleListError::Invalid(_) => {
                        "an entry in each line; lines that begin with `#` are ignored".to_owned()
                    }
                };
                at.error(
                    format!("the list {} cannot be used: {error}", quoted(&name)),
                    hint,
                );
                return None;
            }
        };
        if file.content.is_empty() {
            at.warning(
                format!(
                    "the file {} is empty, so the condition is not met",
                    quoted(&name)
                ),
                "",
            );
        }
        let mut files = self.files.borrow_mut();
        files.push(file);
        Some(ListId::new(files.len() - 1))
    }

    pub(super) fn into_files(self) -> Vec<RuleListFile> {
        self.files.into_inner()
    }
}
