//! The loosest reading of a path: what a server would make of it that decodes all escapes, again and
//! again, and ignores whatever any server ignores. Two apps are apart only if the loosest reading
//! leads to the same app as the path itself.

use icu_normalizer::ComposingNormalizerBorrowed;

use super::lookalike::{SLASHES, is_blank};
use super::percent_encoding::hex;

/// The loosest reading of `path`: its segments, each after a slash, without case.
pub fn loosest_reading(path: &str) -> String {
    let decoded = fully_decoded(path.as_bytes());
    let text = String::from_utf8_lossy(&decoded);
    let normalized = const { ComposingNormalizerBorrowed::new_nfkc() }.normalize(&text);
    let is_slash = |letter: char| {
        // Bytes that are not UTF-8 may be an overlong form of one.
        matches!(letter, '/' | '\\' | char::REPLACEMENT_CHARACTER) || SLASHES.contains(&letter)
    };
    let end = normalized.find(['?', '#']).unwrap_or(normalized.len());
    let mut reading = String::with_capacity(normalized.len());
    for segment in normalized.get(..end).unwrap_or_default().split(is_slash) {
        let name = segment.split(';').next().unwrap_or_default();
        let name = match name.split_once(':') {
            Some((file, _)) if name.contains(":$") => file,
            Some(_) | None => name,
        };
        let name: String = name.chars().filter(|letter| !is_blank(*letter)).collect();
        let name = name.trim_end_matches('.');
        if !name.is_empty() {
            reading.push('/');
            // Letters such as U+017F are equal to others only in upper case.
            let upper = name.chars().flat_map(char::to_uppercase);
            reading.extend(upper.flat_map(char::to_lowercase));
        }
    }
    reading
}

/// Decodes escapes until none is left. Each decoded byte may complete another escape.
fn fully_decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path {
        decoded.push(*byte);
        while let [.., b'%', high, low] = decoded.as_slice()
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            decoded.truncate(decoded.len().saturating_sub(3));
            decoded.push(high << 4 | low);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_has_one_reading() {
        for path in [
            "/shop/x",
            "/shop/x/",
            "//shop///x",
            "/%73hop/x",
            "/%2573hop/x",
            "/%25%37%33hop/x",
            "/%%37%33hop/x",
            "/shop%2Fx",
            "/shop%252fx",
            "/%2Fshop/x",
            "/shop%5Cx",
            "/shop;a=b/x;c",
            "/shop%3Ba/x",
            "/SHOP/X",
            "/\u{17f}hop/x",
            "/%C5%BFhop/x",
            "/\u{ff53}hop/x",
            "/shop./x",
            "/shop%20/x ",
            "/shop::$INDEX_ALLOCATION/x",
            "/shop/x%3Fy",
            "/shop/x%23y",
            "/shop\u{2215}x",
            "/shop%EF%BC%8Fx",
            "/shop%C0%AFx",
            "/./shop/x",
        ] {
            assert_eq!(loosest_reading(path), "/shop/x", "{path}");
        }
        assert_eq!(loosest_reading("/"), "");
        assert_eq!(loosest_reading("/shopping/a.b"), "/shopping/a.b");
    }

    #[test]
    fn decoding_takes_linear_time() {
        let path = format!("/%{}41", "25".repeat(5000));
        assert_eq!(loosest_reading(&path), "/a");
    }
}
