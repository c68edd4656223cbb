//! The body on its way to the backend, and who is waiting for whom. A long upload is no slow backend: the time to
//! answer counts from the last byte that the backend took, and a client that stopped sending is named as such.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::types::body::{Body, BodyError};

/// A request body whose progress is seen.
pub(super) struct Outgoing {
    body: Body,
    progress: Option<Arc<Progress>>,
}

/// How far a request body is.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    /// Milliseconds after `start` at which the body last moved.
    moved: AtomicU64,
    awaits_client: AtomicBool,
    broke: AtomicBool,
}

impl Outgoing {
    pub(super) fn empty() -> Self {
        Self {
            body: Body::empty(),
            progress: None,
        }
    }

    pub(super) fn new(body: Body) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress {
            start: Instant::now(),
            moved: AtomicU64::new(0),
            awaits_client: AtomicBool::new(false),
            broke: AtomicBool::new(false),
        });
        (
            Self {
                body,
                progress: Some(Arc::clone(&progress)),
            },
            progress,
        )
    }
}

impl Progress {
    /// Whether the client's side failed.
    pub(super) fn broke(&self) -> bool {
        self.broke.load(Ordering::Relaxed)
    }

    /// Whether the client is the one that is waited for.
    pub(super) fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    /// How long nothing has moved.
    pub(super) fn idle(&self) -> Duration {
        self.start
            .elapsed()
            .saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed)))
    }

    fn note(&self, polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) {
        self.awaits_client
            .store(polled.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(next) = polled {
            let moved = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.moved.store(moved, Ordering::Relaxed);
            self.broke
                .store(matches!(next, Some(Err(_))), Ordering::Relaxed);
        }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(progress) = &self.progress {
            progress.note(&polled);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
