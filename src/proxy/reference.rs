//! Names one request in the log and on its page.

use std::fmt;

/// The name of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference(u64);

impl Reference {
    /// The reference with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// As it is written.
    pub fn digits(self) -> [u8; 16] {
        let mut digits = [b'0'; 16];
        for (place, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            for (digit, half) in place.iter_mut().zip([byte >> 4, byte & 0xf]) {
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

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}
