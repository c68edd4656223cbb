//! `doorward check --render-pages`: writes Doorward's own pages with sample values.

use std::fs;
use std::io;
use std::path::Path;

use crate::proxy::pages::PageSet;

/// The folder of the pages of apps that have none of their own.
const DEFAULT: &str = "default";

/// Writes each page in each language as `FOLDER/default/LANGUAGE/NAME.html`, and those of apps with
/// pages of their own below `FOLDER/apps/APP`.
pub(super) fn render_pages(pages: &PageSet, folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for (app, pages) in pages.all() {
        let folder = match app {
            None => folder.join(DEFAULT),
            Some(app) => folder.join("apps").join(app.as_str()),
        };
        for sample in pages.render_samples() {
            let folder = folder.join(&sample.page.language);
            fs::create_dir_all(&folder)?;
            fs::write(
                folder.join(format!("{}.html", sample.name)),
                sample.page.html,
            )?;
            count += 1;
        }
    }
    Ok(count)
}
