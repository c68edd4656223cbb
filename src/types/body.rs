//! The HTTP body type of requests and responses: concrete, streamed, with an observer until its
//! end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

/// A request or response body that is forwarded as it arrives.
#[derive(Default)]
pub struct Body {
    source: Source,
    keeps_trailers: bool,
    /// Whether the source reports its end. If it yields nothing more without having done so, it was
    /// truncated.
    reports_end: bool,
    observer: Option<Box<dyn BodyObserver>>,
}

/// A custom source of a body.
pub type Reader = dyn HttpBody<Data = Bytes, Error = BodyError> + Send;

#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Full(Bytes),
    Streamed(Incoming, Option<Arc<dyn ReadProgress>>),
    Read(Pin<Box<Reader>>),
}

/// Told how far a received body was read.
pub trait ReadProgress: Send + Sync {
    /// The body was polled.
    fn polled(&self, state: ReadState);
}

/// The state of a received body after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// There was data, and there may be more.
    Data,
    /// The reader waits for more data.
    Waiting,
    /// The body is complete or failed.
    Ended,
}

/// The session or token that permitted a stream.
pub trait StreamOwner: Send + Sync {
    /// Whether the stream is still permitted.
    fn is_valid(&self) -> bool;

    /// The client sent data on the stream.
    fn client_sent(&self) {}
}

impl<F: Fn() -> bool + Send + Sync> StreamOwner for F {
    fn is_valid(&self) -> bool {
        self()
    }
}

/// A shared [`StreamOwner`].
#[derive(Clone)]
pub struct StreamSession(Arc<dyn StreamOwner>);

impl StreamSession {
    /// The session of a stream.
    pub fn new(owner: impl StreamOwner + 'static) -> Self {
        Self(Arc::new(owner))
    }

    /// Whether the stream is still permitted.
    pub fn is_valid(&self) -> bool {
        self.0.is_valid()
    }

    /// The client sent data on the stream.
    pub fn client_sent(&self) {
        self.0.client_sent();
    }
}

impl std::fmt::Debug for StreamSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamSession")
    }
}

/// Observes a [`Body`], for the access log and the metrics.
pub trait BodyObserver: Send {
    /// Called before each read. An error ends the body, for example at a deadline or after a
    /// revocation.
    ///
    /// # Errors
    /// Why the body must end now.
    fn admit(&mut self) -> Result<(), BodyError> {
        Ok(())
    }

    /// Called when a read has to wait. Wakes the task when the body must be checked again. An error
    /// ends the body.
    ///
    /// # Errors
    /// Why the body must end now.
    fn poll_waiting(&mut self, _cx: &mut Context<'_>) -> Result<(), BodyError> {
        Ok(())
    }

    /// Called for each chunk of data with its length in bytes.
    fn passed(&mut self, bytes: usize);

