//! The time of Redis, as this process knows it from the last reply that had it.

use std::sync::Mutex;

use tokio::time::Instant;

use crate::lock::lock;
use crate::store::StoreTime;

/// The last measurement.
#[derive(Debug, Default)]
pub(super) struct MeasuredTime(Mutex<Option<Measurement>>);

#[derive(Clone, Copy, Debug)]
struct Measurement {
    time: StoreTime,
    /// When the call was sent, which is before Redis read its clock.
    sent: Instant,
}

impl MeasuredTime {
    /// Records that a call that was sent at `sent` returned `time`.
    pub(super) fn record(&self, time: StoreTime, sent: Instant) {
        let mut last = lock(&self.0);
        if last.is_none_or(|last| last.sent <= sent) {
            *last = Some(Measurement { time, sent });
        }
    }

    /// Redis has not reached a later time than this. `None` before the first measurement.
    pub(super) fn upper_bound(&self, now: Instant) -> Option<StoreTime> {
        let Measurement { time, sent } = (*lock(&self.0))?;
        Some(time.plus(now.duration_since(sent)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bound_follows_the_newest_measurement() {
        let measured = MeasuredTime::default();
        let sent = Instant::now();
        let after = |millis| sent + Duration::from_millis(millis);
        assert_eq!(measured.upper_bound(sent), None);
        measured.record(StoreTime::from_millis(5000), sent);
        let bound = |millis| measured.upper_bound(after(millis)).unwrap().millis();
        assert_eq!(bound(100), 5100);
        measured.record(StoreTime::from_millis(5050), after(100));
        measured.record(StoreTime::from_millis(5000), sent);
        assert_eq!(bound(100), 5050);
    }
}
