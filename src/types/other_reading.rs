//! Other readings of a path: what a server makes of it that removes dots and blanks at the end of
//! a segment (Windows), opens streams of a file (NTFS), or applies compatibility normalization
//! (NFKC, Unicode Standard Annex 15). They matter only if another rule matches them.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::lookalike::{SLASHES, is_blank};
use super::path_ambiguity::{PathAmbiguities, PathAmbiguity};
use super::percent_encoding::push_escape;

/// A path as another server may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OtherReading {
    /// In canonical form.
    pub(super) path: String,
    /// How it differs.
    pub(super) ambiguities: PathAmbiguities,
}

/// A segment as another server may read it.
struct Segment<'s> {
    text: &'s str,
    ambiguities: PathAmbiguities,
}

impl OtherReading {
    /// The other reading of `decoded`, a path without escapes. `None` if all servers agree.
    pub(super) fn of(decoded: &[u8]) -> Option<Self> {
        if decoded.is_ascii() && !may_differ(decoded) {
            return None;
        }
        // Lookalikes of slashes are an ambiguity of their own.
        let text = String::from_utf8_lossy(decoded).replace(is_lookalike_slash, "/");
        let normalized = if text.is_ascii() {
            Cow::Borrowed(text.as_str())
        } else {
            const { ComposingNormalizerBorrowed::new_nfkc() }.normalize(&text)
        };
        let mut ambiguities = PathAmbiguities::NONE;
        if normalized != text {
            ambiguities = ambiguities.with(PathAmbiguity::NotNormalized);
        }
        let mut path = String::with_capacity(normalized.len());
        let mut has_end = false;
        for whole in normalized.split('/').skip(1) {
            let segment = Segment::read(whole);
            ambiguities = ambiguities.and(segment.ambiguities);
            // A server that finds nothing in a segment skips it.
            has_end = segment.text.is_empty();
            if !has_end || whole.is_empty() {
                path.push('/');
                encode(segment.text, &mut path);
            }
        }
        if has_end && !path.ends_with('/') {
            path.push('/');
        }
        (!ambiguities.is_empty()).then_some(Self { path, ambiguities })
    }
}

/// Whether a segment ends with a dot or blank, or may name a stream.
fn may_differ(path: &[u8]) -> bool {
    let mut bytes = path.iter().copied().chain([b'/']);
    let mut previous = 0;
    bytes.any(|byte| {
        let differs = match byte {
            b'/' | b';' => matches!(previous, b'.' | b' '),
            b'$' => previous == b':',
            _ => false,
        };
        previous = byte;
        differs
    })
}

impl<'s> Segment<'s> {
    /// Without parameters, which servers cut off before they open a file.
    fn read(whole: &'s str) -> Self {
        let mut ambiguities = PathAmbiguities::NONE;
        let (mut text, parameters) = whole.find(';').map_or((whole, ""), |at| whole.split_at(at));
        if text.contains(":$")
            && let Some((file, _)) = text.split_once(':')
        {
            ambiguities = ambiguities.with(PathAmbiguity::NtfsStream);
            text = file;
        }
        let trimmed = text.trim_end_matches(is_ignored_at_end);
        if trimmed.len() < text.len() {
            ambiguities = ambiguities.with(PathAmbiguity::TrailingDot);
            text = trimmed;
        }
        if ambiguities.is_empty() && !parameters.is_empty() {
            text = whole;
        }
        Self { text, ambiguities }
    }
}

fn is_ignored_at_end(letter: char) -> bool {
    // In place of bytes that are not UTF-8, which are an ambiguity of their own.
    letter != char::REPLACEMENT_CHARACTER && (letter == '.' || is_blank(letter))
}

fn is_lookalike_slash(letter: char) -> bool {
    matches!(letter, '\u{fe68}' | '\u{ff0f}' | '\u{ff3c}') || SLASHES.contains(&letter)
}

/// Appends text in the canonical form of paths.
fn encode(text: &str, path: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'!' | b'$' | b'&'..=b'.' | b'0'..=b';' | b'=' | b'@'..=b'[' | b']' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            b'a'..=b'z' => path.push(char::from(byte)),
            _ => push_escape(path, byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOT: PathAmbiguity = PathAmbiguity::TrailingDot;
    const STREAM: PathAmbiguity = PathAmbiguity::NtfsStream;
    const TEXT: PathAmbiguity = PathAmbiguity::NotNormalized;

    #[test]
    fn path_with_another_reading_has_its_canonical_form() {
        for (decoded, path, ambiguities) in [
            ("/admin.", "/admin", &[DOT][..]),
            ("/admin./x", "/admin/x", &[DOT]),
            ("/admin. .", "/admin", &[DOT]),
            ("/admin ", "/admin", &[DOT]),
            ("/admin\u{a0}/x", "/admin/x", &[DOT, TEXT]),
            ("/a/.../admin", "/a/admin", &[DOT]),
            ("/ /admin", "/admin", &[DOT]),
            ("/a/...", "/a/", &[DOT]),
            ("/...", "/", &[DOT]),
            ("/a.;v=1/b", "/a/b", &[DOT]),
            ("/admin::$DATA", "/admin", &[STREAM]),
            ("/admin:$i30:$INDEX_ALLOCATION/x", "/admin/x", &[STREAM]),
            ("/admin.::$data", "/admin", &[DOT, STREAM]),
            ("/\u{ff41}dmin", "/admin", &[TEXT]),
            ("/\u{ff41}dmin\u{ff0e}", "/admin", &[DOT, TEXT]),
            ("/\u{fb01}le", "/file", &[TEXT]),
            ("/caf\u{65}\u{301}", "/caf%C3%A9", &[TEXT]),
            ("/\u{ff76}", "/%E3%82%AB", &[TEXT]),
            ("/a//b.", "/a//b", &[DOT]),
            ("/a\u{ff0f}b.", "/a/b", &[DOT]),
        ] {
            let expected = OtherReading {
                path: path.to_owned(),
                ambiguities: ambiguities
                    .iter()
                    .fold(PathAmbiguities::NONE, |all, one| all.with(*one)),
            };
            let read = OtherReading::of(decoded.as_bytes());
            assert_eq!(read, Some(expected), "{decoded:?}");
        }
    }

    #[test]
    fn path_that_all_servers_read_alike_has_no_other_reading() {
        for decoded in [
            "/",
            "/a/",
            "/.well-known/x.y",
            "/a b/ c",
            "/v1/x:run",
            "/$batch",
            "/a;v=1/b",
            "/a\u{ff0f}b",
            "/caf\u{e9}/\u{6587}\u{4ef6}.txt",
            "/\u{1f468}\u{200d}\u{1f469}",
        ] {
            assert_eq!(OtherReading::of(decoded.as_bytes()), None, "{decoded:?}");
        }
    }
}
