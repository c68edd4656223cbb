//! The bodies of one stream: the request's with trailers that were judged, and the answer's, which holds its place on
//! the connection until its end and notices silence.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::outgoing::{Outgoing, Progress};
use super::pool::OpenStream;
use crate::types::body::BodyError;
use crate::upstream::target::UpstreamPlan;
use crate::upstream::trailers::{self, Toward};

/// A request's body on its way out.
pub(in crate::upstream) struct Sending {
    body: Outgoing,
    plan: Arc<UpstreamPlan>,
}

impl Sending {
    pub(super) fn new(body: Outgoing, plan: &Arc<UpstreamPlan>) -> Self {
        Self {
            body,
            plan: Arc::clone(plan),
        }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(judged(next, &self.plan, Toward::Backend))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body.
pub(super) struct Answer {
    incoming: Incoming,
    stream: OpenStream,
    plan: Arc<UpstreamPlan>,
    takes_trailers: bool,
    /// Of the request, which may go on while the answer comes.
    progress: Option<Arc<Progress>>,
    limit: Duration,
    moved: Instant,
    /// Left running while data flows, and set anew only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    pub(super) fn new(
        incoming: Incoming,
        stream: OpenStream,
        plan: &Arc<UpstreamPlan>,
        progress: Option<Arc<Progress>>,
        takes_trailers: bool,
    ) -> Self {
        let limit = plan
            .settings
            .body_idle_timeout
            .max(plan.settings.response_timeout);
        let (plan, moved) = (Arc::clone(plan), Instant::now());
        Self {
            incoming,
            stream,
            plan,
            takes_trailers,
            progress,
            limit,
            moved,
            timer: None,
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        loop {
            let silence = self
                .progress
                .as_ref()
                .map_or(Duration::MAX, |progress| progress.idle());
            let silence = silence.min(self.moved.elapsed());
            let Some(left) = self
                .limit
                .checked_sub(silence)
                .filter(|left| !left.is_zero())
            else {
                return Poll::Ready(BodyError::Stalled);
            };
            let deadline = Instant::now() + left;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(deadline);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_stalled(cx).map(|error| Some(Err(error)));
        };
        self.moved = Instant::now();
        self.stream.heard();
        if next.is_none() && !self.incoming.is_end_stream() {
            // A stream that was reset without an error looks as if it had ended (RFC 9113 section 8.1).
            return Poll::Ready(Some(Err(BodyError::CutShort)));
        }
        let next = next.map(|frame| frame.map_err(BodyError::Stream));
        let unwanted =
            !self.takes_trailers && matches!(&next, Some(Ok(frame)) if frame.is_trailers());
        Poll::Ready(if unwanted {
            None
        } else {
            judged(next, &self.plan, Toward::Client)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

type Next = Option<Result<Frame<Bytes>, BodyError>>;

/// Data as it is; of trailers what may pass.
fn judged(next: Next, plan: &UpstreamPlan, toward: Toward) -> Next {
    match next?.map(Frame::into_trailers) {
        Ok(Ok(trailers)) => match trailers::clean(trailers, &plan.headers, toward) {
            Ok(trailers) => Some(trailers)
                .filter(|trailers: &HeaderMap| !trailers.is_empty())
                .map(|t| Ok(Frame::trailers(t))),
            Err(error) => Some(Err(error)),
        },
        Ok(Err(data)) => Some(Ok(data)),
        Err(error) => Some(Err(error)),
    }
}
