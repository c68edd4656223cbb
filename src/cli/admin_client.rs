//! Client of the admin listener, for commands to a running server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::config::Config;
use crate::types::net::ListenAddr;

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest response, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

/// The response to a command.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

/// The address of the server: `given`, or that in the configuration.
pub(super) fn admin_of(given: Option<&ListenAddr>, config: &Config) -> ListenAddr {
    given
        .cloned()
        .unwrap_or_else(|| reachable(&config.server.admin_listen))
}

/// The address to connect to: loopback for a listener on all addresses.
fn reachable(listen: &ListenAddr) -> ListenAddr {
    match listen {
        ListenAddr::Tcp(address) if address.ip().is_unspecified() => {
            let loopback = match address.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            ListenAddr::Tcp(SocketAddr::new(loopback, address.port()))
        }
        ListenAddr::Tcp(_) | ListenAddr::Unix(_) => listen.clone(),
    }
}

/// Sends a command. The inner error says why there is no response.
///
/// # Errors
/// The runtime cannot be started.
pub(super) fn post(
    admin: &ListenAddr,
    path: &'static str,
    message: String,
) -> io::Result<Result<Response, String>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let posted = async {
            match admin {
                ListenAddr::Tcp(address) => {
                    post_on(TcpStream::connect(address).await, path, message).await
                }
                ListenAddr::Unix(socket) => {
                    post_on(UnixStream::connect(socket).await, path, message).await
                }
            }
        };
        timeout(TIMEOUT, posted)
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()))
    }))
}

async fn post_on<S>(
    stream: io::Result<S>,
    path: &'static str,
    message: String,
) -> Result<Response, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = stream.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, "doorward")
        .body(Full::new(bytes::Bytes::from(message)))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
        Ok(Response { status, text })
    };
    tokio::select! {
        result = exchange => result,
        Err(error) = connection => Err(error.to_string()),
    }
}
