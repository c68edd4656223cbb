//! Request framing (RFC 9112 section 6): whatever framing the client used, the upstream request has
//! one canonical framing, for every method. A client library that decides by method drops the body
//! of a GET of unknown length.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body as _;

use crate::types::body::Body;

/// The framing of an upstream request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Zero,
    Length(u64),
    Chunked,
}

impl Framing {
    pub(super) fn of(client: &Parts, body: &Body) -> Self {
        match body.size_hint().exact() {
            // RFC 9110 section 8.6: a method that expects content needs an explicit zero length.
            Some(0) => {
                let expects_content =
                    [Method::POST, Method::PUT, Method::PATCH].contains(&client.method);
                if expects_content || client.headers.contains_key(CONTENT_LENGTH) {
                    Self::Zero
                } else {
                    Self::None
                }
            }
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }

    /// The header field of this framing.
    pub(super) fn field(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::None => None,
            Self::Zero => Some((CONTENT_LENGTH, HeaderValue::from(0))),
            Self::Length(length) => Some((CONTENT_LENGTH, HeaderValue::from(length))),
            Self::Chunked => Some((
                TRANSFER_ENCODING,
                const { HeaderValue::from_static("chunked") },
            )),
        }
    }
}
