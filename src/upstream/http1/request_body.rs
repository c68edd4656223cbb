//! A request's body on its way to the backend in one framing of ours (RFC 9112 section 6), and who is waited for.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::types::body::{Body, BodyError};
use crate::upstream::framing::Framing;

/// A request's body, piece by piece.
#[derive(Debug)]
pub(in crate::upstream) struct RequestBodyWriter {
    body: Body,
    /// How much is still to come; `None`: that is not known, and it goes in chunks.
    left: Option<u64>,
    /// What goes out now: framing, data, framing. A chunk's end goes with it, since some wait for that.
    frame: Vec<u8>,
    piece: Bytes,
    tail: &'static [u8],
    ended: bool,
    awaits_client: bool,
}

impl RequestBodyWriter {
    /// `None`: there is no body.
    pub(in crate::upstream) fn of(framing: Framing, body: Body) -> Option<Self> {
        let left = match framing {
            Framing::None | Framing::Zero => return None,
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        Some(Self {
            body,
            left,
            frame: Vec::new(),
            piece: Bytes::new(),
            tail: &[],
            ended: false,
            awaits_client: false,
        })
    }

    /// Whether all of it went out.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.is_clear()
    }

    /// Whether the client is the one that is waited for.
    pub(super) const fn awaits_client(&self) -> bool {
        self.awaits_client
    }

    fn is_clear(&self) -> bool {
        self.frame.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Gets the next piece, if the last one went out.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.is_clear() && !self.ended {
            let next = Pin::new(&mut self.body).poll_frame(cx);
            self.awaits_client = next.is_pending();
            match ready!(next).transpose()? {
                // Trailers go no further.
                Some(frame) => self.take(frame.into_data().unwrap_or_default())?,
                None => self.end()?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The backend takes what follows for the next request, or waits: never is more or less sent than was said.
    fn take(&mut self, piece: Bytes) -> Result<(), BodyError> {
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(piece.len() as u64)
                .ok_or(BodyError::CutShort)?;
            self.ended = *left == 0;
        } else if !piece.is_empty() {
            // Writing to a Vec cannot fail.
            let _ = write!(self.frame, "{:x}\r\n", piece.len());
            self.tail = b"\r\n";
        }
        self.piece = piece;
        Ok(())
    }

    fn end(&mut self) -> Result<(), BodyError> {
        match self.left {
            Some(1..) => return Err(BodyError::CutShort),
            Some(0) => {}
            None => self.tail = b"0\r\n\r\n",
        }
        self.ended = true;
        Ok(())
    }

    /// Sends a part of it. Whether there is more.
    pub(super) async fn send_some(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        let went_out = poll_fn(|cx| self.poll_send(cx, Pin::new(&mut *to))).await?;
        to.flush().await?;
        Ok(went_out > 0)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_fill(cx)).map_err(io::Error::other)?;
        if self.is_over() {
            return Poll::Ready(Ok(0));
        }
        let written = ready!(to.poll_write_vectored(cx, &self.parts()))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    /// What goes out now.
    pub(super) fn parts(&self) -> [IoSlice<'_>; 3] {
        [
            IoSlice::new(&self.frame),
            IoSlice::new(&self.piece),
            IoSlice::new(self.tail),
        ]
    }

    /// `count` bytes of it went out.
    pub(super) fn advance(&mut self, count: usize) {
        let of_frame = count.min(self.frame.len());
        self.frame.drain(..of_frame);
        let of_piece = (count - of_frame).min(self.piece.len());
        self.piece.advance(of_piece);
        self.tail = self
            .tail
            .get(count - of_frame - of_piece..)
            .unwrap_or_default();
    }
}
