//! HTTP/2 request body with progress tracking. The response timeout starts with the last byte that
//! the backend accepted, and a client that stops sending is told apart from a slow backend.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::types::body::{Body, BodyError};
use crate::upstream::target::UpstreamPlan;
use crate::upstream::trailers::{self, Receiver};

/// A request body whose trailers are filtered.
pub(in crate::upstream) struct RequestBody {
    body: Body,
    /// `None` if the body is empty.
    progress: Option<Arc<UploadProgress>>,
    plan: Arc<UpstreamPlan>,
}

/// Progress of a request body.
#[derive(Debug)]
pub(super) struct UploadProgress {
    start: Instant,
    /// Milliseconds after `start` at which the body last made progress.
    last: AtomicU64,
    awaits_client: AtomicBool,
    aborted: AtomicBool,
}

impl RequestBody {
    pub(super) fn empty(plan: &Arc<UpstreamPlan>) -> Self {
        Self {
            body: Body::empty(),
            progress: None,
            plan: Arc::clone(plan),
        }
    }

    pub(super) fn tracked(body: Body, plan: &Arc<UpstreamPlan>) -> (Self, Arc<UploadProgress>) {
        let progress = Arc::new(UploadProgress {
            start: Instant::now(),
            last: AtomicU64::new(0),
            awaits_client: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
        });
        let body = Self {
            body,
            progress: Some(Arc::clone(&progress)),
            plan: Arc::clone(plan),
        };
        (body, progress)
    }
}

impl UploadProgress {
    /// Whether the client aborted the body.
    pub(super) fn aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Whether the body waits for the client.
    pub(super) fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    /// The time since the last progress.
    pub(super) fn idle(&self) -> Duration {
        self.start
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    fn record(&self, polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) {
        self.awaits_client
            .store(polled.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(next) = polled {
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last.store(now, Ordering::Relaxed);
            self.aborted
                .store(matches!(next, Some(Err(_))), Ordering::Relaxed);
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(progress) = &self.progress {
            progress.record(&polled);
        }
        let frame = ready!(polled);
        Poll::Ready(trailers::filter_frame(
            frame,
            &self.plan.headers,
            Receiver::Backend,
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
