//! Connections to apps: a real nginx that closes each HTTP/2 connection after a few requests, an
//! address that leads back to Doorward, and an app that moves to another address.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::folder::{ANY_PORTS, Folder, one_public_app};
use crate::support::process::Process;
use crate::support::runtime;
use crate::support::wire::Wire;

const CLIENTS: usize = 20;
const REQUESTS_EACH: usize = 20;

/// nginx with HTTP/2 over a Unix socket and `keepalive_requests 10`.
struct Nginx {
    process: Child,
    _folder: TempDir,
}

impl Nginx {
    async fn start(folder: TempDir, socket: &Path) -> Self {
        let at = folder.path().display();
        let text = format!(
            "worker_processes 1;\ndaemon off;\npid {at}/nginx.pid;\nerror_log {at}/nginx.error crit;\n\
             events {{ worker_connections 512; }}\n\
             http {{\naccess_log off;\nclient_body_temp_path {at}/body;\nproxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/fastcgi;\nuwsgi_temp_path {at}/uwsgi;\nscgi_temp_path {at}/scgi;\n\
             server {{\nlisten unix:{} http2;\nkeepalive_requests 10;\n\
             location / {{ return 200 \"$request_method\"; }}\n}}\n}}\n",
            socket.display()
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).expect("a file");
        let start = |program: &str| {
            Command::new(program)
                .arg("-e")
                .arg(folder.path().join("nginx.error"))
                .arg("-c")
                .arg(&file)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        // Debian installs it in a directory that is only in root's `PATH`.
        let process = start("nginx")
            .or_else(|_| start("/usr/sbin/nginx"))
            .expect("nginx");
        eventually("nginx listens", || socket.exists()).await;
        Self {
            process,
            _folder: folder,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that nginx stops its workers.
        let _asked = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let _ended = self.process.wait();
    }
}

/// Starts Doorward in front of `upstream`, with one worker.
fn start_doorward(config: &str) -> (Process, SocketAddr) {
    let folder = Folder::with("doorward.toml", config);
    let more = [
        ("DOORWARD_LOG__ACCESS", "false"),
        ("DOORWARD_SERVER__WORKERS", "1"),
    ];
    let variables = [&ANY_PORTS[..], &more].concat();
    let process = Process::run(folder.path("doorward.toml").as_os_str(), &variables);
    let doorward = SocketAddr::from(([127, 0, 0, 1], process.port("address")));
    (process, doorward)
}

/// Sends one request on a connection. Returns the status and the body.
async fn exchange(wire: &mut Wire, request: &str) -> (u16, String) {
    wire.write(request.as_bytes()).await.expect("taken");
    let head = wire.read_head().await.expect("a head").expect("a response");
    let method = request.split(' ').next().unwrap_or_default();
    let body = wire
        .read_body(head.answer_framing(method))
        .await
        .expect("a body");
    (head.status(), String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_survive_an_nginx_that_closes_connections_after_ten_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("app.sock");
    let _nginx = Nginx::start(folder, &socket).await;
    let app = one_public_app(&format!("unix:{}", socket.display()))
        .replace("client_id", "upstream_protocol = \"http2\"\nclient_id");
    let (_process, doorward) = start_doorward(&app);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let mut wire = Wire::new(TcpStream::connect(doorward).await.expect("a connection"));
            let mut failed = Vec::new();
            for number in 0..REQUESTS_EACH {
                let request = format!(
                    "POST /public/{number} HTTP/1.1\r\nHost: store.localhost\r\n\
                     Content-Length: 4\r\n\r\nonce"
                );
                let response = exchange(&mut wire, &request).await;
                if response != (200, "POST".to_owned()) {
                    failed.push(response);
                }
            }
            failed
        });
    }
    while let Some(failed) = clients.join_next().await {
        assert_eq!(failed.expect("a client that ends"), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loop_through_another_proxy_ends_after_a_few_rounds() {
    let relay = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let relay_address = relay.local_addr().expect("an address");
    let (_process, doorward) = start_doorward(&one_public_app(&format!("http://{relay_address}")));
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rounds);
    runtime().spawn(async move {
        while let Ok((mut from, _)) = relay.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut to = TcpStream::connect(doorward).await.expect("Doorward");
                // Either side may close.
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let mut wire = Wire::new(TcpStream::connect(doorward).await.expect("a connection"));
    let request = "GET /public/a HTTP/1.1\r\nHost: store.localhost\r\n\r\n";
    let (status, body) = exchange(&mut wire, request).await;
    assert_eq!(status, 508, "{body}");
    assert!(body.contains("upstream_loop"), "{body}");
    assert_eq!(rounds.load(Ordering::SeqCst), 4);
}
