//! `[apps.NAME.device_binding]`: device-bound sessions.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::keywords::DeviceBindingMode;
use super::super::raw::RawDeviceBinding;
use super::super::report::Location;
use super::super::values::HumanDuration;
use crate::session::device_binding::BindingPolicy;
use crate::types::net::Origin;

const VALIDITY: Duration = Duration::from_secs(45);
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
const CHALLENGE_WINDOW: Duration = Duration::from_secs(180);
const PENDING_WINDOW: Duration = Duration::from_secs(120);

/// `None`: sessions are not bound.
pub(super) fn check(
    raw: RawDeviceBinding,
    origin: Option<&Origin>,
    at: &Location<'_>,
) -> Option<BindingPolicy> {
    let validity = span(raw.validity, VALIDITY, 2..=600, &at.key("validity"));
    let refresh_interval = span(
        raw.refresh_interval,
        REFRESH_INTERVAL,
        1..=600,
        &at.key("refresh_interval"),
    );
    let challenge_window = span(
        raw.challenge_window,
        CHALLENGE_WINDOW,
        2..=3600,
        &at.key("challenge_window"),
    );
    let pending_window = span(
        raw.pending_window,
        PENDING_WINDOW,
        5..=600,
        &at.key("pending_window"),
    );
    let is_required = match raw.mode.unwrap_or(DeviceBindingMode::Off) {
        DeviceBindingMode::Off => return None,
        DeviceBindingMode::Offer => false,
        DeviceBindingMode::Require => true,
    };
    if origin.is_some_and(|origin| !origin.is_secure()) {
        at.key("mode").error(
            "sessions can be bound to devices with an https `public_url` only",
            "browsers register no key over http",
        );
    }
    if refresh_interval >= validity {
        at.key("refresh_interval").error(
            "`refresh_interval` must be shorter than `validity`",
            "otherwise proofs end while the browser is in use, and every request is redirected",
        );
    }
    Some(BindingPolicy {
        is_required,
        validity,
        refresh_interval,
        challenge_window,
        pending_window,
    })
}

/// A duration within these limits, in seconds.
fn span(
    raw: Option<HumanDuration>,
    default: Duration,
    limits: RangeInclusive<u64>,
    at: &Location<'_>,
) -> Duration {
    let span = raw.map_or(default, |HumanDuration(span)| span);
    if !limits.contains(&span.as_secs()) {
        at.error(
            format!("{} s is out of range", span.as_secs()),
            format!(
                "from {} s to {} s; the default is {} s",
                limits.start(),
                limits.end(),
                default.as_secs()
            ),
        );
    }
    span
}
