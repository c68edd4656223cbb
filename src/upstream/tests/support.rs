//! A raw backend that shows every byte it got, and a front that passes everything to it.

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

use super::super::*;
use crate::telemetry::metrics::Metrics;

/// One request as the backend got it.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) connection: usize,
    pub(super) head: String,
    pub(super) body: String,
}

impl Got {
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
    pub(super) got: Mutex<Vec<Got>>,
    pub(super) connections: AtomicUsize,
    pub(super) written: AtomicU64,
    /// All that came over WebSockets.
    pub(super) tunnelled: Mutex<Vec<u8>>,
}

pub(super) const MIB: usize = 1 << 20;
pub(super) const STREAM: usize = 64 * MIB;

impl Backend {
    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, mut stream: S) {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut buffer = Vec::new();
        let mut served = 0;
        while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            self.got.lock().unwrap().push(Got {
                connection,
                head,
                body,
            });
            served += 1;
            if !self.answer(&mut stream, &path, served).await {
                return;
            }
        }
    }

    /// Whether the connection stays.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        path: &str,
        served: usize,
    ) -> bool {
        let plain = match path {
            "/hang" => return std::future::pending().await,
            // As if it had closed the idle connection just when the request came.
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
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {STREAM}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let part = vec![b'x'; 64 * 1024];
                for _ in 0..STREAM / part.len() {
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

/// The head, and the body as it was framed on the wire.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<(String, String)> {
    let end = find(stream, buffer, b"\r\n\r\n").await?;
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
            let end = find(stream, buffer, b"0\r\n\r\n").await?;
            buffer.drain(..end).collect()
        }
        None => Vec::new(),
    };
    Some((head, String::from_utf8(body).unwrap()))
}

async fn find<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    what: &[u8],
) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(what.len()).position(|window| window == what) {
            return Some(at + what.len());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

pub(super) struct Front {
    pub(super) address: SocketAddr,
    pub(super) backend: Arc<Backend>,
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether the session behind every request goes on.
    pub(super) holds: Arc<AtomicBool>,
}

/// A front before a fresh backend; `adjust` changes the settings.
pub(super) async fn front(adjust: impl FnOnce(&mut UpstreamSettings)) -> Front {
    let backend = Arc::new(Backend::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://app.localhost:{}",
        socket.local_addr().unwrap().port()
    );
    let theirs = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&theirs).serve(stream));
        }
    });
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    adjust(&mut settings);
    front_before(backend, settings).await
}

pub(super) async fn front_before(backend: Arc<Backend>, settings: UpstreamSettings) -> Front {
    let metrics = Arc::new(Metrics::new().unwrap());
    let tunnels = Tunnels::new(&metrics);
    let identity = [HeaderName::from_static("x-forwarded-user")];
    let policy = HeaderPolicy::new(&identity, &["__Host-doorward_"]);
    let plan = UpstreamPlan::new("store", settings, policy).unwrap();
    let upstream = Arc::new(Upstream::new(plan, Arc::clone(&tunnels), &metrics));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let holds = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&holds);
    let held = ValidityCheck::new(move || asked.load(Ordering::SeqCst));
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let (upstream, held) = (Arc::clone(&upstream), held.clone());
            let service = service_fn(move |request| {
                let (upstream, held) = (Arc::clone(&upstream), held.clone());
                async move { Ok::<_, Infallible>(pass_on(&upstream, request, &held).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(
                server
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    Front {
        address,
        backend,
        tunnels,
        metrics,
        holds,
    }
}

/// Failures are answered with their code.
async fn pass_on(
    upstream: &Upstream,
    request: Request<Incoming>,
    holds: &ValidityCheck,
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
        identity_headers: &identity,
        forwarded_for: "192.0.2.1",
        forwarded_proto: "https",
        forwarded_host: "store.test",
        consume_authorization: true,
        authenticated: true,
        holds: Some(holds),
    };
    let (mut parts, body) = request.into_parts();
    send(upstream, forward, &mut parts, Body::streamed(body))
        .await
        .unwrap_or_else(|error| {
            let mut answer = Response::new(Body::full(format!(
                "{} sent={}",
                error.code(),
                error.was_sent()
            )));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        })
}

impl Front {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own and gives what comes within a moment.
    pub(super) async fn say(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        heard(&mut stream).await
    }

    pub(super) async fn get(&self, path: &str) -> String {
        self.say(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    pub(super) async fn post(&self, path: &str) -> String {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        );
        self.say(&format!("{head}hi")).await
    }
}

/// What comes until the stream closes or is silent for 150 ms after the first byte (2 s before it).
pub(super) async fn heard(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut timer = Duration::from_secs(2);
    while let Ok(Ok(1..)) = timeout(timer, stream.read_buf(&mut all)).await {
        timer = Duration::from_millis(150);
    }
    String::from_utf8_lossy(&all).into_owned()
}

pub(super) async fn soon(mut what: impl FnMut() -> bool) {
    for _ in 0..200 {
        if what() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about within two seconds");
}
