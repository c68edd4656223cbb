//! Response body decoding: message body length (RFC 9112 section 6.3) and chunked transfer coding.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::head::ResponseHead;

/// Maximum length of a chunk's first line in bytes, extensions included.
const MAX_CHUNK_LINE: usize = 4096;
/// Maximum total size of the trailers in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// The rest of a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum BodyDecoder {
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked(ChunkState),
    /// Everything until the connection closes.
    UntilClose,
}

/// The next element of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum ChunkState {
    SizeLine,
    /// This many bytes of data.
    Data(u64),
    DataEnd,
    /// Trailer fields; this many bytes so far.
    Trailers(usize),
    Complete,
}

/// The result of decoding the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Data(Bytes),
    /// A line of the trailers.
    Trailer(Bytes),
    /// More bytes are needed.
    Incomplete,
    End,
}

/// The framing of a response.
#[derive(Debug)]
pub(in crate::upstream) struct ResponseFraming {
    pub(in crate::upstream) decoder: BodyDecoder,
    /// Whether the connection can be reused after the body.
    pub(in crate::upstream) keep_alive: bool,
}

impl BodyDecoder {
    /// Determines the framing. Leaves at most one `Content-Length`, in canonical form, in the head.
    ///
    /// # Errors
    /// The framing error.
    pub(in crate::upstream) fn for_response(
        head: &mut ResponseHead,
        method: &Method,
    ) -> Result<ResponseFraming, String> {
        let ResponseHead {
            status,
            version,
            headers,
        } = head;
        let chunked = is_chunked(headers)?;
        let length = content_length(headers);
        let keep_alive = keeps_alive(headers, *version);
        if *method == Method::HEAD || *status == StatusCode::NOT_MODIFIED {
            set_length(headers, length?);
            return Ok(ResponseFraming {
                decoder: Self::Length(0),
                keep_alive: keep_alive && (*method == Method::HEAD || !chunked),
            });
        }
        if *status == StatusCode::NO_CONTENT {
            // A body that is announced although there must be none may still arrive, possibly late.
            let announces_body = chunked || !matches!(length, Ok(None | Some(0)));
            set_length(headers, None);
            return Ok(ResponseFraming {
                decoder: Self::Length(0),
                keep_alive: keep_alive && !announces_body,
            });
        }
        if chunked {
            if *version == Version::HTTP_10 {
                return Err("chunked coding in HTTP/1.0".to_owned());
            }
            set_length(headers, None);
            // RFC 9112 section 6.3: both fields together may be response smuggling.
            return Ok(ResponseFraming {
                decoder: Self::Chunked(ChunkState::SizeLine),
                keep_alive: keep_alive && matches!(length, Ok(None)),
            });
        }
        let length = length?;
        set_length(headers, length);
        Ok(match length {
            Some(length) => ResponseFraming {
                decoder: Self::Length(length),
                keep_alive,
            },
            None => ResponseFraming {
                decoder: Self::UntilClose,
                keep_alive: false,
            },
        })
    }

    /// Whether trailers may follow the body.
    pub(in crate::upstream) const fn may_have_trailers(self) -> bool {
        matches!(self, Self::Chunked(_))
    }

    /// Whether the body is complete.
    pub(super) const fn is_complete(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(ChunkState::Complete))
    }

    /// The number of remaining bytes, if it is known.
    pub(super) const fn exact(self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(left),
            Self::Chunked(ChunkState::Complete) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Decodes the next part of the received bytes.
    pub(super) fn decode(&mut self, bytes: &mut BytesMut) -> Result<Decoded, String> {
        match self {
            Self::Length(0) => Ok(Decoded::End),
            Self::Length(left) => Ok(data(bytes, left)),
            Self::UntilClose => {
                let mut unlimited = u64::MAX;
                Ok(data(bytes, &mut unlimited))
            }
            Self::Chunked(state) => state.decode(bytes),
        }
    }
}

