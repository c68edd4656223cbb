//! How often passwords may be tried: what a bucket holds, and whether it lets one more through. A bucket of failures
//! lets some through at once, then makes each wait longer than the one before; a bucket of calls has a steady rate.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::time::Timestamp;

/// The first wait, which doubles from failure to failure.
const FIRST_WAIT: Duration = Duration::from_secs(15);

/// A bucket's rule. What it holds is between calls in a store.
pub trait Limit {
    /// What it holds.
    type Level: Serialize + DeserializeOwned;

    /// Lets one more through: what the bucket holds then.
    ///
    /// # Errors
    /// How long to wait until one more may come, at least a second.
    fn take(&self, level: Option<&Self::Level>, now: Timestamp) -> Result<Self::Level, Duration>;

    /// What it holds if the last one does not count after all. `None`: nothing.
    fn give_back(&self, level: &Self::Level) -> Option<Self::Level>;

    /// When the bucket is empty by itself.
    fn empty_at(&self, level: &Self::Level) -> Timestamp;
}

/// Failures: `free` at once, then 15 seconds, 30, and so on to `max_backoff`. For each `max_backoff` without one,
/// one is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimit {
    /// How many may come without a wait; never 0.
    pub free: u32,
    /// The longest wait between two; whole seconds, never 0.
    pub max_backoff: Duration,
}

/// What a bucket of [`BackoffLimit`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    times: u32,
    last: Timestamp,
}

impl BackoffLimit {
    fn wait_after(&self, times: u32) -> Duration {
        let Some(doublings) = times.checked_sub(self.free) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        FIRST_WAIT.saturating_mul(factor).min(self.max_backoff)
    }

    /// More are not counted: the wait does not grow any more.
    fn most(&self) -> u32 {
        let doublings = (self.max_backoff.as_secs() / FIRST_WAIT.as_secs())
            .checked_ilog2()
            .unwrap_or(0);
        self.free.saturating_add(doublings + 1)
    }
}

impl Limit for BackoffLimit {
    type Level = Failed;

    fn take(&self, level: Option<&Failed>, now: Timestamp) -> Result<Failed, Duration> {
        let Some(level) = level else {
            return Ok(Failed {
                times: 1,
                last: now,
            });
        };
        let (quiet, wait) = (now.since(level.last), self.wait_after(level.times));
        // Within one second of the last the clock says nothing about the order, hence at least one.
        if let Some(left) = wait.checked_sub(quiet).filter(|left| !left.is_zero()) {
            return Err(left.max(Duration::from_secs(1)));
        }
        let forgotten = quiet.as_secs() / self.max_backoff.as_secs().max(1);
        let left = level
            .times
            .saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        Ok(Failed {
            times: left.saturating_add(1).min(self.most()),
            last: now,
        })
    }

    fn give_back(&self, level: &Failed) -> Option<Failed> {
        let times = level.times.checked_sub(1).filter(|times| *times > 0)?;
        Some(Failed { times, ..*level })
    }

    fn empty_at(&self, level: &Failed) -> Timestamp {
        level
            .last
            .plus(self.max_backoff.saturating_mul(level.times.max(1)))
    }
}

/// Calls, so many in any minute (the generic cell rate algorithm of ITU-T I.371, with a minute's worth of burst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many; never 0.
    pub per_minute: u32,
}

/// What a bucket of [`RateLimit`] holds: when it is empty, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called(u64);

const MINUTE: u64 = 60_000;

impl RateLimit {
    /// Rounded up, so that a rate that divides no minute is not exceeded.
    fn each(&self) -> u64 {
        MINUTE.div_ceil(u64::from(self.per_minute.max(1)))
    }
}

impl Limit for RateLimit {
    type Level = Called;

    fn take(&self, level: Option<&Called>, now: Timestamp) -> Result<Called, Duration> {
        let now = now.secs().saturating_mul(1000);
        let empty = level
            .map_or(now, |level| level.0.max(now))
            .saturating_add(self.each());
        match empty
            .saturating_sub(now)
            .checked_sub(MINUTE)
            .filter(|over| *over > 0)
        {
            Some(over) => Err(Duration::from_secs(over.div_ceil(1000))),
            None => Ok(Called(empty)),
        }
    }

    fn give_back(&self, level: &Called) -> Option<Called> {
        Some(Called(level.0.saturating_sub(self.each())))
    }

    fn empty_at(&self, level: &Called) -> Timestamp {
        Timestamp::from_secs(level.0.div_ceil(1000))
    }
}

/// One name for all spellings that some provider may take for one account: whatever the case, the white space, or
/// the Unicode form. Hashed, since it is a person's and goes into a store.
pub fn account_key(name: &str) -> String {
    let folded: String = name.chars().flat_map(char::to_lowercase).collect();
    let folded = ComposingNormalizerBorrowed::new_nfkc()
        .normalize(&folded)
        .into_owned();
    // Compatibility forms come out in upper case too, and lower case in another form.
    let folded: String = folded
        .chars()
        .flat_map(char::to_lowercase)
        .filter(|c| is_seen(*c))
        .collect();
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, folded.as_bytes()))
}

