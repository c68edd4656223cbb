//! Where an answer's body ends (RFC 9112 section 6.3), and its bytes without the framing.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::head::ResponseHead;

/// Longest line that begins a chunk, extensions included, in bytes, and most bytes of all trailers.
const MAX_CHUNK_LINE: usize = 4096;
const MAX_TRAILERS: usize = 16 * 1024;

/// What is still to come of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum BodyDecoder {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// All until the connection closes.
    UntilClose,
}

/// What is next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Chunk {
    Line,
    Data(u64),
    DataEnd,
    /// Fields behind the last chunk, of which so many bytes were thrown away.
    Trailers(usize),
    Over,
}

/// What the bytes at hand are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Data(Bytes),
    /// More has to be read first.
    More,
    Over,
}

impl BodyDecoder {
    /// Reads the framing, leaves one `BodyDecoder-Length` in canonical form at most, and says whether the connection may be
    /// used again afterwards.
    pub(in crate::upstream) fn of(
        head: &mut ResponseHead,
        method: &Method,
    ) -> Result<(Self, bool), String> {
        let ResponseHead {
            status,
            version,
            headers,
        } = head;
        let codings = is_chunked(headers)?;
        let length = length(headers);
        headers.remove(CONTENT_LENGTH);
        let mut keeps = keeps_alive(headers, *version);
        // A body that is announced where there can be none may come all the same, and late.
        let announces = codings || !matches!(length, Ok(None | Some(0)));
        if *method == Method::HEAD || *status == StatusCode::NOT_MODIFIED {
            keeps &= *method == Method::HEAD || !codings;
            if let Some(length) = length? {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            return Ok((Self::Length(0), keeps));
        }
        if *status == StatusCode::NO_CONTENT {
            return Ok((Self::Length(0), keeps && !announces));
        }
        if codings {
            if *version == Version::HTTP_10 {
                return Err("chunks in HTTP/1.0".to_owned());
            }
            // RFC 9112 section 6.3: both may be an attack on whoever reads the other.
            keeps &= matches!(length, Ok(None));
            return Ok((Self::Chunked(Chunk::Line), keeps));
        }
        Ok(match length? {
            Some(length) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                (Self::Length(length), keeps)
            }
            None => (Self::UntilClose, false),
        })
    }

    /// Whether nothing more will come.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Over))
    }

    /// How many bytes are still to come, if that is known.
    pub(super) const fn exact(self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(left),
            Self::Chunked(Chunk::Over) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes what it can from the bytes that came.
    pub(super) fn take(&mut self, bytes: &mut BytesMut) -> Result<Next, String> {
        match self {
            Self::Length(0) => Ok(Next::Over),
            Self::Length(left) => Ok(data(bytes, left)),
            Self::UntilClose => {
                let mut endless = u64::MAX;
                Ok(data(bytes, &mut endless))
            }
            Self::Chunked(chunk) => chunk.take(bytes),
        }
    }
}

impl Chunk {
    fn take(&mut self, bytes: &mut BytesMut) -> Result<Next, String> {
        loop {
            match self {
                Self::Line => {
                    let Some(line) = line(bytes, MAX_CHUNK_LINE)? else {
                        return Ok(Next::More);
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
                        return Ok(Next::More);
                    };
                    if !line.is_empty() {
                        return Err("a chunk is longer than it said".to_owned());
                    }
                    *self = Self::Line;
                }
                Self::Trailers(skipped) => {
                    let Some(line) = line(bytes, MAX_TRAILERS.saturating_sub(*skipped))? else {
                        return Ok(Next::More);
                    };
                    *self = if line.is_empty() {
                        Self::Over
                    } else {
                        Self::Trailers(*skipped + line.len())
                    };
                }
                Self::Over => return Ok(Next::Over),
            }
        }
    }
}

fn data(bytes: &mut BytesMut, left: &mut u64) -> Next {
    if bytes.is_empty() {
        return Next::More;
    }
    let length = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    *left -= length as u64;
    Next::Data(bytes.split_to(length).freeze())
}

/// A line without its end, which is exactly CR LF; `None` if it is not whole yet.
fn line(bytes: &mut BytesMut, longest: usize) -> Result<Option<Bytes>, String> {
    match memchr::memchr(b'\n', bytes) {
        Some(at) => {
            let mut line = bytes.split_to(at).freeze();
            bytes.advance(1);
            if line.last() != Some(&b'\r') || line.len() > longest + 1 {
                return Err("broken chunks".to_owned());
            }
            line.truncate(line.len() - 1);
            Ok(Some(line))
        }
        None if bytes.len() > longest + 1 => Err("broken chunks".to_owned()),
        None => Ok(None),
    }
}

/// Hexadecimal digits; extensions (RFC 9112 section 7.1.1) are ignored.
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
        .ok_or_else(|| "an unreadable chunk length".to_owned())
}

/// A coding other than `chunked` would reach the client without its name (RFC 9112 section 6.1).
fn is_chunked(headers: &HeaderMap) -> Result<bool, String> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(_), _) => Err("an unknown transfer coding".to_owned()),
    }
}

/// The one length that all fields agree on (RFC 9110 section 8.6).
fn length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut agreed = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length: u64 = digits
            .and_then(|text| text.parse().ok())
            .ok_or("an unreadable length")?;
        if *agreed.get_or_insert(length) != length {
            return Err("two lengths".to_owned());
        }
    }
    Ok(agreed)
}

/// RFC 9112 section 9.3.
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
