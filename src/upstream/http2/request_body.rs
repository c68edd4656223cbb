//! HTTP/2 request body. Its progress starts the response timeout and tells a client that stops
//! sending from a slow backend. Its first bytes are kept until the response head, so that a request
//! which the backend did not process can be sent again.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::lock::lock;
use crate::types::body::{Body, BodyError};
use crate::upstream::target::UpstreamPlan;
use crate::upstream::trailers::{self, Receiver};

/// Maximum number of bytes that are kept of one request body.
const MAX_KEPT: usize = 64 * 1024;
/// Maximum number of bytes that one worker keeps of all request bodies to one backend. Bodies
/// beyond it are sent once only.
const MAX_KEPT_IN_ALL: usize = 8 * 1024 * 1024;

/// The request body of one attempt. Its trailers are filtered.
pub(in crate::upstream) struct RequestBody {
    /// `None` if the body is empty.
    upload: Option<Reading>,
}

/// The upload as one attempt reads it.
struct Reading {
    upload: Arc<Upload>,
    /// The number of this attempt.
    attempt: u32,
    /// The number of kept frames that this attempt has sent.
    replayed: usize,
}

/// A client's request body, over all attempts to send it.
#[derive(Debug)]
pub(super) struct Upload {
    plan: Arc<UpstreamPlan>,
    source: Mutex<Source>,
    budget: ReplayBudget,
    start: Instant,
    /// Milliseconds after `start` at which the body last made progress.
    last: AtomicU64,
    awaits_client: AtomicBool,
    aborted: AtomicBool,
}

#[derive(Debug)]
struct Source {
    body: Body,
    /// All frames of the body so far, if `is_kept`.
    kept: Vec<KeptFrame>,
    kept_bytes: usize,
    is_kept: bool,
    /// The number of the latest attempt. Earlier ones must not read any more.
    attempt: u32,
    /// Whether that attempt still exists.
    is_read: bool,
}

#[derive(Clone, Debug)]
enum KeptFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// The number of bytes that are kept of all request bodies of one pool.
#[derive(Clone, Debug, Default)]
pub(in crate::upstream) struct ReplayBudget(Arc<AtomicUsize>);

impl ReplayBudget {
    fn reserve(&self, bytes: usize) -> bool {
        let reserved = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes)
                    .filter(|used| *used <= MAX_KEPT_IN_ALL)
            });
        reserved.is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The number of reserved bytes.
    #[cfg(test)]
    pub(in crate::upstream) fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    pub(super) const fn empty() -> Self {
        Self { upload: None }
    }
}

impl Upload {
    /// The upload, and the body of the first attempt.
    pub(super) fn new(
        body: Body,
        plan: &Arc<UpstreamPlan>,
        budget: ReplayBudget,
    ) -> (Arc<Self>, RequestBody) {
        let upload = Arc::new(Self {
            plan: Arc::clone(plan),
            source: Mutex::new(Source {
                body,
                kept: Vec::new(),
                kept_bytes: 0,
                is_kept: true,
                attempt: 0,
                is_read: true,
            }),
            budget,
            start: Instant::now(),
            last: AtomicU64::new(0),
            awaits_client: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
        });
        let body = upload.body(0);
        (upload, body)
    }

    fn body(self: &Arc<Self>, attempt: u32) -> RequestBody {
        RequestBody {
            upload: Some(Reading {
                upload: Arc::clone(self),
                attempt,
                replayed: 0,
            }),
        }
    }

    /// The body of another attempt, from its first byte. `None` if that was not kept. Earlier
    /// attempts cannot read any more.
    pub(super) fn attempt(self: &Arc<Self>) -> Option<RequestBody> {
        let mut source = lock(&self.source);
        if !source.is_kept || self.aborted() {
            return None;
        }
        source.attempt += 1;
        source.is_read = true;
        Some(self.body(source.attempt))
    }

    /// Discards what was kept: the request will not be sent again.
    pub(super) fn stop_keeping(&self) {
        let mut source = lock(&self.source);
        source.discard(&self.budget);
        if !source.is_read {
            source.body = Body::empty();
        }
    }

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

