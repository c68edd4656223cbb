//! Dialling: opens a connection to a backend over TCP, TLS or a Unix domain socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::UpstreamError;
use super::target::{HostPort, UpstreamPlan, UpstreamProtocol, UpstreamUrl};
use crate::types::net::is_loopback_host;

/// An open connection to a backend.
pub(super) enum Dialled {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Connects to the backend. With TLS, `protocol` selects the protocols offered by ALPN.
pub(super) async fn dial(
    plan: &UpstreamPlan,
    protocol: UpstreamProtocol,
) -> Result<Dialled, UpstreamError> {
    let address = match &plan.settings.url {
        UpstreamUrl::Unix(path) => {
            let stream = UnixStream::connect(path)
                .await
                .map_err(UpstreamError::ConnectRefused)?;
            return Ok(Dialled::Unix(stream));
        }
        UpstreamUrl::Http(address) | UpstreamUrl::Https(address) => address,
    };
    let stream = connect(address).await?;
    let Some(tls) = &plan.tls else {
        return Ok(Dialled::Tcp(stream));
    };
    let config = match protocol {
        UpstreamProtocol::Http1 => &tls.http1,
        UpstreamProtocol::Http2 => &tls.http2,
    };
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(tls.name.clone(), stream)
        .await
        .map_err(UpstreamError::Tls)?;
    Ok(Dialled::Tls(Box::new(stream)))
}

/// Resolves the host and connects to the first address that accepts. Names under `.localhost` are
/// loopback without a lookup (RFC 6761 section 6.3).
async fn connect(address: &HostPort) -> Result<TcpStream, UpstreamError> {
    let host = address.bare_host();
    let is_ip_address = host.parse::<std::net::IpAddr>().is_ok();
    if is_loopback_host(&address.host) && !is_ip_address {
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return connect_to_any(loopback.map(|ip| SocketAddr::new(ip, address.port))).await;
    }
    let addresses = tokio::net::lookup_host((host, address.port))
        .await
        .map_err(UpstreamError::Unresolved)?;
    connect_to_any(addresses).await
}

async fn connect_to_any(
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Result<TcpStream, UpstreamError> {
    let mut last_error = UpstreamError::Unresolved(io::Error::from(io::ErrorKind::NotFound));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Avoids delayed small writes. A failure costs latency only.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last_error = UpstreamError::ConnectRefused(error),
        }
    }
    Err(last_error)
}
