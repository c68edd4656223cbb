//! Log sinks that block, fail or are closed: requests are served, probes respond, and SIGTERM
//! drains and ends the process.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, pipe};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::backend::Backend;
use crate::support::folder::{ANY_PORTS, Folder, at, one_public_app};

/// Enough requests to fill a pipe of 64 KiB many times over at level `trace`.
const REQUESTS: usize = 400;

/// A process with standard streams chosen by the test.
struct Sunk {
    child: Child,
    port: u16,
    admin: u16,
    _folder: Folder,
    _backend: Backend,
}

impl Sunk {
    /// Reads standard error until the process serves, then passes the stream to `sink`.
    fn start(stdout: Stdio, sink: impl FnOnce(BufReader<PipeReader>)) -> Self {
        let (reader, writer): (PipeReader, PipeWriter) = pipe().expect("a pipe");
        let backend = Backend::start();
        let folder = Folder::with("doorward.toml", &one_public_app(&backend.url()));
        let child = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["run", "--config"])
            .arg(folder.path("doorward.toml"))
            .env_clear()
            .envs(ANY_PORTS)
            .env("DOORWARD_LOG__LEVEL", "trace")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(writer)
            .spawn()
            .expect("the binary starts");
        let mut reader = BufReader::new(reader);
        let (port, admin) = loop {
            let mut line = String::new();
            assert_ne!(
                reader.read_line(&mut line).expect("a line"),
                0,
                "no `serving`"
            );
            if line.contains("serving") {
                break (port(&line, "address="), port(&line, "admin="));
            }
        };
        sink(reader);
        Self {
            child,
            port,
            admin,
            _folder: folder,
            _backend: backend,
        }
    }

    async fn serves_and_ends(mut self) {
        for number in 0..REQUESTS {
            assert_eq!(
                at("store.localhost", self.port, "/public/x").await,
                200,
                "{number}"
            );
        }
        assert_eq!(at("127.0.0.1", self.admin, "/livez").await, 200);
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .expect("sh")
                .success()
        );
        assert_eq!(self.ended().code(), Some(0));
    }

    fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "the process does not end"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sunk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port(line: &str, name: &str) -> u16 {
    let rest = line.split_once(name).expect("an address").1;
    let address = rest.split_whitespace().next().expect("an address");
    address
        .rsplit_once(':')
        .expect("a port")
        .1
        .parse()
        .expect("a port")
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_stderr_blocks_neither_requests_nor_shutdown() {
    let mut held = None;
    let process = Sunk::start(Stdio::null(), |reader| held = Some(reader));
    process.serves_and_ends().await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_stdout_blocks_neither_requests_nor_shutdown() {
    let (unread, writer) = pipe().expect("a pipe");
    let process = Sunk::start(Stdio::from(writer), drain);
    process.serves_and_ends().await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_stderr_and_stdout_stop_nothing() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    Sunk::start(Stdio::from(writer), drop)
        .serves_and_ends()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_stops_nothing() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    Sunk::start(Stdio::from(full), drain)
        .serves_and_ends()
        .await;
}

fn drain(reader: BufReader<PipeReader>) {
    std::thread::spawn(move || reader.lines().map_while(Result::ok).for_each(drop));
}
