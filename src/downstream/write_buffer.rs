//! Write buffer of an HTTP/2 connection: gathers the writes of one poll of the connection. The h2
//! library flushes after each DATA frame, and each flush would be a TLS record and a system call.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::unsent::{Charge, UnsentData};
use crate::lock::lock;

/// Size of the buffer, in bytes: the most that a TLS record contains (RFC 8446 section 5.1).
const CAPACITY: usize = 16 * 1024;

/// The socket of a connection, with a write buffer. It is shared by the connection, which reads and
/// writes, and the task around it, which sends the buffer after each poll.
pub(super) struct BufferedSocket<S>(Arc<Mutex<Buffered<S>>>);

struct Buffered<S> {
    socket: S,
    /// Has a capacity only while it has content.
    buffer: Vec<u8>,
    /// The part of the buffer that the socket has taken.
    sent: usize,
    needs_flush: bool,
    /// Why the buffer was not sent. The connection gets it at its next read or write.
    error: Option<io::Error>,
    /// Counts the buffer while the client does not accept it.
    charge: Charge,
}

impl<S: AsyncRead + AsyncWrite + Unpin> BufferedSocket<S> {
    pub(super) fn new(socket: S, unsent: &UnsentData) -> Self {
        Self(Arc::new(Mutex::new(Buffered {
            socket,
            buffer: Vec::new(),
            sent: 0,
            needs_flush: false,
            error: None,
            charge: unsent.charge(0),
        })))
    }

    /// The same socket for the connection.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Runs the connection, and sends after each poll what it has written.
    pub(super) async fn run<C: Future>(&self, mut connection: Pin<&mut C>) -> C::Output {
        std::future::poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            lock(&self.0).send(cx);
            polled
        })
        .await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Buffered<S> {
    fn send(&mut self, cx: &mut Context<'_>) {
        if self.error.is_none()
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            self.error = Some(error);
            cx.waker().wake_by_ref();
        }
        self.charge.set(self.buffer.capacity());
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.take_error()?;
        let length = parts.iter().map(|part| part.len()).sum();
        if self.buffer.len() + length > CAPACITY {
            ready!(self.poll_empty(cx))?;
        }
        if length > CAPACITY {
            self.needs_flush = true;
            return Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        }
        if self.buffer.is_empty() {
            self.buffer.reserve_exact(CAPACITY);
        }
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        Poll::Ready(Ok(length))
    }

    /// Writes the buffer to the socket.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.buffer.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.needs_flush = true;
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.buffer = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        if self.needs_flush {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn take_error(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for BufferedSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.take_error()?;
        Pin::new(&mut shared.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for BufferedSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, parts)
    }

    /// Ready at once: the buffer is sent after the poll.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(lock(&self.0).take_error())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = lock(&self.0);
        shared.take_error()?;
        ready!(shared.poll_flush(cx))?;
        Pin::new(&mut shared.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::limits::ByteBudget;

    /// A socket that accepts a limited number of bytes in each write.
    #[derive(Default)]
    struct Peer {
        received: Vec<u8>,
        writes: usize,
        flushes: usize,
        /// The most that each of the next writes accepts, from the last one on. `None` blocks it.
        /// Without an entry it accepts all.
        accepts: Vec<Option<usize>>,
        is_broken: bool,
    }

    impl AsyncRead for Peer {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let Some(most) = self.accepts.pop().unwrap_or(Some(usize::MAX)) else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            let count = bytes.len().min(most);
            self.writes += 1;
            self.received.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn socket(peer: Peer) -> (BufferedSocket<Peer>, Arc<ByteBudget>) {
        let budget = Arc::new(ByteBudget::new(1 << 20));
        let unsent = UnsentData::new(&budget, None);
        (BufferedSocket::new(peer, &unsent), budget)
    }

    /// Writes and flushes each part in one poll, as h2 does.
    async fn write(socket: &BufferedSocket<Peer>, parts: &[&[u8]]) -> io::Result<()> {
        let mut shared = socket.share();
        let writing = async move {
            for part in parts {
                shared.write_all(part).await?;
                shared.flush().await?;
            }
            Ok(())
        };
        socket.run(pin!(writing)).await
    }

    #[tokio::test]
    async fn writes_of_one_poll_are_sent_at_once() {
        let (socket, budget) = socket(Peer::default());
        write(&socket, &[b"a", b"bc", b"d"]).await.unwrap();
        write(&socket, &[]).await.unwrap();
        let shared = lock(&socket.0);
        assert_eq!(shared.socket.received, b"abcd");
        assert_eq!((shared.socket.writes, shared.socket.flushes), (1, 1));
        assert_eq!((shared.buffer.capacity(), budget.used()), (0, 0));
    }

    #[tokio::test]
    async fn large_writes_are_not_copied_and_keep_their_order() {
        let (socket, _) = socket(Peer::default());
        let large = vec![b'x'; CAPACITY + 1];
        write(&socket, &[b"a", &large, b"b"]).await.unwrap();
        let shared = lock(&socket.0);
        let expected = [b"a", &large[..], b"b"].concat();
        assert!(shared.socket.received == expected);
        assert_eq!(shared.socket.writes, 3);
    }

    #[tokio::test]
    async fn buffer_counts_as_unsent_until_the_client_accepts_it() {
        let (socket, budget) = socket(Peer {
            accepts: vec![None, Some(1)],
            ..Peer::default()
        });
        let mut used = Vec::new();
        let mut shared = socket.share();
        let mut has_written = false;
        let writing = poll_fn(|cx| {
            used.push(budget.used());
            let written = Pin::new(&mut shared).poll_write(cx, b"ab");
            assert!(written.is_ready());
            if std::mem::replace(&mut has_written, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        socket.run(pin!(writing)).await;
        assert_eq!(used, [0, CAPACITY]);
        assert_eq!(budget.used(), 0);
        assert_eq!(lock(&socket.0).socket.received, b"abab");
    }

    #[tokio::test]
    async fn buffer_that_is_dropped_no_longer_counts() {
        let (socket, budget) = socket(Peer {
            accepts: vec![None],
            ..Peer::default()
        });
        write(&socket, &[b"a"]).await.unwrap();
        assert_eq!(budget.used(), CAPACITY);
        drop(socket);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn failed_send_fails_the_next_operation_of_the_connection() {
        let (socket, _) = socket(Peer {
            is_broken: true,
            ..Peer::default()
        });
        write(&socket, &[b"a"]).await.unwrap();
        let error = write(&socket, &[b"b"]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn shutdown_sends_the_buffer_first() {
        let (socket, _) = socket(Peer {
            accepts: vec![None],
            ..Peer::default()
        });
        let mut shared = socket.share();
        shared.write_all(b"a").await.unwrap();
        shared.shutdown().await.unwrap();
        assert_eq!(lock(&socket.0).socket.received, b"a");
    }

    proptest! {
        #[test]
        fn any_client_receives_the_written_bytes(
            lengths in prop::collection::vec(0..2 * CAPACITY, 0..12),
            accepts in prop::collection::vec(prop::option::of(1..CAPACITY), 0..40),
        ) {
            let parts = lengths.iter().zip(0_u8..).map(|(length, byte)| vec![byte; *length]);
            let parts: Vec<Vec<u8>> = parts.collect();
            let (socket, budget) = socket(Peer { accepts, ..Peer::default() });
            let writing = async {
                for part in &parts {
                    write(&socket, &[part]).await.unwrap();
                }
                socket.share().shutdown().await.unwrap();
            };
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(writing);
            prop_assert!(lock(&socket.0).socket.received == parts.concat());
            drop(socket);
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
