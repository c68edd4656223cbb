//! Password throttling: the state of a bucket, and whether it allows another attempt. Failures are
//! limited by exponential backoff, calls by a steady rate.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use icu_collator::options::{CollatorOptions, Strength};
use icu_collator::{CollatorBorrowed, CollatorPreferences};
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::time::Timestamp;

/// The first wait. It doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(15);

/// The limit of a bucket. The bucket's state is in a store.
pub trait Limit {
    /// The state of a bucket.
    type Level: Serialize + DeserializeOwned;

    /// Allows another attempt, and returns the new state.
    ///
    /// # Errors
    /// The time until another attempt is allowed, at least one second.
    fn take(&self, level: Option<&Self::Level>, now: Timestamp) -> Result<Self::Level, Duration>;

    /// The state without the last attempt. `None`: the bucket is empty.
    fn give_back(&self, level: &Self::Level) -> Option<Self::Level>;

    /// When the bucket is empty.
    fn empty_at(&self, level: &Self::Level) -> Timestamp;

    /// The state of a bucket that is as full as it can be.
    fn full(&self, now: Timestamp) -> Self::Level;
}

/// Exponential backoff: `free` failures at once, then a wait of 15 seconds, 30, and so on up to
/// `max_backoff`. After each `max_backoff` without a failure, one is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimit {
    /// Number of failures without a wait. Never 0.
    pub free: u32,
    /// Maximum wait, in whole seconds. Never 0.
    pub max_backoff: Duration,
}

/// A limit of failures, and what a success does to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimit {
    /// The limit.
    pub backoff: BackoffLimit,
    /// The effect of a success.
    pub on_success: OnSuccess,
}

/// The effect of a success on the failures in its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSuccess {
    /// All are forgotten: only one user counts here.
    Reset,
    /// All stay: many users count here. Only the attempt itself does not.
    Refund,
    /// Those of the same spelling are forgotten. Others may have been guesses at another account.
    Forgive(Spelling),
}

/// A spelling of an account name, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spelling(u64);

/// The state of a bucket of [`FailureLimit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    times: u32,
    last: Timestamp,
    /// The failures that a success may forgive, oldest first.
    spellings: Vec<FailedSpelling>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FailedSpelling {
    spelling: Spelling,
    times: u32,
}

/// Maximum number of spellings whose failures a success may forgive.
const MAX_SPELLINGS: usize = 32;

impl BackoffLimit {
    fn wait_after(&self, times: u32) -> Duration {
        let Some(doublings) = times.checked_sub(self.free) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        FIRST_WAIT.saturating_mul(factor).min(self.max_backoff)
    }

    /// Further failures are not counted, because the wait is already at its maximum.
    fn max_counted(&self) -> u32 {
        let doublings = (self.max_backoff.as_secs() / FIRST_WAIT.as_secs())
            .checked_ilog2()
            .unwrap_or(0);
        self.free.saturating_add(doublings + 1)
    }
}

impl FailureLimit {
    /// The state after a success. `None`: the bucket is empty.
    pub fn succeed(&self, level: &Failed) -> Option<Failed> {
        match self.on_success {
            OnSuccess::Reset => None,
            OnSuccess::Refund => self.give_back(level),
            OnSuccess::Forgive(spelling) => {
                let mut level = level.clone();
                let own = level.spellings.extract_if(.., |of| of.spelling == spelling);
                let forgiven = own.map(|of| of.times).sum();
                level.times = level.times.saturating_sub(forgiven);
                (level.times > 0).then_some(level)
            }
        }
    }

    /// `level` with one more or one less failure of this spelling.
    fn count_spelling(&self, level: &mut Failed, change: impl Fn(u32) -> u32) {
        let OnSuccess::Forgive(spelling) = self.on_success else {
            return;
        };
        let own = level.spellings.extract_if(.., |of| of.spelling == spelling);
        let times = change(own.map(|of| of.times).sum());
        if times > 0 {
            level.spellings.push(FailedSpelling { spelling, times });
        }
        // Forgotten failures were the oldest.
        let counted = |level: &Failed| level.spellings.iter().map(|of| of.times).sum::<u32>();
        while level.spellings.len() > MAX_SPELLINGS || counted(&*level) > level.times {
            let Some(oldest) = level.spellings.first_mut() else {
                return;
            };
            oldest.times -= 1;
            if oldest.times == 0 || level.spellings.len() > MAX_SPELLINGS {
                level.spellings.remove(0);
            }
        }
    }
}

impl Limit for FailureLimit {
    type Level = Failed;

