//! A fake backend without authentication: it records every byte, echoes requests as JSON, and can
//! be slow, broken, endless or down.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::gate::Gate;
use super::listening::Listening;
use super::tls::Certificate;
use super::websocket;
use super::wire::{Head, Wire};

/// The backend. WebSocket upgrades are echoed on every path.
pub struct Backend {
    listening: Listening,
    shared: Arc<Mutex<Shared>>,
    tls: Option<Arc<ServerConfig>>,
}

/// The response of a path.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Headers besides the framing, such as `Set-Cookie`.
    pub headers: Vec<(String, String)>,
    pub body: Content,
    /// Delays the head until the gate opens.
    pub gate: Option<Gate>,
    pub head_delay: Duration,
    /// Delay between the head and the body.
    pub body_delay: Duration,
    pub cut: Option<Cut>,
}

/// The body of a response.
#[derive(Clone, Debug)]
pub enum Content {
    /// JSON of the request: `method`, `target`, `headers` (pairs), `body`.
    Echo,
    Bytes(Vec<u8>),
    /// This many bytes `x` in chunks of 64 KiB.
    Big(usize),
    /// Server-sent events `data: 0`, `data: 1`, … at this interval.
    Events {
        count: usize,
        every: Duration,
    },
}

/// Where the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    BeforeHead,
    InsideBody,
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub head: Head,
    pub body: Vec<u8>,
    /// The index of its connection, from 0.
    pub connection: usize,
}

#[derive(Default)]
struct Shared {
    connections: usize,
    received: Vec<Received>,
    tunnelled: Vec<u8>,
    responses: HashMap<String, Answer>,
    default: Answer,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Content::Echo,
            gate: None,
            head_delay: Duration::ZERO,
            body_delay: Duration::ZERO,
            cut: None,
        }
    }
}

impl Answer {
    /// Adds a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Received {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

impl Backend {
    /// Starts an echo backend on a free port.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Like `start`, over TLS.
    pub fn start_tls(certificate: &Certificate) -> Self {
        Self::start_with(Some(certificate.server()))
    }

    /// Like `start`, over TLS with this configuration.
    pub fn start_over(tls: Arc<ServerConfig>) -> Self {
        Self::start_with(Some(tls))
    }

    fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        Self {
            listening: listen(0, &shared, tls.clone()),
            shared,
            tls,
        }
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub fn url(&self) -> String {
        self.url_as("127.0.0.1")
    }

    /// The same URL with another host.
    pub fn url_as(&self, host: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{}", self.listening.port())
    }

    /// Refuses new connections and closes open ones.
    pub fn stop(&mut self) {
        self.listening.stop();
    }

    /// Listens again on the same port.
    pub fn restart(&mut self) {
        self.listening = listen(self.listening.port(), &self.shared, self.tls.clone());
    }

    /// Sets the response of every path without a specific one.
    pub fn respond_to_all(&self, response: Answer) {
        self.shared().default = response;
    }

    /// Sets the response of `path` (without query).
    pub fn response(&self, path: &str, response: Answer) {
        self.shared().responses.insert(path.to_owned(), response);
    }

    /// All requests so far, in the order in which their heads arrived.
    pub fn received(&self) -> Vec<Received> {
        self.shared().received.clone()
    }

    /// The last request, which must exist.
    pub fn last(&self) -> Received {
        self.received()
            .pop()
            .expect("a request reached the backend")
    }

    /// The number of requests.
    pub fn count(&self) -> usize {
        self.shared().received.len()
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        self.shared().connections
    }

