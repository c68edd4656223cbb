//! Folders with templates of pages.

use std::fs;
use std::io;
use std::path::Path;

use super::files::{Folder, describe};
use super::inputs::InputFile;
use super::report::{Location, quoted};
use crate::proxy::pages::TemplateFile;

/// The most files of a folder that are read.
const MAX_FILES: usize = 100;

/// The templates in the folder `name`.
pub(super) fn read(folder: &Folder, at: &Location<'_>, name: &str) -> Option<Vec<TemplateFile>> {
    let path = folder.path(name);
    // A file that is added or removed changes the folder.
    at.note_file(InputFile::before_reading(at.key_path(), &path));
    let names = match file_names(&path) {
        Ok(names) => names,
        Err(error) => {
            at.error(
                format!(
                    "the folder {} cannot be read: {}",
                    quoted(name),
                    describe(&error)
                ),
                format!("the path is `{}`", path.display()),
            );
            return None;
        }
    };
    let mut files = Vec::new();
    for file in names {
        if !TemplateFile::is_known(&file) {
            at.error(
                format!("no page uses the template {}", quoted(&file)),
                "templates have the names of the shipped ones; parts of templates begin with `_`",
            );
            return None;
        }
        let text = folder.public_text(at, &format!("{name}/{file}"))?;
        if text.to_ascii_lowercase().contains("<script") {
            at.warning(
                format!("browsers do not run the script in {}", quoted(&file)),
                "the content security policy of pages allows no scripts",
            );
        }
        files.push(TemplateFile {
            name: file,
            text: text.as_str().to_owned(),
        });
    }
    Some(files)
}

/// The names of the templates and the style, in order.
fn file_names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        // Other names cannot be those of templates.
        let name = entry?.file_name().into_string().unwrap_or_default();
        if !TemplateFile::is_ignored(&name) {
            names.push(name);
        }
        if names.len() > MAX_FILES {
            return Err(io::Error::other("more than 100 templates"));
        }
    }
    names.sort();
    Ok(names)
}
