//! Log sinks that block, fail or are closed: requests are served, probes respond, and SIGTERM
//! drains and ends the process.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, PipeReader, PipeWriter, Read as _, pipe};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

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
        let variables = [("DOORWARD_LOG__LEVEL", "trace")];
        Self::start_with("", &variables, stdout, sink)
    }

    /// The same with more in the configuration, and with environment variables.
    fn start_with(
        more: &str,
        variables: &[(&str, &str)],
        stdout: Stdio,
        sink: impl FnOnce(BufReader<PipeReader>),
    ) -> Self {
        let (reader, writer): (PipeReader, PipeWriter) = pipe().expect("a pipe");
        let backend = Backend::start();
        let text = one_public_app(&backend.url()) + more;
        let folder = Folder::with("doorward.toml", &text);
        let child = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["run", "--config"])
            .arg(folder.path("doorward.toml"))
            .env_clear()
            .envs(ANY_PORTS)
            .envs(variables.iter().copied())
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

/// Standard output is a pipe that takes what fits and then nothing, for both logs.
#[tokio::test(flavor = "multi_thread")]
async fn logs_on_one_nonblocking_output_do_not_mix_their_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("stdout");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let nonblocking = |options: &mut OpenOptions| {
        let opened = options.custom_flags(libc::O_NONBLOCK).open(&fifo);
        opened.expect("a FIFO")
    };
    let mut reader = nonblocking(OpenOptions::new().read(true));
    let stdout = nonblocking(OpenOptions::new().write(true));
    let rules = "\n[[apps.store.rules]]\npaths = [\"/shut/**\"]\nallow = \"deny\"\n";
    let variables = [("DOORWARD_LOG__AUDIT", "stdout")];
    let mut process = Sunk::start_with(rules, &variables, Stdio::from(stdout), drain);
    for number in 0..REQUESTS {
        let path = format!("/shut/{}", "x".repeat(900));
        let status = at("store.localhost", process.port, &path).await;
        assert_eq!(status, 403, "{number}");
    }
    let (mut text, mut part) = (Vec::new(), [0; 3000]);
    let start = Instant::now();
    while text.iter().filter(|byte| **byte == b'\n').count() < 2 * REQUESTS {
        match reader.read(&mut part) {
            Ok(size) => text.extend_from_slice(&part[..size]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "lines are missing"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let lines = std::str::from_utf8(&text).expect("ASCII").lines();
    let events = lines.filter(|line| {
        let entry: Value = serde_json::from_str(line).expect("one entry a line");
        entry["event"] == "denied"
    });
    assert_eq!(events.count(), REQUESTS);
    process.child.kill().expect("it runs");
}

/// Without a reader, opening a FIFO would wait for one.
#[test]
fn fifo_without_reader_as_audit_log_ends_the_start() {
    let fifo = "audit.fifo";
    let folder = Folder::with("doorward.toml", &one_public_app("http://127.0.0.1:1"));
    let made = Command::new("mkfifo").arg(folder.path(fifo)).status();
    assert!(made.expect("mkfifo").success());
    let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(["run", "--config"])
        .arg(folder.path("doorward.toml"))
        .env_clear()
        .envs(ANY_PORTS)
        .env("DOORWARD_LOG__AUDIT", format!("file:{fifo}"))
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("no process reads"),
        "{said}"
    );
}

fn drain(reader: BufReader<PipeReader>) {
    std::thread::spawn(move || reader.lines().map_while(Result::ok).for_each(drop));
}
