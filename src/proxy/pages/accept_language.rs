//! Language negotiation: `Accept-Language` (RFC 9110 section 12.5.4) by lookup (RFC 4647 section 3.4).

/// Maximum number of language ranges that are read.
const MAX_RANGES: usize = 32;

/// A language range with its weight in thousandths.
struct WeightedRange<'h> {
    range: &'h str,
    weight: u16,
}

/// The index of the language in `offered` that the client prefers. `None`: it accepts none of them
/// by name, so that it gets the default.
pub(super) fn lookup(accept_language: &str, offered: &[&str]) -> Option<usize> {
    let fields = accept_language.split(',').take(MAX_RANGES);
    let mut ranges: Vec<_> = fields.filter_map(weighted_range).collect();
    ranges.sort_by_key(|range| std::cmp::Reverse(range.weight));
    ranges
        .iter()
        .find_map(|range| best_match(range.range, offered))
}

/// Compares the range, and then each of its prefixes.
fn best_match(range: &str, offered: &[&str]) -> Option<usize> {
    let mut prefix = range;
    loop {
        let is_match = |tag: &&str| tag.eq_ignore_ascii_case(prefix);
        if let Some(index) = offered.iter().position(is_match) {
            return Some(index);
        }
        prefix = prefix.rsplit_once('-')?.0;
        // A single letter introduces what was just removed.
        if let Some((before, last)) = prefix.rsplit_once('-')
            && last.len() == 1
        {
            prefix = before;
        }
    }
}

/// A range that the client accepts. `*` matches no language by name, so it is left out.
fn weighted_range(field: &str) -> Option<WeightedRange<'_>> {
    let mut parts = field.split(';').map(str::trim);
    let range = parts
        .next()
        .filter(|range| !range.is_empty() && *range != "*")?;
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => weight(parameter)?,
    };
    (weight > 0).then_some(WeightedRange { range, weight })
}

/// `q=`, and a number from 0 to 1 with at most three decimals (RFC 9110 section 12.4.2).
fn weight(parameter: &str) -> Option<u16> {
    let value = parameter.strip_prefix(['q', 'Q'])?.trim_start();
    let value = value.strip_prefix('=')?.trim_start();
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{decimals:0<3}")
        .parse()
        .ok()
        .filter(|_| is_number)?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept_language: &str) -> Option<&'static str> {
        const OFFERED: [&str; 5] = ["en", "de", "fr-CA", "zh-Hant", "pt-BR"];
        lookup(accept_language, &OFFERED).map(|index| OFFERED[index])
    }

    #[test]
    fn range_with_the_highest_weight_is_chosen() {
        for (accept_language, expected) in [
            ("de", Some("de")),
            ("DE-de, en;q=0.9", Some("de")),
            ("en;q=0.8, de;q=0.9", Some("de")),
            ("en;q=0.85, de;q=0.9", Some("de")),
            ("it, de;q=0.5, en;q=0.25", Some("de")),
            ("de;q=0.5,en;q=0.5", Some("de")),
            ("de ; q = 0.1 , en ; Q=0.2", Some("en")),
            ("de;q=0, en", Some("en")),
            ("de;q=0.000", None),
            ("*, de;q=0.1", Some("de")),
            ("*", None),
            ("it, es", None),
            ("", None),
        ] {
            assert_eq!(chosen(accept_language), expected, "{accept_language}");
        }
    }

    /// The examples of RFC 4647 section 3.4, and ranges that are less specific than a tag.
    #[test]
    fn range_is_shortened_until_a_tag_matches() {
        for (accept_language, expected) in [
            ("de-Latn-CH-1996", Some("de")),
            ("zh-Hant-CN-x-private1-private2", Some("zh-Hant")),
            ("de-x-y", Some("de")),
            ("fr-CA-x-a", Some("fr-CA")),
            // Lookup never returns a more specific tag.
            ("fr", None),
            ("zh", None),
            ("pt-PT", None),
        ] {
            assert_eq!(chosen(accept_language), expected, "{accept_language}");
        }
    }

    #[test]
    fn malformed_ranges_are_ignored() {
        for malformed in [
            "de;q=2",
            "de;q=1.1",
            "de;q=-1",
            "de;q=0.1234",
            "de;q=x",
            "de;q",
            "de;x=1",
            ";q=1",
            "de;q=+.5",
            "de;q=1.+1",
            "\u{e9}",
            "-",
            "--",
            ",,,",
        ] {
            assert_eq!(chosen(malformed), None, "{malformed}");
            assert_eq!(chosen(&format!("{malformed}, en;q=0.1")), Some("en"));
        }
        let many = format!("{}de", "it,".repeat(MAX_RANGES));
        assert_eq!(chosen(&many), None);
    }
}
