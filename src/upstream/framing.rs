//! How bodies are delimited (RFC 9112 section 6): whatever came in, one unambiguous form goes out, for every method.
//! hyper's client would drop the body of a GET whose length it does not know, so nothing is left to it.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::error::UpstreamError;
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
                let made_for_content = [Method::POST, Method::PUT, Method::PATCH].contains(&client.method);
                if made_for_content || client.headers.contains_key(CONTENT_LENGTH) { Self::Zero } else { Self::None }
            }
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }

    /// Into fields that hold none yet.
    pub(super) fn set(self, headers: &mut HeaderMap) {
        match self {
            Self::None => {}
            Self::Zero => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
            Self::Length(length) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            Self::Chunked => {
                headers.insert(TRANSFER_ENCODING, const { HeaderValue::from_static("chunked") });
            }
        }
    }
}

/// A coding other than `chunked` would reach the client without its name (RFC 9112 section 6.1).
pub(super) fn check_codings(headers: &HeaderMap) -> Result<(), UpstreamError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let known = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if known && codings.next().is_none() {
        Ok(())
    } else {
        Err(UpstreamError::BadResponse("an unknown transfer coding".to_owned()))
    }
}

/// One `Content-Length` at most, in canonical form; for an answer without a body, the one that a body would have.
pub(super) fn set_length(
    headers: &mut HeaderMap,
    status: StatusCode,
    method: &Method,
    body: &Incoming,
) -> Result<(), UpstreamError> {
    let Some(given) = headers.remove(CONTENT_LENGTH) else { return Ok(()) };
    let bodiless = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let length = if bodiless {
        let digits = given.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|text| text.parse().ok());
        Some(length.ok_or_else(|| UpstreamError::BadResponse("an unreadable length".to_owned()))?)
    } else if status == StatusCode::NO_CONTENT {
        None
    } else {
        body.size_hint().exact()
    };
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}
