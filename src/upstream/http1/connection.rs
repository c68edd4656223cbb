//! One connection and one exchange on it: the request goes out while the answer's head is waited for, since a backend
//! may answer before it has read all (RFC 9112 section 9.5).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, WriteHalf, split};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::head::{ResponseHead, end_of_head};
use super::request_body::RequestBodyWriter;
use super::socket::{Socket, Switched};
use crate::upstream::error::UpstreamError;
use crate::upstream::target::UpstreamSettings;

/// Room for what is read, at first; what a connection at rest may keep of it.
const ROOM: usize = 8 * 1024;
/// Less room than this is not worth a read.
const LEAST_ROOM: usize = 2 * 1024;
/// Most interim answers (RFC 9110 section 15.2) before the real one.
const MAX_INTERIM: usize = 16;

/// A connection to a backend.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    pub(super) socket: Socket,
    /// What came and was not used yet.
    pub(super) read: BytesMut,
    /// The head of the request under way.
    head: Vec<u8>,
    pub(super) timer: ReusableTimer,
    /// Whether it served another request before, so that the backend may have closed it meanwhile.
    pub(in crate::upstream) used_before: bool,
    /// Whether all of the last head went out: else the backend takes what follows for the rest of it.
    all_workers_alive: bool,
    slot: OwnedSemaphorePermit,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::upstream) enum Failure {
    /// Nothing of the request went out.
    Unsent(UpstreamError),
    /// It went out, at least in part, and nothing came back.
    Unanswered(UpstreamError),
    /// Any other reason.
    Failed(UpstreamError),
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(error) | Failure::Unanswered(error) | Failure::Failed(error) => error,
        }
    }
}

/// A connection's one timer. It is left running from exchange to exchange and set anew only when it fires too early:
/// cheaper than a timer a request.
#[derive(Debug, Default)]
pub(in crate::upstream) struct ReusableTimer(Option<Pin<Box<Sleep>>>);

impl ReusableTimer {
    /// Ready once `deadline` has passed.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl Connection {
    /// Over a socket that is connected; `slot` is freed with it.
    pub(in crate::upstream) fn new(socket: Socket, slot: OwnedSemaphorePermit) -> Self {
        let (read, head, timer) = (BytesMut::new(), Vec::new(), ReusableTimer::default());
        Self {
            socket,
            read,
            head,
            timer,
            used_before: false,
            all_workers_alive: true,
            slot,
        }
    }

    /// Whether it can be used again.
    pub(in crate::upstream) fn is_quiet(&mut self) -> bool {
        self.read.is_empty() && self.socket.is_quiet()
    }

    /// Gives back what a rest does not need. Whether it can rest: bytes behind an answer's end belong to none.
    pub(in crate::upstream) fn make_idle(&mut self) -> bool {
        self.used_before = true;
        if self.read.capacity() > ROOM {
            self.read = BytesMut::new();
        }
        if self.head.capacity() > ROOM {
            self.head = Vec::new();
        }
        self.all_workers_alive && self.read.is_empty()
    }

    /// Where the head of the next request is written.
    pub(in crate::upstream) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Sends what was written as the head, then `request_body`, until the answer's head is here: the upload may not be over by
    /// then.
    pub(in crate::upstream) async fn exchange(
        &mut self,
        request_body: &mut Option<RequestBodyWriter>,
        settings: &UpstreamSettings,
    ) -> Result<ResponseHead, Failure> {
        let mut exchange = Exchange {
            connection: self,
            request_body,
            settings,
            sent: 0,
            broken: None,
            heard: false,
            looked_at: 0,
            interim: 0,
            moved: Instant::now(),
        };
        poll_fn(|cx| exchange.poll(cx)).await
    }

    /// A connection that ends with this answer, and the half that still sends.
    pub(super) fn split(self) -> (Self, WriteHalf<Box<Socket>>) {
        let (reading, writing) = split(Box::new(self.socket));
        (
            Self {
                socket: Socket::Half(reading),
                ..self
            },
            writing,
        )
    }

    /// The connection after both sides switched protocols.
    pub(in crate::upstream) fn switched(self) -> Switched<OwnedSemaphorePermit> {
        Switched::new(self.read, self.socket, self.slot)
    }

    /// Reads more, up to `room` bytes: how many; zero once the backend has closed.
    pub(super) fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < room.min(LEAST_ROOM) {
            self.read.reserve(room);
        }
        pin!(self.socket.read_buf(&mut self.read)).poll(cx)
    }
}

