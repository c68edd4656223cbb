//! `[apps.NAME.device_binding]`: device-bound sessions.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::keywords::DeviceBindingMode;
use super::super::raw::RawDeviceBinding;
use super::super::report::Location;
use super::super::values::HumanDuration;
use super::{elements, quoted, rules};
use crate::policy::path_pattern::PathPattern;
use crate::policy::strict_paths::{StrictPath, StrictPaths};
use crate::session::device_binding::BindingPolicy;
use crate::types::net::Origin;

const VALIDITY: Duration = Duration::from_secs(45);
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
const CHALLENGE_WINDOW: Duration = Duration::from_secs(180);
const PENDING_WINDOW: Duration = Duration::from_secs(120);
const STRICT_VALIDITY: Duration = Duration::from_secs(3);
const STREAM_PROOF_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How sessions are bound.
pub(super) struct DeviceBindingConfig {
    /// `None`: they are not.
    pub(super) policy: Option<BindingPolicy>,
    pub(super) strict_paths: StrictPaths,
}

pub(super) fn check(
    raw: RawDeviceBinding,
    origin: Option<&Origin>,
    case_insensitive: bool,
    at: &Location<'_>,
) -> DeviceBindingConfig {
    let strict = strict_paths(&raw, &at.key("strict"));
    DeviceBindingConfig {
        policy: policy(&raw, origin, at),
        strict_paths: StrictPaths::new(strict, case_insensitive),
    }
}

fn policy(
    raw: &RawDeviceBinding,
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
    let strict_validity = span(
        raw.strict_validity,
        STRICT_VALIDITY,
        2..=60,
        &at.key("strict_validity"),
    );
    let stream_proof_timeout = span(
        raw.stream_proof_timeout,
        STREAM_PROOF_TIMEOUT,
        60..=24 * 60 * 60,
        &at.key("stream_proof_timeout"),
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
    if raw.strict_validity.is_some() && strict_validity > validity {
        at.key("strict_validity").error(
            "`strict_validity` must not be longer than `validity`",
            "strict paths need a proof that is as recent as that of others, or more",
        );
    }
    Some(BindingPolicy {
        is_required,
        validity,
        refresh_interval,
        challenge_window,
        pending_window,
        network_hint: raw.network_hint.unwrap_or(true),
        strict_validity,
        stream_proof_timeout,
    })
}

fn strict_paths(raw: &RawDeviceBinding, at: &Location<'_>) -> Vec<StrictPath> {
    let is_off = raw.mode.unwrap_or(DeviceBindingMode::Off) == DeviceBindingMode::Off;
    if is_off && raw.strict.as_ref().is_some_and(|list| !list.is_empty()) {
        at.warning(
            "no path is strict, because no session is bound",
            "set `mode` to `\"offer\"` or `\"require\"`",
        );
    }
    let listed = elements(raw.strict.clone(), at);
    listed
        .filter_map(|(at, text)| strict_path(&text, &at))
        .collect()
}

/// A pattern, or a method and a pattern.
fn strict_path(text: &str, at: &Location<'_>) -> Option<StrictPath> {
    let (method, pattern) = match text.split_once(' ') {
        Some((method, pattern)) if !text.starts_with('/') => {
            (Some(rules::method(method, at)?), pattern.trim_start())
        }
        Some(_) | None => (None, text),
    };
    match PathPattern::parse(pattern) {
        Ok(pattern) => Some(StrictPath { method, pattern }),
        Err(error) => {
            at.error(
                format!("{} is not a path pattern: {error}", quoted(pattern)),
                error.hint(),
            );
            None
        }
    }
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
