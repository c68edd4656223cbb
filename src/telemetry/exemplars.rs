//! Exemplars: for each bucket of a histogram the latest request whose trace is recorded, so that a slow
//! bucket leads to a trace.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::lock::lock;
use crate::types::trace_context::TraceId;

/// One observation of a histogram and its trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    /// The observed value, in seconds.
    pub(super) value: f64,
    pub(super) time: SystemTime,
}

/// The exemplars of one series.
pub(super) struct SeriesExemplars {
    /// The values of the labels, in the order of the family.
    labels: Vec<String>,
    /// The upper bounds of the buckets, without the last one, which has no bound.
    bounds: &'static [f64],
    by_bucket: Box<[Mutex<Option<Exemplar>>]>,
}

/// The exemplars of one histogram family.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<Vec<Arc<SeriesExemplars>>>);

impl Exemplars {
    /// The series with these values of the labels.
    pub(super) fn series(&self, labels: &[&str], bounds: &'static [f64]) -> Arc<SeriesExemplars> {
        let mut all = lock(&self.0);
        if let Some(series) = all.iter().find(|series| series.labels == labels) {
            return Arc::clone(series);
        }
        let series = Arc::new(SeriesExemplars {
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            bounds,
            by_bucket: (0..=bounds.len()).map(|_| Mutex::default()).collect(),
        });
        all.push(Arc::clone(&series));
        series
    }

    /// Every series.
    pub(super) fn all(&self) -> Vec<Arc<SeriesExemplars>> {
        lock(&self.0).clone()
    }
}

impl SeriesExemplars {
    /// Remembers an observation. If another thread has the bucket at this moment, its observation is as
    /// good.
    pub(super) fn observe(&self, value: Duration, trace: TraceId, time: SystemTime) {
        let value = value.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.by_bucket.get(bucket)
            && let Ok(mut latest) = bucket.try_lock()
        {
            *latest = Some(Exemplar { trace, value, time });
        }
    }

    /// Whether these are the values of its labels.
    pub(super) fn is_of<'a>(&self, labels: impl Iterator<Item = &'a str>) -> bool {
        labels.eq(self.labels.iter().map(String::as_str))
    }

    /// The exemplar of a bucket.
    pub(super) fn bucket(&self, index: usize) -> Option<Exemplar> {
        self.by_bucket.get(index).and_then(|bucket| *lock(bucket))
    }

    /// Whether no bucket has one.
    pub(super) fn is_empty(&self) -> bool {
        (0..self.by_bucket.len()).all(|index| self.bucket(index).is_none())
    }
}

impl fmt::Debug for SeriesExemplars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeriesExemplars")
            .field(&self.labels)
            .finish()
    }
}
