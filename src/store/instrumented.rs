//! A store wrapper that counts and times calls, and logs its outages.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use prometheus::{Histogram, IntCounter, IntGauge};

use super::{
    Claim, Claimed, Cursor, LogBatch, LogEntry, LogLimits, LogState, Store, StoreError,
    StoreFuture, StoreTime,
};
use crate::outage::OutageLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_scope::{Dependency, record_call};
use crate::types::time::Timestamp;

/// A store with metrics.
#[derive(Debug)]
pub struct InstrumentedStore {
    store: Arc<dyn Store>,
    metrics: Arc<StoreMetrics>,
}

/// The metrics of all stores in a process, which share one backend.
#[derive(Debug)]
pub struct StoreMetrics {
    calls: [CallMetrics; 12],
    in_flight: IntGauge,
    up: IntGauge,
    /// Whether the last call succeeded. Unset before the first call.
    is_up: OnceLock<AtomicBool>,
    outages: OutageLog,
}

#[derive(Debug)]
struct CallMetrics {
    ok: IntCounter,
    full: IntCounter,
    unavailable: IntCounter,
    duration: Histogram,
}

/// The calls, in the order of [`StoreMetrics::calls`].
#[derive(Clone, Copy, Debug)]
enum Call {
    Get,
    Put,
    PutIfAbsent,
    CompareAndSwap,
    Remove,
    Append,
    Expire,
    Claim,
    Publish,
    ReadSince,
    LogState,
    Compact,
}

impl Call {
    const ALL: [Self; 12] = [
        Self::Get,
        Self::Put,
        Self::PutIfAbsent,
        Self::CompareAndSwap,
        Self::Remove,
        Self::Append,
        Self::Expire,
        Self::Claim,
        Self::Publish,
        Self::ReadSince,
        Self::LogState,
        Self::Compact,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::PutIfAbsent => "put_if_absent",
            Self::CompareAndSwap => "compare_and_swap",
            Self::Remove => "remove",
            Self::Append => "append",
            Self::Expire => "expire",
            Self::Claim => "claim",
            Self::Publish => "publish",
            Self::ReadSince => "read_since",
            Self::LogState => "log_state",
            Self::Compact => "compact",
        }
    }
}

impl StoreMetrics {
    /// Registers the series of all calls.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        let calls = Call::ALL.map(|call| {
            let call = call.name();
            let counter = |outcome| metrics.store_calls.with_label_values(&[call, outcome]);
            CallMetrics {
                ok: counter("ok"),
                full: counter(StoreError::Full.code()),
                unavailable: counter(StoreError::Unavailable(String::new()).code()),
                duration: metrics.store_call_duration.with_label_values(&[call]),
            }
        });
        Arc::new(Self {
            calls,
            in_flight: metrics.store_calls_in_flight.clone(),
            up: metrics.store_up.clone(),
            is_up: OnceLock::new(),
            outages: OutageLog::new("store", ""),
        })
    }

    const fn of(&self, call: Call) -> &CallMetrics {
        let [
            get,
            put,
            put_if_absent,
            compare_and_swap,
            remove,
            append,
            expire,
            claim,
            publish,
            read_since,
            log_state,
            compact,
        ] = &self.calls;
        match call {
            Call::Get => get,
            Call::Put => put,
            Call::PutIfAbsent => put_if_absent,
            Call::CompareAndSwap => compare_and_swap,
            Call::Remove => remove,
            Call::Append => append,
            Call::Expire => expire,
            Call::Claim => claim,
            Call::Publish => publish,
            Call::ReadSince => read_since,
            Call::LogState => log_state,
            Call::Compact => compact,
        }
    }

    /// Updates the availability. A full store is available.
    fn update_up(&self, error: Option<&StoreError>) {
        let is_up = !matches!(error, Some(StoreError::Unavailable(_)));
        self.up.set(i64::from(is_up));
        self.is_up
            .get_or_init(|| AtomicBool::new(is_up))
            .store(is_up, Ordering::Relaxed);
        match error {
            Some(error) => self.outages.failed(error.code(), error),
            None => self.outages.succeeded(),
        }
    }
}

