//! Real servers behind Doorward, and the tools that `tests/run` installs. A server ends with its owner.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use super::eventually_async;

/// A server that listens on a port of loopback.
pub struct RealServer {
    process: Child,
    pub port: u16,
}

impl RealServer {
    /// Runs the command and waits until it listens.
    pub async fn start(mut command: Command, port: u16) -> Self {
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().expect("the server");
        let server = Self { process, port };
        let limit = Duration::from_secs(20);
        eventually_async("the server listens", limit, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        server
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// A program of the Python environment.
pub fn tool(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(root.join("target/python/bin").join(name))
}
