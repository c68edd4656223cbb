//! One of three instances of an app fails under load, in each way that instances fail. No GET fails, and no
//! POST is carried out twice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::eventually;
use crate::support::folder::{ANY_PORTS, Folder, one_public_app};
use crate::support::process::Process;
use crate::support::runtime;
use crate::support::wire::Wire;

const CLIENTS: usize = 8;
/// Requests before and after the fault.
const REQUESTS: usize = 400;

const RESPOND: u8 = 0;
const HANG: u8 = 1;
const FAIL: u8 = 2;

/// The number of requests per path, at all instances.
type Seen = Arc<Mutex<HashMap<String, usize>>>;

/// An instance of the app.
struct Instance {
    address: SocketAddr,
    behaviour: Arc<AtomicU8>,
    seen: Seen,
    serving: JoinHandle<()>,
}

impl Instance {
    async fn start(address: SocketAddr, seen: &Seen) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("a free port");
        let listener = socket.listen(1024).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let behaviour = Arc::new(AtomicU8::new(RESPOND));
        let (of_connections, of_each) = (Arc::clone(&behaviour), Arc::clone(seen));
        let serving = runtime().spawn(async move {
            // Ends with this task, in the middle of requests.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (behaviour, seen) = (Arc::clone(&of_connections), Arc::clone(&of_each));
                connections.spawn(serve(stream, behaviour, seen));
            }
        });
        Self {
            address,
            behaviour,
            seen: Arc::clone(seen),
            serving,
        }
    }

    /// Ends it without notice, so that connections to it are refused.
    async fn kill(&mut self) {
        self.serving.abort();
        let ended = (&mut self.serving).await;
        assert!(ended.is_err(), "it was running");
    }

    async fn restart(&mut self) {
        *self = Self::start(self.address, &self.seen).await;
    }
}

fn count(seen: &Seen, path: String) {
    let mut counts = seen.lock().expect("no test panicked inside");
    *counts.entry(path).or_default() += 1;
}

async fn serve(stream: TcpStream, behaviour: Arc<AtomicU8>, seen: Seen) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.read_head().await? {
        let path = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        count(&seen, path);
        wire.read_body(head.request_framing()).await?;
        match behaviour.load(Ordering::Relaxed) {
            HANG => std::future::pending().await,
            FAIL => {
                let response = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno";
                wire.write(response).await?;
            }
            _ => {
                let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                wire.write(response).await?;
            }
        }
    }
    Ok(())
}

/// Doorward before three instances, and clients that send requests to it.
struct Load {
    _process: Process,
    instances: [Instance; 3],
    seen: Seen,
    enough: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: JoinSet<Vec<Posted>>,
}

/// A POST with the status of its response.
struct Posted {
    path: String,
    status: u16,
}

impl Load {
    /// `silent` replaces the address of the first instance.
    async fn start(silent: Option<SocketAddr>) -> Self {
        let seen = Seen::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let instances = [
            Instance::start(any, &seen).await,
            Instance::start(any, &seen).await,
            Instance::start(any, &seen).await,
        ];
        let mut addresses = instances.each_ref().map(|instance| instance.address);
        if let Some(silent) = silent {
            addresses[0] = silent;
        }
        let urls = addresses.map(|address| format!("\"http://{address}\""));
        let config = one_public_app("URL").replace(
            "upstream = \"URL\"",
            &format!(
                "upstream = [{}]\nupstream_retry_statuses = [500]\nresponse_timeout = \"1s\"",
                urls.join(", ")
            ),
        );
        let folder = Folder::with("doorward.toml", &config);
        let variables = [&ANY_PORTS[..], &[("DOORWARD_LOG__ACCESS", "false")]].concat();
        let process = Process::run(folder.path("doorward.toml").as_os_str(), &variables);
        let doorward = SocketAddr::from(([127, 0, 0, 1], process.port("address")));
        let mut load = Self {
            _process: process,
            instances,
            seen,
            enough: Arc::default(),
            done: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..CLIENTS {
            let (enough, done) = (Arc::clone(&load.enough), Arc::clone(&load.done));
            load.clients.spawn(client(doorward, number, enough, done));
        }
        load.more(REQUESTS).await;
        load
    }

    /// Waits for so many further requests.
    async fn more(&self, requests: usize) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("load", || {
            self.done.load(Ordering::Relaxed) > before + requests
        })
        .await;
    }

    /// Ends the load. Returns how many POSTs failed.
    async fn end(mut self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        let mut posted = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            posted.extend(client.expect("a client whose GETs succeed"));
        }
        let seen = self.seen.lock().expect("no test panicked inside");
        let mut failed = 0;
        for Posted { path, status } in posted {
            let times = seen.get(&path).copied().unwrap_or_default();
            assert!(times <= 1, "{path} was sent {times} times");
            if status == 200 {
                assert_eq!(times, 1, "{path}");
            } else {
                assert!([500, 502, 504].contains(&status), "{path}: {status}");
                failed += 1;
            }
        }
        failed
    }
}

/// Sends GET and POST in turn on a keep-alive connection. Each GET must succeed.
async fn client(
    doorward: SocketAddr,
    number: usize,
    enough: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<Posted> {
    let mut wire = Wire::new(TcpStream::connect(doorward).await.expect("a connection"));
    let mut posted = Vec::new();
    for turn in 0.. {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let (method, rest) = if turn % 2 == 0 {
            ("GET", "\r\n")
        } else {
            ("POST", "Content-Length: 4\r\n\r\nonce")
        };
        let path = format!("/public/{number}/{turn}");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: store.localhost\r\n{rest}");
        wire.write(request.as_bytes()).await.expect("taken");
        let head = wire.read_head().await.expect("a head").expect("a response");
        let framing = head.answer_framing(method);
        let body = wire.read_body(framing).await.expect("a body");
        let status = head.status();
        if method == "GET" {
            assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        } else {
            posted.push(Posted { path, status });
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    posted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_instance_fails_no_get() {
    let mut load = Load::start(None).await;
    load.instances[0].kill().await;
    load.more(REQUESTS).await;
    let failed = load.end().await;
    // Those that it had received or that were on the way, and none later.
    assert!(failed <= 2 * CLIENTS, "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance_that_restarts_fails_no_get() {
    let mut load = Load::start(None).await;
    for _ in 0..10 {
        load.instances[0].kill().await;
        load.more(REQUESTS / 10).await;
        load.instances[0].restart().await;
        load.more(REQUESTS / 10).await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance_that_hangs_fails_no_get() {
    let load = Load::start(None).await;
    load.instances[0].behaviour.store(HANG, Ordering::Relaxed);
    load.more(REQUESTS).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance_that_responds_with_500_fails_no_get() {
    let load = Load::start(None).await;
    load.instances[0].behaviour.store(FAIL, Ordering::Relaxed);
    load.more(REQUESTS).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance_whose_packets_are_dropped_fails_no_request() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .expect("a port");
    let silent = socket.listen(1).expect("a socket");
    let address = silent.local_addr().expect("an address");
    // Linux keeps one connection more than the backlog says, and answers no further one.
    let _first = TcpStream::connect(address).await.expect("a connection");
    let _second = TcpStream::connect(address).await.expect("a connection");
    let load = Load::start(Some(address)).await;
    assert_eq!(load.end().await, 0, "nothing was sent to it");
}
