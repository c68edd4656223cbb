//! The body with a file, which knows how much of it is left: hyper does not read to the end a body whose
//! `Content-Length` it has sent, and the access log would take that for a client that disconnected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::types::body::BodyError;

/// The bytes of a file that a response has.
pub(super) struct FileBody<B> {
    body: B,
    /// In bytes.
    rest: u64,
}

impl<B: Body> FileBody<B> {
    /// A body of `length` bytes. A response to HEAD has none of them.
    pub(super) fn new(body: B, length: u64) -> Self {
        let rest = if body.is_end_stream() { 0 } else { length };
        Self { body, rest }
    }
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for FileBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let next = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &next
            && let Some(data) = frame.data_ref()
        {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            this.rest = this.rest.saturating_sub(length);
        }
        Poll::Ready(next.map(|frame| frame.map_err(BodyError::File)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest)
    }
}
