//! The validity of an X.509 certificate (RFC 5280 section 4.1.2.5), read from its DER encoding.

use std::time::Duration;

use super::time::Timestamp;

/// ASN.1 tags.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate expires soon if it is valid for less than this, or for a short-lived certificate
/// for less than a quarter of its lifetime.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Timestamp,
    /// The last second.
    pub not_after: Timestamp,
}

/// Why a certificate is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidityProblem {
    /// It is not valid any more.
    Expired,
    /// It will not be valid any more after this time.
    ExpiresSoon(Duration),
    /// It is not valid yet.
    NotYetValid,
}

impl Validity {
    /// Reads the validity of a certificate in DER. `None` if it is malformed.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let mut outer = Elements(certificate).next_with(SEQUENCE)?;
        let mut certificate = outer.next_with(SEQUENCE)?;
        let serial_or_version = certificate.next()?;
        if serial_or_version.tag == VERSION {
            certificate.next()?;
        }
        let _signature_algorithm = certificate.next()?;
        let _issuer = certificate.next()?;
        let mut validity = certificate.next_with(SEQUENCE)?;
        Some(Self {
            not_before: time(&validity.next()?)?,
            not_after: time(&validity.next()?)?,
        })
    }

    /// Returns the reason why it is not valid at `now`.
    pub fn problem(self, now: Timestamp) -> Option<ValidityProblem> {
        if now > self.not_after {
            return Some(ValidityProblem::Expired);
        }
        if now < self.not_before {
            return Some(ValidityProblem::NotYetValid);
        }
        let remaining = self.not_after.since(now);
        let lifetime = self.not_after.since(self.not_before);
        (remaining < SOON.min(lifetime / 4)).then_some(ValidityProblem::ExpiresSoon(remaining))
    }
}

struct Element<'d> {
    tag: u8,
    content: &'d [u8],
}

/// A sequence of DER elements.
struct Elements<'d>(&'d [u8]);

impl<'d> Elements<'d> {
    fn next(&mut self) -> Option<Element<'d>> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // The number of bytes of the length.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element { tag: *tag, content })
    }

    /// The elements of the next one, if it has this tag.
    fn next_with(&mut self, tag: u8) -> Option<Self> {
        let element = self.next()?;
        (element.tag == tag).then_some(Self(element.content))
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(element: &Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(element.content).ok()?;
    let digits = text.strip_suffix('Z')?;
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let at = |start: usize| number(rest.get(start..start + 2)?);
    let days = days_since_epoch(year, at(0)?, at(2)?)?;
    let seconds = days
        .checked_mul(86_400)?
        .checked_add(at(4)? * 3600 + at(6)? * 60 + at(8)?)?;
    Some(Timestamp::from_secs(seconds))
}

fn number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// Days from 1970-01-01 in the Gregorian calendar. Earlier days count as the first.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year begins in March here, so that the leap day is its last.
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let month = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    // 1970-01-01, counted in the same way.
    Some(days.saturating_sub(719_468))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn time_of(tag: u8, text: &str) -> Option<u64> {
        let element = Element {
            tag,
            content: text.as_bytes(),
        };
        time(&element).map(Timestamp::secs)
    }

    #[test]
    fn times_are_read_in_both_forms() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "691231235959Z", 86_399),
            (UTC_TIME, "240229123456Z", 1_709_210_096),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(time_of(tag, text), Some(seconds), "{text}");
        }
        for (tag, text) in [
            (UTC_TIME, "700101000000"),
            (UTC_TIME, "20500101000000Z"),
            (UTC_TIME, "701301000000Z"),
            (UTC_TIME, "70010100000Z"),
            (UTC_TIME, "7001010000+1Z"),
            (GENERALIZED_TIME, "700101000000Z"),
            (GENERALIZED_TIME, "00000101000000Z"),
            (GENERALIZED_TIME, ""),
            (SEQUENCE, "700101000000Z"),
        ] {
            assert_eq!(time_of(tag, text), None, "{text}");
        }
    }

    #[test]
    fn validity_of_a_certificate_is_read() {
        let mut parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2024, 2, 29);
        parameters.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let der = certificate.der();
        let validity = Validity::of(der).unwrap();
        assert_eq!(validity.not_before.secs(), 1_709_164_800);
        assert_eq!(validity.not_after.secs(), 2_556_144_000);
        for end in 0..der.len() {
            assert_eq!(Validity::of(&der[..end]), None, "{end}");
        }
    }

    #[test]
    fn problem_depends_on_the_time_that_remains() {
        let start = Timestamp::from_secs(1_000_000_000);
        let lasting = |days: u32| Validity {
            not_before: start,
            not_after: start.plus(DAY * days),
        };
        let after = |days: u32| start.plus(DAY * days);
        assert_eq!(lasting(90).problem(after(70)), None);
        assert_eq!(
            lasting(90).problem(after(80)),
            Some(ValidityProblem::ExpiresSoon(DAY * 10))
        );
        assert_eq!(
            lasting(90).problem(after(91)),
            Some(ValidityProblem::Expired)
        );
        assert_eq!(lasting(8).problem(after(5)), None, "a short lifetime");
        assert_eq!(
            lasting(8).problem(after(7)),
            Some(ValidityProblem::ExpiresSoon(DAY))
        );
        assert_eq!(
            lasting(8).problem(start.minus(DAY)),
            Some(ValidityProblem::NotYetValid)
        );
    }
}
