//! A real forward proxy (tinyproxy), and entrances to a provider that accept its connections only.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::listening::Listening;
use super::redis::free_port;

/// The address from which the proxy connects.
const PROXY_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The user and the password at the proxy.
pub const PROXY_USER: &str = "doorward";
pub const PROXY_PASSWORD: &str = "pr0xy-secret";

/// A running tinyproxy; it is killed on drop.
pub struct ForwardProxy {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl ForwardProxy {
    /// Requires the credentials above.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let log = folder.path().join("log");
        let config = format!(
            "Port {port}\nListen 127.0.0.1\nBind {PROXY_ADDRESS}\nTimeout 60\nMaxClients 50\n\
             LogFile \"{}\"\nLogLevel Connect\nAllow 127.0.0.1\nBasicAuth {PROXY_USER} {PROXY_PASSWORD}\n",
            log.display()
        );
        let file = folder.path().join("tinyproxy.conf");
        fs::write(&file, config).expect("a file");
        let process = Command::new("tinyproxy")
            .arg("-d")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tinyproxy is installed: run ./tests/run once");
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "tinyproxy listens"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self {
            folder,
            port,
            process,
        }
    }

    /// Its URL, without credentials.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its URL with credentials, as in an environment variable.
    pub fn url_with_credentials(&self) -> String {
        format!(
            "http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{}",
            self.port
        )
    }

    /// How many requests of this method it got.
    pub fn count(&self, method: &str) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let requests = log.lines().filter(|line| line.contains("Request"));
        requests
            .filter(|line| line.contains(&format!(": {method} ")))
            .count()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        // It may have exited already.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Who may use an entrance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    All,
    /// The proxy.
    ProxyOnly,
}

/// A port that leads to a provider, once [`Self::opens_to`] names its port.
pub struct Entrance {
    listening: Listening,
    target: Arc<OnceLock<u16>>,
    refused: Arc<AtomicUsize>,
}

impl Entrance {
    /// Terminates TLS if `tls` is given.
    pub fn start(guests: Guests, tls: Option<Arc<ServerConfig>>) -> Self {
        let target = Arc::new(OnceLock::new());
        let refused = Arc::new(AtomicUsize::new(0));
        let (known, counter) = (Arc::clone(&target), Arc::clone(&refused));
        let listening = Listening::start(0, move |stream| {
            let is_proxy = stream
                .peer_addr()
                .is_ok_and(|peer| peer.ip() == IpAddr::V4(PROXY_ADDRESS));
            let (port, tls) = (known.get().copied(), tls.clone());
            let is_refused = guests == Guests::ProxyOnly && !is_proxy;
            if is_refused {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            async move {
                if let Some(port) = port.filter(|_| !is_refused) {
                    // Either side may close the connection at any time.
                    let _ended = pass(stream, tls, port).await;
                }
            }
        });
        Self {
            listening,
            target,
            refused,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listening.port()
    }

    /// Leads to this port on 127.0.0.1 from now on.
    pub fn opens_to(&self, port: u16) {
        self.target.set(port).expect("the first target");
    }

    /// How many connections were refused.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    port: u16,
) -> std::io::Result<()> {
    let mut provider = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    provider.set_nodelay(true)?;
    match tls {
        Some(tls) => {
            let mut stream = TlsAcceptor::from(tls).accept(stream).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut provider).await?;
        }
        None => {
            tokio::io::copy_bidirectional(&mut stream, &mut provider).await?;
        }
    }
    Ok(())
}