    /// Called once: after the last byte, at an error, or when the body is dropped before its end.
    fn ended(self: Box<Self>, end: BodyEnd);
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// The body is complete.
    Complete,
    /// The sender failed.
    Broken,
    /// The observer ended it.
    Cut,
    /// The receiver dropped it before its end.
    Abandoned,
    /// The receiver accepted no data for too long.
    Stalled,
}

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer's stream failed.
    #[error("the body's stream failed")]
    Stream(#[from] hyper::Error),
    /// The upstream connection failed.
    #[error("the upstream response was interrupted")]
    Backend(#[source] io::Error),
    /// The file could not be read to its end.
    #[error("the file could not be read")]
    File(#[source] io::Error),
    /// The session or token that permitted it is no longer valid.
    #[error("the session of the stream has ended")]
    SessionOver,
    /// It reached the maximum duration.
    #[error("the stream reached its maximum duration")]
    TooOld,
    /// It ended early.
    #[error("the body ended early")]
    CutShort,
    /// No data arrived before the timeout.
    #[error("the body timed out")]
    Stalled,
    /// The trailers exceed the limit.
    #[error("the body has too many trailers")]
    TooManyTrailers,
}

impl Body {
    /// An empty body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is completely in memory.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::of(Source::Full(bytes.into()))
    }

    /// A body that arrives from a peer.
    pub fn streamed(incoming: Incoming) -> Self {
        Self::of(Source::Streamed(incoming, None))
    }

    /// A body that arrives from a peer, whose connection is told how far it was read.
    pub fn streamed_with(incoming: Incoming, progress: Arc<dyn ReadProgress>) -> Self {
        Self::of(Source::Streamed(incoming, Some(progress)))
    }

    /// A body from a custom source, with its trailers: the source is responsible for filtering
    /// them.
    pub fn read_by(reader: Pin<Box<Reader>>) -> Self {
        Self::of(Source::Read(reader)).with_trailers()
    }

    /// Marks the body as received over HTTP/2. To hyper, a stream that was reset without an error
    /// (RFC 9113 section 8.1) looks like one that ended, although it was truncated.
    #[must_use]
    pub fn over_http2(mut self) -> Self {
        self.reports_end = true;
        self
    }

    /// Replaces the observer, if there is one. It is not told of the body's end.
    #[must_use]
    pub fn watched_instead(mut self, observer: Box<dyn BodyObserver>) -> Self {
        if self.observer.is_some() {
            self.observer = Some(observer);
        }
        self
    }

    /// Keeps the trailers, which are dropped by default. The caller must filter them before they
    /// are forwarded.
    #[must_use]
    pub fn with_trailers(mut self) -> Self {
        self.keeps_trailers = true;
        self
    }

    /// Sets the observer. A previous observer is told that the body was abandoned.
    #[must_use]
    pub fn watched(mut self, observer: Box<dyn BodyObserver>) -> Self {
        self.finish(BodyEnd::Abandoned);
        self.observer = Some(observer);
        self
    }

    /// Tells the observer that the receiver accepted no data for too long.
    pub fn stalled(&mut self) {
        self.finish(BodyEnd::Stalled);
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            keeps_trailers: false,
            reports_end: false,
            observer: None,
        }
    }

    fn finish(&mut self, end: BodyEnd) {
        if let Some(observer) = self.observer.take() {
            observer.ended(end);
        }
    }

    /// Ends the body because its observer does not admit more.
    fn cut(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.finish(BodyEnd::Cut);
        Poll::Ready(Some(Err(error)))
    }
}

impl Source {
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        reports_end: bool,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Streamed(incoming, progress) => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                if let Some(progress) = progress {
                    progress.polled(match &polled {
                        Poll::Pending => ReadState::Waiting,
                        Poll::Ready(Some(Ok(_))) if !incoming.is_end_stream() => ReadState::Data,
                        Poll::Ready(_) => ReadState::Ended,
                    });
                }
                Poll::Ready(match ready!(polled) {
                    None if reports_end && !incoming.is_end_stream() => {
                        Some(Err(BodyError::CutShort))
                    }
                    next => next.map(|frame| frame.map_err(BodyError::Stream)),
                })
            }
            Self::Read(reader) => reader.as_mut().poll_frame(cx),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(observer) = &mut this.observer
            && let Err(error) = observer.admit()
        {
            return this.cut(error);
        }
        let Poll::Ready(next) = this.source.poll_next(cx, this.reports_end) else {
            return match this.observer.as_mut().map(|one| one.poll_waiting(cx)) {
                Some(Err(error)) => this.cut(error),
                Some(Ok(())) | None => Poll::Pending,
            };
        };
        let next = match next {
            Some(Ok(frame)) if frame.is_trailers() => {
                // Trailers end the body. They are unfiltered and may have any header's name, so
                // they are dropped unless requested.
                this.source = Source::Empty;
                this.keeps_trailers.then_some(Ok(frame))
            }
            other => other,
        };
        match &next {
            Some(Ok(frame)) => {
                if let (Some(observer), Some(data)) = (&mut this.observer, frame.data_ref()) {
                    observer.passed(data.len());
                }
                // hyper does not poll a sized body again after its last byte, so the end is
                // detected here.
                if this.is_end_stream() {
                    this.finish(BodyEnd::Complete);
                }
            }
            Some(Err(_)) => this.finish(BodyEnd::Broken),
            None => this.finish(BodyEnd::Complete),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Full(bytes) => bytes.is_empty(),
            Source::Streamed(incoming, _) => incoming.is_end_stream(),
            Source::Read(reader) => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Streamed(incoming, _) => incoming.size_hint(),
            Source::Read(reader) => reader.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let end = if self.is_end_stream() {
            BodyEnd::Complete
        } else {
            BodyEnd::Abandoned
        };
        self.finish(end);
    }
}
