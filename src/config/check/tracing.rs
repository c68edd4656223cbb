//! `[tracing]`.

use super::super::raw::RawTracing;
use super::super::report::Location;
use crate::types::trace_context::TraceSettings;

pub(super) fn check(raw: RawTracing, at: &Location<'_>) -> TraceSettings {
    let ratio = raw.sampling_ratio.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&ratio) {
        at.key("sampling_ratio").error(
            "the ratio must be from 0 to 1",
            "`0.1` for one trace in ten",
        );
    }
    TraceSettings {
        source: raw.context.unwrap_or_default(),
        sampling_ratio: ratio,
    }
}
