//! Responses to clients that exceed their own limits: 429 (RFC 6585 section 4) with the quota that is used up
//! (draft-ietf-httpapi-ratelimit-headers).

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::Responder;
use super::error::ErrorResponse;
use super::response::{TaggedResponse, insert};
use crate::limits::Quota;
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::proxy::client_limits::{ClientIdentification, LimitedClient};
use crate::proxy::messages;
use crate::types::request_id::RequestId;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The values of the header fields that describe a quota.
#[derive(Debug, PartialEq, Eq)]
struct QuotaFields {
    policy: String,
    state: String,
}

impl Responder {
    /// The response to a client that exceeds its own limit.
    pub fn limited_client(
        &self,
        client_kind: ClientKind,
        app: Option<&App>,
        limited: LimitedClient,
        request_id: RequestId,
    ) -> TaggedResponse {
        let retry_after = whole_seconds(limited.exceeded.retry_after);
        let status = if limited.is_device_proof {
            // After 429 Chromium forgets its device-bound session.
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        let error = ErrorResponse::new(
            status,
            code(limited),
            messages::limited_client_text(),
            app,
            request_id,
        );
        let mut limited_response = self.render(
            client_kind,
            &ErrorResponse {
                retry_after: Some(Duration::from_secs(retry_after)),
                is_repeatable: true,
                ..error
            },
        );
        let QuotaFields { policy, state } = quota_fields(limited);
        let headers = limited_response.response.headers_mut();
        insert(headers, RATE_LIMIT_POLICY, &policy);
        insert(headers, RATE_LIMIT, &state);
        limited_response
    }
}

const fn code(limited: LimitedClient) -> &'static str {
    match (limited.by, limited.exceeded.quota) {
        (ClientIdentification::Address, Quota::Rate(_)) => "address_rate_exceeded",
        (ClientIdentification::Address, Quota::InFlight(_)) => "address_in_flight_exceeded",
        (ClientIdentification::Session, Quota::Rate(_)) => "session_rate_exceeded",
        (ClientIdentification::Session, Quota::InFlight(_)) => "session_in_flight_exceeded",
    }
}

fn quota_fields(limited: LimitedClient) -> QuotaFields {
    let name = match limited.by {
        ClientIdentification::Address => "address",
        ClientIdentification::Session => "session",
    };
    match limited.exceeded.quota {
        Quota::Rate(rate) => {
            let burst = rate.burst;
            let window = whole_seconds(rate.window());
            let reset = whole_seconds(limited.exceeded.retry_after);
            QuotaFields {
                policy: format!("\"{name}\";q={burst};w={window}"),
                state: format!("\"{name}\";r=0;t={reset}"),
            }
        }
        Quota::InFlight(max) => QuotaFields {
            policy: format!("\"{name}-in-flight\";q={max};qu=\"concurrent-requests\""),
            state: format!("\"{name}-in-flight\";r=0"),
        },
    }
}

/// The duration in seconds, rounded up: a client must not come too early. At least one.
fn whole_seconds(duration: Duration) -> u64 {
    let begun = u64::from(duration.subsec_nanos() > 0);
    (duration.as_secs() + begun).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ClientLimitExceeded, RequestRate};

    #[test]
    fn fields_describe_the_quota_that_is_used_up() {
        let rate = RequestRate {
            interval: Duration::from_millis(50),
            burst: 50,
        };
        let limited = |by, quota| LimitedClient {
            by,
            exceeded: ClientLimitExceeded {
                quota,
                retry_after: Duration::from_millis(1200),
            },
            is_device_proof: false,
        };
        for (limited, policy, state) in [
            (
                limited(ClientIdentification::Address, Quota::Rate(rate)),
                r#""address";q=50;w=3"#,
                r#""address";r=0;t=2"#,
            ),
            (
                limited(ClientIdentification::Session, Quota::InFlight(7)),
                r#""session-in-flight";q=7;qu="concurrent-requests""#,
                r#""session-in-flight";r=0"#,
            ),
        ] {
            let fields = quota_fields(limited);
            assert_eq!(
                (fields.policy.as_str(), fields.state.as_str()),
                (policy, state)
            );
        }
    }

    #[test]
    fn seconds_are_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
