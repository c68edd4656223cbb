//! Members of a log entry on one line, as a JSON object or as logfmt. Written by hand, because a general
//! logger costs more than proxying the request.

use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::log_format::LogFormat;
use crate::types::digits::{last_digit, push_address, push_number};
use crate::types::time::Timestamp;

/// The most that an entry holds of one text from the client, in bytes before escaping.
const MAX_TEXT: usize = 2048;

/// Writes one entry. Its first member is `time`.
pub(super) struct EntryWriter<'o> {
    out: &'o mut Vec<u8>,
    format: LogFormat,
}

impl<'o> EntryWriter<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>, format: LogFormat, time: Timestamp) -> Self {
        Self::begin_with(out, format, |out| push_time(out, time))
    }

    /// The same with a time to the microsecond.
    pub(super) fn begin_at(out: &'o mut Vec<u8>, format: LogFormat, time: SystemTime) -> Self {
        Self::begin_with(out, format, |out| {
            let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            push_date_and_time(out, Timestamp::from_secs(time.as_secs()));
            out.push(b'.');
            push_digits::<6>(out, time.subsec_micros().into());
            out.push(b'Z');
        })
    }

    fn begin_with(
        out: &'o mut Vec<u8>,
        format: LogFormat,
        push_time: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        match format {
            LogFormat::Json => out.extend_from_slice(b"{\"time\":\""),
            LogFormat::Text => out.extend_from_slice(b"time="),
        }
        push_time(out);
        if format == LogFormat::Json {
            out.push(b'"');
        }
        Self { out, format }
    }

    pub(super) fn end(self) {
        if self.format == LogFormat::Json {
            self.out.push(b'}');
        }
        self.out.push(b'\n');
    }

    fn key(&mut self, key: &str) {
        match self.format {
            LogFormat::Json => {
                self.out.extend_from_slice(b",\"");
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            LogFormat::Text => {
                self.out.push(b' ');
                self.out.extend_from_slice(key.as_bytes());
                self.out.push(b'=');
            }
        }
    }

    /// A text. Everything except printable ASCII is escaped, because client input must not inject
    /// entries or terminal escape sequences.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        let bytes = value.as_bytes();
        let is_short = bytes.len() <= MAX_TEXT;
        if self.format == LogFormat::Text
            && is_short
            && !bytes.is_empty()
            && bytes
                .iter()
                .all(|byte| is_plain(byte) && !matches!(byte, b' ' | b'='))
        {
            self.out.extend_from_slice(bytes);
            return;
        }
        self.out.push(b'"');
        if is_short && bytes.iter().all(is_plain) {
            self.out.extend_from_slice(bytes);
        } else {
            escaped(self.out, value);
        }
        self.out.push(b'"');
    }

    pub(super) fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn address(&mut self, key: &str, address: Option<IpAddr>) {
        let Some(address) = address else {
            return;
        };
        self.key(key);
        let quote: &[u8] = match self.format {
            LogFormat::Json => b"\"",
            LogFormat::Text => b"",
        };
        self.out.extend_from_slice(quote);
        push_address(self.out, address);
        self.out.extend_from_slice(quote);
    }

    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        push_number(self.out, number);
    }

    /// A number or a truth value as Rust writes it.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        self.key(key);
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{value}");
    }

    /// A duration in milliseconds, to the microsecond.
    pub(super) fn milliseconds(&mut self, key: &str, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.key(key);
        push_number(self.out, micros / 1000);
        self.out.push(b'.');
        push_digits::<3>(self.out, micros % 1000);
    }
}

const fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn escaped(out: &mut Vec<u8>, value: &str) {
    for (at, char) in value.char_indices() {
        if at >= MAX_TEXT {
            out.extend_from_slice(b"...");
            break;
        }
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => out.push(char as u8),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // Writing to a Vec cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

/// The last `N` digits, with leading zeros.
fn push_digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for slot in digits.iter_mut().rev() {
        *slot = last_digit(number);
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// RFC 3339 in UTC.
pub(super) fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    push_date_and_time(out, time);
    out.push(b'Z');
}

/// The same without the offset. The calendar arithmetic starts years in March, so that a leap day is the last day.
fn push_date_and_time(out: &mut Vec<u8>, time: Timestamp) {
    let (days, second) = (time.secs() / 86_400, time.secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    push_digits::<4>(out, year);
    for (separator, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', hour),
        (b':', minute),
        (b':', second),
    ] {
        out.push(separator);
        push_digits::<2>(out, number);
    }
}
