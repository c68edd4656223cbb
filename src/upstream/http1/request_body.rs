//! Request body encoding in the canonical framing (RFC 9112 section 6). It tracks whether the
//! client or the backend is slow.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::types::body::{Body, BodyError};
use crate::upstream::framing::Framing;

/// Writes a request body.
#[derive(Debug)]
pub(in crate::upstream) struct RequestBodyWriter {
    body: Body,
    /// The number of remaining bytes; `None` if the body is chunked.
    remaining: Option<u64>,
    /// The next bytes to write: framing, data, framing. The end of a chunk is sent with it, since
    /// some servers wait for it.
    prefix: Vec<u8>,
    data: Bytes,
    suffix: &'static [u8],
    /// Whether the end of the body was reached.
    ended: bool,
    awaits_client: bool,
}

impl RequestBodyWriter {
    /// Returns `None` if there is no body.
    pub(in crate::upstream) fn new(framing: Framing, body: Body) -> Option<Self> {
        let remaining = match framing {
            Framing::None | Framing::Zero => return None,
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        Some(Self {
            body,
            remaining,
            prefix: Vec::new(),
            data: Bytes::new(),
            suffix: &[],
            ended: false,
            awaits_client: false,
        })
    }

    /// Whether the whole body was written.
    pub(super) fn is_complete(&self) -> bool {
        self.ended && self.buffers_empty()
    }

    /// Whether the writer waits for the client.
    pub(super) const fn awaits_client(&self) -> bool {
        self.awaits_client
    }

    fn buffers_empty(&self) -> bool {
        self.prefix.is_empty() && self.data.is_empty() && self.suffix.is_empty()
    }

    /// Reads the next part of the body, if the previous one was written.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.buffers_empty() && !self.ended {
            let next = Pin::new(&mut self.body).poll_frame(cx);
            self.awaits_client = next.is_pending();
            match ready!(next).transpose()? {
                // Trailers are dropped.
                Some(frame) => self.set_data(frame.into_data().unwrap_or_default())?,
                None => self.end()?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sets the next data and its framing. Never exceeds the announced length: the backend would
    /// parse the excess as the next request.
    fn set_data(&mut self, data: Bytes) -> Result<(), BodyError> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining
                .checked_sub(data.len() as u64)
                .ok_or(BodyError::CutShort)?;
            self.ended = *remaining == 0;
        } else if !data.is_empty() {
            // Writing to a Vec cannot fail.
            let _ = write!(self.prefix, "{:x}\r\n", data.len());
            self.suffix = b"\r\n";
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self) -> Result<(), BodyError> {
        match self.remaining {
            Some(1..) => return Err(BodyError::CutShort),
            Some(0) => {}
            None => self.suffix = b"0\r\n\r\n",
        }
        self.ended = true;
        Ok(())
    }

    /// Writes the next part. Returns whether there was any.
    pub(super) async fn write_next(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        let written = poll_fn(|cx| self.poll_write(cx, Pin::new(&mut *to))).await?;
        to.flush().await?;
        Ok(written > 0)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_fill(cx)).map_err(io::Error::other)?;
        if self.is_complete() {
            return Poll::Ready(Ok(0));
        }
        let written = ready!(to.poll_write_vectored(cx, &self.slices()))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    /// The next bytes to write.
    pub(super) fn slices(&self) -> [IoSlice<'_>; 3] {
        [
            IoSlice::new(&self.prefix),
            IoSlice::new(&self.data),
            IoSlice::new(self.suffix),
        ]
    }

    /// Removes `count` bytes that were written.
    pub(super) fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix.len());
        self.prefix.drain(..of_prefix);
        let of_data = (count - of_prefix).min(self.data.len());
        self.data.advance(of_data);
        self.suffix = self
            .suffix
            .get(count - of_prefix - of_data..)
            .unwrap_or_default();
    }
}
