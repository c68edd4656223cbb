//! Fields that were appended to an encoded struct. Encodings are not self-describing, so a field that
//! an earlier version did not write is absent at the end of the input.

use serde::{Deserialize, Deserializer};

/// Reads a field, or its default if the input ends before it. For the last fields of a struct that is
/// not part of another, and only where the input is authenticated:
/// `#[serde(deserialize_with = "absent_is_default")]`.
///
/// # Errors
/// Never.
pub fn absent_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(T::deserialize(deserializer).unwrap_or_default())
}
