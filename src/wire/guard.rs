//! A client's socket as long as it lives, whoever owns it: it holds its place among the counted connections also
//! after an upgrade took it out of HTTP, and writing fails once the client has read nothing for too long. What had to be
//! read to know its protocol comes again from here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::clients::Counted;
use super::preface::Ahead;

/// One of the connections that may be open at a time.
#[derive(Debug)]
pub(super) struct Place {
    open: IntGauge,
    _slot: OwnedSemaphorePermit,
    _of_client: Option<Counted>,
}

impl Place {
    pub(super) fn new(slot: OwnedSemaphorePermit, open: &IntGauge) -> Self {
        open.inc();
        Self { open: open.clone(), _slot: slot, _of_client: None }
    }

    /// The same, counted for its client.
    pub(super) fn of_client(mut self, counted: Option<Counted>) -> Self {
        self._of_client = counted;
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A stream with a place and a limit on how long writing may be stuck.
pub(super) struct Guarded<S> {
    stream: S,
    limit: Duration,
    /// Runs while the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
    /// What comes before the rest.
    ahead: Ahead,
    _place: Place,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, limit: Duration, place: Place) -> Self {
        Self { stream, limit, stuck: None, ahead: Ahead::default(), _place: place }
    }

    /// What was read of the stream already, and comes again.
    pub(super) fn put_back(&mut self, ahead: Ahead) {
        self.ahead = ahead;
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let limit = self.limit;
        let timer = self.stuck.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ahead = self.ahead.take(buf.remaining());
        if ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        buf.put_slice(ahead);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, closed)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
