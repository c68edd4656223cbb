//! HTTP/1.1 client connection, and one exchange on it. The request is sent while the response head
//! is awaited, since a backend may respond before it has read the request completely (RFC 9112
//! section 9.5).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, WriteHalf, split};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::head::{ResponseHead, end_of_head};
use super::request_body::RequestBodyWriter;
use super::socket::Socket;
use super::timer::ReusableTimer;
use super::upgraded::UpgradedConnection;
use crate::upstream::error::UpstreamError;
use crate::upstream::settings::UpstreamSettings;

/// Size of a read in bytes, and maximum size of a buffer that an idle connection keeps.
const BUFFER_LEN: usize = 8 * 1024;
/// With less free capacity than this, the read buffer grows before a read.
const MIN_CAPACITY: usize = 2 * 1024;
/// Maximum number of interim responses (RFC 9110 section 15.2) before the final one. Apps send one
/// at an interval while they process a long request.
const MAX_INTERIM_RESPONSES: usize = 4096;

/// A connection to a backend.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    pub(super) socket: Socket,
    /// Received bytes that were not processed yet.
    pub(super) read: BytesMut,
    /// The head of the current request.
    head: Vec<u8>,
    pub(super) timer: ReusableTimer,
    /// Whether it served a request before, so that the backend may have closed it in the meantime.
    pub(in crate::upstream) is_reused: bool,
    /// Whether the last request head was sent completely. If not, the backend would parse the next
    /// request as its rest.
    head_sent: bool,
    slot: OwnedSemaphorePermit,
}

/// Why there is no response.
#[derive(Debug)]
pub(in crate::upstream) enum Failure {
    /// No byte of the request was sent.
    Unsent(UpstreamError),
    /// The request was sent at least in part, and no byte was received.
    NoResponse(UpstreamError),
    /// Any other reason.
    Failed(UpstreamError),
}

impl Failure {
    pub(in crate::upstream) const fn error(&self) -> &UpstreamError {
        match self {
            Self::Unsent(error) | Self::NoResponse(error) | Self::Failed(error) => error,
        }
    }
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(error) | Failure::NoResponse(error) | Failure::Failed(error) => error,
        }
    }
}

impl Connection {
    /// A new connection over `socket`. `slot` is released when it is dropped.
    pub(in crate::upstream) fn new(socket: Socket, slot: OwnedSemaphorePermit) -> Self {
        Self {
            socket,
            read: BytesMut::new(),
            head: Vec::new(),
            timer: ReusableTimer::default(),
            is_reused: false,
            head_sent: true,
            slot,
        }
    }

    /// Whether the idle connection is still usable.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.read.is_empty() && self.socket.is_quiet()
    }

    /// Releases large buffers. Returns whether the connection can be reused; bytes after the end of
    /// a response belong to no response.
    pub(super) fn prepare_for_reuse(&mut self) -> bool {
        self.is_reused = true;
        if self.read.capacity() > BUFFER_LEN {
            self.read = BytesMut::new();
        }
        self.shrink_head();
        self.head_sent && self.read.is_empty()
    }

    /// Releases a large buffer of the request head.
    fn shrink_head(&mut self) {
        if self.head.capacity() > BUFFER_LEN {
            self.head = Vec::new();
        }
    }

    /// The buffer for the head of the next request.
    pub(in crate::upstream) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Sends the head and then `request_body`, until the response head is received. The upload may
    /// be incomplete then.
    pub(in crate::upstream) async fn exchange(
        &mut self,
        request_body: &mut Option<RequestBodyWriter>,
        settings: &UpstreamSettings,
    ) -> Result<ResponseHead, Failure> {
        let mut exchange = Exchange {
            connection: self,
            request_body,
            settings,
            head_sent: 0,
            write_error: None,
            received: false,
            scanned: 0,
            interim_responses: 0,
            last_progress: Instant::now(),
        };
        poll_fn(|cx| exchange.poll(cx)).await
    }

    /// Splits off the write half. The connection then ends with this response.
    pub(super) fn split(self) -> (Self, WriteHalf<Box<Socket>>) {
        let (reader, writer) = split(Box::new(self.socket));
        let connection = Self {
            socket: Socket::Half(reader),
            ..self
        };
        (connection, writer)
    }

    /// The connection after both sides switched protocols.
    pub(in crate::upstream) fn into_upgraded(self) -> UpgradedConnection<OwnedSemaphorePermit> {
        UpgradedConnection::new(self.read, self.socket, self.slot)
    }

    /// Reads about `len` bytes into the read buffer. Returns the number of bytes; zero once the
    /// backend has closed the connection.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < len.min(MIN_CAPACITY) {
            self.read.reserve(len);
        }
        pin!(self.socket.read_buf(&mut self.read)).poll(cx)
    }
}

