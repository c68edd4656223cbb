//! Response body of an HTTP/1.1 client. Its observer is told if the client stops accepting it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body as HttpBody, Frame, SizeHint};

use super::deadlines::Deadlines;
use super::unsent::{CountedBody, UnsentBytes};
use crate::types::body::BodyError;

/// A response body, and the deadlines of the connection that it is written to.
pub(super) struct Http1ResponseBody {
    body: CountedBody,
    deadlines: Arc<Deadlines>,
}

impl Http1ResponseBody {
    pub(super) const fn new(body: CountedBody, deadlines: Arc<Deadlines>) -> Self {
        Self { body, deadlines }
    }
}

impl HttpBody for Http1ResponseBody {
    type Data = UnsentBytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<UnsentBytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Http1ResponseBody {
    fn drop(&mut self) {
        if self.deadlines.write_has_stalled() {
            self.body.stalled();
        }
    }
}
