//! Client stream: the socket wrapper of a client connection. It holds the connection slot, also
//! across an upgrade, reports reads and writes to the connection's deadlines, fails writes after
//! the write stall timeout, and replays sniffed bytes.

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

use super::connection_registry::{Evictable, RegisteredConnection};
use super::deadlines::Deadlines;
use super::worker_loads::WorkerSlot;
use crate::limits::ClientKey;

/// A slot for one open connection; dropping it releases the slot.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    open_connections: IntGauge,
    _permit: OwnedSemaphorePermit,
    registered: Option<RegisteredConnection>,
    /// Set once the worker of the connection is chosen.
    worker: Option<WorkerSlot>,
}

/// From so many connections of one client on, further ones have small buffers.
const FULL_BUFFERS_PER_CLIENT: usize = 16;

impl ConnectionSlot {
    pub(super) fn new(permit: OwnedSemaphorePermit, open_connections: &IntGauge) -> Self {
        open_connections.inc();
        Self {
            open_connections: open_connections.clone(),
            _permit: permit,
            registered: None,
            worker: None,
        }
    }

    /// Counts the connection for a worker.
    pub(super) fn of_worker(mut self, worker: WorkerSlot) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Adds the connection's registration.
    pub(super) fn registered(mut self, registered: RegisteredConnection) -> Self {
        self.registered = Some(registered);
        self
    }

    /// The client that the connection counts for. `None`: it is not limited.
    pub(super) fn client(&self) -> Option<ClientKey> {
        self.registered.as_ref()?.client()
    }

    /// Whether the connection has small buffers, because its client has many.
    pub(super) fn is_small(&self) -> bool {
        let is_beyond = |of: &RegisteredConnection| of.is_beyond(FULL_BUFFERS_PER_CLIENT);
        self.registered.as_ref().is_some_and(is_beyond)
    }

    fn set_state(&self, state: Arc<dyn Evictable>) {
        if let Some(registered) = &self.registered {
            registered.set_state(state);
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.open_connections.dec();
    }
}

/// A stream that can be polled for readability without a buffer.
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

/// Valid only after a read returned pending: data that rustls has already decrypted is not
/// reported.
impl<S: Readable> Readable for TlsStream<S> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_ref().0.poll_readable(cx)
    }
}

/// A client's stream with its connection slot and deadlines.
pub(super) struct ClientStream<S> {
    stream: S,
    /// Bytes to read before those of the stream.
    unread: Bytes,
    /// Whether the end of the stream is withheld from the reader.
    withholds_end: bool,
    /// Whether bytes were written since the last flush.
    has_written: bool,
    deadlines: Arc<Deadlines>,
    slot: ConnectionSlot,
}

impl<S> ClientStream<S> {
    pub(super) fn new(stream: S, deadlines: Arc<Deadlines>, slot: ConnectionSlot) -> Self {
        slot.set_state(Arc::clone(&deadlines) as Arc<dyn Evictable>);
        Self {
            stream,
            unread: Bytes::new(),
            withholds_end: false,
            has_written: false,
            deadlines,
            slot,
        }
    }

    pub(super) const fn slot(&self) -> &ConnectionSlot {
        &self.slot
    }

    /// Replaces the state that tells whether the connection is idle.
    pub(super) fn set_state(&self, state: Arc<dyn Evictable>) {
        self.slot.set_state(state);
    }

    /// Returns bytes to the stream; the next reads replay them.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    /// Whether bytes that were returned to the stream are still unread.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    pub(super) fn deadlines(&self) -> &Arc<Deadlines> {
        &self.deadlines
    }

    /// Reports the result of a write to the deadlines. A stalled write fails.
    fn track_write<T>(
        &mut self,
        cx: &Context<'_>,
        written: Poll<io::Result<T>>,
        flushed: bool,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadlines.on_write(flushed);
            let had_written = std::mem::replace(&mut self.has_written, !flushed);
            if self.withholds_end && flushed && had_written {
                // This may have been the end of the response. hyper does not read again by itself,
                // because it was told that there is nothing to read.
                cx.waker().wake_by_ref();
            }
        } else if self.deadlines.write_stalled(cx.waker()) {
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
        if !self.unread.is_empty() {
            let length = self.unread.len().min(buf.remaining());
            buf.put_slice(self.unread.get(..length).unwrap_or_default());
            self.unread.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let has_space = buf.remaining() > 0;
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            self.deadlines.on_read_pending();
        } else if buf.filled().len() > before {
            self.deadlines.on_read();
        } else if has_space && matches!(read, Poll::Ready(Ok(()))) {
            self.withholds_end = self.deadlines.withholds_end(cx.waker());
            if self.withholds_end {
                return Poll::Pending;
            }
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
        self.track_write(cx, written, false)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.track_write(cx, written, false)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.track_write(cx, flushed, true)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.track_write(cx, closed, true)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
