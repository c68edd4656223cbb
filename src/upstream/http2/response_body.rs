//! HTTP/2 response body: holds its stream on the connection until its end, filters trailers, and
//! detects a stalled backend.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::pool::OpenStream;
use super::request_body::Upload;
use crate::types::body::BodyError;
use crate::upstream::target::UpstreamPlan;
use crate::upstream::trailers::{self, Receiver};

/// A response body.
pub(super) struct ResponseBody {
    incoming: Incoming,
    stream: OpenStream,
    plan: Arc<UpstreamPlan>,
    accepts_trailers: bool,
    /// The request body, which may still be sent.
    upload: Option<Arc<Upload>>,
    idle_timeout: Duration,
    last_frame: Instant,
    /// Not reset by each frame, only when it fires early.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        stream: OpenStream,
        plan: &Arc<UpstreamPlan>,
        upload: Option<Arc<Upload>>,
        accepts_trailers: bool,
    ) -> Self {
        let idle_timeout = plan
            .settings
            .body_idle_timeout
            .max(plan.settings.response_timeout);
        Self {
            incoming,
            stream,
            plan: Arc::clone(plan),
            accepts_trailers,
            upload,
            idle_timeout,
            last_frame: Instant::now(),
            timer: None,
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        loop {
            let upload_idle = self
                .upload
                .as_ref()
                .map_or(Duration::MAX, |upload| upload.idle());
            let idle = upload_idle.min(self.last_frame.elapsed());
            let Some(remaining) = self
                .idle_timeout
                .checked_sub(idle)
                .filter(|remaining| !remaining.is_zero())
            else {
                return Poll::Ready(BodyError::Stalled);
            };
            let deadline = Instant::now() + remaining;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(deadline);
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_stalled(cx).map(|error| Some(Err(error)));
        };
        self.last_frame = Instant::now();
        self.stream.record_received();
        if next.is_none() && !self.incoming.is_end_stream() {
            // hyper reports a stream reset with NO_ERROR as the end of the body (RFC 9113 section
            // 8.1).
            return Poll::Ready(Some(Err(BodyError::CutShort)));
        }
        let next = next.map(|frame| frame.map_err(BodyError::Stream));
        let ends_with_trailers =
            !self.accepts_trailers && matches!(&next, Some(Ok(frame)) if frame.is_trailers());
        Poll::Ready(if ends_with_trailers {
            None
        } else {
            trailers::filter_frame(next, &self.plan.headers, Receiver::Client)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
