//! HTTP/1.1 message heads: request heads are written directly from the client's headers, response
//! heads are parsed in place.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use httparse::{ParserConfig, Status};

use crate::upstream::field_value::FieldValue;

/// Maximum number of fields in a response head.
const MAX_FIELDS: usize = 128;

/// A parsed response head.
#[derive(Debug)]
pub(in crate::upstream) struct ResponseHead {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) version: Version,
    pub(in crate::upstream) headers: HeaderMap,
}

/// Clears `out` and writes the request line. `target` must have been validated: it contains no
/// white space or line break.
pub(in crate::upstream) fn write_request_line(out: &mut Vec<u8>, method: &Method, target: &str) {
    out.clear();
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes a header field.
pub(in crate::upstream) fn write_field(
    out: &mut Vec<u8>,
    name: &HeaderName,
    value: FieldValue<'_>,
) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The end of the head in `bytes`, if it is complete. Everything before `from` was scanned already.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    // The blank line may have started before `from`.
    let from = from.saturating_sub(3);
    memchr::memchr_iter(b'\n', bytes.get(from..)?)
        .map(|at| from + at + 1)
        .find_map(|next| {
            let rest = bytes.get(next..)?;
            let blank = if rest.starts_with(b"\n") { 1 } else { 2 };
            (blank == 1 || rest.starts_with(b"\r\n")).then_some(next + blank)
        })
}

impl ResponseHead {
    /// Parses a complete head. Field values share the memory of `bytes`.
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, String> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let parser = ParserConfig::default();
        match parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
            Ok(Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err("its head ends in two places".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        let code = parsed.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| format!("the status {code}"))?;
        let version = if parsed.version == Some(0) {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        };
        let mut headers = HeaderMap::with_capacity(parsed.headers.len() + 2);
        for field in parsed.headers.iter() {
            let name =
                HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| error.to_string())?;
            let value = bytes.slice_ref(field.value);
            let value = HeaderValue::from_maybe_shared(value)
                .map_err(|_| format!("a bad value of {name}"))?;
            headers
                .try_append(name, value)
                .map_err(|error| error.to_string())?;
        }
        Ok(Self {
            status,
            version,
            headers,
        })
    }
}
