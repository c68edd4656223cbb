//! A backend that restarts under load. Its listening socket stays open, as under systemd. Requests
//! that were not sent on a dead connection are sent on another; requests that may have been
//! processed are never sent twice.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::folder::{ANY_PORTS, Folder, one_public_app};
use crate::support::process::Process;
use crate::support::runtime;
use crate::support::wire::Wire;

const RESTARTS: usize = 20;

/// The number of requests per path.
type RequestCounts = Arc<Mutex<HashMap<String, usize>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backend_restart_under_load_loses_no_get_and_repeats_no_post() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let backend = socket.local_addr().expect("an address");
    let folder = Folder::with(
        "doorward.toml",
        &one_public_app(&format!("http://{backend}")),
    );
    let variables = [&ANY_PORTS[..], &[("DOORWARD_LOG__ACCESS", "false")]].concat();
    let seen = RequestCounts::default();
    let mut running = Running::start(&socket, &seen);
    let process = Process::run(folder.path("doorward.toml").as_os_str(), &variables);
    let doorward = SocketAddr::from(([127, 0, 0, 1], process.port("address")));

    let (enough, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    for number in 0..8 {
        clients.spawn(client(
            doorward,
            number,
            Arc::clone(&enough),
            Arc::clone(&asked),
        ));
    }
    for _ in 0..RESTARTS {
        let before = asked.load(Ordering::Relaxed);
        crate::support::eventually("load", || asked.load(Ordering::Relaxed) > before + 100).await;
        running.end().await;
        running = Running::start(&socket, &seen);
    }
    enough.store(true, Ordering::Relaxed);
    let mut posted = Vec::new();
    while let Some(client) = clients.join_next().await {
        posted.extend(client.expect("a client that ends"));
    }
    let seen = seen.lock().expect("no test panicked inside");
    assert!(posted.len() > RESTARTS, "{}", posted.len());
    for (path, status) in posted {
        let times = seen.get(&path).copied().unwrap_or_default();
        assert!(times <= 1, "{path} was sent {times} times");
        assert!(
            if status == 200 {
                times == 1
            } else {
                status == 502
            },
            "{path}: {status}, sent {times} times"
        );
    }
}

/// Sends GET and POST in turn on a keep-alive connection. Returns the POSTs with the status of each
/// response.
async fn client(
    doorward: SocketAddr,
    number: usize,
    enough: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
) -> Vec<(String, u16)> {
    let mut wire = Wire::new(TcpStream::connect(doorward).await.expect("a connection"));
    let mut posted = Vec::new();
    for turn in 0.. {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let (method, path) = (
            if turn % 2 == 0 { "GET" } else { "POST" },
            format!("/public/{number}/{turn}"),
        );
        let length = if method == "POST" {
            "Content-Length: 4\r\n\r\nonce"
        } else {
            "\r\n"
        };
        wire.write(
            format!("{method} {path} HTTP/1.1\r\nHost: store.localhost\r\n{length}").as_bytes(),
        )
        .await
        .expect("taken");
        let head = wire.read_head().await.expect("a head").expect("an answer");
        let body = wire
            .read_body(head.answer_framing(method))
            .await
            .expect("a body");
        match method {
            "GET" => assert_eq!(
                head.status(),
                200,
                "{path}: {}",
                String::from_utf8_lossy(&body)
            ),
            _ => posted.push((path, head.status())),
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    posted
}

/// One run of the backend. It responds to everything it has read and to the first request of each
/// connection, and then closes its connections without notice, as any server does on termination.
struct Running {
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(socket: &TcpListener, seen: &RequestCounts) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (socket, seen) = (socket.try_clone().expect("a descriptor"), Arc::clone(seen));
        let serving = runtime().spawn(async move {
            socket.set_nonblocking(true).expect("a socket");
            let listener = tokio::net::TcpListener::from_std(socket).expect("a socket");
            let (mut ending, mut connections) = (stopped.clone(), JoinSet::new());
            loop {
                tokio::select! {
                    biased;
                    _ = ending.wait_for(|stopped| *stopped) => break,
                    Ok((stream, _)) = listener.accept() => {
                        let (seen, stopped) = (Arc::clone(&seen), stopped.clone());
                        connections.spawn(async move { serve(stream, &seen, stopped).await });
                    }
                }
            }
            while connections.join_next().await.is_some() {}
        });
        Self { stop, serving }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), self.serving)
            .await
            .expect("an end in time")
            .expect("an end");
    }
}

async fn serve(
    stream: TcpStream,
    seen: &RequestCounts,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(stream);
    let mut is_first = true;
    loop {
        let head = tokio::select! {
            head = wire.read_head() => head?,
            _ = stopped.wait_for(|stopped| *stopped), if !is_first => return Ok(()),
        };
        let Some(head) = head else { return Ok(()) };
        is_first = false;
        let path = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        *seen
            .lock()
            .expect("no test panicked inside")
            .entry(path)
            .or_default() += 1;
        wire.read_body(head.request_framing()).await?;
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await?;
    }
}
