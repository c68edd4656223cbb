//! A gRPC service and client: tonic's server and client, over hyper. Messages are raw bytes, so
//! no code is generated.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::server::{
    ClientStreamingService, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::{Request, Response, Status, Streaming};

use super::listening::Listening;
use super::wire;

/// A codec for raw bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The service `echo.Echo`: `Say`, `Collect` (client streaming), `Split` (server streaming), `Talk`
/// (both).
pub struct Service {
    listening: Listening,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    scheme: &'static str,
}

impl Service {
    /// Starts on a free port.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts over TLS.
    pub fn start_over(tls: Arc<ServerConfig>) -> Self {
        Self::start_with(Some(TlsAcceptor::from(tls)))
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let listening = Listening::start(0, move |stream| {
            let (seen, tls) = (Arc::clone(&seen), tls.clone());
            async move {
                let stream: Box<dyn wire::Stream> = match tls {
                    None => Box::new(stream),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                };
                let response = service_fn(move |request| {
                    let seen = Arc::clone(&seen);
                    async move { Ok::<_, io::Error>(response(request, &seen).await) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // A client disconnect ends its connection only.
                let _gone = server
                    .serve_connection(TokioIo::new(stream), response)
                    .await;
            }
        });
        Self {
            listening,
            heads,
            scheme,
        }
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.listening.port())
    }

    /// Stops accepting connections.
    pub fn stop(&self) {
        self.listening.stop();
    }

    /// The request heads of all calls.
    pub fn heads(&self) -> Vec<HeaderMap> {
        self.heads.lock().expect("no test panicked inside").clone()
    }
}

async fn response(
    request: http::Request<Incoming>,
    seen: &Mutex<Vec<HeaderMap>>,
) -> http::Response<Body> {
    seen.lock()
        .expect("no test panicked inside")
        .push(request.headers().clone());
    let mut grpc = tonic::server::Grpc::new(Raw);
    match request.uri().path() {
        "/echo.Echo/Say" => grpc.unary(Echo, request).await,
        "/echo.Echo/Collect" => grpc.client_streaming(Echo, request).await,
        "/echo.Echo/Split" => grpc.server_streaming(Echo, request).await,
        "/echo.Echo/Talk" => grpc.streaming(Echo, request).await,
        _ => Status::unimplemented("no such method").into_http(),
    }
}

struct Echo;

type Later<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Later<Bytes>;

    fn call(&mut self, request: Request<Bytes>) -> Later<Bytes> {
        Box::pin(async move {
            let user = request.metadata().get("x-forwarded-user").cloned();
            let message = request.into_inner();
            if message == "fail" {
                let mut metadata = MetadataMap::new();
                metadata.insert("cause", "wish".parse().expect("ASCII"));
                // Headers and trailers that no backend may send.
                metadata.insert("doorward-access-token", "forged".parse().expect("ASCII"));
                return Err(Status::with_metadata(
                    tonic::Code::NotFound,
                    "not hére: 100 %",
                    metadata,
                ));
            }
            let user = user
                .as_ref()
                .and_then(|user| user.to_str().ok())
                .unwrap_or("nobody");
            Ok(Response::new(Bytes::from(format!(
                "{user}: {}",
                String::from_utf8_lossy(&message)
            ))))
        })
    }
}

impl ClientStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Later<Bytes>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Later<Bytes> {
        Box::pin(async move {
            let (mut messages, mut all) = (request.into_inner(), Vec::new());
            while let Some(message) = messages.message().await? {
                all.push(message);
            }
            Ok(Response::new(Bytes::from(all.join(&b","[..]))))
        })
    }
}

impl ServerStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Later<Messages>;

    fn call(&mut self, request: Request<Bytes>) -> Later<Messages> {
        let words: Vec<_> = request
            .into_inner()
            .split(|byte| *byte == b',')
            .map(|word| match word {
                b"fail" => Err(Status::data_loss("half of it")),
                word => Ok(Bytes::copy_from_slice(word)),
            })
            .collect();
        Box::pin(async move {
            Ok(Response::new(
                Box::pin(tokio_stream::iter(words)) as Messages
            ))
        })
    }
}

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Streaming<Bytes>;
    type Future = Later<Streaming<Bytes>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

/// A gRPC client connection with metadata for every call.
#[derive(Clone)]
pub struct Channel {
    sender: SendRequest<Body>,
    metadata: Vec<(HeaderName, HeaderValue)>,
}

/// A client of the service at `origin`, connected to `address`.
pub async fn client(
    address: SocketAddr,
    origin: &str,
    metadata: &[(&str, &str)],
) -> tonic::client::Grpc<Channel> {
    let stream = TcpStream::connect(address).await.expect("a port");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let metadata = metadata.iter().map(|(name, value)| {
        (
            name.parse().expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        )
    });
    let channel = Channel {
        sender,
        metadata: metadata.collect(),
    };
    tonic::client::Grpc::with_origin(channel, origin.parse().expect("an origin"))
}

impl GrpcService<Body> for Channel {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.headers_mut().extend(self.metadata.iter().cloned());
        Box::pin(self.sender.send_request(request))
    }
}
