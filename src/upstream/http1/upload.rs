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
pub(in crate::upstream) struct Upload {
    body: Body,
    is_chunked: bool,
    /// Framing that goes out before `piece`.
    frame: Vec<u8>,
    piece: Bytes,
    /// Whether a chunk's end is owed.
    in_chunk: bool,
    ended: bool,
    awaits_client: bool,
}

impl Upload {
    /// `None`: there is no body.
    pub(in crate::upstream) fn of(framing: Framing, body: Body) -> Option<Self> {
        let is_chunked = match framing {
            Framing::None | Framing::Zero => return None,
            Framing::Length(_) => false,
            Framing::Chunked => true,
        };
        Some(Self {
            body,
            is_chunked,
            frame: Vec::new(),
            piece: Bytes::new(),
            in_chunk: false,
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
        self.frame.is_empty() && self.piece.is_empty()
    }

    /// Gets the next piece, if the last one went out.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.is_clear() && !self.ended {
            let next = Pin::new(&mut self.body).poll_frame(cx);
            self.awaits_client = next.is_pending();
            match ready!(next).transpose()? {
                // Trailers go no further.
                Some(frame) => self.take(frame.into_data().unwrap_or_default()),
                None => self.end(),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, piece: Bytes) {
        if self.is_chunked && !piece.is_empty() {
            let before = if self.in_chunk { "\r\n" } else { "" };
            self.in_chunk = true;
            // Writing to a Vec cannot fail.
            let _ = write!(self.frame, "{before}{:x}\r\n", piece.len());
        }
        self.piece = piece;
        if self.body.is_end_stream() {
            self.ended = !self.is_chunked;
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if self.is_chunked {
            self.frame.extend_from_slice(if self.in_chunk { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" });
        }
    }

    /// Sends a part of it. Whether there is more.
    pub(super) async fn send_some(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
        let went_out = poll_fn(|cx| self.poll_send(cx, Pin::new(&mut *to))).await?;
        to.flush().await?;
        Ok(went_out > 0)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, to: Pin<&mut impl AsyncWrite>) -> Poll<io::Result<usize>> {
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
    pub(super) fn parts(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.frame), IoSlice::new(&self.piece)]
    }

    /// `count` bytes of it went out.
    pub(super) fn advance(&mut self, count: usize) {
        let of_frame = count.min(self.frame.len());
        self.frame.drain(..of_frame);
        self.piece.advance((count - of_frame).min(self.piece.len()));
    }
}
