//! Links and form targets of pages: paths on the app's own origin.

use serde::Serialize;

/// Maximum length of a link in bytes. A login link contains a return target.
pub(in crate::proxy) const MAX_LINK: usize = 8192;

/// A link or form target on the app's own origin: a path with an optional query, such as
/// `/.doorward/logout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Href(String);

/// Why a text is not an [`Href`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseHrefError {
    /// It does not start with exactly one `/`, so a browser could resolve it to another origin.
    #[error("a link must start with one `/`")]
    NotAPath,
    /// It contains a byte that browsers drop or rewrite: white space, a control character, `\`, or
    /// a non-ASCII byte.
    #[error("a link must be visible ASCII without a backslash")]
    Byte,
    /// It is longer than 8 KiB.
    #[error("a link must have at most {MAX_LINK} bytes")]
    TooLong,
}

impl Href {
    /// Accepts a path and query that no browser resolves to another origin.
    ///
    /// # Errors
    /// See [`ParseHrefError`].
    pub fn parse(path: impl Into<String>) -> Result<Self, ParseHrefError> {
        let path = path.into();
        if path.len() > MAX_LINK {
            return Err(ParseHrefError::TooLong);
        }
        if !path.starts_with('/') || path.starts_with("//") {
            return Err(ParseHrefError::NotAPath);
        }
        if path
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || byte == b'\\')
        {
            return Err(ParseHrefError::Byte);
        }
        Ok(Self(path))
    }

    /// Path and query.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The start page of the app.
    pub(super) fn root() -> Self {
        Self("/".to_owned())
    }
}
