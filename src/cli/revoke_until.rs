//! The time of `--until`: a duration from now, or a date and time in UTC.

use std::time::Duration;

use crate::config;
use crate::types::time::Timestamp;

/// A point in time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// So long after now.
    In(Duration),
    /// At this time.
    At(Timestamp),
}

impl Until {
    /// Parses the value of the option.
    ///
    /// # Errors
    /// The accepted forms.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let duration = config::parse_duration(text).ok().map(Self::In);
        let parsed = duration.or_else(|| date_time(text).map(Self::At));
        parsed.ok_or_else(|| {
            "use a time from now such as `8h` or `30d`, or one in UTC such as \
             `2030-01-31T08:00:00Z`"
                .to_owned()
        })
    }

    /// The time, if it is now `now`.
    pub(super) const fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(duration) => now.plus(duration),
            Self::At(time) => time,
        }
    }
}

/// A time in UTC in the form of RFC 3339, without fractions of a second.
fn date_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let days: u64 = (1970..year).map(days_in_year).sum::<u64>()
        + (1..month)
            .map(|month| days_in_month(year, month))
            .sum::<u64>()
        + day.checked_sub(1)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    is_valid.then_some(Timestamp::from_secs(seconds))
}

/// Three numbers of so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator).zip(digits).map(|(part, digits)| {
        let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    (text.split(separator).count() == digits.len()).then_some(numbers)
}

const fn is_leap_year(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_year(year: u64) -> u64 {
    if is_leap_year(year) { 366 } else { 365 }
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_accepted() {
        let now = Timestamp::from_secs(1000);
        for (text, seconds) in [
            ("90s", 1090),
            ("1d", 87_400),
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2027-01-15T08:00:00z", 1_800_000_000),
        ] {
            let until = Until::parse(text).unwrap().at(now);
            assert_eq!(until, Timestamp::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected_with_an_example() {
        for text in [
            "",
            "tomorrow",
            "2027-01-15",
            "2027-01-15T08:00:00",
            "2027-01-15T08:00:00+01:00",
            "2027-02-29T08:00:00Z",
            "2027-13-01T08:00:00Z",
            "2027-00-01T08:00:00Z",
            "2027-01-00T08:00:00Z",
            "2027-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "27-1-1T0:0:0Z",
            "2027-01-01-01T08:00:00Z",
        ] {
            assert!(Until::parse(text).unwrap_err().contains("`8h`"), "{text}");
        }
    }
}