    fn take(&self, level: Option<&Failed>, now: Timestamp) -> Result<Failed, Duration> {
        let mut next = match level {
            None => Failed {
                times: 1,
                last: now,
                spellings: Vec::new(),
            },
            Some(level) => {
                let backoff = &self.backoff;
                let (quiet, wait) = (now.since(level.last), backoff.wait_after(level.times));
                // Within one second, the clock does not order attempts. Hence at least one second.
                if let Some(left) = wait.checked_sub(quiet).filter(|left| !left.is_zero()) {
                    return Err(left.max(Duration::from_secs(1)));
                }
                let forgotten = quiet.as_secs() / backoff.max_backoff.as_secs().max(1);
                let remaining = level
                    .times
                    .saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
                Failed {
                    times: remaining.saturating_add(1).min(backoff.max_counted()),
                    last: now,
                    spellings: level.spellings.clone(),
                }
            }
        };
        self.count_spelling(&mut next, |times| times.saturating_add(1));
        Ok(next)
    }

    fn give_back(&self, level: &Failed) -> Option<Failed> {
        let times = level.times.checked_sub(1).filter(|times| *times > 0)?;
        let mut level = Failed {
            times,
            ..level.clone()
        };
        self.count_spelling(&mut level, |times| times.saturating_sub(1));
        Some(level)
    }

    fn empty_at(&self, level: &Failed) -> Timestamp {
        level
            .last
            .plus(self.backoff.max_backoff.saturating_mul(level.times.max(1)))
    }

    fn full(&self, now: Timestamp) -> Failed {
        Failed {
            times: self.backoff.max_counted(),
            last: now,
            spellings: Vec::new(),
        }
    }
}

/// Rate limit: the generic cell rate algorithm of ITU-T I.371, with a burst of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls per minute. Never 0.
    pub per_minute: u32,
}

/// The state of a bucket of [`RateLimit`]: when it is empty, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called(u64);

const MINUTE: u64 = 60_000;

impl RateLimit {
    /// Rounded up, so that the rate is never exceeded.
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

    fn full(&self, now: Timestamp) -> Called {
        Called(now.secs().saturating_mul(1000).saturating_add(MINUTE))
    }
}

/// Key of an account name: the same whatever its case, white space or Unicode form. Hashed, because
/// it identifies a user and is stored.
pub fn account_key(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, folded(name).as_bytes()))
}

/// Key of all account names that the collation of some provider may take for equal: those that do
/// not differ at the primary level of the Unicode Collation Algorithm (UTS #10), such as `rene` and
/// `René`. Hashed, as above.
pub fn account_collation_key(name: &str) -> String {
    let folded = folded(name);
    let mut options = CollatorOptions::default();
    options.strength = Some(Strength::Primary);
    let mut sort_key = Vec::new();
    // The data are compiled in, so this does not fail. If it did, accents would count.
    let written = CollatorBorrowed::try_new(CollatorPreferences::default(), options)
        .map(|collator| collator.write_sort_key_to(&folded, &mut sort_key));
    let collation_key = match written {
        Ok(Ok(())) => sort_key.as_slice(),
        Ok(Err(_)) | Err(_) => folded.as_bytes(),
    };
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, collation_key))
}

impl Spelling {
    /// The spelling of an account name.
    pub fn of(name: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, folded(name).as_bytes());
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first))
    }
}

fn folded(name: &str) -> String {
    let folded: String = name.chars().flat_map(char::to_lowercase).collect();
    let folded = ComposingNormalizerBorrowed::new_nfkc()
        .normalize(&folded)
        .into_owned();
    // Compatibility forms can turn into upper case, and lower case can turn into another form.
    folded
        .chars()
        .flat_map(char::to_lowercase)
        .filter(|c| is_visible(*c))
        .collect()
}

