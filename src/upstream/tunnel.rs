//! WebSocket tunnel: copies bytes in both directions until a side or Doorward ends it. If Doorward
//! does, each side gets a close frame (RFC 6455 section 7.1) at the next frame boundary toward it,
//! and no frame after that.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::frames::{FrameTracker, close_frame};
use crate::types::body::StreamSession;

/// Buffer size of one direction in bytes.
const BUFFER_LEN: usize = 8 * 1024;

/// How long a side may take to answer a close frame before its socket is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TunnelEnd {
    /// A side closed it.
    Closed,
    /// Its session ended.
    SessionEnded,
    /// It reached `stream_max_age`.
    MaxAge,
    /// No bytes were sent in either direction for too long.
    Idle,
    /// Doorward is shutting down.
    ShuttingDown,
}

/// The payload of a close frame (RFC 6455 section 7.4).
struct CloseReason {
    code: u16,
    text: &'static str,
}

impl TunnelEnd {
    /// The metric label.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::SessionEnded => "session_over",
            Self::MaxAge => "stream_max_age",
            Self::Idle => "stream_idle",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The close frame's payload. Code 1001 tells clients to reconnect; 1008 is for an ended
    /// session, where reconnecting is useless.
    const fn close_reason(self) -> CloseReason {
        let (code, text) = match self {
            Self::Closed => (1000, ""),
            Self::SessionEnded => (1008, "session ended"),
            Self::MaxAge => (1001, "connection too old"),
            Self::Idle => (1001, "idle for too long"),
            Self::ShuttingDown => (1001, "server going away"),
        };
        CloseReason { code, text }
    }
}

