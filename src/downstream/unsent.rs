//! Unsent response data of one connection. It counts in the byte budget from the moment that it is
//! produced until the socket has taken it. A client whose share is exhausted gets no further data
//! before it has read what its connection holds.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::limits::{ByteBudget, ClientKey};
use crate::lock::lock;
use crate::types::body::{Body, BodyError};

/// The overhead of each chunk, in bytes.
const CHUNK_BYTES: usize = 256;

/// The unsent data of one connection. Clones share it.
#[derive(Clone)]
pub(super) struct UnsentData(Arc<Shared>);

struct Shared {
    budget: Arc<ByteBudget>,
    client: Option<ClientKey>,
    bytes: AtomicUsize,
    is_awaited: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl UnsentData {
    pub(super) fn new(budget: &Arc<ByteBudget>, client: Option<ClientKey>) -> Self {
        Self(Arc::new(Shared {
            budget: Arc::clone(budget),
            client,
            bytes: AtomicUsize::new(0),
            is_awaited: AtomicBool::new(false),
            waiting: Mutex::default(),
        }))
    }

    /// The unsent data of one response. If the connection is a proxy's and counts for no client, the
    /// data counts for the client of the request, which is an extension of the response.
    pub(super) fn of_response<B>(&self, response: &Response<B>) -> Self {
        match (self.0.client, response.extensions().get::<ClientKey>()) {
            (None, Some(client)) => Self::new(&self.0.budget, Some(*client)),
            (Some(_), _) | (None, None) => self.clone(),
        }
    }

    /// Ready when more data may be produced. That is always so if nothing is unsent, so that each
    /// connection makes progress.
    fn poll_share(&self, cx: &Context<'_>) -> Poll<()> {
        if self.may_produce() {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.0.waiting);
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        self.0.is_awaited.store(true, Ordering::SeqCst);
        drop(waiting);
        // Checked again: bytes sent before the waker was registered did not wake it.
        if self.may_produce() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn may_produce(&self) -> bool {
        let Shared {
            budget,
            client,
            bytes,
            ..
        } = &*self.0;
        bytes.load(Ordering::SeqCst) == 0 || budget.has_share(*client)
    }

    fn count(&self, data: Bytes) -> UnsentBytes {
        UnsentBytes {
            _charge: self.charge(data.len() + CHUNK_BYTES),
            data,
        }
    }

    /// Counts so many bytes.
    pub(super) fn charge(&self, bytes: usize) -> Charge {
        self.take(bytes);
        Charge {
            bytes,
            unsent: self.clone(),
        }
    }

    fn take(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.0.budget.take(self.0.client, bytes);
    }

    fn give_back(&self, sent: usize) {
        let Shared {
            budget,
            client,
            bytes,
            is_awaited,
            waiting,
        } = &*self.0;
        budget.give_back(*client, sent);
        bytes.fetch_sub(sent, Ordering::SeqCst);
        if is_awaited.swap(false, Ordering::SeqCst) {
            let waiting = std::mem::take(&mut *lock(waiting));
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

/// Bytes that count as unsent until this is dropped.
pub(super) struct Charge {
    bytes: usize,
    unsent: UnsentData,
}

impl Charge {
    /// Counts so many bytes instead.
    pub(super) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            self.unsent.take(bytes - before);
        } else if bytes < before {
            self.unsent.give_back(before - bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A chunk of response data, which is unsent until it is dropped.
pub(super) struct UnsentBytes {
    data: Bytes,
    _charge: Charge,
}

impl Buf for UnsentBytes {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

/// A response body whose data counts as unsent.
pub(super) struct CountedBody {
    body: Body,
    unsent: UnsentData,
}

impl CountedBody {
    pub(super) const fn new(body: Body, unsent: UnsentData) -> Self {
        Self { body, unsent }
    }

    /// Tells the body's observer that the client accepted no data for too long.
    pub(super) fn stalled(&mut self) {
        self.body.stalled();
    }

    /// Ready when more data may be produced.
    pub(super) fn poll_share(&self, cx: &Context<'_>) -> Poll<()> {
        self.unsent.poll_share(cx)
    }
}

impl HttpBody for CountedBody {
    type Data = UnsentBytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<UnsentBytes>, BodyError>>> {
        ready!(self.poll_share(cx));
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            Ok(frame.map_data(|data| self.unsent.count(data)))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn data_is_produced_again_once_the_connection_has_sent_its_own() {
        let budget = Arc::new(ByteBudget::new(10_000));
        let client = Some(ClientKey::of_test("a"));
        let connection = || UnsentData::new(&budget, client);
        let (first, second) = (connection(), connection());
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let cx = Context::from_waker(&waker);
        let data = || Bytes::from_static(&[0; 4000]);
        let held = [first.count(data()), first.count(data())];
        assert!(
            first.poll_share(&cx).is_pending(),
            "more than half of the budget"
        );
        assert!(
            second.poll_share(&cx).is_ready(),
            "nothing of this one is unsent"
        );
        let other = UnsentData::new(&budget, Some(ClientKey::of_test("b")));
        let _held = other.count(Bytes::from_static(b"x"));
        assert!(
            other.poll_share(&cx).is_ready(),
            "another client has its share"
        );
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        drop(held);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(first.poll_share(&cx).is_ready());
        assert_eq!(budget.used(), 1 + CHUNK_BYTES);
    }

    #[test]
    fn data_on_a_connection_of_a_proxy_counts_for_the_client_of_the_request() {
        let budget = Arc::new(ByteBudget::new(10_000));
        let (greedy, other) = (ClientKey::of_test("a"), ClientKey::of_test("b"));
        let cx = Context::from_waker(Waker::noop());
        let response = |client| {
            let mut response = Response::new(());
            response.extensions_mut().insert(client);
            response
        };
        let proxy = UnsentData::new(&budget, None);
        let of_greedy = proxy.of_response(&response(greedy));
        let _held = of_greedy.count(Bytes::from_static(&[0; 6000]));
        assert!(of_greedy.poll_share(&cx).is_pending());
        let of_other = proxy.of_response(&response(other));
        let _other = of_other.count(Bytes::from_static(b"x"));
        assert!(of_other.poll_share(&cx).is_ready());
        let direct = UnsentData::new(&budget, Some(other));
        assert_eq!(direct.of_response(&response(greedy)).0.client, Some(other));
    }

    #[tokio::test]
    async fn counted_body_yields_its_data_and_counts_until_it_is_dropped() {
        let budget = Arc::new(ByteBudget::new(10_000));
        let unsent = UnsentData::new(&budget, None);
        let mut body = CountedBody::new(Body::full("hello"), unsent);
        let frame = http_body_util::BodyExt::frame(&mut body).await;
        let mut data = frame.unwrap().unwrap().into_data().ok().unwrap();
        assert!(body.is_end_stream());
        assert_eq!(budget.used(), 5 + CHUNK_BYTES);
        assert_eq!(data.copy_to_bytes(5), "hello");
        drop(data);
        assert_eq!(budget.used(), 0);
    }
}
