//! Buffered request bodies: reads a small body completely, within limits on size and time.

use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use zeroize::Zeroizing;

use crate::limits::Reservation;
use crate::types::body::Body;

/// Limits on a body that is buffered.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) max_bytes: usize,
    pub(super) timeout: Duration,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadBodyError {
    #[error("the body is too large")]
    TooLarge,
    /// It was aborted or did not arrive in time.
    #[error("the body is incomplete")]
    Incomplete,
    /// A limit of bodies, bytes or requests is reached.
    #[error("too many bodies are read")]
    Busy,
}

/// The first allocation for a body of unknown length, in bytes.
const MIN_CAPACITY: usize = 1024;

/// Reads the complete body. The buffer grows with what arrives, and counts in `memory`.
pub(super) async fn read_body_limited(
    mut body: Body,
    limits: BodyLimits,
    mut memory: Reservation,
) -> Result<Zeroizing<Vec<u8>>, ReadBodyError> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > limits.max_bytes as u64) {
        return Err(ReadBodyError::TooLarge);
    }
    let mut buffer = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ReadBodyError::Incomplete)?;
        let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
        if buffer.len() + data.len() > limits.max_bytes {
            return Err(ReadBodyError::TooLarge);
        }
        append(&mut buffer, data, limits.max_bytes, &mut memory)?;
    }
    Ok(buffer)
}

/// Appends to a buffer that may hold a password: one that is outgrown is zeroed.
fn append(
    buffer: &mut Zeroizing<Vec<u8>>,
    data: &[u8],
    max_bytes: usize,
    memory: &mut Reservation,
) -> Result<(), ReadBodyError> {
    let needed = buffer.len() + data.len();
    if needed > buffer.capacity() {
        let doubled = (buffer.capacity() * 2).max(MIN_CAPACITY).min(max_bytes);
        let capacity = doubled.max(needed);
        if !memory.grow(capacity - buffer.capacity()) {
            return Err(ReadBodyError::Busy);
        }
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::ByteBudget;

    const LIMITS: BodyLimits = BodyLimits {
        max_bytes: 4,
        timeout: Duration::from_secs(5),
    };

    fn memory(bytes: usize) -> Reservation {
        Arc::new(ByteBudget::new(bytes)).reserve(None, 0).unwrap()
    }

    #[tokio::test]
    async fn body_at_the_limit_is_read_and_a_larger_one_rejected() {
        let read = async |text| read_body_limited(Body::full(text), LIMITS, memory(100)).await;
        assert_eq!(read("abcd").await.unwrap().as_slice(), b"abcd");
        assert_eq!(read("").await.unwrap().as_slice(), b"");
        assert_eq!(read("abcde").await.unwrap_err(), ReadBodyError::TooLarge);
    }

    #[tokio::test]
    async fn body_beyond_the_byte_budget_is_rejected() {
        let read = read_body_limited(Body::full("abcd"), LIMITS, memory(3)).await;
        assert_eq!(read.unwrap_err(), ReadBodyError::Busy);
    }

    #[test]
    fn buffer_grows_with_what_arrives() {
        let (mut buffer, mut memory) = (Zeroizing::default(), memory(1 << 20));
        let mut capacities = Vec::new();
        for _ in 0..30 {
            append(&mut buffer, &[b'x'; 100], 3000, &mut memory).ok();
            capacities.push(buffer.capacity());
        }
        capacities.dedup();
        assert_eq!(capacities, [1024, 2048, 3000]);
    }
}
