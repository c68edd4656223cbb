//! The unfinished login attempts of recent browsers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use quick_cache::sync::Cache;

use crate::lock::lock;
use crate::session::attempt::BrowserHash;

/// How many browsers are tracked.
const MAX_BROWSERS: usize = 20_000;

/// The unfinished attempts of recent browsers, so that cookies of abandoned attempts can be
/// expired.
pub(super) struct Attempts(Cache<BrowserHash, Arc<Mutex<VecDeque<String>>>>);

impl Default for Attempts {
    fn default() -> Self {
        Self(Cache::new(MAX_BROWSERS))
    }
}

impl Attempts {
    /// Adds an attempt. Returns the oldest attempts beyond `most`.
    pub(super) fn add(&self, browser: BrowserHash, id: &str, most: usize) -> Vec<String> {
        let attempts = self
            .0
            .get_or_insert_with(&browser, || Ok::<_, Infallible>(Arc::default()));
        let Ok(attempts) = attempts;
        let mut attempts = lock(&attempts);
        attempts.push_back(id.to_owned());
        let surplus = attempts.len().saturating_sub(most);
        attempts.drain(..surplus).collect()
    }

    /// Removes a finished attempt.
    pub(super) fn remove(&self, browser: BrowserHash, id: &str) {
        if let Some(attempts) = self.0.get(&browser) {
            lock(&attempts).retain(|attempt| attempt != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_attempt_beyond_the_limit_is_returned() {
        let attempts = Attempts::default();
        let browser = BrowserHash::of("browser");
        let another = BrowserHash::of("another");
        assert!(attempts.add(browser, "a", 2).is_empty());
        assert!(attempts.add(browser, "b", 2).is_empty());
        assert_eq!(attempts.add(browser, "c", 2), ["a"]);
        attempts.remove(browser, "b");
        assert!(attempts.add(browser, "d", 2).is_empty());
        assert!(attempts.add(another, "e", 2).is_empty());
        assert_eq!(attempts.add(browser, "f", 1), ["c", "d"]);
    }
}
