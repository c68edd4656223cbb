//! An HTTP/2 test backend.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::support::STREAM_LEN;

#[derive(Debug)]
pub(super) struct ReceivedRequest {
    pub(super) connection: usize,
    pub(super) head: Parts,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
}

/// A backend that records what it receives.
#[derive(Default)]
pub(super) struct Backend {
    pub(super) received: Mutex<Vec<ReceivedRequest>>,
    pub(super) connections: AtomicUsize,
    pub(super) max_streams: Option<u32>,
    /// Bytes of `/stream` that were sent.
    pub(super) written: AtomicUsize,
}

impl Backend {
    pub(super) async fn serve<S>(self: Arc<Self>, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut server = h2::server::Builder::new();
        if let Some(max) = self.max_streams {
            server.max_concurrent_streams(max);
        }
        let mut server = server.handshake::<_, Bytes>(stream).await.unwrap();
        let mut served = 0;
        while let Some(Ok((request, responder))) = server.accept().await {
            served += 1;
            if request.uri().path() == "/once" && served > 1 {
                // As if it had closed just before the request arrived.
                return;
            }
            tokio::spawn(Arc::clone(&self).respond(request, responder, connection));
        }
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<h2::RecvStream>,
        mut responder: SendResponse<Bytes>,
        connection: usize,
    ) {
        let (head, mut incoming) = request.into_parts();
        let path = head.uri.path().to_owned();
        let (earlier, index) = {
            let mut received = self.received.lock().unwrap();
            let earlier = received
                .iter()
                .filter(|request| request.head.uri.path() == path)
                .count();
            received.push(ReceivedRequest {
                connection,
                head,
                body: Vec::new(),
                trailers: None,
            });
            (earlier, received.len() - 1)
        };
        if path == "/refuse" || (path == "/refuse-thrice" && earlier < 3) {
            return responder.send_reset(h2::Reason::REFUSED_STREAM);
        }
        while let Some(part) = incoming.data().await {
            let Ok(part) = part else { return };
            incoming
                .flow_control()
                .release_capacity(part.len())
                .unwrap();
            self.received.lock().unwrap()[index]
                .body
                .extend_from_slice(&part);
        }
        if path == "/refuse-after-body" && earlier == 0 {
            return responder.send_reset(h2::Reason::REFUSED_STREAM);
        }
        let trailers = incoming.trailers().await.ok().flatten();
        self.received.lock().unwrap()[index].trailers = trailers;
        match path.as_str() {
            "/hang" => return std::future::pending().await,
            "/hints" => {
                let hints = Response::builder()
                    .status(103)
                    .header("link", "</a>")
                    .body(())
                    .unwrap();
                responder.send_informational(hints).unwrap();
            }
            "/slow" => sleep(Duration::from_millis(100)).await,
            _ => {}
        }
        let head = Response::builder()
            .header("set-cookie", "__Host-doorward_jwt=x")
            .header("trailer", "sum, content-length");
        let status = match path.as_str() {
            "/304" => 304,
            "/204" => 204,
            "/200-ended" => {
                responder
                    .send_response(head.body(()).unwrap(), true)
                    .unwrap();
                return;
            }
            _ => 200,
        };
        let mut body = responder
            .send_response(head.status(status).body(()).unwrap(), status != 200)
            .unwrap();
        if status != 200 {
            return;
        }
        if path == "/stream" {
            return self.stream(body).await;
        }
        body.send_data(Bytes::from_static(b"ok"), false).unwrap();
        if path == "/silent-body" {
            return std::future::pending().await;
        }
        let mut trailers = HeaderMap::new();
        for (name, value) in [
            ("sum", "42"),
            ("content-length", "9"),
            ("set-cookie", "a=b"),
            ("doorward-x", "y"),
        ] {
            trailers.insert(name, value.parse().unwrap());
        }
        body.send_trailers(trailers).unwrap();
    }

    async fn stream(&self, mut body: h2::SendStream<Bytes>) {
        let mut left = STREAM_LEN;
        while left > 0 {
            body.reserve_capacity(left.min(64 * 1024));
            let Some(Ok(capacity)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
                return;
            };
            body.send_data(vec![b'x'; capacity].into(), left == capacity)
                .unwrap();
            left -= capacity;
            self.written.fetch_add(capacity, Ordering::SeqCst);
        }
    }
}

/// A backend that behaves as nginx does with `keepalive_requests`: after some requests a connection
/// sends a GOAWAY, finishes them, and ignores everything after them. It speaks raw frames, since
/// the library would answer the streams that must be ignored.
#[derive(Default)]
pub(super) struct GoawayBackend {
    pub(super) requests_per_connection: usize,
    pub(super) connections: AtomicUsize,
    /// The compressed heads of the requests that were processed.
    pub(super) heads: Mutex<Vec<Vec<u8>>>,
    /// The bodies of the requests that were processed.
    pub(super) bodies: Mutex<Vec<String>>,
}

impl GoawayBackend {
    /// Starts to listen. Returns the URL.
    pub(super) async fn start(self: &Arc<Self>) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let backend = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let backend = Arc::clone(&backend);
                // A read error means that the client has closed the connection.
                tokio::spawn(async move { backend.serve(stream).await });
            }
        });
        url
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await?;
        stream.read_exact(&mut [0; 24]).await?;
        let mut accepted: Vec<(u32, Vec<u8>)> = Vec::new();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await?;
            let (kind, flags) = (head[3], head[4]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let is_full = accepted.len() >= self.requests_per_connection;
            match kind {
                // DATA.
                0 => {}
                // HEADERS: a new stream.
                1 if !is_full => {
                    self.heads.lock().unwrap().push(payload.clone());
                    accepted.push((id, Vec::new()));
                }
                4 if flags & 1 == 0 => stream.write_all(b"\0\0\0\x04\x01\0\0\0\0").await?,
                _ => {}
            }
            if kind == 1 && !is_full && accepted.len() == self.requests_per_connection {
                let mut goaway = b"\0\0\x08\x07\0\0\0\0\0".to_vec();
                goaway.extend_from_slice(&id.to_be_bytes());
                goaway.extend_from_slice(&[0; 4]);
                stream.write_all(&goaway).await?;
            }
            let Some((_, body)) = accepted.iter_mut().find(|(known, _)| *known == id) else {
                continue;
            };
            if kind == 0 {
                body.extend_from_slice(&payload);
            }
            if kind <= 1 && flags & 1 != 0 {
                let body = String::from_utf8(body.clone()).unwrap();
                self.bodies.lock().unwrap().push(body);
                // `:status: 200`, the end of the stream.
                let mut response = b"\0\0\x01\x01\x05".to_vec();
                response.extend_from_slice(&id.to_be_bytes());
                response.push(0x88);
                stream.write_all(&response).await?;
            }
        }
    }
}
