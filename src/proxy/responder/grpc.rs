//! gRPC error responses (gRPC over HTTP/2, "Responses"): status 200, with the error in a
//! trailers-only head. gRPC clients follow no redirect and read no document.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::response::insert;
use crate::types::body::Body;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Bytes that are percent-encoded in a message.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// A gRPC status (gRPC "Status codes and their use in gRPC").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Unknown = 2,
    PermissionDenied = 7,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Status {
    /// The status that a gRPC client derives from this HTTP status (gRPC "HTTP to gRPC Status Code
    /// Mapping").
    const fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::Internal,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND => Self::Unimplemented,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// An error response.
pub(super) fn error(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, "application/grpc");
    insert(headers, header::CACHE_CONTROL, "no-store");
    headers.insert(GRPC_STATUS, HeaderValue::from(Status::of(status) as u16));
    let message = utf8_percent_encode(message, ESCAPED).to_string();
    insert(headers, GRPC_MESSAGE, &message);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_status_maps_to_grpc_status() {
        for (http, grpc) in [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (502, 14),
            (503, 14),
            (504, 14),
            (421, 2),
        ] {
            assert_eq!(
                Status::of(StatusCode::from_u16(http).unwrap()) as u16,
                grpc,
                "{http}"
            );
        }
    }
}