struct Exchange<'a> {
    connection: &'a mut Connection,
    request_body: &'a mut Option<RequestBodyWriter>,
    settings: &'a UpstreamSettings,
    /// Bytes of the head that went out.
    sent: usize,
    /// Why nothing more goes out. What the backend said before may still come.
    broken: Option<io::Error>,
    /// Whether anything came.
    heard: bool,
    /// Bytes that are known not to end the head.
    looked_at: usize,
    interim: usize,
    /// When something last moved.
    moved: Instant,
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        self.send(cx)?;
        if let Poll::Ready(answer) = self.poll_answer(cx) {
            self.connection.all_workers_alive =
                self.sent == self.connection.head.len() && self.broken.is_none();
            return Poll::Ready(answer);
        }
        // A long upload is no slow backend: its time to answer counts from the last byte that it took.
        let awaits_client = self.broken.is_none()
            && self
                .request_body
                .as_ref()
                .is_some_and(RequestBodyWriter::awaits_client);
        let (limit, error) = if awaits_client {
            (
                self.settings.body_idle_timeout,
                UpstreamError::RequestStalled,
            )
        } else {
            (
                self.settings.response_timeout,
                UpstreamError::ResponseTimeout,
            )
        };
        ready!(self.connection.timer.poll_until(cx, self.moved + limit));
        Poll::Ready(Err(Failure::Failed(error)))
    }

    /// Sends what can be sent now.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while self.broken.is_none() {
            if let Some(request_body) = &mut self.request_body
                && let Poll::Ready(Err(_)) = request_body.poll_fill(cx)
            {
                return Err(Failure::Failed(UpstreamError::RequestBroke));
            }
            let Some(written) = self.write(cx) else { break };
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(count @ 1..)) => self.went_out(count),
                Poll::Ready(failed) => {
                    let error = failed
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    if self.sent == 0 {
                        let error = UpstreamError::BrokeOff(error);
                        // A record may have gone out in the very call that failed.
                        let is_sure = !self.connection.socket.is_tls();
                        return Err(if is_sure {
                            Failure::Unsent(error)
                        } else {
                            Failure::Unanswered(error)
                        });
                    }
                    self.broken = Some(error);
                }
            }
        }
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = Pin::new(&mut self.connection.socket).poll_flush(cx)
        {
            self.broken = Some(error);
        }
        Ok(())
    }

    /// `None`: there is nothing to send now.
    fn write(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        let head = self.connection.head.get(self.sent..).unwrap_or_default();
        let socket = Pin::new(&mut self.connection.socket);
        match &self.request_body {
            None if head.is_empty() => None,
            None => Some(socket.poll_write(cx, head)),
            Some(request_body) => {
                let [frame, piece, tail] = request_body.parts();
                let parts = [IoSlice::new(head), frame, piece, tail];
                let some = parts.iter().any(|part| !part.is_empty());
                some.then(|| socket.poll_write_vectored(cx, &parts))
            }
        }
    }

    fn went_out(&mut self, count: usize) {
        let of_head = count.min(self.connection.head.len() - self.sent);
        self.sent += of_head;
        if let Some(request_body) = &mut self.request_body {
            request_body.advance(count - of_head);
            self.moved = Instant::now();
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        loop {
            if let Some(end) = end_of_head(&self.connection.read, self.looked_at) {
                let bytes = self.connection.read.split_to(end).freeze();
                self.looked_at = 0;
                let head = ResponseHead::parse(&bytes).map_err(bad)?;
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
                {
                    return Poll::Ready(Ok(head));
                }
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(bad("it has too many interim answers".to_owned())));
                }
                continue;
            }
            self.looked_at = self.connection.read.len();
            if self.looked_at >= self.settings.max_header_bytes {
                return Poll::Ready(Err(bad("its head is too large".to_owned())));
            }
            match ready!(self.connection.poll_more(cx, ROOM)) {
                Ok(1..) => self.heard = true,
                end => return Poll::Ready(Err(self.broke_off(end.err()))),
            }
        }
    }

    fn broke_off(&mut self, error: Option<io::Error>) -> Failure {
        let error = error
            .or_else(|| self.broken.take())
            .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        let error = UpstreamError::BrokeOff(error);
        if self.heard {
            Failure::Failed(error)
        } else {
            Failure::Unanswered(error)
        }
    }
}

fn bad(reason: String) -> Failure {
    Failure::Failed(UpstreamError::BadResponse(reason))
}
