//! Limits of the requests in flight: the concurrency limits of the server and of each app, the pool
//! that reads the bodies of Doorward's own endpoints, and the byte budget.
//!
//! A request counts until its response head is known. Streams such as WebSockets, server-sent
//! events and long downloads therefore do not occupy a concurrency limit. An upload counts only
//! while it arrives: if it stalls, it gives its slot to a request that waits for one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::request_body::{BodyLimits, ReadBodyError, read_body_limited};
use crate::limits::{
    ByClient, ByteBudget, ClientKey, ClientLimit, ConcurrencyLimiter, InFlightGuard, LimitExceeded,
    LimiterSettings, UploadProgress,
};
use crate::types::body::Body;

/// The memory of a request besides its head, in bytes.
pub(super) const REQUEST_BYTES: usize = 8 * 1024;

/// Limits of the bodies that are read for Doorward's own endpoints. Each is small, and has a
/// timeout.
const BODY_READS: LimiterSettings = LimiterSettings {
    max_in_flight: 512,
    max_queued: 512,
    queue_timeout: Duration::from_secs(5),
};

/// The limiters that all workers share. A limiter whose settings a reload does not change is kept,
/// with its requests in flight.
#[derive(Debug)]
pub struct Limiters {
    /// Limits all requests.
    pub server: Arc<ConcurrencyLimiter>,
    /// Limit the requests of one app each, by app index.
    pub apps: Vec<AppLimiters>,
    /// Limits the bodies that are read for Doorward's own endpoints.
    pub body_reads: Arc<ConcurrencyLimiter>,
    /// Limits what requests and responses take in memory.
    pub bytes: Arc<ByteBudget>,
    /// Uploads below this rate, in bytes per second, are aborted if requests are queued.
    pub min_upload_rate: u32,
}

/// The limiters of one app. `None`: without a limit.
#[derive(Debug)]
pub struct AppLimiters {
    /// Limits its requests, but those of routes with a limit of their own.
    pub app: Option<Arc<ConcurrencyLimiter>>,
    /// Limit the requests of one route each, by index.
    pub routes: Vec<Option<Arc<ConcurrencyLimiter>>>,
    /// Limit the requests of each client.
    pub clients: ByClient<Arc<ClientLimit>>,
}

impl AppLimiters {
    /// The limiter of the app, then those of its routes.
    pub fn all(&self) -> impl Iterator<Item = &ConcurrencyLimiter> {
        let all = std::iter::once(&self.app).chain(&self.routes);
        all.filter_map(Option::as_deref)
    }
}

impl Limiters {
    /// A limiter of the bodies that are read for Doorward's own endpoints.
    pub fn body_reads() -> Arc<ConcurrencyLimiter> {
        Arc::new(ConcurrencyLimiter::new(BODY_READS))
    }

    /// The limiter of the route of an app with this index, or else of the app. `None` without a
    /// limit.
    pub(super) fn app(&self, index: usize, route: Option<usize>) -> Option<&ConcurrencyLimiter> {
        let limiters = self.apps.get(index)?;
        let of_route = route.and_then(|route| limiters.routes.get(route)?.as_deref());
        of_route.or(limiters.app.as_deref())
    }
}

/// A request's slot of the server's limit.
pub(super) struct ServerSlot<'l> {
    limiters: &'l Limiters,
    /// The client of the request, by its address.
    client: Option<ClientKey>,
    upload: Option<Arc<UploadProgress>>,
    slot: Option<InFlightGuard<'l>>,
}

impl<'l> ServerSlot<'l> {
    /// A request that has no slot yet. `upload` is the progress of its body, if it has one.
    pub(super) const fn new(
        limiters: &'l Limiters,
        client: Option<ClientKey>,
        upload: Option<Arc<UploadProgress>>,
    ) -> Self {
        Self {
            limiters,
            client,
            upload,
            slot: None,
        }
    }

    /// The client of the request, by its address.
    pub(super) const fn client(&self) -> Option<ClientKey> {
        self.client
    }

    /// Waits for a slot.
    pub(super) async fn acquire(&mut self) -> Result<(), LimitExceeded> {
        self.slot = Some(self.limiters.server.acquire(self.client).await?);
        Ok(())
    }

    /// Reads a small body that is meant for Doorward itself. The request gives its slot back
    /// meanwhile.
    pub(super) async fn read_body(
        &mut self,
        body: Body,
        limits: BodyLimits,
    ) -> Result<Zeroizing<Vec<u8>>, ReadBodyError> {
        if http_body::Body::is_end_stream(&body) {
            return Ok(Zeroizing::default());
        }
        let was_admitted = self.slot.take().is_some();
        let read = timeout(limits.timeout, self.read_pooled(body, limits)).await;
        let bytes = read.unwrap_or(Err(ReadBodyError::Incomplete))?;
        if was_admitted {
            self.acquire().await.map_err(|_| ReadBodyError::Busy)?;
        }
        Ok(bytes)
    }

    async fn read_pooled(
        &self,
        body: Body,
        limits: BodyLimits,
    ) -> Result<Zeroizing<Vec<u8>>, ReadBodyError> {
        let Limiters {
            body_reads, bytes, ..
        } = self.limiters;
        let slot = body_reads.acquire(self.client).await;
        let _slot = slot.map_err(|_| ReadBodyError::Busy)?;
        let memory = bytes.reserve(self.client, 0).ok_or(ReadBodyError::Busy)?;
        let read = read_body_limited(body, limits, memory);
        let Some(upload) = &self.upload else {
            return read.await;
        };
        let _watch = body_reads.watch_upload(self.client, Arc::clone(upload));
        tokio::select! {
            biased;
            read = read => read,
            () = upload.preempted() => Err(ReadBodyError::Incomplete),
        }
    }

    /// Runs the exchange of a forwarded request with its app. `None`: its upload stalled and was
    /// aborted for a queued request. Pinned by the caller, because the exchange is large and this
    /// future would hold it once for each use.
    pub(super) async fn forwarded<T>(
        &self,
        by_app: Option<AppLimit<'_>>,
        exchange: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let upload = self.upload.as_ref().filter(|upload| !upload.has_ended());
        let Some(upload) = upload else {
            return Some(exchange.await);
        };
        let preempted = async {
            // Polled after the exchange, which has read a small body by then.
            if upload.has_ended() {
                return std::future::pending().await;
            }
            let _watches = (
                self.limiters
                    .server
                    .watch_upload(self.client, Arc::clone(upload)),
                by_app.map(|app| app.limiter.watch_upload(app.client, Arc::clone(upload))),
            );
            upload.preempted().await;
        };
        tokio::select! {
            biased;
            output = exchange => Some(output),
            () = preempted => None,
        }
    }
}

/// The limiter of an app, and the client that a request counts for there.
#[derive(Clone, Copy)]
pub(super) struct AppLimit<'l> {
    pub(super) limiter: &'l ConcurrencyLimiter,
    pub(super) client: Option<ClientKey>,
}

/// Waits until the app may get another request. `None` for an app without a limit.
///
/// # Errors
/// `LimitExceeded`.
pub(super) async fn acquire(
    slot: Option<AppLimit<'_>>,
) -> Result<Option<InFlightGuard<'_>>, LimitExceeded> {
    match slot {
        Some(AppLimit { limiter, client }) => limiter.acquire(client).await.map(Some),
        None => Ok(None),
    }
}

/// The memory of a request until its response head is known: its head, and the one that is
/// written for the app.
pub(super) fn request_bytes(parts: &Parts) -> usize {
    REQUEST_BYTES + 2 * (parts.uri.path().len() + header_bytes(&parts.headers))
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}
