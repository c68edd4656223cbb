//! Request scope: the request that the current task works for, so that its events name it, and the calls
//! that were made for it.

use std::cell::{OnceCell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::trace::SpanKind;

use super::spans::{ActiveSpan, EndedSpan};
use crate::types::request_id::RequestId;
use crate::types::trace_context::TraceId;

tokio::task_local! {
    /// Boxed, because it is swapped in and out at each poll.
    static SCOPE: Box<RequestScope>;
}

/// The request that events refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTag {
    /// The request ID.
    pub id: RequestId,
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// The trace, if requests have one.
    pub trace: Option<TraceId>,
}

/// A request and its calls. Only a request that starts a background task allocates the sums.
struct RequestScope {
    request: Option<RequestTag>,
    calls: OnceCell<Arc<CallSums>>,
    /// The span of what the task does now, if the trace is recorded.
    span: RefCell<Option<ActiveSpan>>,
}

/// The time in calls for one request, in nanoseconds.
#[derive(Debug, Default)]
struct CallSums {
    provider: AtomicU64,
    store: AtomicU64,
}

/// The calls of a request besides that to its app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// The provider.
    Provider,
    /// The store.
    Store,
}

/// The time in calls for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// To the provider.
    pub provider: Duration,
    /// To the store.
    pub store: Duration,
}

impl CallTimes {
    /// The sum.
    pub const fn total(self) -> Duration {
        self.provider.saturating_add(self.store)
    }
}

impl RequestScope {
    fn new(request: Option<RequestTag>, span: Option<ActiveSpan>) -> Box<Self> {
        Box::new(Self {
            request,
            calls: OnceCell::new(),
            span: RefCell::new(span),
        })
    }

    fn calls(&self) -> &Arc<CallSums> {
        self.calls.get_or_init(Arc::default)
    }
}

/// Runs `task` for this request, whose span is `span`. Not an `async fn`, whose future would hold `task`
/// twice.
pub fn in_request<F: Future>(
    request: Option<RequestTag>,
    span: Option<ActiveSpan>,
    task: F,
) -> impl Future<Output = F::Output> {
    SCOPE.scope(RequestScope::new(request, span), task)
}

/// Runs `task`, on any runtime, for the request of the caller, whose sums of calls it shares.
pub fn in_same_request<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let scope = SCOPE.try_with(|scope| {
        let inner = RequestScope::new(scope.request, scope.span.borrow().clone());
        if scope.request.is_some() {
            let _ = inner.calls.set(Arc::clone(scope.calls()));
        }
        inner
    });
    SCOPE.scope(
        scope.unwrap_or_else(|_| RequestScope::new(None, None)),
        task,
    )
}

/// The request that the current task works for.
pub fn current_request() -> Option<RequestTag> {
    SCOPE.try_with(|scope| scope.request).ok().flatten()
}

/// A span of the current task, until it is dropped.
#[derive(Debug)]
#[must_use = "the span ends with it"]
pub struct EnteredSpan {
    name: &'static str,
    span: ActiveSpan,
    parent: Option<ActiveSpan>,
    started: Instant,
}

/// Begins a span within the current one. `None` if the trace is not recorded. Spans end in the reverse
/// order of their beginnings.
pub fn enter_span(name: &'static str) -> Option<EnteredSpan> {
    let entered = SCOPE.try_with(|scope| {
        let mut current = scope.span.borrow_mut();
        let span = current.as_ref()?.child();
        let parent = current.replace(span.clone());
        Some(EnteredSpan {
            name,
            span,
            parent,
            started: Instant::now(),
        })
    });
    entered.ok().flatten()
}

impl Drop for EnteredSpan {
    fn drop(&mut self) {
        let parent = self.parent.take();
        let _ = SCOPE.try_with(|scope| scope.span.replace(parent));
        let ended = EndedSpan::now(self.name, SpanKind::Internal, self.started.elapsed());
        self.span.clone().end(ended);
    }
}

/// Adds a call that ended, or a wait for one, to those of the current request. `name` is that of its span.
pub fn record_call(to: Dependency, name: &'static str, duration: Duration) {
    let _ = SCOPE.try_with(|scope| {
        if scope.request.is_none() {
            return;
        }
        let calls = scope.calls();
        let sum = match to {
            Dependency::Provider => &calls.provider,
            Dependency::Store => &calls.store,
        };
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        sum.fetch_add(nanos, Ordering::Relaxed);
        if let Some(span) = &*scope.span.borrow() {
            let name = match to {
                Dependency::Provider => format!("provider {name}"),
                Dependency::Store => format!("store {name}"),
            };
            span.child()
                .end(EndedSpan::now(name, SpanKind::Client, duration));
        }
    });
}

/// The calls that were made for the current request.
pub fn call_times() -> CallTimes {
    let sums = SCOPE.try_with(|scope| {
        scope.calls.get().map(|sums| CallTimes {
            provider: Duration::from_nanos(sums.provider.load(Ordering::Relaxed)),
            store: Duration::from_nanos(sums.store.load(Ordering::Relaxed)),
        })
    });
    sums.ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> RequestTag {
        RequestTag {
            id: RequestId::new(7),
            client: None,
            trace: None,
        }
    }

    #[tokio::test]
    async fn calls_of_background_tasks_belong_to_the_request() {
        let times = in_request(Some(tag()), None, async {
            assert_eq!(call_times(), CallTimes::default());
            let task = in_same_request(async {
                record_call(Dependency::Store, "get", Duration::from_millis(2));
                record_call(Dependency::Provider, "token", Duration::from_millis(30));
                current_request()
            });
            assert_eq!(tokio::spawn(task).await.unwrap(), Some(tag()));
            record_call(Dependency::Store, "get", Duration::from_millis(1));
            call_times()
        });
        let expected = CallTimes {
            provider: Duration::from_millis(30),
            store: Duration::from_millis(3),
        };
        assert_eq!(times.await, expected);
        assert_eq!(call_times(), CallTimes::default());
    }

    #[tokio::test]
    async fn tasks_without_a_request_sum_nothing() {
        in_same_request(async {
            record_call(Dependency::Store, "get", Duration::from_millis(2));
            assert_eq!(
                (current_request(), call_times()),
                (None, CallTimes::default())
            );
        })
        .await;
    }
}
