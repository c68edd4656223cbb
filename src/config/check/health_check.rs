//! `[apps.NAME.health_check]`: health checks of several upstream addresses.

use std::time::Duration;

use http::StatusCode;

use super::super::raw::RawHealthCheck;
use super::super::report::{Location, quoted};
use super::nonzero;
use crate::types::target::Target;
use crate::upstream::HealthCheck;

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

/// `None` if there is an error.
pub(super) fn check(raw: RawHealthCheck, at: &Location<'_>) -> Option<HealthCheck> {
    let path = at.required("path", raw.path, "a path of the app, such as `/health`");
    let target = path.and_then(|text| {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text.as_str(), None),
        };
        let target = Target::parse(path, query).ok();
        if target.is_none() {
            let message = format!("{} is not a path", quoted(&text));
            at.key("path").error(message, "such as `/health`");
        }
        target
    });
    let interval = raw
        .interval
        .map(|interval| nonzero(interval, &at.key("interval")));
    let timeout = raw
        .timeout
        .map(|timeout| nonzero(timeout, &at.key("timeout")));
    let status = raw.status.map(|number| {
        let status = u16::try_from(number).ok();
        let status = status.and_then(|number| StatusCode::from_u16(number).ok());
        if status.is_none() {
            at.key("status")
                .error(format!("{} is not a status", quoted(number)), "such as 200");
        }
        status
    });
    Some(HealthCheck {
        path: target?.as_str().to_owned(),
        interval: interval.unwrap_or(INTERVAL),
        timeout: timeout.unwrap_or(TIMEOUT),
        status: match status {
            Some(status) => Some(status?),
            None => None,
        },
    })
}
