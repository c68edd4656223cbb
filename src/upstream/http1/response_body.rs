//! Response body: reads from the connection when polled, and returns the connection to the pool
//! after the last byte.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::body_decoder::{BodyDecoder, Decoded};
use super::connection::Connection;
use super::pinned::ConnectionReturn;
use super::request_body::RequestBodyWriter;
use super::socket::Socket;
use crate::types::body::{Body, BodyError};
use crate::upstream::trailers::ReceivedTrailers;

/// Initial size of a read in bytes.
const MIN_READ: usize = 8 * 1024;
/// Maximum size of a read in bytes. The size doubles each time a read fills its buffer.
const MAX_READ: usize = 128 * 1024;

/// The rest of a response body.
struct ResponseBody {
    /// `None` after the end of the body.
    connection: Option<Connection>,
    decoder: BodyDecoder,
    /// The trailers so far. `None` if the client accepts no trailers.
    trailers: Option<ReceivedTrailers>,
    /// Where the connection goes, if it can be reused.
    returns_to: Option<ConnectionReturn>,
    /// How long the backend may be silent.
    idle_timeout: Duration,
    silent_since: Option<Instant>,
    read_len: usize,
    /// Returned by the next poll, so that the client gets the data before it.
    error: Option<io::Error>,
    _upload: Option<UploadTask>,
}

/// The rest of an upload, sent while the response is read. Aborted at the end of the response.
#[derive(Debug)]
struct UploadTask(JoinHandle<()>);

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// The body of the response whose head was just read. The connection goes to `returns_to` after
    /// it, if there is one. `request_body` is sent to its end while the response is read. Trailers are
    /// added to `trailers`, or dropped.
    pub(in crate::upstream) fn into_body(
        mut self,
        mut decoder: BodyDecoder,
        trailers: Option<ReceivedTrailers>,
        returns_to: Option<ConnectionReturn>,
        request_body: Option<RequestBodyWriter>,
        idle_timeout: Duration,
    ) -> Body {
        let request_body = request_body.filter(|request_body| !request_body.is_complete());
        let returns_to = returns_to.filter(|_| request_body.is_none());
        let complete = match decoder.exact() {
            Some(0) => Some(Body::empty()),
            // The whole body was already received.
            Some(length) if length <= self.read.len() as u64 => {
                match decoder.decode(&mut self.read) {
                    Ok(Decoded::Data(bytes)) => Some(Body::full(bytes)),
                    Ok(Decoded::Incomplete | Decoded::Trailer(_) | Decoded::End) | Err(_) => None,
                }
            }
            Some(_) | None => None,
        };
        if let Some(body) = complete {
            if let Some(returns_to) = returns_to {
                returns_to.put(self);
            }
            return body;
        }
        let (connection, upload) = match request_body {
            None => (self, None),
            Some(request_body) => {
                let (reader, writer) = self.split();
                let upload = tokio::spawn(finish_upload(writer, request_body, idle_timeout));
                (reader, Some(UploadTask(upload)))
            }
        };
        Body::read_by(Box::pin(ResponseBody {
            connection: Some(connection),
            decoder,
            trailers,
            returns_to,
            idle_timeout,
            silent_since: None,
            read_len: MIN_READ,
            error: None,
            _upload: upload,
        }))
    }
}

/// Sends the rest of an upload. The idle timeout applies to the client and the backend alike.
async fn finish_upload(
    mut to: WriteHalf<Box<Socket>>,
    mut request_body: RequestBodyWriter,
    idle_timeout: Duration,
) {
    loop {
        match timeout(idle_timeout, request_body.write_next(&mut to)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            // Tells the backend not to wait for the rest.
            Ok(Err(_)) | Err(_) => {
                let _ = to.shutdown().await;
                return;
            }
        }
    }
}

impl ResponseBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(
                self.error
                    .take()
                    .map(|error| Err(BodyError::Backend(error))),
            );
        };
        loop {
            match self.decoder.decode(&mut connection.read) {
                Ok(Decoded::Data(bytes)) => {
                    if self.decoder.is_complete() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Ok(Decoded::Trailer(line)) => {
                    if let Some(trailers) = &mut self.trailers {
                        trailers.add(&line);
                    }
                    continue;
                }
                Ok(Decoded::End) => {
                    self.finish();
                    let trailers = self.trailers.take();
                    return Poll::Ready(trailers.and_then(ReceivedTrailers::into_frame));
                }
                Ok(Decoded::Incomplete) => {}
                Err(reason) => {
                    return self.fail(cx, io::Error::new(io::ErrorKind::InvalidData, reason));
                }
            }
            let needed = self
                .decoder
                .exact()
                .and_then(|left| usize::try_from(left).ok())
                .unwrap_or(MAX_READ);
            match connection.poll_read(cx, self.read_len.min(needed.max(MIN_READ))) {
                Poll::Ready(Ok(0)) if self.decoder == BodyDecoder::UntilClose => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => return self.fail(cx, io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Ok(read)) => {
                    self.silent_since = None;
                    if read >= self.read_len {
                        self.read_len = (self.read_len * 2).min(MAX_READ);
                    }
                }
                Poll::Ready(Err(error)) => return self.fail(cx, error),
                Poll::Pending => {
                    let since = *self.silent_since.get_or_insert_with(Instant::now);
                    return match connection.timer.poll_until(cx, since + self.idle_timeout) {
                        Poll::Ready(()) => self.fail(cx, io::ErrorKind::TimedOut.into()),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn finish(&mut self) {
        if let (Some(connection), Some(returns_to)) =
            (self.connection.take(), self.returns_to.take())
        {
            returns_to.put(connection);
        }
    }

    fn fail(
        &mut self,
        cx: &Context<'_>,
        error: io::Error,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.connection = None;
        self.error = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() && self.error.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder
            .exact()
            .map(SizeHint::with_exact)
            .unwrap_or_default()
    }
}
