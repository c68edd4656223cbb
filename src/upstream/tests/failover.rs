//! Requests to an upstream with several addresses, of which one does not work.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::client::ClientParts;
use super::super::failover::send_balanced;
use super::super::group::{Balanced, Group};
use super::super::request::{AppCredentials, ForwardRequest};
use super::super::{HeaderPolicy, Tunnels, UpstreamPlan, UpstreamSettings, UpstreamUrl};
use crate::dns::Resolver;
use crate::identity::header_edits::RequestFacts;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::request_id::RequestId;

/// What a backend does with a request.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Responds with this status.
    Status(u16),
    /// Closes the connection without a response.
    Close,
    /// Never responds.
    Hang,
}

/// A backend, and the first lines of the requests that it received.
struct Backend {
    address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    async fn start(behaviour: Behaviour) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            address: socket.local_addr().unwrap(),
            received: Arc::default(),
        };
        let received = Arc::clone(&backend.received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(serve(stream, behaviour, Arc::clone(&received)));
            }
        });
        backend
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour, received: Arc<Mutex<Vec<String>>>) {
    let mut buffer = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        let text = String::from_utf8(buffer.clone()).unwrap();
        let has_body = text.starts_with("POST");
        if !text.ends_with(if has_body { "\r\n\r\nonce" } else { "\r\n\r\n" }) {
            continue;
        }
        let line = text.lines().next().unwrap();
        let line = line.strip_suffix(" HTTP/1.1").unwrap();
        received.lock().unwrap().push(line.to_owned());
        buffer.clear();
        match behaviour {
            Behaviour::Status(status) => {
                let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
                stream.write_all(response.as_bytes()).await.unwrap();
            }
            Behaviour::Close => return,
            Behaviour::Hang => std::future::pending().await,
        }
    }
}

/// A client of several addresses.
struct Client {
    group: Group,
    metrics: Arc<Metrics>,
}

impl Client {
    fn of<const N: usize>(
        addresses: [SocketAddr; N],
        adjust: impl FnOnce(&mut UpstreamSettings),
    ) -> Self {
        let url = |address: SocketAddr| format!("http://{address}").parse::<UpstreamUrl>().unwrap();
        let mut urls = addresses.map(url).into_iter();
        let mut settings = UpstreamSettings::at(urls.next().unwrap());
        settings.other_urls = urls.collect();
        adjust(&mut settings);
        let plan = UpstreamPlan::new("store", settings, HeaderPolicy::new([], &[])).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let parts = ClientParts {
            resolver: Resolver::default(),
            tunnels: Tunnels::new(&metrics),
            metrics: Arc::clone(&metrics),
        };
        Self {
            group: Group::new(&plan, &parts),
            metrics,
        }
    }

    /// The status of the response, or the code of the error.
    async fn send(&self, method: Method, path: &str) -> Result<u16, &'static str> {
        let body = match method {
            Method::POST => Body::full("once"),
            _ => Body::empty(),
        };
        let (mut parts, body) = Request::new(body).into_parts();
        parts.method = method;
        let mut balanced = Balanced::new(self.group.view()).unwrap();
        let request = request(path);
        let sent = send_balanced(&mut balanced, &request, &parts, body).await;
        let response = sent.map_err(|error| error.code())?;
        let status = response.status().as_u16();
        response.into_body().collect().await.unwrap();
        Ok(status)
    }

    async fn get(&self, path: &str) -> Result<u16, &'static str> {
        self.send(Method::GET, path).await
    }

    async fn post(&self, path: &str) -> Result<u16, &'static str> {
        self.send(Method::POST, path).await
    }

    /// The sum of a counter over all addresses.
    fn count(&self, family: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let values = text.lines().filter(|line| line.starts_with(family));
        let values = values.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    fn in_flight(&self) -> usize {
        let statuses = self.group.plan().member_statuses();
        statuses.iter().map(|member| member.in_flight).sum()
    }
}

fn request(target: &str) -> ForwardRequest<'_> {
    ForwardRequest {
        target,
        route: None,
        identity_headers: &[],
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
        session: None,
        pin: None,
        trace: None,
        credentials: AppCredentials::default(),
    }
}

/// An address that refuses connections.
async fn refusing() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn requests_are_spread_among_addresses_that_work() {
    let backends = [
        Backend::start(Behaviour::Status(200)).await,
        Backend::start(Behaviour::Status(200)).await,
        Backend::start(Behaviour::Status(200)).await,
    ];
    let client = Client::of(backends.each_ref().map(|backend| backend.address), |_| {});
    for _ in 0..60 {
        assert_eq!(client.get("/a").await, Ok(200));
    }
    for backend in backends {
        let count = backend.received().len();
        assert!((5..40).contains(&count), "{count}");
    }
    assert_eq!(
        client.in_flight(),
        0,
        "responses that were read do not count"
    );
}