impl InstrumentedStore {
    /// Adds `metrics` to `store`.
    pub const fn new(store: Arc<dyn Store>, metrics: Arc<StoreMetrics>) -> Self {
        Self { store, metrics }
    }

    fn instrumented<'a, T: Send + 'a>(
        &'a self,
        call: Call,
        future: StoreFuture<'a, T>,
    ) -> StoreFuture<'a, T> {
        Box::pin(self.measure(call, future))
    }

    async fn measure<T>(
        &self,
        call: Call,
        future: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let metrics = self.metrics.of(call);
        let started = Instant::now();
        let in_flight = InFlight::begin(&self.metrics.in_flight);
        let result = future.await;
        drop(in_flight);
        let took = started.elapsed();
        record_call(Dependency::Store, call.name(), took);
        metrics.duration.observe(took.as_secs_f64());
        match &result {
            Ok(_) => metrics.ok.inc(),
            Err(StoreError::Full) => metrics.full.inc(),
            Err(StoreError::Unavailable(_)) => metrics.unavailable.inc(),
        }
        self.metrics.update_up(result.as_ref().err());
        result
    }
}

/// Counts a call in flight until it is dropped.
struct InFlight<'g>(&'g IntGauge);

impl<'g> InFlight<'g> {
    fn begin(gauge: &'g IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Store for InstrumentedStore {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> StoreFuture<'a, Option<Bytes>> {
        self.instrumented(Call::Get, self.store.get(key, now))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        self.instrumented(Call::Put, self.store.put(key, value, ends_at, now))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Option<Bytes>> {
        self.instrumented(
            Call::PutIfAbsent,
            self.store.put_if_absent(key, value, ends_at, now),
        )
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        before: &'a [u8],
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        self.instrumented(
            Call::CompareAndSwap,
            self.store
                .compare_and_swap(key, before, value, ends_at, now),
        )
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        value: &'a [u8],
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        self.instrumented(Call::Remove, self.store.remove(key, value, now))
    }

    fn append<'a>(
        &'a self,
        key: &'a str,
        part: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Bytes> {
        self.instrumented(Call::Append, self.store.append(key, part, ends_at, now))
    }

    fn expire<'a>(
        &'a self,
        key: &'a str,
        prefix: &'a [u8],
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        self.instrumented(Call::Expire, self.store.expire(key, prefix, ends_at, now))
    }

    fn claim<'a>(
        &'a self,
        claim: Claim<'a>,
        others: [&'a str; 2],
        now: Timestamp,
    ) -> StoreFuture<'a, Claimed> {
        self.instrumented(Call::Claim, self.store.claim(claim, others, now))
    }

