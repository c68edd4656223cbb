//! Encoding of an entry in Redis: 20 digits of its expiry time in seconds, 32 characters of the ID of
//! the call that wrote it, and the value. PURE.
//!
//! The expiry time is compared with the `now` of the caller. The TTL in Redis is longer, and only
//! removes old entries. The call ID makes a call idempotent that is repeated after a lost reply.

use std::time::Duration;

use bytes::Bytes;

use crate::types::time::Timestamp;

/// Digits of a time: enough for the largest number, so that times compare as text.
pub(super) const DIGITS: usize = 20;
/// The length of a call ID.
pub(super) const CALL_ID_LEN: usize = 32;
/// The length of the header before the value.
pub(super) const HEADER_LEN: usize = DIGITS + CALL_ID_LEN;
/// The largest value, in bytes.
pub(super) const MAX_VALUE: usize = 1024 * 1024;

/// The clock skew between replicas within which Redis removes no current entry.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// The longest TTL: a century.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Encodes a time.
pub(super) fn digits(at: Timestamp) -> String {
    format!("{:020}", at.secs())
}

/// Encodes an entry.
pub(super) fn write(ends_at: Timestamp, call: &str, value: &[u8]) -> Vec<u8> {
    [digits(ends_at).as_bytes(), call.as_bytes(), value].concat()
}

/// Decodes the expiry time and the value. `None` if it is not an entry.
pub(super) fn read(entry: &[u8]) -> Option<(Timestamp, Bytes)> {
    let (ends_at, rest) = read_end(entry)?;
    let value = rest.get(CALL_ID_LEN..)?;
    (value.len() <= MAX_VALUE).then(|| (ends_at, Bytes::copy_from_slice(value)))
}

/// Decodes the expiry time, and returns the rest.
pub(super) fn read_end(text: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (digits, rest) = text.split_at_checked(DIGITS)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let secs = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((Timestamp::from_secs(secs), rest))
}

/// The TTL in seconds for an expiry time.
pub(super) fn time_to_live(ends_at: Timestamp, now: Timestamp) -> u64 {
    seconds_to_keep(ends_at.since(now))
}

/// The TTL in seconds for a lifetime.
pub(super) fn seconds_to_keep(lifetime: Duration) -> u64 {
    lifetime.saturating_add(MARGIN).min(MAX_TTL).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn written_entry_is_read_back() {
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
    fn other_values_are_rejected() {
        let good = write(Timestamp::from_secs(5), CALL, b"x");
        assert!(read(&good).is_some());
        let too_large = write(Timestamp::from_secs(5), CALL, &[0; MAX_VALUE + 1]);
        let no_number = [b"99999999999999999999", CALL.as_bytes(), b"x"].concat();
        for bad in [
            &b""[..],
            b"x",
            &good[..HEADER_LEN - 1],
            &too_large,
            &no_number,
        ] {
            assert_eq!(read(bad), None);
        }
        for at in 0..DIGITS {
            let mut bad = good.clone();
            bad[at] = b'-';
            assert_eq!(read(&bad), None, "{at}");
        }
    }

    #[test]
    fn ttl_covers_clock_skew_and_is_bounded() {
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
            MAX_TTL.as_secs()
        );
    }
}
