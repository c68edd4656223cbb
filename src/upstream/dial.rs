//! Dialling: opens a connection to a backend over TCP, TLS or a Unix domain socket. If its name has
//! several addresses, they are tried as in RFC 8305 (happy eyeballs): one that does not answer
//! delays a connection by a fraction of a second only, and is remembered.

mod addresses;
mod race;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::addresses::AddressHistory;
use self::race::Race;
use super::address::{HostPort, UpstreamUrl};
use super::error::UpstreamError;
use super::settings::UpstreamProtocol;
use super::target::{Tls, UpstreamPlan};
use crate::dns::Resolver;
use crate::telemetry::metrics::Metrics;

/// Interval of keepalive probes, after the first one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// After this number of unanswered probes, the connection is closed.
const KEEPALIVE_RETRIES: u32 = 4;

/// An open connection to a backend.
pub(super) enum Dialled {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Opens the connections of one worker to one backend.
#[derive(Debug)]
pub(super) struct Dialer {
    plan: Arc<UpstreamPlan>,
    resolver: Resolver,
    history: AddressHistory,
    failed_addresses: IntCounter,
}

/// The addresses of one attempt to connect, in the order in which they are tried.
struct Candidates {
    untried: VecDeque<SocketAddr>,
    delay: Duration,
    deadline: Instant,
}

impl Dialer {
    pub(super) fn new(plan: Arc<UpstreamPlan>, resolver: Resolver, metrics: &Metrics) -> Self {
        let failed_addresses = metrics
            .upstream_address_failures
            .with_label_values(&[&plan.app]);
        Self {
            plan,
            resolver,
            history: AddressHistory::default(),
            failed_addresses,
        }
    }

    /// Connects to the backend within the connect timeout, TLS handshake included. With TLS,
    /// `protocol` selects the protocols offered by ALPN.
    pub(super) async fn dial(&self, protocol: UpstreamProtocol) -> Result<Dialled, UpstreamError> {
        let dialled = self.try_dial(protocol).await;
        self.plan.dial_record.record(dialled.as_ref().err());
        dialled
    }

    async fn try_dial(&self, protocol: UpstreamProtocol) -> Result<Dialled, UpstreamError> {
        let deadline = Instant::now() + self.plan.settings.connect_timeout;
        let address = match &self.plan.settings.url {
            UpstreamUrl::Unix(path) => {
                let stream = timeout_at(deadline, UnixStream::connect(path))
                    .await
                    .map_err(|_| UpstreamError::ConnectTimeout)?;
                return stream
                    .map(Dialled::Unix)
                    .map_err(UpstreamError::ConnectRefused);
            }
            UpstreamUrl::Http(address) | UpstreamUrl::Https(address) => address,
            UpstreamUrl::Srv(_) => {
                let error = io::Error::new(io::ErrorKind::NotFound, "the service has no target");
                return Err(UpstreamError::Unresolved(error));
            }
        };
        if let Some(ip) = self.plan.ip {
            return self.connect(&[ip], address, protocol, deadline).await;
        }
        let host = address.bare_host();
        let known = within(deadline, self.resolver.resolve(host)).await?;
        let error = match self.connect(&known, address, protocol, deadline).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        // The backend may have moved since its name was looked up.
        let Ok(current) = within(deadline, self.resolver.refresh(host)).await else {
            return Err(error);
        };
        let moved: Vec<IpAddr> = current
            .iter()
            .copied()
            .filter(|ip| !known.contains(ip))
            .collect();
        if moved.is_empty() {
            return Err(error);
        }
        self.connect(&moved, address, protocol, deadline).await
    }

    /// Connects to the first of `ips` that accepts.
    async fn connect(
        &self,
        ips: &[IpAddr],
        address: &HostPort,
        protocol: UpstreamProtocol,
        deadline: Instant,
    ) -> Result<Dialled, UpstreamError> {
        let now = Instant::now();
        let untried = self.history.order(ips, address.port, now);
        let mut candidates = Candidates {
            delay: race::delay(deadline - now, untried.len()),
            untried: untried.into(),
            deadline,
        };
        let mut tls_error = None;
        loop {
            let connected = self.connect_first(&mut candidates).await;
            let (address, stream) = match connected {
                Ok(connected) => connected,
                Err(error) => return Err(tls_error.unwrap_or(error)),
            };
            self.configure(&stream);
            let Some(tls) = &self.plan.tls else {
                self.history.record_success(address);
                return Ok(Dialled::Tcp(stream));
            };
            match candidates.handshake(tls, protocol, stream).await {
                Ok(stream) => {
                    self.history.record_success(address);
                    return Ok(Dialled::Tls(Box::new(stream)));
                }
                Err(error) => {
                    self.record_failure(address);
                    tls_error = Some(error);
                }
            }
        }
    }

    /// Opens a TCP connection to one of the candidates, which is removed with those that refused.
    async fn connect_first(
        &self,
        candidates: &mut Candidates,
    ) -> Result<(SocketAddr, TcpStream), UpstreamError> {
        let mut race = Race::default();
        let deadline = candidates.deadline;
        let run = race.run(&mut candidates.untried, candidates.delay);
        let result = timeout_at(deadline, run).await;
        if result.is_err() {
            race.give_up();
        }
        for address in race.failed() {
            self.record_failure(*address);
        }
        result.unwrap_or(Err(UpstreamError::ConnectTimeout))
    }

    fn record_failure(&self, address: SocketAddr) {
        self.failed_addresses.inc();
        tracing::debug!(app = self.plan.app, %address, "upstream_address_failed");
        self.history.record_failure(address, Instant::now());
    }

    /// Sets socket options. A failure costs latency, or the detection of a dead connection.
    fn configure(&self, stream: &TcpStream) {
        // Avoids delayed small writes.
        let _ = stream.set_nodelay(true);
        if let Some(idle) = self.plan.settings.tcp_keepalive {
            let keepalive = TcpKeepalive::new()
                .with_time(idle)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_RETRIES);
            let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
        }
    }
}

impl Candidates {
    /// Performs the TLS handshake, with a share of the remaining time for each address: one that
    /// accepts connections but does not answer must leave time for the others.
    async fn handshake(
        &self,
        tls: &Tls,
        protocol: UpstreamProtocol,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, UpstreamError> {
        let config = match protocol {
            UpstreamProtocol::Http1 => &tls.http1,
            UpstreamProtocol::Http2 => &tls.http2,
        };
        let now = Instant::now();
        let addresses = u32::try_from(self.untried.len() + 1).unwrap_or(u32::MAX);
        let share = self.deadline.saturating_duration_since(now) / addresses;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(tls.name.clone(), stream);
        match timeout_at(now + share, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(UpstreamError::Tls(error)),
            Err(_) => Err(UpstreamError::ConnectTimeout),
        }
    }
}

/// Waits for a lookup until `deadline`.
async fn within<T>(
    deadline: Instant,
    lookup: impl Future<Output = Result<T, crate::dns::LookupError>>,
) -> Result<T, UpstreamError> {
    match timeout_at(deadline, lookup).await {
        Ok(found) => found.map_err(|error| UpstreamError::Unresolved(error.into())),
        Err(_) => Err(UpstreamError::Unresolved(io::ErrorKind::TimedOut.into())),
    }
}