    fn publish(&self, entries: Vec<LogEntry>, now: Timestamp) -> StoreFuture<'_, ()> {
        self.instrumented(Call::Publish, self.store.publish(entries, now))
    }

    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch> {
        self.instrumented(Call::ReadSince, self.store.read_since(since, now))
    }

    fn log_state<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogState> {
        self.instrumented(Call::LogState, self.store.log_state(since, now))
    }

    fn time_bound(&self, now: Timestamp) -> Option<StoreTime> {
        self.store.time_bound(now)
    }

    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        entries: Vec<LogEntry>,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        self.instrumented(Call::Compact, self.store.compact(until, entries, now))
    }

    fn is_up(&self) -> Option<bool> {
        let is_up = self.metrics.is_up.get()?;
        Some(is_up.load(Ordering::Relaxed))
    }

    fn held(&self) -> Option<usize> {
        self.store.held()
    }

    fn set_log_limits(&self, limits: LogLimits) {
        self.store.set_log_limits(limits);
    }

    fn sweep(&self, now: Timestamp) {
        self.store.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LogLimits, Memory, Redis, RedisNode, RedisSettings, Topology};

    const NOW: Timestamp = Timestamp::from_secs(1);
    const LATER: Timestamp = Timestamp::from_secs(2);

    #[tokio::test]
    async fn calls_are_counted_by_outcome() {
        let metrics = Metrics::new().unwrap();
        let store = InstrumentedStore::new(Arc::new(Memory::new(1)), StoreMetrics::new(&metrics));
        store.put("a", Bytes::new(), LATER, NOW).await.unwrap();
        store.put("b", Bytes::new(), LATER, NOW).await.unwrap_err();
        store
            .put_if_absent("a", Bytes::new(), LATER, NOW)
            .await
            .unwrap();
        store.get("a", NOW).await.unwrap();
        store.get("b", NOW).await.unwrap();
        store
            .compare_and_swap("a", b"", Bytes::new(), LATER, NOW)
            .await
            .unwrap();
        store.remove("a", b"", NOW).await.unwrap();
        store
            .publish(
                vec![LogEntry {
                    value: Bytes::new(),
                    ends_at: LATER,
                }],
                NOW,
            )
            .await
            .unwrap();
        let batch = store.read_since(&Cursor::default(), NOW).await.unwrap();
        store.compact(&batch.cursor, Vec::new(), NOW).await.unwrap();
        let text = metrics.text().unwrap();
        for (call, outcome, times) in [
            ("put", "ok", 1),
            ("put", "store_full", 1),
            ("put_if_absent", "ok", 1),
            ("get", "ok", 2),
            ("compare_and_swap", "ok", 1),
            ("remove", "ok", 1),
            ("publish", "ok", 1),
            ("read_since", "ok", 1),
            ("compact", "ok", 1),
            ("get", "store_unavailable", 0),
        ] {
            let line = format!(
                "doorward_store_calls_total{{call=\"{call}\",outcome=\"{outcome}\"}} {times}\n"
            );
            assert!(text.contains(&line), "{line} is not in:\n{text}");
        }
        assert!(
            text.contains("doorward_store_call_duration_seconds_count{call=\"put\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("doorward_store_up 1\n")
                && text.contains("doorward_store_calls_in_flight 0\n"),
            "{text}"
        );
        assert_eq!(store.held(), Some(0));
    }

    #[tokio::test]
    async fn unreachable_store_is_down() {
        // Port 0 refuses connections.
        let settings = RedisSettings {
            nodes: vec![RedisNode {
                host: "127.0.0.1".to_owned(),
                port: 0,
            }],
            topology: Topology::Single,
            tls: None,
            login: None,
            database: 0,
            key_prefix: "test:".to_owned(),
            timeout: std::time::Duration::from_secs(5),
        };
        let limits = LogLimits {
            max_lifetime: std::time::Duration::from_secs(1),
            max_entries: 1,
        };
        let metrics = Metrics::new().unwrap();
        let redis = Redis::new(&settings, "test", 1, limits).unwrap();
        let store = InstrumentedStore::new(Arc::new(redis), StoreMetrics::new(&metrics));
        store.get("a", NOW).await.unwrap_err();
        let text = metrics.text().unwrap();
        assert!(text.contains("doorward_store_up 0\n"), "{text}");
        assert!(
            text.contains(
                "doorward_store_calls_total{call=\"get\",outcome=\"store_unavailable\"} 1\n"
            ),
            "{text}"
        );
    }

    #[tokio::test]
    async fn cancelled_call_is_not_in_flight() {
        let metrics = Metrics::new().unwrap();
        let store = InstrumentedStore::new(Arc::new(Memory::new(1)), StoreMetrics::new(&metrics));
        {
            let begun = store.measure(Call::Get, std::future::pending::<Result<(), StoreError>>());
            let mut begun = std::pin::pin!(begun);
            tokio::select! {
                biased;
                _ = &mut begun => panic!("it never ends"),
                () = std::future::ready(()) => {}
            }
            assert_eq!(metrics.store_calls_in_flight.get(), 1);
        }
        assert_eq!(metrics.store_calls_in_flight.get(), 0);
    }
}
