//! Upstream socket: TCP, TLS and Unix domain streams as one type, so that a connection needs no box
//! and no type parameter.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::upstream::dial::Dialled;

/// A stream to a backend.
#[derive(Debug)]
pub(in crate::upstream) enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    /// The other half is still sending the request body.
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

impl From<Dialled> for Socket {
    fn from(stream: Dialled) -> Self {
        match stream {
            Dialled::Tcp(stream) => Self::Tcp(stream),
            Dialled::Tls(stream) => Self::Tls(stream),
            Dialled::Unix(stream) => Self::Unix(stream),
        }
    }
}

impl Socket {
    /// Whether this is a TLS stream.
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the socket is open and has received nothing. Bytes between two requests belong to no
    /// response.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte).map(|_| ()),
            Self::Unix(stream) => stream.try_read(&mut byte).map(|_| ()),
            // Received records may be for the TLS library only.
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
        on_stream!(self, stream => stream.poll_write(cx, bytes), half => write_half_moved())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_vectored(cx, parts), half => write_half_moved())
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

fn write_half_moved<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
}
