//! Path ambiguities: spellings of paths that servers interpret differently.

/// Spellings that servers interpret differently. Each can be allowed per app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathAmbiguity {
    /// An empty segment: `//`.
    DoubleSlash,
    /// `%2F`.
    EncodedSlash,
    /// `;` or `%3B`: some servers strip path parameters.
    Semicolon,
    /// `%25`: the path changes when it is decoded twice.
    EncodedPercent,
    /// `%3F` or `%23`: a server that decodes before it splits finds a query or fragment.
    EncodedDelimiter,
    /// Escapes that are not UTF-8, such as overlong forms of `.` and `/`.
    NotUtf8,
    /// A character that some servers turn into a slash or a backslash, such as U+FF0F or U+2215.
    LookalikeSlash,
    /// A segment that ends with a dot or a blank, which Windows ignores.
    TrailingDot,
    /// `:$`, as in `::$DATA`: to NTFS it names the same file or folder.
    NtfsStream,
    /// Text that compatibility normalization (NFKC) changes: full-width letters, ligatures,
    /// decomposed accents.
    NotNormalized,
}

impl PathAmbiguity {
    /// Every ambiguity, with its name in the configuration file.
    pub const NAMED: [(&'static str, Self); 10] = [
        ("double-slash", Self::DoubleSlash),
        ("encoded-slash", Self::EncodedSlash),
        ("semicolon", Self::Semicolon),
        ("encoded-percent", Self::EncodedPercent),
        ("encoded-delimiter", Self::EncodedDelimiter),
        ("non-utf8", Self::NotUtf8),
        ("lookalike-slash", Self::LookalikeSlash),
        ("trailing-dot", Self::TrailingDot),
        ("ntfs-stream", Self::NtfsStream),
        ("not-normalized", Self::NotNormalized),
    ];

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of [`PathAmbiguity`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathAmbiguities(u16);

impl PathAmbiguities {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set with `ambiguity` added.
    #[must_use]
    pub const fn with(self, ambiguity: PathAmbiguity) -> Self {
        Self(self.0 | ambiguity.bit())
    }

    /// The union of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without those by which a path has just one other reading.
    #[must_use]
    pub const fn without_other_reading(self) -> Self {
        let one_reading = PathAmbiguity::TrailingDot.bit()
            | PathAmbiguity::NtfsStream.bit()
            | PathAmbiguity::NotNormalized.bit();
        Self(self.0 & !one_reading)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set is a subset of `allowed`.
    pub const fn within(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }
}
