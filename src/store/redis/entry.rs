//! How an entry stands in a Redis: 20 digits, the second in which it ends; 32 characters that name the call which wrote
//! it; the value. PURE.
//!
//! The end is compared with the `now` of whoever asks, since clocks differ and tests move theirs; the time to live that
//! Redis is given is longer and only clears away. The call's name makes a call that was sent twice, since its answer
//! was lost with the connection, do and say the same as one that was sent once.

use std::time::Duration;

use bytes::Bytes;

use crate::types::time::Timestamp;

/// Digits of a second: as many as the largest number has, so that they compare as text.
pub(super) const DIGITS: usize = 20;
/// Characters of a call's name.
pub(super) const NAME: usize = 32;
/// What stands before the value.
pub(super) const HEAD: usize = DIGITS + NAME;
/// Largest value, in bytes.
pub(super) const MAX_VALUE: usize = 1024 * 1024;

/// By how much clocks may differ before Redis clears away what still lives by one of them.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// The longest time to live that is asked for: a century.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A second as text.
pub(super) fn digits(at: Timestamp) -> String {
    format!("{:020}", at.secs())
}

/// The text of an entry.
pub(super) fn write(ends_at: Timestamp, call: &str, value: &[u8]) -> Vec<u8> {
    [digits(ends_at).as_bytes(), call.as_bytes(), value].concat()
}

/// The end and the value of an entry; `None`: it is not one of ours.
pub(super) fn read(entry: &[u8]) -> Option<(Timestamp, Bytes)> {
    let (ends_at, rest) = read_end(entry)?;
    let value = rest.get(NAME..)?;
    (value.len() <= MAX_VALUE).then(|| (ends_at, Bytes::copy_from_slice(value)))
}

/// A second, and what stands behind it.
pub(super) fn read_end(text: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (digits, rest) = text.split_at_checked(DIGITS)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let secs = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((Timestamp::from_secs(secs), rest))
}

/// For how many seconds Redis keeps what matters until `ends_at`.
pub(super) fn time_to_live(ends_at: Timestamp, now: Timestamp) -> u64 {
    seconds_to_keep(ends_at.since(now))
}

/// For how many seconds Redis keeps what matters for `span`.
pub(super) fn seconds_to_keep(span: Duration) -> u64 {
    span.saturating_add(MARGIN).min(LONGEST).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_was_written_is_read() {
        for (secs, value) in [
            (0, &b""[..]),
            (1_800_000_000, b"\0\xff\r\n"),
            (u64::MAX, &[7; MAX_VALUE]),
        ] {
            let entry = write(Timestamp::from_secs(secs), CALL, value);
            assert_eq!(
                read(&entry),
                Some((Timestamp::from_secs(secs), Bytes::copy_from_slice(value))),
                "{secs}"
            );
        }
    }

    #[test]
    fn nothing_else_is_taken_for_an_entry() {
        let good = write(Timestamp::from_secs(5), CALL, b"x");
        assert!(read(&good).is_some());
        let too_large = write(Timestamp::from_secs(5), CALL, &[0; MAX_VALUE + 1]);
        let no_number = [b"99999999999999999999", CALL.as_bytes(), b"x"].concat();
        for bad in [&b""[..], b"x", &good[..HEAD - 1], &too_large, &no_number] {
            assert_eq!(read(bad), None);
        }
        for at in 0..DIGITS {
            let mut bad = good.clone();
            bad[at] = b'-';
            assert_eq!(read(&bad), None, "{at}");
        }
    }

    #[test]
    fn redis_keeps_longer_than_clocks_differ_and_not_for_ever() {
        assert_eq!(
            time_to_live(Timestamp::from_secs(100), Timestamp::from_secs(40)),
            60 + 300
        );
        assert_eq!(
            time_to_live(Timestamp::from_secs(40), Timestamp::from_secs(100)),
            300
        );
        assert_eq!(
            time_to_live(Timestamp::from_secs(u64::MAX), Timestamp::from_secs(0)),
            LONGEST.as_secs()
        );
    }
}
