//! Request ID: names one request in the log, on its error page, and to the app (`X-Request-Id`).

use std::fmt;

use http::{HeaderMap, HeaderName};

/// The header of the request ID.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request ID of a proxy that is kept, in bytes.
pub const MAX_REQUEST_ID: usize = 64;

/// The name of one request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; MAX_REQUEST_ID],
    length: u8,
}

impl RequestId {
    /// The ID with this number, as 16 hexadecimal digits.
    pub fn new(number: u64) -> Self {
        let mut text = [b'0'; MAX_REQUEST_ID];
        for (byte, digits) in number
            .to_be_bytes()
            .into_iter()
            .zip(text.chunks_exact_mut(2))
        {
            for (digit, half) in digits.iter_mut().zip([byte >> 4, byte & 0xf]) {
                *digit = if half < 10 {
                    b'0' + half
                } else {
                    b'a' + half - 10
                };
            }
        }
        Self { text, length: 16 }
    }

    /// The request ID that a trusted proxy chose. `None` if there is not exactly one, or it is not
    /// 1 to 64 letters, digits and `-`, `_`, `.`, `:`, `+`, `/`, `=`.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(&X_REQUEST_ID).iter();
        let given = fields.next()?.as_bytes();
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
        if fields.next().is_some() || given.is_empty() || !given.iter().all(is_plain) {
            return None;
        }
        let mut text = [0; MAX_REQUEST_ID];
        text.get_mut(..given.len())?.copy_from_slice(given);
        Some(Self {
            text,
            length: u8::try_from(given.len()).ok()?,
        })
    }

    /// As it is written: visible ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.text
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn own_id_is_sixteen_digits() {
        assert_eq!(RequestId::new(0xfe01).to_string(), "000000000000fe01");
        assert_eq!(RequestId::new(u64::MAX).as_bytes(), [b'f'; 16]);
    }

    #[test]
    fn id_of_a_proxy_is_kept_if_it_is_plain_and_unique() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(value).unwrap());
            }
            RequestId::read(&headers).map(|id| id.to_string())
        };
        let longest = "a".repeat(MAX_REQUEST_ID);
        for kept in [
            "1",
            "6f1e-22_a.b:c+/=",
            "0af7651916cd43dd8448eb211c80319c",
            &longest,
        ] {
            assert_eq!(read(&[kept]).as_deref(), Some(kept));
        }
        let too_long = "a".repeat(MAX_REQUEST_ID + 1);
        for refused in ["", " ", "a b", "a\"b", "a,b", "{sub}", &too_long] {
            assert_eq!(read(&[refused]), None, "{refused:?}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["a", "a"]), None);
    }
}