#[tokio::test]
async fn refused_request_of_any_method_is_sent_to_another_address() {
    let works = Backend::start(Behaviour::Status(200)).await;
    let client = Client::of([refusing().await, works.address], |_| {});
    for number in 0..40 {
        let path = format!("/{number}");
        assert_eq!(client.post(&path).await, Ok(200));
        let sent = works.received();
        assert_eq!(sent.last(), Some(&format!("POST {path}")));
        assert_eq!(sent.len(), number + 1, "each is sent once");
    }
    assert!(client.count("doorward_upstream_retries_total") >= 5.0);
    assert!(client.count("doorward_upstream_ejections_total") >= 1.0);
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test]
async fn request_that_was_sent_is_repeated_only_if_it_is_safe() {
    let (closes, works) = (
        Backend::start(Behaviour::Close).await,
        Backend::start(Behaviour::Status(200)).await,
    );
    let client = Client::of([closes.address, works.address], |_| {});
    for number in 0..20 {
        assert_eq!(client.get(&format!("/{number}")).await, Ok(200));
    }
    assert_ne!(closes.received(), [""; 0]);
    let client = Client::of([closes.address, works.address], |_| {});
    let mut failed = 0;
    for number in 0..20 {
        let path = format!("/post/{number}");
        let result = client.post(&path).await;
        let sent = [closes.received(), works.received()].concat();
        let times = sent.iter().filter(|line| **line == format!("POST {path}"));
        assert_eq!(times.count(), 1, "{path}");
        match result {
            Ok(status) => assert_eq!(status, 200),
            Err(code) => {
                assert_eq!(code, "upstream_connection_closed");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "some were sent to the address that closes");
}

#[tokio::test]
async fn request_without_a_response_in_time_is_repeated_once() {
    let (hangs, works) = (
        Backend::start(Behaviour::Hang).await,
        Backend::start(Behaviour::Status(200)).await,
    );
    let short = |settings: &mut UpstreamSettings| {
        settings.response_timeout = Duration::from_secs(1);
    };
    let client = Client::of([hangs.address, works.address], short);
    for _ in 0..40 {
        assert_eq!(client.get("/a").await, Ok(200));
        if !hangs.received().is_empty() {
            break;
        }
    }
    assert_ne!(hangs.received(), [""; 0]);
    let other = Backend::start(Behaviour::Hang).await;
    let third = Backend::start(Behaviour::Hang).await;
    let all_hang = [hangs.address, other.address, third.address];
    let before = hangs.received().len();
    let client = Client::of(all_hang, short);
    assert_eq!(client.get("/b").await, Err("upstream_response_timeout"));
    let sent = hangs.received().len() - before + other.received().len() + third.received().len();
    assert_eq!(sent, 2, "not to all three");
}

#[tokio::test]
async fn silent_address_delays_a_request_by_its_own_timeout_only() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = socket.listen(1).unwrap();
    let address = silent.local_addr().unwrap();
    // Linux keeps one connection more than the backlog says, and answers no further one.
    let _first = TcpStream::connect(address).await.unwrap();
    let _second = TcpStream::connect(address).await.unwrap();
    let works = Backend::start(Behaviour::Status(200)).await;
    let client = Client::of([address, works.address], |settings| {
        settings.address_timeout = Duration::from_millis(500);
        settings.connect_timeout = Duration::from_secs(3600);
    });
    for number in 0..20 {
        assert_eq!(client.post(&format!("/{number}")).await, Ok(200));
    }
    assert_eq!(works.received().len(), 20);
    assert!(client.count("doorward_upstream_ejections_total") >= 1.0);
}

#[tokio::test]
async fn configured_statuses_send_a_safe_request_to_another_address() {
    let (fails, works) = (
        Backend::start(Behaviour::Status(500)).await,
        Backend::start(Behaviour::Status(200)).await,
    );
    let client = Client::of([fails.address, works.address], |settings| {
        settings.retry_statuses = vec![StatusCode::INTERNAL_SERVER_ERROR];
    });
    for _ in 0..20 {
        assert_eq!(client.get("/a").await, Ok(200));
    }
    assert!(client.count("doorward_upstream_ejections_total") >= 1.0);
    let client = Client::of([fails.address, works.address], |settings| {
        settings.retry_statuses = vec![StatusCode::INTERNAL_SERVER_ERROR];
    });
    let before = fails.received().len();
    let mut statuses = Vec::new();
    for number in 0..20 {
        statuses.push(client.post(&format!("/{number}")).await.unwrap());
    }
    let failed = statuses.iter().filter(|status| **status == 500).count();
    assert_eq!(fails.received().len() - before, failed, "none is repeated");
    assert!(failed > 0);
}

#[tokio::test]
async fn all_addresses_are_tried_if_all_are_ejected() {
    let first = refusing().await;
    let second = refusing().await;
    let client = Client::of([first, second], |settings| {
        settings.max_ejected_percent = 100
    });
    for _ in 0..20 {
        assert_eq!(client.get("/a").await, Err("upstream_connect_refused"));
    }
    assert!(client.count("doorward_upstream_ejections_total") >= 2.0);
    let socket = TcpListener::bind(first).await.unwrap();
    let received = Arc::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(serve(stream, Behaviour::Status(200), Arc::clone(&received)));
        }
    });
    assert_eq!(client.get("/a").await, Ok(200));
}
