//! How long a backend may think: from the last byte of the request that it took to the head of its answer. While it
//! waits for the client's next byte, the client is the one that is slow.

use std::pin::pin;

use tokio::time::timeout;

use super::outgoing::Progress;
use crate::upstream::error::UpstreamError;
use crate::upstream::target::UpstreamSettings;

/// Waits for `answer`; `progress` is that of the request's body, if it has one.
///
/// # Errors
/// [`UpstreamError::ResponseTimeout`], [`UpstreamError::RequestStalled`].
pub(super) async fn wait<T>(
    answer: impl Future<Output = T>,
    settings: &UpstreamSettings,
    progress: Option<&Progress>,
) -> Result<T, UpstreamError> {
    let mut answer = pin!(answer);
    let mut wait = settings.response_timeout;
    loop {
        if let Ok(answer) = timeout(wait, &mut answer).await {
            return Ok(answer);
        }
        let Some(progress) = progress else {
            return Err(UpstreamError::ResponseTimeout);
        };
        let (limit, error) = if progress.awaits_client() {
            (settings.body_idle_timeout, UpstreamError::RequestStalled)
        } else {
            (settings.response_timeout, UpstreamError::ResponseTimeout)
        };
        let idle = progress.idle();
        if idle >= limit {
            return Err(error);
        }
        wait = limit - idle;
    }
}
