//! How bodies are delimited (RFC 9112 section 6): whatever came in, one unambiguous form goes out, for every method.
//! Clients that guess drop the body of a GET whose length they do not know, so nothing is guessed.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body as _;

use crate::types::body::Body;

/// How the request's body is delimited upstream: our own choice, whatever came (RFC 9112 section 6).
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
            // RFC 9110 section 8.6: a method that is made for content says so when there is none.
            Some(0) => {
                let made_for_content =
                    [Method::POST, Method::PUT, Method::PATCH].contains(&client.method);
                if made_for_content || client.headers.contains_key(CONTENT_LENGTH) {
                    Self::Zero
                } else {
                    Self::None
                }
            }
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }

    /// The field that says so.
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
