//! The ways to reach a backend as one type, so that a connection needs no box and no type parameter.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A stream to a backend.
#[derive(Debug)]
pub(in crate::upstream) enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    /// The other half still sends a request's body.
    Half(ReadHalf<Box<Self>>),
}

macro_rules! on_stream {
    ($socket:expr, $stream:ident => $done:expr, half => $half:expr) => {
        match $socket.get_mut() {
            Socket::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $done
            }
            Socket::Tls(stream) => {
                let $stream = Pin::new(stream);
                $done
            }
            Socket::Unix(stream) => {
                let $stream = Pin::new(stream);
                $done
            }
            Socket::Half(_) => $half,
        }
    };
}

impl Socket {
    /// Whether what is written goes through TLS.
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether it is open and nothing came: what came between two requests answers none of them.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte).map(|_| ()),
            Self::Unix(stream) => stream.try_read(&mut byte).map(|_| ()),
            // It may have something to say to the TLS library alone.
            Self::Tls(stream) => {
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)) {
                    Poll::Pending => return true,
                    Poll::Ready(read) => read,
                }
            }
            Self::Half(_) => return false,
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Half(half) = &mut *self {
            return Pin::new(half).poll_read(cx, buf);
        }
        on_stream!(self, stream => stream.poll_read(cx, buf), half => Poll::Pending)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, bytes), half => written_by_another())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_vectored(cx, parts), half => written_by_another())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx), half => Poll::Ready(Ok(())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx), half => Poll::Ready(Ok(())))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

fn written_by_another<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
}

/// What a connection has become once both sides agreed to switch protocols; what came behind the answer's head comes
/// first.
#[derive(Debug)]
pub(in crate::upstream) struct Switched<T> {
    ahead: BytesMut,
    socket: Socket,
    /// What lives as long as the socket does.
    _kept: T,
}

impl<T> Switched<T> {
    pub(super) const fn new(ahead: BytesMut, socket: Socket, kept: T) -> Self {
        Self {
            ahead,
            socket,
            _kept: kept,
        }
    }
}

impl<T: Unpin> AsyncRead for Switched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let fits = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..fits).unwrap_or_default());
        self.ahead.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl<T: Unpin> AsyncWrite for Switched<T> {
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
