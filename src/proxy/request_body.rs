//! Buffered request bodies: reads a small body completely, within limits on size and time.

use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use zeroize::Zeroizing;

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
}

/// Reads the complete body.
///
/// The buffer is zeroed when dropped because the body may contain a password. Its full capacity is
/// allocated at the start, since a growing buffer would leave copies behind.
pub(super) async fn read_body_limited(
    mut body: Body,
    limits: BodyLimits,
) -> Result<Zeroizing<Vec<u8>>, ReadBodyError> {
    let expected = match body.size_hint().exact() {
        None => limits.max_bytes,
        Some(length) => usize::try_from(length).unwrap_or(usize::MAX),
    };
    if expected > limits.max_bytes {
        return Err(ReadBodyError::TooLarge);
    }
    let read = async {
        let mut buffer = Zeroizing::new(Vec::with_capacity(expected));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ReadBodyError::Incomplete)?;
            let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
            if buffer.len() + data.len() > limits.max_bytes {
                return Err(ReadBodyError::TooLarge);
            }
            buffer.extend_from_slice(data);
        }
        Ok(buffer)
    };
    timeout(limits.timeout, read)
        .await
        .unwrap_or(Err(ReadBodyError::Incomplete))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        max_bytes: 4,
        timeout: Duration::from_secs(5),
    };

    #[tokio::test]
    async fn body_at_the_limit_is_read_and_a_larger_one_rejected() {
        let read = async |text| read_body_limited(Body::full(text), LIMITS).await;
        assert_eq!(read("abcd").await.unwrap().as_slice(), b"abcd");
        assert_eq!(read("").await.unwrap().as_slice(), b"");
        assert_eq!(read("abcde").await.unwrap_err(), ReadBodyError::TooLarge);
    }
}
