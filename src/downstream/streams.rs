//! The streams of one HTTP/2 connection, each a task of its own: how many are open, how many were cancelled, and which
//! answers nobody takes. hyper does not read an answer's body while the client's window is shut, so the body cannot
//! notice that by itself; the task around it does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::listener::ListenerSettings;
use crate::telemetry::metrics::Metrics;
use crate::types::body::{Body, BodyError};

tokio::task_local! {
    /// The stream whose task this is.
    static STREAM: Arc<StreamProgress>;
}

/// All streams of a connection; runs each in its task.
#[derive(Clone)]
pub(super) struct StreamTracker(Arc<Shared>);

struct Shared {
    start: Instant,
    stall_limit: Duration,
    most_cancelled: usize,
    open: AtomicUsize,
    /// Whether there was ever a stream.
    asked: AtomicBool,
    /// Milliseconds after `start` at which the last stream ended, or the client last took something.
    last_moved: AtomicU64,
    /// Streams that ended before their answer did, less those that ended with it.
    cancelled: AtomicUsize,
    reset_flood: Notify,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn moved(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_moved.store(now, Ordering::Relaxed);
    }
}

impl StreamTracker {
    pub(super) fn new(settings: &ListenerSettings, metrics: &Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            start: Instant::now(),
            stall_limit: settings.write_stall_timeout,
            most_cancelled: settings.max_http2_cancelled,
            open: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            last_moved: AtomicU64::new(0),
            cancelled: AtomicUsize::new(0),
            reset_flood: Notify::new(),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Ends once too many requests were cancelled.
    pub(super) async fn reset_flood(&self) {
        self.0.reset_flood.notified().await;
    }

    /// Ends once there was no stream for `first`, from the connection's beginning on, or none for `then` after the last
    /// one, and nothing of an answer was left that the client still took.
    pub(super) async fn idle_for(&self, first: Duration, then: Duration) {
        loop {
            let limit = if self.0.asked.load(Ordering::Relaxed) {
                then
            } else {
                first
            };
            let since = if self.0.open.load(Ordering::Relaxed) == 0 {
                self.0.start + Duration::from_millis(self.0.last_moved.load(Ordering::Relaxed))
            } else {
                Instant::now()
            };
            if since.elapsed() >= limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }
}

impl StreamTracker {
    /// Ends once there was no stream for `limit` from now on, and nothing of an answer was left that the client took.
    pub(super) async fn quiet_for(&self, limit: Duration) {
        self.0.moved();
        self.idle_for(limit, limit).await;
    }
}

impl<F> hyper::rt::Executor<F> for StreamTracker
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let progress = Arc::new(StreamProgress::new());
        let open = Open::new(Arc::clone(&self.0), Arc::clone(&progress));
        tokio::spawn(STREAM.scope(Arc::clone(&progress), async move {
            tokio::select! {
                biased;
                _ = stream => {}
                () = progress.untaken_for(open.shared.stall_limit) => {
                    open.shared.metrics.connection_errors.with_label_values(&["http2_stalled"]).inc();
                }
            }
        }));
    }
}

/// The connection's socket: what it takes shows that the client takes it.
pub(super) struct Socket<S> {
    socket: S,
    shared: Arc<Shared>,
    /// Bytes since the client was last seen to take something.
    taken: usize,
}

/// What is no more than this may be answers to pings and settings, and shows nothing.
const CONTROL_FRAME_BUDGET: usize = 16 * 1024;

impl<S> Socket<S> {
    pub(super) fn new(socket: S, streams: &StreamTracker) -> Self {
        Self {
            socket,
            shared: Arc::clone(&streams.0),
            taken: 0,
        }
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.taken += count;
            if self.taken > CONTROL_FRAME_BUDGET {
                self.taken = 0;
                self.shared.moved();
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// A stream as long as it lives.
struct Open {
    shared: Arc<Shared>,
    progress: Arc<StreamProgress>,
}

impl Open {
    fn new(shared: Arc<Shared>, progress: Arc<StreamProgress>) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        shared.asked.store(true, Ordering::Relaxed);
        shared.metrics.http2_streams.inc();
        Self { shared, progress }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.moved();
        shared.open.fetch_sub(1, Ordering::Relaxed);
        shared.metrics.http2_streams.dec();
        let progress = &self.progress;
        if progress.complete.load(Ordering::Relaxed) {
            let less = |cancelled: usize| cancelled.checked_sub(1);
            // An error means that it was zero.
            let _ = shared
                .cancelled
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        } else if progress.answered.load(Ordering::Relaxed) {
            // Ends of calls and streams that nobody else can end: they cost no more than what is answered whole.
        } else if shared.cancelled.fetch_add(1, Ordering::Relaxed) >= shared.most_cancelled {
            shared.reset_flood.notify_one();
        }
    }
}

/// How far one stream's answer is.
pub(super) struct StreamProgress {
    start: Instant,
    /// Milliseconds after `start`, plus one, at which the client got something to take; zero: it waits for us.
    given: AtomicU64,
    /// Whether the answer's head is known.
    answered: AtomicBool,
    complete: AtomicBool,
}

impl StreamProgress {
    fn new() -> Self {
        let (answered, complete) = (AtomicBool::new(false), AtomicBool::new(false));
        Self {
            start: Instant::now(),
            given: AtomicU64::new(0),
            answered,
            complete,
        }
    }

    /// That of the stream whose task calls.
    pub(super) fn of_this_stream() -> Arc<Self> {
        STREAM
            .try_with(Arc::clone)
            .unwrap_or_else(|_| Arc::new(Self::new()))
    }

    fn give(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.given.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// Ends once the client has taken nothing for `limit` of what it could have.
    async fn untaken_for(&self, limit: Duration) {
        loop {
            let given = match self.given.load(Ordering::Relaxed) {
                0 => Duration::ZERO,
                given => (self.start + Duration::from_millis(given - 1)).elapsed(),
            };
            if given >= limit {
                return;
            }
            sleep(limit - given).await;
        }
    }
}

/// An answer's body that tells how far it is.
pub(super) struct Answer {
    body: Body,
    progress: Arc<StreamProgress>,
}

impl Answer {
    pub(super) fn new(body: Body, progress: Arc<StreamProgress>) -> Self {
        progress.give();
        progress.answered.store(true, Ordering::Relaxed);
        progress
            .complete
            .store(body.is_end_stream(), Ordering::Relaxed);
        Self { body, progress }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // hyper asks only when the client has room for more.
        self.progress.given.store(0, Ordering::Relaxed);
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.progress.give(),
            Poll::Ready(None) | Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        let is_over = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        self.progress.complete.store(is_over, Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
