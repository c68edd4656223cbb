//! One client uses everything it can for some seconds, through each endpoint and protocol. All
//! requests of another succeed, and the memory stays bounded.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorward::types::time::{Clock as _, SystemClock};
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::{GREEDY, OTHER, connection, http2, stalled};
use crate::support::assertions::CART;
use crate::support::backend::{Answer, Content};
use crate::support::browser::{Browser, Kind, RequestSpec, connect_from};
use crate::support::device::Device;
use crate::support::doorward::Setup;
use crate::support::process::Process;
use crate::support::provider::User;
use crate::support::replicas::Replicas;

const SETTINGS: &str = r#"
[apps.store.native]
password_grant = true

[apps.store.bearer]
opaque_tokens = "introspect"
"#;

const MAX_MEMORY: u64 = 128 << 20;

/// Rounds of the other client.
const ROUNDS: usize = 12;

fn url(path: &str) -> String {
    Replicas::store_url(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greedy_client_leaves_everything_to_another() {
    rlimit::increase_nofile_limit(u64::MAX).expect("more files");
    let setup = Setup::plain()
        .server("max_connections = 900")
        .store("session_jwt = \"access\"\nmax_in_flight_requests = 100")
        .remembering("max_entries = 500")
        .more(SETTINGS);
    let doorward = Replicas::start(1, setup);
    let provider = &doorward.around.provider;
    provider.add_user("alice", "secret", User::new("alice", &[]));
    let big = Answer {
        body: Content::Big(64 << 20),
        ..Answer::default()
    };
    doorward.around.store.response("/public/big", big);
    let port = doorward.processes[0].port("address");
    let mut other = Other::arrives(&doorward, port).await;

    let mut attacks = JoinSet::new();
    attack(&mut attacks, 150, move |_| stalled_body(port, "/public/x"));
    for path in [
        "backchannel-logout",
        "native/login",
        "token",
        "native/refresh",
    ] {
        attack(&mut attacks, 40, move |_| {
            stalled_body(port, format!("/.doorward/{path}"))
        });
    }
    attack(&mut attacks, 600, move |number| idle(port, number));
    attack(&mut attacks, 4, move |_| unread_http2(port));
    attack(&mut attacks, 60, move |_| unread_http1(port));
    attack(&mut attacks, 4, move |_| stalled_streams(port));
    let device = Arc::new(Device::new());
    attack(&mut attacks, 6, move |number| {
        junk(port, number, Arc::clone(&device))
    });

    for _ in 0..ROUNDS {
        other.round(&doorward).await;
    }
    attacks.shutdown().await;
    other.round(&doorward).await;
    let peak = peak_memory(&doorward.processes[0]);
    assert!(peak < MAX_MEMORY, "{} MiB", peak >> 20);
}

/// Repeats `attempt` in so many tasks.
fn attack<F>(
    attacks: &mut JoinSet<()>,
    tasks: usize,
    attempt: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = std::io::Result<()>> + Send,
{
    for number in 0..tasks {
        let attempt = attempt.clone();
        attacks.spawn(async move {
            loop {
                // A refusal is what the server owes this client.
                let _refused = attempt(number).await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
    }
}

async fn stalled_body(port: u16, path: impl AsRef<str>) -> std::io::Result<()> {
    let mut stream = connect_from(GREEDY, port).await?;
    stream.write_all(stalled(path.as_ref()).as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

/// A silent connection, or one with half a head.
async fn idle(port: u16, number: usize) -> std::io::Result<()> {
    let mut stream = connect_from(GREEDY, port).await?;
    if number.is_multiple_of(2) {
        stream
            .write_all(b"GET /public/x HTTP/1.1\r\nX-Half: ")
            .await?;
    }
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

async fn unread_http1(port: u16) -> std::io::Result<()> {
    let mut stream = connect_from(GREEDY, port).await?;
    let request = super::get("/public/big");
    stream.write_all(request.as_bytes()).await?;
    std::future::pending().await
}

/// The largest windows that HTTP/2 has, on a connection that is not read after the handshake.
async fn unread_http2(port: u16) -> std::io::Result<()> {
    let stream = connect_from(GREEDY, port).await?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(0x7fff_ffff)
        .initial_connection_window_size(0x7fff_ffff);
    let (client, connection) = builder
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .map_err(std::io::Error::other)?;
    let mut connection = Box::pin(connection);
    let spec = async {
        let mut client = client.ready().await?;
        let mut responses = Vec::new();
        for _ in 0..90 {
            let request = Request::builder().uri(url("/public/big")).body(());
            client = client.ready().await?;
            responses.push(client.send_request(request.expect("a request"), true)?.0);
        }
        Ok::<_, h2::Error>(responses)
    };
    let responses = tokio::select! {
        responses = spec => responses,
        _ = &mut connection => return Ok(()),
    };
    // Sends what was queued, and then reads no more.
    let sent = std::time::Duration::from_millis(200);
    let _open = tokio::time::timeout(sent, connection.as_mut()).await;
    let _answers = responses;
    std::future::pending().await
}

/// Streams with large cookies, and bodies that do not arrive.
async fn stalled_streams(port: u16) -> std::io::Result<()> {
    let mut client = http2(GREEDY, port).await;
    let crumb = format!("c={}", "x".repeat(3000));
    let mut streams = Vec::new();
    for _ in 0..90 {
        let request = Request::builder().method("POST").uri(url("/public/y"));
        let request = (0..18).fold(request, |request, _| request.header("cookie", &crumb));
        client = client.ready().await.map_err(std::io::Error::other)?;
        let request = request.body(()).expect("a request");
        streams.push(
            client
                .send_request(request, false)
                .map_err(std::io::Error::other)?,
        );
    }
    for (response, _body) in streams {
        let _refused = response.await;
    }
    Ok(())
}

/// Tokens, passwords, proofs, logins, callbacks, forms and cookies that are made up.
async fn junk(port: u16, number: usize, device: Arc<Device>) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut browser = browser(port).from_address(GREEDY);
    let spec = |path: &str| RequestSpec::new(Kind::Program, &url(path));
    let spec = match number {
        0 => spec(CART).header("Authorization", &format!("Bearer junk-{next}")),
        1 => {
            let path = "/.doorward/native/login";
            let no_token = json!({ "ath": null });
            let proof = device.proof(("POST", &url(path)), "", SystemClock.now(), &no_token);
            let body = json!({ "username": format!("user{next}"), "password": "x" });
            spec(path)
                .method("POST")
                .header("DPoP", &proof)
                .body("application/json", body.to_string())
        }
        2 => RequestSpec::new(Kind::Navigation, &url(CART)),
        3 => spec(&format!("/.doorward/callback?code={next}&state={next}")),
        4 => {
            let page = url("/orders").parse().expect("an URL");
            RequestSpec::new(Kind::Navigation, &url("/orders"))
                .method("POST")
                .from(&page)
                .body("application/x-www-form-urlencoded", format!("a={next}"))
        }
        _ => spec(CART).header("Cookie", &format!("doorward_jwt={next}")),
    };
    browser.try_send(spec).await.map(drop)
}

fn browser(port: u16) -> Browser {
    Browser::new(Arc::new(SystemClock)).with_port(8080, port)
}

/// The other client: a browser with a session, a phone and a program.
struct Other {
    browser: Browser,
    phone: Browser,
    refresh_token: String,
    port: u16,
    rounds: usize,
}

impl Other {
    async fn arrives(doorward: &Replicas, port: u16) -> Self {
        doorward.around.provider.sign_in(User::new("bob", &[]));
        let mut browser = browser(port).from_address(OTHER);
        let page = browser.visit(&url(CART)).await;
        assert_eq!(page.status(), 200, "{page}");
        Self {
            browser,
            phone: self::browser(port).from_address(OTHER),
            refresh_token: String::new(),
            port,
            rounds: 0,
        }
    }

    async fn round(&mut self, doorward: &Replicas) {
        self.rounds += 1;
        let public = connection(OTHER, self.port)
            .await
            .request("GET", super::get("/public/x"))
            .await;
        assert_eq!(public.status(), 200, "{}", public.text());
        let mut client = http2(OTHER, self.port).await;
        let request = Request::builder().uri(url("/public/x")).body(());
        let (response, _) = client
            .send_request(request.expect("a request"), true)
            .expect("HTTP/2");
        assert_eq!(response.await.expect("a response").status(), 200);
        let page = self.browser.step(&url(CART)).await;
        assert_eq!(page.status(), 200, "{page}");
        let page = self.log_in_or_refresh().await;
        assert_eq!(page.status(), 200, "{page}");
        let token = page.json()["refresh_token"].as_str().map(str::to_owned);
        self.refresh_token = token.expect("a refresh token");
        let token = doorward.around.provider.opaque_token(&json!({}));
        let spec = RequestSpec::new(Kind::Program, &url(CART))
            .header("Authorization", &format!("Bearer {token}"));
        let page = self.phone.send(spec).await;
        assert_eq!(page.status(), 200, "{page}");
        let claims = json!({ "sub": "carol-id" });
        let token = doorward.around.provider.logout_token("store", &claims, &[]);
        let spec = RequestSpec::new(Kind::Program, &url("/.doorward/backchannel-logout"))
            .method("POST")
            .body(
                "application/x-www-form-urlencoded",
                format!("logout_token={token}"),
            );
        let page = self.phone.send(spec).await;
        assert_eq!(page.status(), 200, "{page}");
    }

    async fn log_in_or_refresh(&mut self) -> crate::support::browser::Page {
        let (path, body) = if self.refresh_token.is_empty() {
            let body = json!({ "username": "alice", "password": "secret" });
            ("native/login", body)
        } else {
            let body = json!({ "refresh_token": self.refresh_token });
            ("native/refresh", body)
        };
        let spec = RequestSpec::new(Kind::Program, &url(&format!("/.doorward/{path}")))
            .method("POST")
            .body("application/json", body.to_string());
        self.phone.send(spec).await
    }
}

/// The largest resident set of a process so far, in bytes.
fn peak_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()));
    let status = status.expect("a running process");
    let peak = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
        kib.trim().parse::<u64>().ok()
    });
    peak.expect("the peak") * 1024
}
