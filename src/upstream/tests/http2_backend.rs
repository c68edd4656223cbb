//! An HTTP/2 test backend.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
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
        let is_first = {
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
            earlier == 0
        };
        let index = self.received.lock().unwrap().len() - 1;
        if path == "/refuse" || (path == "/refuse-once" && is_first) {
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