/// What a reader sees of a name: neither spaces nor controls nor what has no width.
fn is_seen(c: char) -> bool {
    !(c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES: BackoffLimit = BackoffLimit {
        free: 5,
        max_backoff: Duration::from_secs(900),
    };

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    /// One after the other, each as soon as it may: the second at which it came.
    fn as_fast_as_possible(limit: &BackoffLimit, count: usize) -> Vec<u64> {
        let (mut level, mut now, mut came) = (None, 0, Vec::new());
        while came.len() < count {
            match limit.take(level.as_ref(), at(now)) {
                Ok(next) => {
                    level = Some(next);
                    came.push(now);
                }
                Err(wait) => now += wait.as_secs(),
            }
        }
        came
    }

    #[test]
    fn some_failures_are_free_and_then_each_waits_twice_as_long_as_the_last_up_to_the_limit() {
        let came = as_fast_as_possible(&FAILURES, 16);
        let waits: Vec<u64> = came
            .iter()
            .zip(&came[1..])
            .map(|(one, next)| next - one)
            .collect();
        assert_eq!(
            waits,
            [
                0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900, 900, 900, 900, 900
            ]
        );
    }

    #[test]
    fn in_the_long_run_one_failure_comes_through_for_each_longest_wait() {
        let day = as_fast_as_possible(&FAILURES, 200)
            .into_iter()
            .filter(|second| *second < 86_400)
            .count();
        assert!((96..=108).contains(&day), "{day} guesses a day");
        // Waiting for the bucket to empty gains nothing.
        let (mut level, mut now, mut guesses) = (None, 0, 0);
        while now < 86_400 {
            while let Ok(next) = FAILURES.take(level.as_ref(), at(now)) {
                level = Some(next);
                guesses += 1;
            }
            now = level.map_or(now, |level| {
                FAILURES.empty_at(&level).since(at(0)).as_secs()
            });
        }
        assert!(guesses <= day, "{guesses} guesses a day by waiting");
    }

    #[test]
    fn what_is_given_back_leaves_no_trace_and_a_clock_that_goes_back_opens_nothing() {
        let first = FAILURES.take(None, at(0)).unwrap();
        assert_eq!(FAILURES.give_back(&first), None);
        let second = FAILURES.take(Some(&first), at(0)).unwrap();
        assert_eq!(FAILURES.give_back(&second), Some(first));
        let strict = BackoffLimit {
            free: 1,
            max_backoff: Duration::from_secs(60),
        };
        assert_eq!(
            strict.take(Some(&strict.take(None, at(50)).unwrap()), at(10)),
            Err(FIRST_WAIT)
        );
    }

    #[test]
    fn a_longest_wait_below_the_first_one_is_kept() {
        let short = BackoffLimit {
            free: 2,
            max_backoff: Duration::from_secs(3),
        };
        let came = as_fast_as_possible(&short, 6);
        assert_eq!(came, [0, 0, 3, 6, 9, 12]);
    }

    #[test]
    fn calls_come_at_their_rate_with_a_minutes_worth_at_once() {
        let calls = RateLimit { per_minute: 60 };
        let mut level = None;
        for _ in 0..60 {
            level = Some(calls.take(level.as_ref(), at(0)).unwrap());
        }
        assert_eq!(
            calls.take(level.as_ref(), at(0)),
            Err(Duration::from_secs(1))
        );
        let given_back = calls.give_back(&level.unwrap());
        assert!(calls.take(given_back.as_ref(), at(0)).is_ok());
        assert!(calls.take(level.as_ref(), at(1)).is_ok());
        assert_eq!(calls.empty_at(&level.unwrap()), at(60));
        for per_minute in [0, 1, 7, 60_000, u32::MAX] {
            let calls = RateLimit { per_minute };
            let (mut level, mut through) = (None, 0);
            while let Ok(next) = calls.take(level.as_ref(), at(0)) {
                (level, through) = (Some(next), through + 1);
            }
            assert!(
                through <= per_minute.max(1) && through > 0,
                "{per_minute}: {through}"
            );
        }
    }

    /// LESSONS, native login: a limit per spelling of the name is none.
    #[test]
    fn every_spelling_of_a_name_has_the_same_bucket() {
        let alike = [
            vec![
                "alice@example.com",
                "Alice@Example.COM",
                " alice@example.com\t",
                "ali\u{200b}ce@example.com",
            ],
            vec!["ren\u{e9}", "rene\u{301}", "REN\u{c9}", "Rene\u{301} "],
            vec![
                "\u{ff41}lice",
                "alice",
                "\u{1d400}lice",
                "a lice",
                "\u{24b6}lice",
            ],
            vec!["\u{fb01}sh", "fish", "\u{fb01}SH"],
            vec!["\u{212a}elvin", "kelvin", "KELVIN"],
        ];
        for spellings in &alike {
            for spelling in spellings {
                assert_eq!(
                    account_key(spelling),
                    account_key(spellings[0]),
                    "{spelling:?}"
                );
            }
        }
        let apart = [
            "alice",
            "bob",
            "\u{7231}\u{4e3d}\u{4e1d}",
            "\u{9c8d}\u{52c3}",
            "a.lice",
            "alice+x",
            "",
        ];
        let keys: std::collections::HashSet<String> =
            apart.iter().map(|name| account_key(name)).collect();
        assert_eq!(keys.len(), apart.len());
    }
}
