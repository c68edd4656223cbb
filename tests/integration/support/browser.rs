//! A simulated browser over HTTP/1.1: stores cookies, sends fetch metadata and `Accept`, follows
//! redirects across hosts and records them. Every host name resolves to 127.0.0.1.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use doorward::types::time::{Clock, Timestamp};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use url::Url;

use super::cookies::Jar;
use super::fetch_metadata::{implied_headers, situation};
use super::page::target;
use super::tls::Authority;
use super::wire::{Framing, Head, Wire};

pub use super::page::{Page, Redirect};

const MAX_REDIRECTS: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(40);

/// A browser. A clone is a copied profile.
#[derive(Clone)]
pub struct Browser {
    pub jar: Jar,
    clock: Arc<dyn Clock>,
    tls: Option<Arc<ClientConfig>>,
    ports: HashMap<u16, u16>,
    source: Ipv4Addr,
    /// Headers that it sends with each request.
    headers: Vec<(String, String)>,
}

/// The initiator of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The address bar, a link, a form.
    Navigation,
    /// An iframe's own document.
    Frame,
    /// `fetch()` with `credentials: "include"`, or XMLHttpRequest.
    Fetch,
    /// An `<img>`.
    Image,
    /// Not a browser: no `Sec-Fetch-*`, `Accept: */*`.
    Program,
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    pub kind: Kind,
    pub method: String,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The initiating page. `None` means a typed address.
    pub initiator: Option<Url>,
    /// Whether redirects are followed.
    pub follow: bool,
}

/// A response whose body is read as it arrives.
pub struct Streaming {
    pub head: Head,
    wire: Wire,
    rest: Framing,
}

impl RequestSpec {
    /// A GET of this kind.
    pub fn new(kind: Kind, url: &str) -> Self {
        let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let (headers, body) = (Vec::new(), Vec::new());
        Self {
            kind,
            method: "GET".to_owned(),
            url,
            headers,
            body,
            initiator: None,
            follow: false,
        }
    }

    /// Sets the method.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Adds a header. `user-agent` replaces that of the browser.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets body and content type.
    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", media_type)
    }

    /// Sets the initiating page.
    pub fn from(mut self, url: &Url) -> Self {
        self.initiator = Some(url.clone());
        self
    }

    /// Follows redirects.
    pub fn following(mut self) -> Self {
        self.follow = true;
        self
    }
}