impl ChunkState {
    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Decoded, String> {
        loop {
            match self {
                Self::SizeLine => {
                    let Some(line) = line(bytes, MAX_CHUNK_LINE)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    let length = chunk_length(&line)?;
                    *self = if length == 0 {
                        Self::Trailers(0)
                    } else {
                        Self::Data(length)
                    };
                }
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => return Ok(data(bytes, left)),
                Self::DataEnd => {
                    let Some(line) = line(bytes, 0)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    if !line.is_empty() {
                        return Err("a chunk is longer than its size".to_owned());
                    }
                    *self = Self::SizeLine;
                }
                Self::Trailers(length) => {
                    let Some(line) = line(bytes, MAX_TRAILERS.saturating_sub(*length))? else {
                        return Ok(Decoded::Incomplete);
                    };
                    if line.is_empty() {
                        *self = Self::Complete;
                    } else {
                        *self = Self::Trailers(*length + line.len());
                        return Ok(Decoded::Trailer(line));
                    }
                }
                Self::Complete => return Ok(Decoded::End),
            }
        }
    }
}

fn data(bytes: &mut BytesMut, left: &mut u64) -> Decoded {
    if bytes.is_empty() {
        return Decoded::Incomplete;
    }
    let length = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    *left -= length as u64;
    Decoded::Data(bytes.split_to(length).freeze())
}

/// Takes a line without its line break, which must be CR LF; `None` if it is incomplete.
fn line(bytes: &mut BytesMut, max_len: usize) -> Result<Option<Bytes>, String> {
    match memchr::memchr(b'\n', bytes) {
        Some(at) => {
            let mut line = bytes.split_to(at).freeze();
            bytes.advance(1);
            if line.last() != Some(&b'\r') || line.len() > max_len + 1 {
                return Err("malformed chunks".to_owned());
            }
            line.truncate(line.len() - 1);
            Ok(Some(line))
        }
        None if bytes.len() > max_len + 1 => Err("malformed chunks".to_owned()),
        None => Ok(None),
    }
}

/// Parses the chunk size. Extensions (RFC 9112 section 7.1.1) are ignored.
fn chunk_length(line: &[u8]) -> Result<u64, String> {
    let digits = line
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    let is_number = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number);
    number
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| "an invalid chunk size".to_owned())
}

/// Whether the body is chunked. Any other transfer coding is rejected: it would reach the client
/// without its name (RFC 9112 section 6.1).
fn is_chunked(headers: &HeaderMap) -> Result<bool, String> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(_), _) => Err("an unknown transfer coding".to_owned()),
    }
}

/// The length on which all `Content-Length` fields agree (RFC 9110 section 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut agreed = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length: u64 = digits
            .and_then(|text| text.parse().ok())
            .ok_or("an invalid content length")?;
        if *agreed.get_or_insert(length) != length {
            return Err("differing content lengths".to_owned());
        }
    }
    Ok(agreed)
}

/// Leaves one `Content-Length` of this value, in canonical form, or none. `length` is the one on which
/// all fields agree.
fn set_length(headers: &mut HeaderMap, length: Option<u64>) {
    let Some(length) = length else {
        headers.remove(CONTENT_LENGTH);
        return;
    };
    let mut fields = headers.get_all(CONTENT_LENGTH).iter();
    let is_canonical = match (fields.next().map(HeaderValue::as_bytes), fields.next()) {
        (Some(digits), None) => digits == b"0" || !digits.starts_with(b"0"),
        (Some(_) | None, _) => false,
    };
    if !is_canonical {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Whether the connection persists (RFC 9112 section 9.3).
fn keeps_alive(headers: &HeaderMap, version: Version) -> bool {
    let fields = headers.get_all(CONNECTION).iter();
    let mut options = fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    if version == Version::HTTP_10 {
        options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"))
    } else {
        !options.any(|option| option.eq_ignore_ascii_case(b"close"))
    }
}