struct Exchange<'a> {
    connection: &'a mut Connection,
    request_body: &'a mut Option<RequestBodyWriter>,
    settings: &'a UpstreamSettings,
    /// The number of bytes of the head that were sent.
    head_sent: usize,
    /// Why nothing more can be sent. A response that the backend sent before may still arrive.
    write_error: Option<io::Error>,
    /// Whether any byte was received.
    received: bool,
    /// The number of received bytes that were scanned for the end of the head.
    scanned: usize,
    interim_responses: usize,
    /// When the request last made progress.
    last_progress: Instant,
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        self.send(cx)?;
        if let Poll::Ready(head) = self.poll_head(cx) {
            self.connection.head_sent =
                self.head_sent == self.connection.head.len() && self.write_error.is_none();
            // A long response does not hold it.
            self.connection.shrink_head();
            return Poll::Ready(head);
        }
        // The response timeout starts with the last byte that the backend accepted, so a long
        // upload does not count.
        let awaits_client = self.write_error.is_none()
            && self
                .request_body
                .as_ref()
                .is_some_and(RequestBodyWriter::awaits_client);
        let limit = if awaits_client {
            self.settings.body_idle_timeout
        } else {
            self.settings.response_timeout
        };
        ready!(
            self.connection
                .timer
                .poll_until(cx, self.last_progress + limit)
        );
        Poll::Ready(Err(if awaits_client {
            Failure::Failed(UpstreamError::RequestStalled)
        } else if self.received {
            Failure::Failed(UpstreamError::ResponseTimeout)
        } else {
            Failure::NoResponse(UpstreamError::ResponseTimeout)
        }))
    }

    /// Sends as much as possible without blocking.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while self.write_error.is_none() {
            if let Some(request_body) = &mut self.request_body
                && let Poll::Ready(Err(_)) = request_body.poll_fill(cx)
            {
                return Err(Failure::Failed(UpstreamError::RequestBodyAborted));
            }
            let Some(written) = self.write(cx) else { break };
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(count @ 1..)) => self.record_written(count),
                Poll::Ready(failed) => {
                    let error = failed
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    if self.head_sent == 0 {
                        let error = UpstreamError::ConnectionClosed(error);
                        // A failed write to a TLS stream may have sent a record.
                        return Err(if self.connection.socket.is_tls() {
                            Failure::NoResponse(error)
                        } else {
                            Failure::Unsent(error)
                        });
                    }
                    self.write_error = Some(error);
                }
            }
        }
        if self.write_error.is_none()
            && let Poll::Ready(Err(error)) = Pin::new(&mut self.connection.socket).poll_flush(cx)
        {
            self.write_error = Some(error);
        }
        Ok(())
    }

    /// Returns `None` if there is nothing to send now.
    fn write(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        let head = self
            .connection
            .head
            .get(self.head_sent..)
            .unwrap_or_default();
        let socket = Pin::new(&mut self.connection.socket);
        match &self.request_body {
            None if head.is_empty() => None,
            None => Some(socket.poll_write(cx, head)),
            Some(request_body) => {
                let [prefix, data, suffix] = request_body.slices();
                let slices = [IoSlice::new(head), prefix, data, suffix];
                let any = slices.iter().any(|slice| !slice.is_empty());
                any.then(|| socket.poll_write_vectored(cx, &slices))
            }
        }
    }

    fn record_written(&mut self, count: usize) {
        let of_head = count.min(self.connection.head.len() - self.head_sent);
        self.head_sent += of_head;
        if let Some(request_body) = &mut self.request_body {
            request_body.advance(count - of_head);
            self.last_progress = Instant::now();
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        loop {
            if let Some(end) = end_of_head(&self.connection.read, self.scanned) {
                let bytes = self.connection.read.split_to(end).freeze();
                self.scanned = 0;
                let head = ResponseHead::parse(&bytes).map_err(bad_response)?;
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
                {
                    return Poll::Ready(Ok(head));
                }
                // The response timeout starts again, because the backend is at work.
                self.last_progress = Instant::now();
                self.interim_responses += 1;
                if self.interim_responses > MAX_INTERIM_RESPONSES {
                    return Poll::Ready(Err(bad_response(
                        "it has too many interim responses".to_owned(),
                    )));
                }
                continue;
            }
            self.scanned = self.connection.read.len();
            if self.scanned >= self.settings.max_header_bytes {
                return Poll::Ready(Err(bad_response("its head is too large".to_owned())));
            }
            match ready!(self.connection.poll_read(cx, BUFFER_LEN)) {
                Ok(1..) => self.received = true,
                closed => return Poll::Ready(Err(self.connection_closed(closed.err()))),
            }
        }
    }

    fn connection_closed(&mut self, error: Option<io::Error>) -> Failure {
        let error = error
            .or_else(|| self.write_error.take())
            .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        let error = UpstreamError::ConnectionClosed(error);
        if self.received {
            Failure::Failed(error)
        } else {
            Failure::NoResponse(error)
        }
    }
}

fn bad_response(reason: String) -> Failure {
    Failure::Failed(UpstreamError::BadResponse(reason))
}
