//! One WebSocket through us: bytes pass as they come, until a side ends it or we do. Then each side is told with a close
//! frame (RFC 6455 section 7.1) as soon as the frame under way toward it is whole, and no frame after it passes.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::frames::{Frames, close_frame};

/// Bytes that are under way in one direction.
const ROOM: usize = 8 * 1024;

/// How long a side has to answer our close frame before its socket is closed.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a tunnel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TunnelEnd {
    /// One of its sides ended it.
    BySide,
    /// The session that opened it is over.
    SessionOver,
    /// It is as old as any may be.
    TooOld,
    /// Nothing moved for too long.
    Silent,
    /// We are about to stop.
    GoingAway,
}

impl TunnelEnd {
    /// The stable word for metrics.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::BySide => "closed",
            Self::SessionOver => "session_over",
            Self::TooOld => "stream_max_age",
            Self::Silent => "stream_idle",
            Self::GoingAway => "shutting_down",
        }
    }

    /// The code of the close frame (RFC 6455 section 7.4.1) and what it says. Only where the session is over would
    /// connecting again be of no use.
    const fn close(self) -> (u16, &'static str) {
        match self {
            Self::BySide => (1000, ""),
            Self::SessionOver => (1008, "session ended"),
            Self::TooOld => (1001, "connection too old"),
            Self::Silent => (1001, "idle for too long"),
            Self::GoingAway => (1001, "server going away"),
        }
    }
}

/// Passes bytes until a side ends the tunnel or `ending` says that we do; `timer` then bounds the wait for frames
/// under way. Says how it ended.
pub(super) async fn join<C, B, P>(
    client: C,
    backend: B,
    activity: &Activity,
    ending: impl Future<Output = TunnelEnd>,
    timer: impl FnOnce(TunnelEnd) -> P,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
    P: Future<Output = ()>,
{
    let ((client_in, client_out), (backend_in, backend_out)) = (split(client), split(backend));
    let mut down = Direction::new(backend_in, client_out, Role::Server, activity);
    let mut up = Direction::new(client_in, backend_out, Role::Client, activity);
    let told = watch::Sender::new(None);
    let ended = {
        let (down, up) = (down.pass_on(told.subscribe()), up.pass_on(told.subscribe()));
        let flow = async { tokio::try_join!(down, up) };
        tokio::pin!(flow);
        tokio::select! {
            // Either side's failure ends the tunnel: there is nobody left to tell.
            _ = &mut flow => TunnelEnd::BySide,
            ending = ending => {
                told.send_replace(Some(ending));
                tokio::select! {
                    biased;
                    _ = &mut flow => {}
                    () = timer(ending) => {}
                }
                ending
            }
        }
    };
    if ended != TunnelEnd::BySide {
        // Who does not answer is cut.
        let _ = timeout(GOODBYE, async {
            tokio::join!(down.hear_out(), up.hear_out())
        })
        .await;
    }
    ended
}

/// As whom we speak toward a direction's receiver.
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
    /// Of what went out.
    frames: Frames,
    buffer: Vec<u8>,
    /// What of the buffer has not gone out yet.
    waiting: Range<usize>,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Direction<'a, R, W> {
    fn new(from: R, to: W, role: Role, activity: &'a Activity) -> Self {
        Self {
            from,
            to,
            role,
            activity,
            frames: Frames::default(),
            buffer: vec![0; ROOM],
            waiting: 0..0,
        }
    }

    /// Passes bytes on until there are no more. Once told to end: until the frame under way is whole, and a close frame
    /// after it. May be dropped at any moment: what came and did not go out is known.
    async fn pass_on(&mut self, mut told: watch::Receiver<Option<TunnelEnd>>) -> io::Result<()> {
        let mut ending = None;
        loop {
            if let Some(ending) = ending
                && self.frames.is_at_boundary()
            {
                return self.say(ending).await;
            }
            if self.waiting.is_empty() {
                let read = tokio::select! {
                    biased;
                    now = is_told(&mut told), if ending.is_none() => { ending = Some(now); continue }
                    read = self.from.read(&mut self.buffer) => read?,
                };
                self.activity.note();
                if read == 0 {
                    return self.to.shutdown().await;
                }
                self.waiting = 0..read;
            }
            let waiting = self.buffer.get(self.waiting.clone()).unwrap_or_default();
            let allowed = if ending.is_some() {
                self.frames.rest_in(waiting)
            } else {
                waiting.len()
            };
            let next = waiting.get(..allowed).unwrap_or_default();
            let written = tokio::select! {
                biased;
                now = is_told(&mut told), if ending.is_none() => { ending = Some(now); continue }
                written = self.to.write(next) => written?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.frames.pass(next.get(..written).unwrap_or_default());
            self.waiting.start += written;
            self.activity.note();
            if self.waiting.is_empty() {
                self.to.flush().await?;
            }
        }
    }

    /// A close frame, unless one went by already.
    async fn say(&mut self, ending: TunnelEnd) -> io::Result<()> {
        if self.frames.is_closed() {
            return Ok(());
        }
        let (code, reason) = ending.close();
        let mask = match self.role {
            Role::Server => None,
            Role::Client => {
                let mut mask = [0; 4];
                aws_lc_rs::rand::fill(&mut mask).map_err(io::Error::other)?;
                Some(mask)
            }
        };
        self.to.write_all(&close_frame(code, reason, mask)).await?;
        self.to.flush().await
    }

    /// Takes what still comes until it is over, as the answer to the close frame that the other direction sent.
    async fn hear_out(&mut self) {
        self.throw_rest_away().await;
        // Who is gone need not be told.
        let _ = self.to.shutdown().await;
    }

    /// Until a close frame or the end: a socket that is closed before all was read is reset, and what we said lost.
    async fn throw_rest_away(&mut self) {
        self.frames
            .pass(self.buffer.get(self.waiting.clone()).unwrap_or_default());
        while !self.frames.is_closed() {
            match self.from.read(&mut self.buffer).await {
                Ok(read @ 1..) => self
                    .frames
                    .pass(self.buffer.get(..read).unwrap_or_default()),
                Ok(0) | Err(_) => return,
            }
        }
    }
}

async fn is_told(told: &mut watch::Receiver<Option<TunnelEnd>>) -> TunnelEnd {
    match told
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|told| *told)
    {
        Some(ending) => ending,
        // Whoever could tell is gone, and so is the tunnel.
        None => std::future::pending().await,
    }
}

/// When bytes last moved, in milliseconds after the start.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    moved: AtomicU64,
}

impl Activity {
    /// As of now.
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            moved: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for as long as `limit`.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let silent = self.start.elapsed().saturating_sub(moved);
            if silent >= limit {
                return;
            }
            sleep(limit - silent).await;
        }
    }
}
