//! Test server: a listener with a handler that echoes requests, and a client for raw bytes.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::super::{
    ConnectionSettings, DrainTrigger, Handler, Listener, ListenerSettings, drain, serve,
};
use crate::limits::ByteBudget;
use crate::telemetry::metrics::Metrics;
use crate::types::body::{Body, BodyError};
use crate::types::net::ConnectionInfo;

/// Echoes the request. `/early` does not read the body, `/slow` takes 300 ms, `/big` sends 32 MiB,
/// `/endless` never ends, `/mirror` streams the body back, and `/later` responds before it reads the body.
#[derive(Default)]
pub(super) struct Echo {
    pub(super) seen: Arc<Mutex<Vec<String>>>,
}

impl Handler for Echo {
    async fn handle(&self, request: Request<Body>, _connection: ConnectionInfo) -> Response<Body> {
        let line = format!("{} {}", request.method(), request.uri());
        self.seen.lock().unwrap().push(line.clone());
        match request.uri().path() {
            "/mirror" => return Response::new(request.into_body()),
            "/endless" => return Response::new(Body::read_by(Box::pin(Endless))),
            "/early" => return Response::new(Body::full("early")),
            "/tunnel" => {
                let upgrade = hyper::upgrade::on(request);
                tokio::spawn(async move {
                    let (mut read, mut write) =
                        tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                    tokio::io::copy(&mut read, &mut write).await
                });
                let head = Response::builder()
                    .status(101)
                    .header("connection", "upgrade")
                    .header("upgrade", "echo");
                return head.body(Body::empty()).unwrap();
            }
            "/slow" => sleep(Duration::from_millis(300)).await,
            "/later" | "/later/big" => {
                let seen = Arc::clone(&self.seen);
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let mut all = Vec::new();
                    // After the response, hyper reports the end of the request body only by its
                    // length.
                    while !body.is_end_stream() {
                        all.extend_from_slice(
                            body.frame().await.unwrap().unwrap().data_ref().unwrap(),
                        );
                    }
                    seen.lock()
                        .unwrap()
                        .push(format!("{} was read later", String::from_utf8_lossy(&all)));
                });
                let length = if line.ends_with("/big") { 32 << 20 } else { 14 };
                return Response::new(Body::full(vec![b'x'; length]));
            }
            "/big" => return Response::new(Body::full(vec![b'x'; 32 << 20])),
            _ => {}
        }
        match request.into_body().collect().await {
            Ok(body) => Response::new(Body::full(format!(
                "[{line} body={}]",
                String::from_utf8_lossy(&body.to_bytes())
            ))),
            Err(_) => {
                self.seen.lock().unwrap().push("broken body".to_owned());
                let broken = Response::builder().status(400);
                broken.body(Body::full("broken body")).unwrap()
            }
        }
    }

    fn https_origin(&self, host: &str) -> Option<String> {
        (host == "a.test").then(|| "https://a.test:8443".to_owned())
    }
}

/// A body in chunks of 16 KiB that never ends.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }
}

pub(super) struct TestServer {
    pub(super) address: std::net::SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bytes: Arc<ByteBudget>,
    pub(super) trigger: DrainTrigger,
    pub(super) task: JoinHandle<std::io::Result<()>>,
    pub(super) settings: watch::Sender<ConnectionSettings>,
    echo: Arc<Echo>,
}

pub(super) fn start(
    settings: ListenerSettings,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> TestServer {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &settings).unwrap();
    let address = listener.local_addr().unwrap();
    let bytes = Arc::clone(listener.byte_budget());
    let echo = Arc::new(Echo::default());
    let metrics = Arc::new(Metrics::new().unwrap());
    let (trigger, drain) = drain();
    let limits = Arc::new(settings);
    let (settings, receiver) = watch::channel(ConnectionSettings { tls, limits });
    let task = tokio::spawn(serve(
        listener,
        receiver,
        Arc::clone(&echo),
        Arc::clone(&metrics),
        drain,
    ));
    TestServer {
        address,
        metrics,
        bytes,
        trigger,
        task,
        settings,
        echo,
    }
}

impl TestServer {
    /// Uses these TLS settings for the connections that are accepted from now on.
    pub(super) fn use_tls(&self, tls: Arc<rustls::ServerConfig>) {
        self.settings
            .send_modify(|settings| settings.tls = Some(tls));
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` on a new connection. Returns what [`read_until_idle`] does.
    pub(super) async fn send(&self, bytes: impl AsRef<[u8]>) -> (String, bool) {
        let mut stream = self.connect().await;
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes.as_ref()).await;
        read_until_idle(&mut stream).await
    }

    /// The request lines that reached the handler.
    pub(super) fn seen(&self) -> Vec<String> {
        self.echo.seen.lock().unwrap().clone()
    }

    /// The number of connection errors with this reason.
    pub(super) fn error_count(&self, reason: &str) -> u64 {
        self.metrics
            .connection_errors
            .with_label_values(&[reason])
            .get()
    }
}

/// Polls until `condition` holds, for at most ten seconds.
pub(super) async fn eventually(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), polling).await.unwrap();
}

/// Reads until the connection is closed or silent for 250 ms. Returns the text, and whether it was
/// closed.
pub(super) async fn read_until_idle(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> (String, bool) {
    let mut all = Vec::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match timeout(Duration::from_millis(250), stream.read(&mut part)).await {
            Err(_) => return (String::from_utf8_lossy(&all).into_owned(), false),
            Ok(Ok(0) | Err(_)) => return (String::from_utf8_lossy(&all).into_owned(), true),
            Ok(Ok(length)) => all.extend_from_slice(&part[..length]),
        }
    }
}

/// The number of HTTP/1.x responses in `text`.
pub(super) fn response_count(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count() + text.matches("HTTP/1.0 ").count()
}