impl Browser {
    /// Creates an empty profile. Cookies expire by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            jar: Jar::default(),
            clock,
            tls: None,
            ports: HashMap::new(),
            source: Ipv4Addr::LOCALHOST,
            headers: Vec::new(),
        }
    }

    /// The time by its clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sends this header with each request from now on. `user-agent` replaces its own.
    pub fn sending(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(sent, _)| sent != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Connects from another loopback address, as another client.
    pub fn from_address(mut self, source: Ipv4Addr) -> Self {
        self.source = source;
        self
    }

    /// Uses TLS and trusts this authority.
    pub fn trusting(mut self, authority: &Authority) -> Self {
        self.tls = Some(authority.client());
        self
    }

    /// Connects to port `real` where a URL has port `shown`.
    pub fn with_port(mut self, shown: u16, real: u16) -> Self {
        self.ports.insert(shown, real);
        self
    }

    /// Opens a typed address and follows redirects.
    pub async fn visit(&mut self, url: &str) -> Page {
        self.send(RequestSpec::new(Kind::Navigation, url).following())
            .await
    }

    /// Opens a typed address and returns the first response.
    pub async fn step(&mut self, url: &str) -> Page {
        self.send(RequestSpec::new(Kind::Navigation, url)).await
    }

    /// Follows one redirect or refresh.
    pub async fn next(&mut self, page: &Page) -> Page {
        let request = page
            .redirect()
            .or_else(|| page.refresh())
            .unwrap_or_else(|| panic!("no redirect: {page}"));
        let mut further = self
            .send(RequestSpec {
                follow: false,
                ..request
            })
            .await;
        further.chain.splice(0..0, page.chain.iter().cloned());
        further
    }

    /// Follows a link of the page, and redirects.
    pub async fn click(&mut self, page: &Page, href: &str) -> Page {
        let target = page.resolve(href);
        self.send(
            RequestSpec::new(Kind::Navigation, target.as_str())
                .from(&page.url)
                .following(),
        )
        .await
    }

    /// Submits the form with these fields and follows redirects.
    pub async fn submit(&mut self, page: &Page, values: &[(&str, &str)]) -> Page {
        self.send(page.filled(values).following()).await
    }

    /// Sends a script's request from `page` and follows redirects, as `fetch()` does.
    pub async fn fetch(&mut self, page: &Url, method: &str, url: &str) -> Page {
        self.send(
            RequestSpec::new(Kind::Fetch, url)
                .method(method)
                .from(page)
                .following(),
        )
        .await
    }

    /// Sends the request. Panics if the connection fails.
    pub async fn send(&mut self, request: RequestSpec) -> Page {
        let what = format!("{} {}", request.method, request.url);
        self.try_send(request)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends the request, or returns the connection error.
    pub async fn try_send(&mut self, request: RequestSpec) -> io::Result<Page> {
        let mut chain = Vec::new();
        let mut request = request;
        // A refresh is a navigation of its own: the redirects before it do not count.
        let mut start = 0;
        loop {
            let exchange = self.exchange(&request, &chain[start..]);
            let (head, body) = tokio::time::timeout(TIMEOUT, exchange).await??;
            chain.push(self.keep_cookies(&request, &chain[start..], &head));
            let page = Page {
                url: request.url.clone(),
                head,
                body,
                chain: chain.clone(),
                request: request.clone(),
            };
            if !request.follow {
                return Ok(page);
            }
            if let Some(next) = page.redirect() {
                request = next;
            } else if let Some(next) = page.refresh() {
                request = next;
                start = chain.len();
            } else {
                return Ok(page);
            }
            assert!(
                chain.len() <= MAX_REDIRECTS,
                "redirected in circles: {page}"
            );
        }
    }

    /// Sends the request and returns a streaming response.
    pub async fn stream(&mut self, request: RequestSpec) -> io::Result<Streaming> {
        let mut wire = self.connect(&request.url).await?;
        wire.write(&self.request_bytes(&request, &[])).await?;
        let head = wire
            .read_head()
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.keep_cookies(&request, &[], &head);
        let rest = head.answer_framing(&request.method);
        Ok(Streaming { head, wire, rest })
    }

    /// Opens a raw connection to the URL, with TLS for https.
    pub async fn connect(&self, url: &Url) -> io::Result<Wire> {
        let shown = url
            .port_or_known_default()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let port = self.ports.get(&shown).copied().unwrap_or(shown);
        let stream = connect_from(self.source, port).await?;
        stream.set_nodelay(true)?;
        if url.scheme() != "https" {
            return Ok(Wire::new(stream));
        }
        let tls = self
            .tls
            .clone()
            .ok_or_else(|| io::Error::other("this browser trusts no authority"))?;
        let name = ServerName::try_from(url.host_str().unwrap_or_default().to_owned())
            .map_err(io::Error::other)?;
        Ok(Wire::new(
            TlsConnector::from(tls).connect(name, stream).await?,
        ))
    }

    async fn exchange(
        &self,
        request: &RequestSpec,
        before: &[Redirect],
    ) -> io::Result<(Head, Vec<u8>)> {
        let mut wire = self.connect(&request.url).await?;
        wire.write(&self.request_bytes(request, before)).await?;
        loop {
            let head = wire
                .read_head()
                .await?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            if head.status() < 200 && head.status() != 101 {
                continue;
            }
            let body = wire.read_body(head.answer_framing(&request.method)).await?;
            return Ok((head, body));
        }
    }

    /// The bytes of the request.
    pub fn request_bytes(&self, request: &RequestSpec, before: &[Redirect]) -> Vec<u8> {
        let target = match request.url.query() {
            Some(query) => format!("{}?{query}", request.url.path()),
            None => request.url.path().to_owned(),
        };
        let mut lines = vec![
            format!("{} {target} HTTP/1.1", request.method),
            format!("Host: {}", authority(&request.url)),
        ];
        let is_replaced = |name: &str| {
            let given = request.headers.iter().chain(&self.headers);
            let mut names = given.map(|(name, _)| name);
            name == "User-Agent" && names.any(|given| given.eq_ignore_ascii_case(name))
        };
        lines.extend(
            implied_headers(request, before)
                .into_iter()
                .filter(|(name, _)| !is_replaced(name))
                .map(|(name, value)| format!("{name}: {value}")),
        );
        lines.extend(
            request
                .headers
                .iter()
                .chain(&self.headers)
                .map(|(name, value)| format!("{name}: {value}")),
        );
        if let Some(cookies) =
            self.jar
                .header(&request.url, self.clock.now(), situation(request, before))
        {
            lines.push(format!("Cookie: {cookies}"));
        }
        if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
            lines.push(format!("Content-Length: {}", request.body.len()));
        }
        let mut bytes: Vec<u8> = lines.join("\r\n").into_bytes();
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&request.body);
        bytes
    }

    fn keep_cookies(
        &mut self,
        request: &RequestSpec,
        before: &[Redirect],
        head: &Head,
    ) -> Redirect {
        let set_cookies: Vec<String> = head
            .all("set-cookie")
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut refused = Vec::new();
        for line in &set_cookies {
            if request.kind == Kind::Program {
                continue;
            }
            if let Err(why) = self.jar.take(
                &request.url,
                line,
                self.clock.now(),
                situation(request, before),
            ) {
                refused.push((line.clone(), why));
            }
        }
        let location = target(head).map(str::to_owned);
        Redirect {
            url: request.url.clone(),
            status: head.status(),
            location,
            set_cookies,
            refused,
        }
    }
}

impl Streaming {
    /// The next piece, or `None` at the end of the body.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.wire.next_part(&mut self.rest).await
    }

    /// The connection itself, after an upgrade.
    pub fn into_wire(self) -> Wire {
        self.wire
    }
}

/// Connects to a local port from this loopback address.
pub async fn connect_from(source: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // The kernel's own choice of a port may share it between peers.
    if source != Ipv4Addr::LOCALHOST {
        socket.bind((source, 0).into())?;
    }
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
