//! A client's stream as long as it lives, whoever owns it: it holds its place among the counted connections also after an
//! upgrade took it out of HTTP, and tells what comes and goes to the connection's deadlines. Writing fails once the client
//! has read nothing for too long. What was read ahead comes again from here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;

use super::deadlines::Deadlines;
use super::per_client_limit::ClientSlot;

/// One of the connections that may be open at a time.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    open: IntGauge,
    _slot: OwnedSemaphorePermit,
    _of_client: Option<ClientSlot>,
}

impl ConnectionSlot {
    pub(super) fn new(slot: OwnedSemaphorePermit, open: &IntGauge) -> Self {
        open.inc();
        Self {
            open: open.clone(),
            _slot: slot,
            _of_client: None,
        }
    }

    /// The same, counted for its client.
    pub(super) fn of_client(mut self, counted: Option<ClientSlot>) -> Self {
        self._of_client = counted;
        self
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Tells when there is something to read, without room to read it into.
pub(super) trait Readable: Sync {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Readable for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl Readable for UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

/// Only for streams that were read dry: what was decrypted already is not seen.
impl<S: Readable> Readable for TlsStream<S> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_ref().0.poll_readable(cx)
    }
}

/// A stream with a place and deadlines.
pub(super) struct ClientStream<S> {
    stream: S,
    /// What comes before the rest.
    ahead: Bytes,
    deadlines: Arc<Deadlines>,
    _place: ConnectionSlot,
}

impl<S> ClientStream<S> {
    pub(super) fn new(stream: S, deadlines: Arc<Deadlines>, place: ConnectionSlot) -> Self {
        Self {
            stream,
            ahead: Bytes::new(),
            deadlines,
            _place: place,
        }
    }

    /// What was read of the stream already, and comes again.
    pub(super) fn put_back(&mut self, ahead: Bytes) {
        self.ahead = ahead;
    }

    /// Whether everything that was put back came again.
    pub(super) fn has_nothing_ahead(&self) -> bool {
        self.ahead.is_empty()
    }

    pub(super) fn deadlines(&self) -> &Arc<Deadlines> {
        &self.deadlines
    }

    fn note<T>(
        &self,
        cx: &Context<'_>,
        written: Poll<io::Result<T>>,
        all: bool,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadlines.has_written(all);
        } else if self.deadlines.is_stuck_for_too_long(cx.waker()) {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
        }
        written
    }
}

impl<S: Readable> Readable for ClientStream<S> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..length).unwrap_or_default());
            self.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            self.deadlines.has_read(false);
        } else if buf.filled().len() > before {
            self.deadlines.has_read(true);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(cx, written, false)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note(cx, written, false)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(cx, flushed, true)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.note(cx, closed, true)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
