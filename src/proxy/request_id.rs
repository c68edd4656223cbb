//! Names one request in the log and on its page.

use std::fmt;

/// The name of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

impl RequestId {
    /// The reference with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// As it is written.
    pub fn digits(self) -> [u8; 16] {
        let mut digits = [b'0'; 16];
        for (app_ref, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            for (digit, half) in app_ref.iter_mut().zip([byte >> 4, byte & 0xf]) {
                *digit = if half < 10 {
                    b'0' + half
                } else {
                    b'a' + half - 10
                };
            }
        }
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}
