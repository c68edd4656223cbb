//! A raw backend that records every byte it receives, and a proxy that forwards every request to
//! it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::super::client::Upstream;
use super::super::forward::send;
use super::super::request::{AppCredentials, ClientPin, ForwardRequest};
use super::super::{HeaderPolicy, Tunnels, UpstreamPlan, UpstreamSettings};
use crate::dns::Resolver;
use crate::identity::header_edits::RequestFacts;
use crate::telemetry::metrics::Metrics;
use crate::types::body::{Body, StreamSession};
use crate::types::net::ConnectionId;
use crate::types::request_id::RequestId;

/// One request as the backend received it.
#[derive(Clone, Debug)]
pub(super) struct ReceivedRequest {
    pub(super) connection: usize,
    pub(super) head: String,
    pub(super) body: String,
}

impl ReceivedRequest {
    /// The values of a field.
    pub(super) fn field(&self, name: &str) -> Vec<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .collect()
    }
}

#[derive(Default)]
pub(super) struct Backend {
    received: Mutex<Vec<ReceivedRequest>>,
    pub(super) connections: AtomicUsize,
    pub(super) written: AtomicU64,
    /// All bytes received over WebSockets.
    pub(super) tunnelled: Mutex<Vec<u8>>,
}

pub(super) const MIB: usize = 1 << 20;
pub(super) const STREAM_LEN: usize = 64 * MIB;

impl Backend {
    pub(super) fn received(&self) -> Vec<ReceivedRequest> {
        self.received.lock().unwrap().clone()
    }

    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, mut stream: S) {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut buffer = Vec::new();
        let mut served = 0;
        while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            self.received.lock().unwrap().push(ReceivedRequest {
                connection,
                head,
                body,
            });
            served += 1;
            if !self.respond(&mut stream, &path, served).await {
                return;
            }
        }
    }

    /// Responds by path. Returns whether the connection stays open.
    async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        path: &str,
        served: usize,
    ) -> bool {
        let plain = match path {
            "/hang" => return std::future::pending().await,
            // As if the idle connection had closed just before the request arrived.
            "/once" if served > 1 => return false,
            "/close-idle" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await
                    .unwrap();
                return false;
            }
            "/cut" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                    .await
                    .unwrap();
                return false;
            }
            "/cut-head" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-")
                    .await
                    .unwrap();
                return false;
            }
            "/silent-body" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                    .await
                    .unwrap();
                return std::future::pending().await;
            }
            "/stream" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {STREAM_LEN}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let part = vec![b'x'; 64 * 1024];
                for _ in 0..STREAM_LEN / part.len() {
                    if stream.write_all(&part).await.is_err() {
                        return false;
                    }
                    self.written.fetch_add(part.len() as u64, Ordering::SeqCst);
                }
                return true;
            }
            "/ws" => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
                            Sec-WebSocket-Accept: s\r\nSet-Cookie: __Host-doorward_jwt=x\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut part = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut part).await {
                    self.tunnelled
                        .lock()
                        .unwrap()
                        .extend_from_slice(&part[..length]);
                    stream.write_all(&part[..length]).await.unwrap();
                }
                return false;
            }
            "/switch" => {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
            }
            "/ws-no" => {
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\n\r\n"
            }
            "/chunked" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Forwarded-User: t\r\n\r\n"
            }
            "/both" => {
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            }
            "/twice" => "HTTP/1.1 200 OK\r\nContent-Length: 02\r\nContent-Length: 2\r\n\r\nok",
            "/differ" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "/gzip" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            }
            "/no-http" => "SSH-2.0-OpenSSH_9.9\r\n\r\n",
            "/huge-head" => &format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "a".repeat(MIB)),
            "/204" => "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
            "/hints" => {
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            }
            "/old" => {
                stream
                    .write_all(b"HTTP/1.0 200 OK\r\n\r\nok")
                    .await
                    .unwrap();
                return false;
            }
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        stream.write_all(plain.as_bytes()).await.is_ok()
    }
}

/// Reads the head, and the body with its framing.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<(String, String)> {
    let end = find_end(stream, buffer, b"\r\n\r\n").await?;
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let body = match length {
        Some(length) => {
            let length: usize = length.parse().unwrap();
            let mut kept = Vec::new();
            let mut left = length;
            while left > 0 {
                if buffer.is_empty() && stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
                let part = left.min(buffer.len());
                kept.extend(buffer.drain(..part).take(1024));
                left -= part;
            }
            kept
        }
        None if head.contains("\r\ntransfer-encoding: chunked\r\n") => {
            let end = find_end(stream, buffer, b"0\r\n\r\n").await?;
            buffer.drain(..end).collect()
        }
        None => Vec::new(),
    };
    Some((head, String::from_utf8(body).unwrap()))
}