    fn record<T>(&self, polled: &Poll<Option<Result<T, BodyError>>>) {
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

impl Drop for Upload {
    fn drop(&mut self) {
        lock(&self.source).discard(&self.budget);
    }
}

impl Source {
    fn keep(&mut self, frame: &Frame<Bytes>, budget: &ReplayBudget) {
        if !self.is_kept {
            return;
        }
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => {
                let fits = self.kept_bytes + data.len() <= MAX_KEPT;
                if !fits || !budget.reserve(data.len()) {
                    return self.discard(budget);
                }
                self.kept_bytes += data.len();
                KeptFrame::Data(data.clone())
            }
            (None, Some(trailers)) => KeptFrame::Trailers(trailers.clone()),
            (None, None) => return,
        };
        self.kept.push(kept);
    }

    fn discard(&mut self, budget: &ReplayBudget) {
        self.is_kept = false;
        self.kept = Vec::new();
        budget.release(std::mem::take(&mut self.kept_bytes));
    }
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = lock(&self.upload.source);
        if source.attempt != self.attempt {
            // A stream that failed, and whose end the library has not seen yet.
            return Poll::Ready(Some(Err(BodyError::CutShort)));
        }
        if let Some(frame) = source.kept.get(self.replayed) {
            self.replayed += 1;
            let frame = match frame.clone() {
                KeptFrame::Data(data) => Frame::data(data),
                KeptFrame::Trailers(trailers) => Frame::trailers(trailers),
            };
            let polled = Poll::Ready(Some(Ok(frame)));
            self.upload.record(&polled);
            return polled;
        }
        let polled = Pin::new(&mut source.body).poll_frame(cx);
        self.upload.record(&polled);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            source.keep(frame, &self.upload.budget);
            self.replayed = source.kept.len();
        }
        polled
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut source = lock(&self.upload.source);
        if source.attempt == self.attempt {
            source.is_read = false;
            if !source.is_kept {
                // Nobody reads the rest.
                source.body = Body::empty();
            }
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
        let Some(reading) = &mut self.upload else {
            return Poll::Ready(None);
        };
        let frame = ready!(reading.poll(cx));
        Poll::Ready(trailers::filter_frame(
            frame,
            &reading.upload.plan.headers,
            Receiver::Backend,
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.upload.as_ref().is_none_or(|reading| {
            let source = lock(&reading.upload.source);
            reading.replayed >= source.kept.len() && source.body.is_end_stream()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(reading) = &self.upload else {
            return SizeHint::with_exact(0);
        };
        let source = lock(&reading.upload.source);
        if source.kept.len() > reading.replayed {
            // The length of a replayed body is in its head, if it is known.
            return SizeHint::default();
        }
        source.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::upstream::{HeaderPolicy, UpstreamSettings};

    fn upload(body: Body, budget: &ReplayBudget) -> (Arc<Upload>, RequestBody) {
        let settings = UpstreamSettings::at("http://127.0.0.1:1".parse().unwrap());
        let plan = UpstreamPlan::new("store", settings, HeaderPolicy::new([], &[])).unwrap();
        Upload::new(body, &plan, budget.clone())
    }

    async fn read(body: RequestBody) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn kept_body_is_read_from_its_start_by_each_attempt() {
        let budget = ReplayBudget::default();
        let (upload, mut body) = upload(Body::full("hello"), &budget);
        for _ in 0..3 {
            assert_eq!(read(body).await, "hello");
            assert_eq!(budget.used(), 5);
            body = upload.attempt().unwrap();
        }
        upload.stop_keeping();
        assert_eq!(budget.used(), 0);
        assert!(upload.attempt().is_none());
    }

    #[tokio::test]
    async fn earlier_attempt_cannot_read_any_more() {
        let (upload, mut first) = upload(Body::full("hello"), &ReplayBudget::default());
        let second = upload.attempt().unwrap();
        assert!(first.frame().await.unwrap().is_err());
        assert!(!upload.aborted(), "the client did nothing wrong");
        drop(first);
        assert_eq!(read(second).await, "hello");
    }

    #[tokio::test]
    async fn large_body_is_sent_once() {
        let budget = ReplayBudget::default();
        let (large, body) = upload(Body::full(vec![b'x'; MAX_KEPT + 1]), &budget);
        assert_eq!(read(body).await.len(), MAX_KEPT + 1);
        assert!(large.attempt().is_none());
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn bodies_beyond_the_budget_are_sent_once() {
        let budget = ReplayBudget::default();
        let mut kept = Vec::new();
        for _ in 0..MAX_KEPT_IN_ALL / MAX_KEPT {
            let (upload, body) = upload(Body::full(vec![b'x'; MAX_KEPT]), &budget);
            read(body).await;
            kept.push(upload);
        }
        let (one_more, body) = upload(Body::full("hello"), &budget);
        assert_eq!(read(body).await, "hello");
        assert!(one_more.attempt().is_none());
        drop(kept);
        assert_eq!(budget.used(), 0);
    }
}
