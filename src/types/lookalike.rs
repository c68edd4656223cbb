//! Lookalikes in paths: characters that some servers turn into dots, slashes or nothing, by
//! compatibility normalization (NFKC, Unicode Standard Annex 15), by the best-fit mappings of
//! Windows, or by trimming.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Slashes and backslashes of best-fit mappings that NFKC keeps.
pub(super) const SLASHES: [char; 8] = [
    '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{29f9}', '\u{2571}', '\u{2572}',
];

/// The lookalikes of a decoded path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lookalikes {
    /// A character that some servers read as a slash or a backslash.
    pub(super) slash: bool,
    /// A segment that some servers read as `.` or `..`.
    pub(super) dot_segment: bool,
}

impl Lookalikes {
    /// The lookalikes in `decoded`, a path without escapes.
    pub(super) fn of(decoded: &[u8]) -> Self {
        let is_unchanged = |byte: &u8| byte.is_ascii() && *byte != b' ';
        if decoded.iter().all(is_unchanged) {
            return Self::default();
        }
        let text = String::from_utf8_lossy(decoded);
        let normalized = const { ComposingNormalizerBorrowed::new_nfkc() }.normalize(&text);
        let slashes = |text: &str| text.matches(['/', '\\']).count();
        Self {
            slash: text.contains(SLASHES) || slashes(&normalized) > slashes(&text),
            dot_segment: normalized
                .split(|letter| matches!(letter, '/' | '\\') || SLASHES.contains(&letter))
                .any(is_dot_segment),
        }
    }
}

/// Whether a segment without its parameters is `.` or `..` to a server that ignores blanks and
/// invisible characters in it. Windows ignores any dots and blanks at the end.
fn is_dot_segment(segment: &str) -> bool {
    let (mut dots, mut blanks) = (0, 0);
    for letter in segment.split(';').next().unwrap_or_default().chars() {
        match letter {
            '.' => dots += 1,
            _ if is_blank(letter) => blanks += 1,
            _ => return false,
        }
    }
    matches!((dots, blanks), (1 | 2, _) | (1.., 1..))
}

/// White space, control and format characters, and what a decoder puts in place of invalid bytes.
pub(super) fn is_blank(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{34f}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fffd}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguised_dot_segments_are_recognized() {
        for path in [
            "/public/.. /admin",
            "/public/ ../admin",
            "/public/. ./admin",
            "/public/.. .",
            "/public/. /admin",
            "/public/..\u{a0}/admin",
            "/public/\u{3000}../admin",
            "/public/..\u{200b}/admin",
            "/public/..\u{feff}",
            "/public/\u{ff0e}\u{ff0e}/admin",
            "/public/.\u{ff0e}/admin",
            "/public/\u{2024}\u{2024}/admin",
            "/public/\u{2025}/admin",
            "/public/\u{fe52}\u{fe52}/admin",
            "/public/\u{fe30}/admin",
            "/public/\u{ff0e}/admin",
            "/public\u{2215}..\u{2215}admin",
            "/public\u{ff0f}..\u{ff0f}admin",
            "/public\u{ff3c}\u{ff0e}\u{ff0e}\u{ff3c}admin",
            "/public/..\u{ff1b}x/admin",
            "/public/.. ;x/admin",
            "/public/..\u{85}/admin",
        ] {
            assert!(Lookalikes::of(path.as_bytes()).dot_segment, "{path:?}");
        }
        assert!(Lookalikes::of(b"/public/..\xff/admin").dot_segment);
    }

    #[test]
    fn slashes_of_normalization_and_best_fit_are_recognized() {
        for letter in [
            '\u{ff0f}', '\u{ff3c}', '\u{2215}', '\u{2044}', '\u{29f8}', '\u{2216}', '\u{fe68}',
            '\u{2105}',
        ] {
            let lookalikes = Lookalikes::of(format!("/public{letter}admin").as_bytes());
            let expected = Lookalikes {
                slash: true,
                dot_segment: false,
            };
            assert_eq!(lookalikes, expected, "{letter:?}");
        }
    }

    #[test]
    fn ordinary_names_have_no_lookalikes() {
        for path in [
            "/caf\u{e9}/\u{30d5}\u{30a1}\u{30a4}\u{30eb}\u{ff0e}txt",
            "/a b/c. d/e .f",
            "/..\u{2026}x",
            "/\u{2026}",
            "/...",
            "/\u{bd}",
            "/\u{3002}\u{3002}",
            "/a /b",
            "/ /b",
            "/\u{1f468}\u{200d}\u{1f469}",
        ] {
            assert_eq!(
                Lookalikes::of(path.as_bytes()),
                Lookalikes::default(),
                "{path:?}"
            );
        }
    }
}
