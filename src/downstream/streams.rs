//! HTTP/2 stream tracking. Each stream of a connection runs in its own task; open streams,
//! cancelled requests and stalled responses are tracked. hyper does not poll a response body while
//! the client's flow-control window is closed, so the stall is detected by the task around it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection_registry::{Evictable, RegisteredConnection};
use super::deadlines::Deadlines;
use super::reset_budget::ResetBudget;
use super::settings::ListenerSettings;
use super::unsent::{CountedBody, UnsentBytes};
use crate::telemetry::metrics::Metrics;
use crate::types::body::BodyError;
use crate::types::extended_connect::ExtendedConnect;

tokio::task_local! {
    /// The progress of the stream that runs in this task.
    static STREAM: Arc<StreamProgress>;
}

/// Tracks the streams of one connection, and spawns a task for each.
#[derive(Clone)]
pub(super) struct StreamTracker(Arc<Shared>);

struct Shared {
    start: Instant,
    write_stall_timeout: Duration,
    /// The deadlines of the connection's socket.
    deadlines: Arc<Deadlines>,
    open: AtomicUsize,
    /// Whether any stream was ever opened.
    had_stream: AtomicBool,
    /// Milliseconds after `start` at which the last stream ended or the client last accepted data.
    last_activity: AtomicU64,
    /// For streams that are cancelled before their response head.
    reset_budget: ResetBudget,
    reset_flood: Notify,
    evicted: Notify,
    metrics: Arc<Metrics>,
}

