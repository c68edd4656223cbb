//! Request scope: the request that the current task works for, so that its events name it.

use std::net::IpAddr;

use crate::types::request_id::RequestId;

tokio::task_local! {
    static REQUEST: Option<RequestTag>;
}

/// The request that events refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTag {
    /// The request ID.
    pub id: RequestId,
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
}

/// Runs `task` for this request. Not an `async fn`, whose future would hold `task` twice.
pub fn in_request<F: Future>(
    request: Option<RequestTag>,
    task: F,
) -> impl Future<Output = F::Output> {
    REQUEST.scope(request, task)
}

/// The request that the current task works for.
pub fn current_request() -> Option<RequestTag> {
    REQUEST.try_with(|request| *request).ok().flatten()
}
