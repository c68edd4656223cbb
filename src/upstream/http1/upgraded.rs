//! Upgraded upstream connections.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;

/// A connection after a protocol switch. Bytes received after the response head are read first.
#[derive(Debug)]
pub(in crate::upstream) struct UpgradedConnection<T> {
    unread: BytesMut,
    socket: Socket,
    /// Dropped together with the socket.
    _slot: T,
}

impl<T> UpgradedConnection<T> {
    pub(super) const fn new(unread: BytesMut, socket: Socket, slot: T) -> Self {
        Self {
            unread,
            socket,
            _slot: slot,
        }
    }
}

impl<T: Unpin> AsyncRead for UpgradedConnection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let fits = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..fits).unwrap_or_default());
        self.unread.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl<T: Unpin> AsyncWrite for UpgradedConnection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
