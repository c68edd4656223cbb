//! `[apps.NAME.client_limits]`: limits of each client.

use std::time::Duration;

use super::super::raw::{RawClientLimit, RawClientLimits};
use super::super::report::{Location, quoted};
use super::server::{bounded, size};
use crate::limits::{ByClient, ClientLimitSettings, RequestRate};

const MAX_ENTRIES: u32 = 100_000;
const MIN_RATE: f64 = 0.001;
const MAX_RATE: f64 = 1_000_000.0;
const MAX_BURST: u32 = 1_000_000;
const MAX_IN_FLIGHT: u32 = 1_000_000;

pub(super) fn check(raw: RawClientLimits, at: &Location<'_>) -> ByClient<ClientLimitSettings> {
    let limit = |raw: Option<RawClientLimit>, key| raw.map(|raw| limit(&raw, &at.key(key)));
    ByClient {
        address: limit(raw.address, "address"),
        session: limit(raw.session, "session"),
    }
}

fn limit(raw: &RawClientLimit, at: &Location<'_>) -> ClientLimitSettings {
    let rate = rate(raw, at);
    let max_in_flight = raw.max_in_flight_requests;
    if max_in_flight.is_some_and(|limit| !(1..=MAX_IN_FLIGHT).contains(&limit)) {
        at.key("max_in_flight_requests").error(
            "not a valid number of requests in flight",
            format!("from 1 to {MAX_IN_FLIGHT}; without the key there is no limit"),
        );
    }
    if raw.requests_per_second.is_none() && max_in_flight.is_none() {
        at.error(
            "the table limits nothing",
            "set `requests_per_second` or `max_in_flight_requests`, or remove the table",
        );
    }
    let max_entries = bounded(
        raw.max_entries,
        &at.key("max_entries"),
        "clients",
        MAX_ENTRIES,
        1000..=10_000_000,
    );
    ClientLimitSettings {
        rate,
        max_in_flight,
        max_entries: size(max_entries),
    }
}

fn rate(raw: &RawClientLimit, at: &Location<'_>) -> Option<RequestRate> {
    let Some(per_second) = raw.requests_per_second else {
        if raw.burst.is_some() {
            at.key("burst").error(
                "`burst` needs `requests_per_second`",
                "a burst is what a client may send at once beyond its rate",
            );
        }
        return None;
    };
    if !(MIN_RATE..=MAX_RATE).contains(&per_second) {
        at.key("requests_per_second").error(
            format!("{} is not a valid rate", quoted(per_second)),
            format!("from {MIN_RATE} to {MAX_RATE} requests per second, such as `20` or `0.5`"),
        );
        return None;
    }
    Some(RequestRate {
        interval: Duration::from_secs_f64(per_second.recip()),
        burst: burst(raw.burst, per_second, &at.key("burst")),
    })
}

/// The burst. By default, the requests of one second.
fn burst(raw: Option<u32>, per_second: f64, at: &Location<'_>) -> u32 {
    let whole_second = (1..=MAX_BURST).find(|requests| f64::from(*requests) >= per_second);
    let default = whole_second.unwrap_or(MAX_BURST);
    bounded(raw, at, "requests", default, 1..=MAX_BURST)
}
