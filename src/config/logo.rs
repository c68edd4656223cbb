//! Files of logos: of the operator, and of providers.

use super::files::Folder;
use super::report::{Location, quoted};
use crate::types::logo::Logo;

/// The logo in the file `name`.
pub(super) fn read(folder: &Folder, at: &Location<'_>, name: &str) -> Option<Logo> {
    let bytes = folder.public_bytes(at, name)?;
    match Logo::parse(&bytes) {
        Ok(logo) => Some(logo),
        Err(error) => {
            at.error(
                format!("the file {} is not a logo: {error}", quoted(name)),
                "a logo is a PNG image or an SVG image without scripts, of at most 32 KiB",
            );
            None
        }
    }
}
