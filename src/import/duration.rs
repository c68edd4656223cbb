//! Durations: those of Go as ours, which are a whole number with one unit.

use std::time::Duration;

use crate::config::parse_duration;

/// Parses a duration of Go such as `168h0m0s` or `1m30s`; fractions of a second are dropped.
pub(super) fn go(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos: u64 = 0;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(end)?;
        let units = [
            ("ns", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000_u64),
        ];
        let (tail, unit) = units
            .iter()
            .find_map(|(name, unit)| Some((tail.strip_prefix(name)?, unit)))?;
        let part = number.parse::<u64>().ok()?.checked_mul(*unit)?;
        nanos = nanos.checked_add(part)?;
        rest = tail;
    }
    Some(Duration::from_secs(nanos / 1_000_000_000))
}

/// Parses whole seconds.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The duration as the configuration writes it; `None` for zero and what is out of its range.
pub(super) fn text(duration: Duration) -> Option<String> {
    let seconds = duration.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| seconds.is_multiple_of(*unit))?;
    let text = format!("{}{name}", seconds / unit);
    (seconds > 0 && parse_duration(&text).is_ok()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_their_largest_unit() {
        let cases = [
            ("168h0m0s", Some("7d")),
            ("12h", Some("12h")),
            ("1h30m", Some("90m")),
            ("90s", Some("90s")),
            ("1500ms", Some("1s")),
            ("0", None),
            ("", None),
            ("12", None),
            ("-1h", None),
            ("1.5h", None),
            ("99999999999999999999h", None),
            ("5124095h", None),
        ];
        for (go_text, expected) in cases {
            assert_eq!(go(go_text).and_then(text).as_deref(), expected, "{go_text}");
        }
        assert_eq!(seconds("43200").and_then(text).as_deref(), Some("12h"));
    }
}