/// Copies bytes until a side closes the tunnel or `end` completes. `frame_timeout` then bounds the
/// wait for frame boundaries. Returns why the tunnel ended.
pub(super) async fn join<C, B, P>(
    client: C,
    backend: B,
    activity: &Activity,
    end: impl Future<Output = TunnelEnd>,
    frame_timeout: impl FnOnce(TunnelEnd) -> P,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
    P: Future<Output = ()>,
{
    let (client_in, client_out) = split(client);
    let (backend_in, backend_out) = split(backend);
    let mut down = Direction::new(backend_in, client_out, Role::Server, activity);
    let mut up = Direction::new(client_in, backend_out, Role::Client, activity);
    let end_signal = watch::Sender::new(None);
    let ended = {
        let copy_down = down.copy(end_signal.subscribe());
        let copy_up = up.copy(end_signal.subscribe());
        let copy_both = async { tokio::try_join!(copy_down, copy_up) };
        tokio::pin!(copy_both);
        tokio::select! {
            // An error of either side ends the tunnel without close frames.
            _ = &mut copy_both => TunnelEnd::Closed,
            end = end => {
                end_signal.send_replace(Some(end));
                tokio::select! {
                    biased;
                    _ = &mut copy_both => {}
                    () = frame_timeout(end) => {}
                }
                end
            }
        }
    };
    if ended != TunnelEnd::Closed {
        // A side that does not answer in time is disconnected.
        let _ = timeout(CLOSE_TIMEOUT, async {
            tokio::join!(down.finish(), up.finish())
        })
        .await;
    }
    ended
}

/// The role of Doorward toward a direction's receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// One direction: from one side to the other.
struct Direction<'a, R, W> {
    from: R,
    to: W,
    role: Role,
    activity: &'a Activity,
    /// Tracks the bytes that were written.
    frames: FrameTracker,
    buffer: Vec<u8>,
    /// The part of the buffer that was not written yet.
    unwritten: Range<usize>,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Direction<'a, R, W> {
    fn new(from: R, to: W, role: Role, activity: &'a Activity) -> Self {
        Self {
            from,
            to,
            role,
            activity,
            frames: FrameTracker::default(),
            buffer: vec![0; BUFFER_LEN],
            unwritten: 0..0,
        }
    }

    /// Copies bytes until the end of the stream. After the end signal: until the next frame
    /// boundary, followed by a close frame. Cancel safe: bytes that were read but not written stay
    /// in the buffer.
    async fn copy(&mut self, mut end_signal: watch::Receiver<Option<TunnelEnd>>) -> io::Result<()> {
        let mut ending = None;
        loop {
            if let Some(end) = ending
                && self.frames.is_at_boundary()
            {
                return self.send_close(end).await;
            }
            if self.unwritten.is_empty() {
                let read = tokio::select! {
                    biased;
                    end = signalled(&mut end_signal), if ending.is_none() => { ending = Some(end); continue }
                    read = self.from.read(&mut self.buffer) => read?,
                };
                self.activity.record();
                if read == 0 {
                    return self.to.shutdown().await;
                }
                self.unwritten = 0..read;
            }
            let unwritten = self.buffer.get(self.unwritten.clone()).unwrap_or_default();
            let allowed = if ending.is_some() {
                self.frames.remaining_in(unwritten)
            } else {
                unwritten.len()
            };
            let next = unwritten.get(..allowed).unwrap_or_default();
            let written = tokio::select! {
                biased;
                end = signalled(&mut end_signal), if ending.is_none() => { ending = Some(end); continue }
                written = self.to.write(next) => written?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.frames.advance(next.get(..written).unwrap_or_default());
            self.unwritten.start += written;
            self.activity.record();
            if self.role == Role::Client && self.frames.take_message_seen() {
                self.activity.client_sent();
            }
            if self.unwritten.is_empty() {
                self.to.flush().await?;
            }
        }
    }

    /// Sends a close frame, unless one was already forwarded.
    async fn send_close(&mut self, end: TunnelEnd) -> io::Result<()> {
        if self.frames.close_seen() {
            return Ok(());
        }
        let CloseReason { code, text } = end.close_reason();
        let mask = match self.role {
            Role::Server => None,
            Role::Client => {
                let mut mask = [0; 4];
                aws_lc_rs::rand::fill(&mut mask).map_err(io::Error::other)?;
                Some(mask)
            }
        };
        self.to.write_all(&close_frame(code, text, mask)).await?;
        self.to.flush().await
    }

    /// Discards what the sender still sends until its close frame, then shuts down the receiver's
    /// side.
    async fn finish(&mut self) {
        self.discard_until_close().await;
        // The receiver may have disconnected already.
        let _ = self.to.shutdown().await;
    }

    /// Discards bytes until a close frame or the end of the stream. Closing a socket with unread
    /// bytes would reset the connection, and the close frame sent to it could be lost.
    async fn discard_until_close(&mut self) {
        self.frames
            .advance(self.buffer.get(self.unwritten.clone()).unwrap_or_default());
        while !self.frames.close_seen() {
            match self.from.read(&mut self.buffer).await {
                Ok(read @ 1..) => self
                    .frames
                    .advance(self.buffer.get(..read).unwrap_or_default()),
                Ok(0) | Err(_) => return,
            }
        }
    }
}

async fn signalled(end_signal: &mut watch::Receiver<Option<TunnelEnd>>) -> TunnelEnd {
    match end_signal
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|end| *end)
    {
        Some(end) => end,
        // The sender was dropped, and the tunnel with it.
        None => std::future::pending().await,
    }
}

/// The time of the last read or write in either direction.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    /// In milliseconds after `start`.
    last: AtomicU64,
    /// Told of messages of the client.
    session: Option<StreamSession>,
}

impl Activity {
    /// Starts now.
    pub(super) fn new(session: Option<StreamSession>) -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            session,
        }
    }

    fn client_sent(&self) {
        if let Some(session) = &self.session {
            session.client_sent();
        }
    }

    fn record(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Completes once there was no activity for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let idle = self.start.elapsed().saturating_sub(last);
            if idle >= limit {
                return;
            }
            sleep(limit - idle).await;
        }
    }
}