    /// Asserts that no head, body or tunnelled byte so far contains one of `canaries`, plain or
    /// percent-encoded.
    pub fn assert_never_saw(&self, canaries: &[&str]) {
        let shared = self.shared();
        let seen = shared
            .received
            .iter()
            .flat_map(|request| [request.head.raw.as_slice(), request.body.as_slice()]);
        for bytes in seen.chain([shared.tunnelled.as_slice()]) {
            let text = String::from_utf8_lossy(bytes).to_lowercase();
            for canary in canaries {
                assert!(!canary.is_empty(), "an empty canary is everywhere");
                let encoded: String =
                    url::form_urlencoded::byte_serialize(canary.as_bytes()).collect();
                for form in [canary.to_lowercase(), encoded.to_lowercase()] {
                    assert!(!text.contains(&form), "the backend saw `{form}` in\n{text}");
                }
            }
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panicked inside")
    }
}

fn listen(port: u16, shared: &Arc<Mutex<Shared>>, tls: Option<Arc<ServerConfig>>) -> Listening {
    let tls = tls.map(TlsAcceptor::from);
    let shared = Arc::clone(shared);
    Listening::start(port, move |stream| {
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        async move {
            // A client that disconnects ends only its own connection.
            let _gone = accept(stream, tls, &shared).await;
        }
    })
}

async fn accept(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    shared: &Mutex<Shared>,
) -> io::Result<()> {
    match tls {
        Some(tls) => serve(Wire::new(tls.accept(stream).await?), shared).await,
        None => serve(Wire::new(stream), shared).await,
    }
}

async fn serve(mut wire: Wire, shared: &Mutex<Shared>) -> io::Result<()> {
    let lock = || shared.lock().expect("no test panicked inside");
    let connection = {
        let mut shared = lock();
        shared.connections += 1;
        shared.connections - 1
    };
    while let Some(head) = wire.read_head().await? {
        let mut words = head.start.split(' ').map(str::to_owned);
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let index = {
            let mut shared = lock();
            shared.received.push(Received {
                method,
                target,
                head: head.clone(),
                body: Vec::new(),
                connection,
            });
            shared.received.len() - 1
        };
        if head.header("expect").is_some() {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut rest = head.request_framing();
        while let Some(part) = wire.next_part(&mut rest).await? {
            lock().received[index].body.extend(part);
        }
        let (request, response) = {
            let shared = lock();
            let request = shared.received[index].clone();
            let path = request.target.split('?').next().unwrap_or_default();
            let response = shared
                .responses
                .get(path)
                .unwrap_or(&shared.default)
                .clone();
            (request, response)
        };
        if let Some(gate) = &response.gate {
            gate.pass().await;
        }
        tokio::time::sleep(response.head_delay).await;
        if response.cut == Some(Cut::BeforeHead) {
            return Ok(());
        }
        if head
            .header("upgrade")
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
        {
            let accept =
                websocket::accept_key(head.header("sec-websocket-key").unwrap_or_default());
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
            wire.write(format!("{switch}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes())
                .await?;
            return websocket::echo(&mut wire, |heard| lock().tunnelled.extend_from_slice(heard))
                .await;
        }
        respond(&mut wire, &request, &response).await?;
        if response.cut == Some(Cut::InsideBody) {
            return Ok(());
        }
    }
    Ok(())
}

async fn respond(wire: &mut Wire, request: &Received, response: &Answer) -> io::Result<()> {
    let whole = match &response.body {
        Content::Echo => Some(echo(request).into_bytes()),
        Content::Bytes(bytes) => Some(bytes.clone()),
        Content::Big(_) | Content::Events { .. } => None,
    };
    let mut lines = vec![format!("HTTP/1.1 {} Test", response.status)];
    lines.extend(
        response
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    lines.push(match &response.body {
        Content::Echo => "Content-Type: application/json".to_owned(),
        Content::Events { .. } => "Content-Type: text/event-stream".to_owned(),
        Content::Bytes(_) | Content::Big(_) => "X-Kind: bytes".to_owned(),
    });
    lines.push(match &whole {
        Some(bytes) => format!("Content-Length: {}", bytes.len()),
        None => "Transfer-Encoding: chunked".to_owned(),
    });
    wire.write(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes())
        .await?;
    tokio::time::sleep(response.body_delay).await;
    let has_body = request.method != "HEAD" && !matches!(response.status, 204 | 304);
    match (&response.body, whole) {
        _ if !has_body => Ok(()),
        (_, Some(bytes)) => {
            let sent = if response.cut == Some(Cut::InsideBody) {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            wire.write(&bytes[..sent]).await
        }
        (Content::Big(size), None) => big(wire, *size, response.cut).await,
        (Content::Events { count, every }, None) => {
            events(wire, *count, *every, response.cut).await
        }
        (Content::Echo | Content::Bytes(_), None) => Ok(()),
    }
}

fn echo(request: &Received) -> String {
    let body = String::from_utf8_lossy(&request.body);
    let headers = &request.head.headers;
    json!({ "method": request.method, "target": request.target, "headers": headers, "body": body })
        .to_string()
}

async fn big(wire: &mut Wire, size: usize, cut: Option<Cut>) -> io::Result<()> {
    const PART: usize = 64 * 1024;
    let mut left = if cut.is_some() { size / 2 } else { size };
    while left > 0 {
        let part = left.min(PART);
        chunk(wire, &vec![b'x'; part]).await?;
        left -= part;
    }
    if cut.is_some() {
        Ok(())
    } else {
        wire.write(b"0\r\n\r\n").await
    }
}

async fn events(
    wire: &mut Wire,
    count: usize,
    every: Duration,
    cut: Option<Cut>,
) -> io::Result<()> {
    for number in 0..count {
        chunk(wire, format!("data: {number}\n\n").as_bytes()).await?;
        tokio::time::sleep(every).await;
    }
    if cut.is_some() {
        Ok(())
    } else {
        wire.write(b"0\r\n\r\n").await
    }
}

async fn chunk(wire: &mut Wire, bytes: &[u8]) -> io::Result<()> {
    let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    wire.write(&framed).await
}