impl Shared {
    /// When the last stream ended or the client last accepted data. `None` while a stream is open.
    fn idle_since(&self) -> Option<Instant> {
        let last_activity = Duration::from_millis(self.last_activity.load(Ordering::Relaxed));
        (self.open.load(Ordering::Relaxed) == 0).then(|| self.start + last_activity)
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn record_activity(&self) {
        self.last_activity.store(self.now(), Ordering::Relaxed);
    }
}

impl StreamTracker {
    pub(super) fn new(
        settings: &ListenerSettings,
        metrics: &Arc<Metrics>,
        deadlines: &Arc<Deadlines>,
    ) -> Self {
        Self(Arc::new(Shared {
            start: Instant::now(),
            write_stall_timeout: settings.write_stall_timeout,
            deadlines: Arc::clone(deadlines),
            open: AtomicUsize::new(0),
            had_stream: AtomicBool::new(false),
            last_activity: AtomicU64::new(0),
            reset_budget: ResetBudget::new(
                settings.http2_reset_burst,
                settings.http2_resets_per_second,
            ),
            reset_flood: Notify::new(),
            evicted: Notify::new(),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Completes once the client has cancelled too many requests.
    pub(super) async fn reset_flood(&self) {
        self.0.reset_flood.notified().await;
    }

    /// Completes once the idle connection has to make space for another.
    pub(super) async fn evicted(&self) {
        self.0.evicted.notified().await;
    }

    /// Allows the client to cancel `count` more requests, those that may be in flight.
    pub(super) fn allow_last_resets(&self, count: u32) {
        self.0.reset_budget.allow_last(count);
    }

    /// Completes once the connection has been idle: without a stream for `first_stream` from its
    /// start, or for `next_stream` after the last one, and without response data that the client
    /// still accepts.
    pub(super) async fn idle_for(&self, first_stream: Duration, next_stream: Duration) {
        loop {
            let limit = if self.0.had_stream.load(Ordering::Relaxed) {
                next_stream
            } else {
                first_stream
            };
            let since = self.0.idle_since().unwrap_or_else(Instant::now);
            if since.elapsed() >= limit {
                return;
            }
            sleep_until(since + limit).await;
        }
    }

    /// As [`Self::idle_for`], counted from now.
    pub(super) async fn quiet_for(&self, limit: Duration) {
        self.0.record_activity();
        self.idle_for(limit, limit).await;
    }
}

impl Evictable for StreamTracker {
    fn idle_for(&self) -> Option<Duration> {
        self.0.idle_since().map(|since| since.elapsed())
    }

    fn evict(&self) {
        self.0.evicted.notify_one();
    }
}

impl<F> hyper::rt::Executor<F> for StreamTracker
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        // hyper sends the data of a tunnel in another task, which that of its stream spawns.
        let (progress, is_tunnel) = match STREAM.try_with(Arc::clone) {
            Ok(progress) => (progress, true),
            Err(_) => {
                let deadlines = Arc::clone(&self.0.deadlines);
                (Arc::new(StreamProgress::new(Some(deadlines))), false)
            }
        };
        progress.pending_since.store(0, Ordering::Relaxed);
        let open = OpenStream::new(Arc::clone(&self.0), Arc::clone(&progress), is_tunnel);
        tokio::spawn(STREAM.scope(Arc::clone(&progress), async move {
            tokio::select! {
                biased;
                _ = stream => {}
                () = progress.stalled_for(open.shared.write_stall_timeout) => {
                    open.shared.metrics.connection_errors.with_label_values(&["http2_stalled"]).inc();
                }
            }
        }));
    }
}

/// The connection's socket. Bytes that it accepts count as activity of the client.
pub(super) struct TrackedSocket<S> {
    socket: S,
    shared: Arc<Shared>,
    /// Bytes written since the last recorded activity.
    written: usize,
}

/// Up to so many bytes may be acknowledgements of PING and SETTINGS frames, and do not count as
/// activity.
const CONTROL_FRAME_BUDGET: usize = 16 * 1024;

impl<S> TrackedSocket<S> {
    pub(super) fn new(socket: S, streams: &StreamTracker) -> Self {
        Self {
            socket,
            shared: Arc::clone(&streams.0),
            written: 0,
        }
    }

    fn track_write(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.written += count;
            if self.written > CONTROL_FRAME_BUDGET {
                self.written = 0;
                self.shared.record_activity();
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.track_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.track_write(written)
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

/// Guard of an open stream.
struct OpenStream {
    shared: Arc<Shared>,
    progress: Arc<StreamProgress>,
    /// Whether its task sends the data of a tunnel.
    is_tunnel: bool,
}

impl OpenStream {
    fn new(shared: Arc<Shared>, progress: Arc<StreamProgress>, is_tunnel: bool) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        shared.had_stream.store(true, Ordering::Relaxed);
        shared.metrics.http2_streams.inc();
        Self {
            shared,
            progress,
            is_tunnel,
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.record_activity();
        shared.open.fetch_sub(1, Ordering::Relaxed);
        shared.metrics.http2_streams.dec();
        let progress = &self.progress;
        if self.is_tunnel
            && let Some(tunnel) = progress.tunnel.get()
        {
            tunnel.connect.close();
        }
        if progress.complete.load(Ordering::Relaxed) {
            shared.reset_budget.completed();
        } else if progress.has_head.load(Ordering::Relaxed) {
            // Only the client can end a streaming response or a tunnel, so a reset there is normal,
            // and costs no more than a complete response.
        } else if shared.reset_budget.cancelled(shared.now()) {
            shared.reset_flood.notify_one();
        }
    }
}

/// A stream that is or becomes a tunnel. It counts as a connection of its client, as it would over
/// HTTP/1.1: each has a connection to the app.
pub(super) struct TunnelStream {
    pub(super) connect: ExtendedConnect,
    pub(super) _registration: RegisteredConnection,
}

/// Progress of one stream's response.
pub(super) struct StreamProgress {
    start: Instant,
    /// One more than the milliseconds after `start` since which the client has data to accept; zero
    /// while it waits for the server.
    pending_since: AtomicU64,
    /// Whether the response head was sent, or may have been.
    has_head: AtomicBool,
    complete: AtomicBool,
    /// Whether the stream ends because the client accepted no data for too long.
    has_stalled: AtomicBool,
    /// The deadlines of the connection's socket.
    deadlines: Option<Arc<Deadlines>>,
    /// Set if the stream requests a tunnel.
    tunnel: OnceLock<TunnelStream>,
}

impl StreamProgress {
    fn new(deadlines: Option<Arc<Deadlines>>) -> Self {
        Self {
            start: Instant::now(),
            pending_since: AtomicU64::new(0),
            has_head: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            has_stalled: AtomicBool::new(false),
            deadlines,
            tunnel: OnceLock::new(),
        }
    }

    /// Marks the stream as one that requests a tunnel.
    pub(super) fn set_tunnel(&self, tunnel: TunnelStream) {
        // A stream has one request.
        let _ = self.tunnel.set(tunnel);
    }

    /// Whether the client accepted no data for too long, on this stream or on the connection.
    fn has_stalled(&self) -> bool {
        let connection = self.deadlines.as_ref();
        self.has_stalled.load(Ordering::Relaxed)
            || connection.is_some_and(|deadlines| deadlines.write_has_stalled())
    }

    /// The progress of the stream that runs in this task.
    pub(super) fn current() -> Arc<Self> {
        STREAM
            .try_with(Arc::clone)
            .unwrap_or_else(|_| Arc::new(Self::new(None)))
    }

    fn set_pending(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pending_since
            .store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// Completes once the client has accepted no pending data for `limit`.
    async fn stalled_for(&self, limit: Duration) {
        loop {
            let pending = match self.pending_since.load(Ordering::Relaxed) {
                0 => Duration::ZERO,
                since => (self.start + Duration::from_millis(since - 1)).elapsed(),
            };
            if pending >= limit {
                // Before the body is dropped, which tells its observer.
                self.has_stalled.store(true, Ordering::Relaxed);
                return;
            }
            sleep(limit - pending).await;
        }
    }
}

/// A response body that reports its progress.
pub(super) struct TrackedBody {
    body: CountedBody,
    progress: Arc<StreamProgress>,
}

impl TrackedBody {
    pub(super) fn new(body: CountedBody, progress: Arc<StreamProgress>) -> Self {
        progress.set_pending();
        // A response without a body is not polled. Whether its head is sent remains unknown.
        progress
            .has_head
            .store(body.is_end_stream(), Ordering::Relaxed);
        Self { body, progress }
    }
}

impl HttpBody for TrackedBody {
    type Data = UnsentBytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<UnsentBytes>, BodyError>>> {
        // hyper polls only after the head was sent.
        self.progress.has_head.store(true, Ordering::Relaxed);
        // Until then, the client has data to accept.
        ready!(self.body.poll_share(cx));
        // hyper polls only while the client's window is open.
        self.progress.pending_since.store(0, Ordering::Relaxed);
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.progress.set_pending(),
            Poll::Ready(None) | Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        let complete = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        self.progress.complete.store(complete, Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        if self.progress.has_stalled() {
            self.body.stalled();
        }
    }
}
