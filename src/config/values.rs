//! Lists, and durations with a unit, such as `90s`. A parse error describes the expected format.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// A list. An element with an error is `None`, so that the others keep their index.
pub(super) type List<T> = Vec<Option<T>>;

/// A table with free names. A value with an error is `None`.
pub(super) type Named<T> = BTreeMap<String, Option<T>>;

/// One text, or a list of texts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OneOrMany {
    One(String),
    Many(List<String>),
}

impl OneOrMany {
    /// The texts. An element with an error is left out.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let texts: Vec<&str> = match self {
            Self::One(text) => vec![text.as_str()],
            Self::Many(texts) => texts.iter().flatten().map(String::as_str).collect(),
        };
        texts.into_iter()
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, texts: A) -> Result<OneOrMany, A::Error> {
                List::deserialize(SeqAccessDeserializer::new(texts)).map(OneOrMany::Many)
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// The longest accepted duration: ten years.
const MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The `expecting` text of the deserializer. The part after `; ` becomes the hint.
const EXPECTED: &str = "a duration; use a string with a unit, such as `\"90s\"`, `\"30m\"`, `\"12h\"` or `\"1d\"` (at most ten years)";

/// A whole number with one of the units `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HumanDuration(pub(super) Duration);

impl HumanDuration {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let seconds_per_unit: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        let digits = text.strip_suffix(unit)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let duration =
            Duration::from_secs(digits.parse::<u64>().ok()?.checked_mul(seconds_per_unit)?);
        (duration <= MAX).then_some(Self(duration))
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
                HumanDuration::parse(text)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("12h", 43_200),
            ("1d", 86_400),
            ("0s", 0),
            ("3650d", 315_360_000),
        ] {
            assert_eq!(
                HumanDuration::parse(text),
                Some(HumanDuration(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "90",
            "1.5h",
            "-1s",
            "+1s",
            "1 h",
            "1w",
            "1S",
            "1ms",
            "3651d",
            "99999999999999999999s",
            "1é",
        ] {
            assert_eq!(HumanDuration::parse(text), None, "{text}");
        }
    }
}