async fn find_end<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    pattern: &[u8],
) -> Option<usize> {
    loop {
        if let Some(at) = buffer
            .windows(pattern.len())
            .position(|window| window == pattern)
        {
            return Some(at + pattern.len());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

pub(super) struct TestProxy {
    pub(super) address: SocketAddr,
    pub(super) backend: Arc<Backend>,
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether the session of every request is valid.
    pub(super) session_valid: Arc<AtomicBool>,
}

/// Starts a backend and a proxy to it; `adjust` changes the settings.
pub(super) async fn start_proxy(adjust: impl FnOnce(&mut UpstreamSettings)) -> TestProxy {
    let backend = Arc::new(Backend::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://app.localhost:{}",
        socket.local_addr().unwrap().port()
    );
    let backend_clone = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&backend_clone).serve(stream));
        }
    });
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    adjust(&mut settings);
    proxy_to(backend, settings).await
}

pub(super) async fn proxy_to(backend: Arc<Backend>, settings: UpstreamSettings) -> TestProxy {
    let metrics = Arc::new(Metrics::new().unwrap());
    let tunnels = Tunnels::new(&metrics);
    let identity = [HeaderName::from_static("x-forwarded-user")];
    let policy = HeaderPolicy::new(&identity, &["__Host-doorward_"]);
    let plan = UpstreamPlan::new("store", settings, policy).unwrap();
    let upstream = Upstream::new(plan, Resolver::default(), Arc::clone(&tunnels), &metrics);
    let upstream = Arc::new(upstream);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let session_valid = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&session_valid);
    let session = StreamSession::new(move || flag.load(Ordering::SeqCst));
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = socket.accept().await {
            connections += 1;
            let connection = ConnectionId::new(connections);
            let upstream = Arc::clone(&upstream);
            let session = session.clone();
            let service = service_fn(move |request| {
                let upstream = Arc::clone(&upstream);
                let session = session.clone();
                async move {
                    let pin = ClientPin {
                        connection,
                        caller: None,
                    };
                    Ok::<_, Infallible>(handle(&upstream, request, &session, pin).await)
                }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(
                server
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    TestProxy {
        address,
        backend,
        tunnels,
        metrics,
        session_valid,
    }
}

/// Forwards a request. Errors become responses with their code.
async fn handle(
    upstream: &Upstream,
    request: Request<Incoming>,
    session: &StreamSession,
    pin: ClientPin<'_>,
) -> Response<Body> {
    let target = request
        .uri()
        .path_and_query()
        .map_or(String::new(), ToString::to_string);
    let identity = [(
        HeaderName::from_static("x-forwarded-user"),
        HeaderValue::from_static("alice"),
    )];
    let forward = ForwardRequest {
        target: &target,
        route: None,
        identity_headers: &identity,
        facts: RequestFacts {
            request_id: RequestId::new(1),
            client: None,
            host: "store.test",
            label: None,
            claims: None,
        },
        forwarded_for: "192.0.2.1",
        forwarded_proto: "https",
        forwarded_host: "store.test",
        authenticated: true,
        session: Some(session),
        pin: Some(pin),
        trace: None,
        credentials: AppCredentials::default(),
    };
    let (parts, body) = request.into_parts();
    send(upstream, forward, &parts, Body::streamed(body))
        .await
        .unwrap_or_else(|error| {
            let mut response = Response::new(Body::full(format!(
                "{} sent={}",
                error.code(),
                error.was_sent()
            )));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        })
}

impl TestProxy {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a new connection. Returns what [`read_until_idle`] does.
    pub(super) async fn send(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read_until_idle(&mut stream).await
    }

    pub(super) async fn get(&self, path: &str) -> String {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    pub(super) async fn post(&self, path: &str) -> String {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        );
        self.send(&format!("{head}hi")).await
    }
}

/// Reads until the stream closes or is silent for 150 ms (2 s before the first byte).
pub(super) async fn read_until_idle(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut timer = Duration::from_secs(2);
    while let Ok(Ok(1..)) = timeout(timer, stream.read_buf(&mut all)).await {
        timer = Duration::from_millis(150);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Waits up to two seconds for a condition.
pub(super) async fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..200 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition was not met within two seconds");
}
