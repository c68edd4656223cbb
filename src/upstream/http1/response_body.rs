//! An answer's body, read from the connection by whoever takes it; at its last byte the connection goes back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::body_decoder::{BodyDecoder, Next};
use super::connection::Connection;
use super::request_body::RequestBodyWriter;
use super::socket::Socket;
use crate::types::body::{Body, BodyError};
use crate::upstream::client::IdlePool;

/// Room for one read: at first, and once a read filled what there was.
const LEAST: usize = 8 * 1024;
const MOST: usize = 128 * 1024;

/// What is still to come of an answer.
struct ResponseBody {
    /// Gone at the end.
    connection: Option<Connection>,
    decoder: BodyDecoder,
    /// Where the connection goes afterwards, if it can be used again.
    idle_pool: Option<Arc<IdlePool>>,
    /// How long the backend may be silent.
    idle: Duration,
    silent_since: Option<Instant>,
    room: usize,
    /// Told at the next poll, so that the client gets what came before.
    failed: Option<io::Error>,
    _uploading: Option<StillUploading>,
}

/// An upload that goes on beside the answer, and no longer than that.
#[derive(Debug)]
struct StillUploading(JoinHandle<()>);

impl Drop for StillUploading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// The body of the answer whose head has just come. `idle_pool` is where the connection goes afterwards, unless it ends
    /// with this answer; `request_body` is what was being sent.
    pub(in crate::upstream) fn into_body(
        mut self,
        mut decoder: BodyDecoder,
        idle_pool: Option<&Arc<IdlePool>>,
        request_body: Option<RequestBodyWriter>,
        idle: Duration,
    ) -> Body {
        let request_body = request_body.filter(|request_body| !request_body.is_over());
        let idle_pool = idle_pool.filter(|_| request_body.is_none());
        let whole = match decoder.exact() {
            Some(0) => Some(Body::empty()),
            // All of it is here.
            Some(length) if length <= self.read.len() as u64 => {
                match decoder.take(&mut self.read) {
                    Ok(Next::Data(bytes)) => Some(Body::full(bytes)),
                    Ok(Next::More | Next::Over) | Err(_) => None,
                }
            }
            Some(_) | None => None,
        };
        if let Some(whole) = whole {
            if let Some(idle_pool) = idle_pool {
                idle_pool.put(self);
            }
            return whole;
        }
        let (connection, uploading) = match request_body {
            None => (self, None),
            Some(request_body) => {
                let (reading, writing) = self.split();
                (
                    reading,
                    Some(StillUploading(tokio::spawn(send_rest(
                        writing,
                        request_body,
                        idle,
                    )))),
                )
            }
        };
        Body::read_by(Box::pin(ResponseBody {
            connection: Some(connection),
            decoder,
            idle_pool: idle_pool.cloned(),
            idle,
            silent_since: None,
            room: LEAST,
            failed: None,
            _uploading: uploading,
        }))
    }
}

/// A client that stops in its body is not waited for longer than a backend that stops reading.
async fn send_rest(
    mut to: WriteHalf<Box<Socket>>,
    mut request_body: RequestBodyWriter,
    idle: Duration,
) {
    loop {
        match timeout(idle, request_body.send_some(&mut to)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            // The backend is not to wait for the rest.
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
                self.failed
                    .take()
                    .map(|error| Err(BodyError::Backend(error))),
            );
        };
        loop {
            match self.decoder.take(&mut connection.read) {
                Ok(Next::Data(bytes)) => {
                    if self.decoder.is_over() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Ok(Next::Over) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(Next::More) => {}
                Err(reason) => {
                    return self.fail(cx, io::Error::new(io::ErrorKind::InvalidData, reason));
                }
            }
            let needed = self
                .decoder
                .exact()
                .and_then(|left| usize::try_from(left).ok())
                .unwrap_or(MOST);
            match connection.poll_more(cx, self.room.min(needed.max(LEAST))) {
                Poll::Ready(Ok(0)) if self.decoder == BodyDecoder::UntilClose => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => return self.fail(cx, io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Ok(read)) => {
                    self.silent_since = None;
                    if read >= self.room {
                        self.room = (self.room * 2).min(MOST);
                    }
                }
                Poll::Ready(Err(error)) => return self.fail(cx, error),
                Poll::Pending => {
                    let since = *self.silent_since.get_or_insert_with(Instant::now);
                    return match connection.timer.poll_until(cx, since + self.idle) {
                        Poll::Ready(()) => self.fail(cx, io::ErrorKind::TimedOut.into()),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn finish(&mut self) {
        if let (Some(connection), Some(idle_pool)) = (self.connection.take(), self.idle_pool.take())
        {
            idle_pool.put(connection);
        }
    }

    fn fail(
        &mut self,
        cx: &Context<'_>,
        error: io::Error,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.connection = None;
        self.failed = Some(error);
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
        self.connection.is_none() && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder
            .exact()
            .map(SizeHint::with_exact)
            .unwrap_or_default()
    }
}
