//! Folded header names. Backends fold names to variables: CGI and WSGI turn `-` into `_`, PHP also
//! `.`. Names that fold to the same one are the same to them.

/// The folded form of a name: lower case, and `-` for everything but letters and digits.
pub(super) fn folded(name: &[u8]) -> Box<[u8]> {
    name.iter().map(|byte| fold(*byte)).collect()
}

const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

/// Whether `name` folds to `folded`.
pub(super) fn folds_to(name: &[u8], folded: &[u8]) -> bool {
    name.len() == folded.len()
        && name
            .iter()
            .zip(folded)
            .all(|(byte, folded)| fold(*byte) == *folded)
}

/// Whether the folded form of `name` starts with `folded`.
pub(super) fn has_folded_prefix(name: &[u8], folded: &[u8]) -> bool {
    name.get(..folded.len())
        .is_some_and(|start| folds_to(start, folded))
}