/// Whether a character is visible: not white space, not a control character, not of zero width.
pub(super) fn is_visible(c: char) -> bool {
    !(c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES: FailureLimit = refunding(5, 900);

    const fn refunding(free: u32, max_backoff: u64) -> FailureLimit {
        FailureLimit {
            backoff: BackoffLimit {
                free,
                max_backoff: Duration::from_secs(max_backoff),
            },
            on_success: OnSuccess::Refund,
        }
    }

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    /// Attempts as fast as allowed: the second of each.
    fn allowed_at(limit: &FailureLimit, count: usize) -> Vec<u64> {
        let (mut level, mut now, mut allowed) = (None, 0, Vec::new());
        while allowed.len() < count {
            match limit.take(level.as_ref(), at(now)) {
                Ok(next) => {
                    level = Some(next);
                    allowed.push(now);
                }
                Err(wait) => now += wait.as_secs(),
            }
        }
        allowed
    }

    #[test]
    fn waits_double_after_free_failures_up_to_the_maximum() {
        let allowed = allowed_at(&FAILURES, 16);
        let waits: Vec<u64> = allowed
            .iter()
            .zip(&allowed[1..])
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
    fn sustained_rate_is_one_failure_per_max_backoff() {
        let day = allowed_at(&FAILURES, 200)
            .into_iter()
            .filter(|second| *second < 86_400)
            .count();
        assert!((96..=108).contains(&day), "{day} guesses a day");
        // Waiting until the bucket is empty gains nothing.
        let (mut level, mut now, mut guesses) = (None, 0, 0);
        while now < 86_400 {
            while let Ok(next) = FAILURES.take(level.as_ref(), at(now)) {
                level = Some(next);
                guesses += 1;
            }
            now = level
                .as_ref()
                .map_or(now, |level| FAILURES.empty_at(level).since(at(0)).as_secs());
        }
        assert!(guesses <= day, "{guesses} guesses a day by waiting");
    }

    #[test]
    fn refund_restores_state_and_clock_steps_open_nothing() {
        let first = FAILURES.take(None, at(0)).unwrap();
        assert_eq!(FAILURES.give_back(&first), None);
        let second = FAILURES.take(Some(&first), at(0)).unwrap();
        assert_eq!(FAILURES.give_back(&second), Some(first));
        let strict = refunding(1, 60);
        assert_eq!(
            strict.take(Some(&strict.take(None, at(50)).unwrap()), at(10)),
            Err(FIRST_WAIT)
        );
    }

    fn spelled(name: &str) -> FailureLimit {
        FailureLimit {
            on_success: OnSuccess::Forgive(Spelling::of(name)),
            ..FAILURES
        }
    }

    fn failed(names: &[&str]) -> Failed {
        let fail = |level: Option<Failed>, name: &&str| {
            Some(spelled(name).take(level.as_ref(), at(0)).unwrap())
        };
        names.iter().fold(None, fail).unwrap()
    }

    #[test]
    fn success_forgives_the_failures_of_its_own_spelling_only() {
        let level = failed(&["rene", "ren\u{e9}", "rene", " Rene"]);
        let left = spelled("rene").succeed(&level).unwrap();
        assert_eq!(left, failed(&["ren\u{e9}"]));
        assert_eq!(spelled("ren\u{e9}").succeed(&left), None);
        assert_eq!(spelled("r\u{ea}ne").succeed(&level), Some(level.clone()));
        assert_eq!(FAILURES.succeed(&level).unwrap().times, 3);
        let reset = FailureLimit {
            on_success: OnSuccess::Reset,
            ..FAILURES
        };
        assert_eq!(reset.succeed(&level), None);
        let refunded = spelled("rene").give_back(&failed(&["ren\u{e9}", "rene"]));
        assert_eq!(refunded, Some(failed(&["ren\u{e9}"])));
    }

    #[test]
    fn forgivable_spellings_are_bounded_and_never_more_than_the_failures() {
        let generous = FailureLimit {
            backoff: BackoffLimit {
                free: 1000,
                ..FAILURES.backoff
            },
            ..FAILURES
        };
        let (mut level, mut now) = (None, 0);
        for number in 0..500 {
            let limit = FailureLimit {
                on_success: OnSuccess::Forgive(Spelling::of(&format!("name{}", number % 100))),
                ..generous
            };
            now += if number % 50 == 0 { 20_000 } else { 0 };
            let next = limit.take(level.as_ref(), at(now)).unwrap();
            let counted: u32 = next.spellings.iter().map(|of| of.times).sum();
            assert!(counted <= next.times && next.spellings.len() <= MAX_SPELLINGS);
            level = Some(next);
        }
    }

    #[test]
    fn max_backoff_below_first_wait_is_respected() {
        let short = refunding(2, 3);
        let allowed = allowed_at(&short, 6);
        assert_eq!(allowed, [0, 0, 3, 6, 9, 12]);
    }

    #[test]
    fn calls_are_limited_to_rate_with_one_minute_burst() {
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

    /// A limit per spelling of a name would be no limit.
    #[test]
    fn all_spellings_of_a_name_share_a_bucket() {
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
        for spelling in [
            "rene",
            "R\u{ea}n\u{e8}",
            "r\u{113}n\u{115}",
            "\u{24e1}ene",
            "\u{1e5f}\u{1eb9}\u{1e49}\u{1e1b}",
            "ren\u{11b}\u{323}",
        ] {
            assert_eq!(
                account_collation_key(spelling),
                account_collation_key("rene"),
                "{spelling:?}"
            );
        }
        assert_eq!(
            account_collation_key("stra\u{df}e"),
            account_collation_key("strasse")
        );
        assert_ne!(account_key("ren\u{e9}"), account_key("rene"));
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
        let collation_keys: std::collections::HashSet<String> = apart
            .iter()
            .map(|name| account_collation_key(name))
            .collect();
        assert_eq!(collation_keys.len(), apart.len());
    }
}
