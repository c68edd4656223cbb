//! Response timeout: from the last byte of the request that the backend accepted to the response
//! head. While the request body waits for the client, the body idle timeout applies instead.

use std::pin::pin;

use tokio::time::timeout;

use super::request_body::Upload;
use crate::upstream::error::UpstreamError;
use crate::upstream::settings::UpstreamSettings;

/// Waits for `response`. `upload` is the request body, if there is one.
///
/// # Errors
/// [`UpstreamError::ResponseTimeout`], [`UpstreamError::RequestStalled`].
pub(super) async fn wait<T>(
    response: impl Future<Output = T>,
    settings: &UpstreamSettings,
    upload: Option<&Upload>,
) -> Result<T, UpstreamError> {
    let mut response = pin!(response);
    let mut remaining = settings.response_timeout;
    loop {
        if let Ok(response) = timeout(remaining, &mut response).await {
            return Ok(response);
        }
        let Some(upload) = upload else {
            return Err(UpstreamError::ResponseTimeout);
        };
        let (limit, error) = if upload.awaits_client() {
            (settings.body_idle_timeout, UpstreamError::RequestStalled)
        } else {
            (settings.response_timeout, UpstreamError::ResponseTimeout)
        };
        let idle = upload.idle();
        if idle >= limit {
            return Err(error);
        }
        remaining = limit - idle;
    }
}
