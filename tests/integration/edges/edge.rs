//! Real edges with the configurations of `deploy/edges`, in which only addresses are replaced.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::doorward::Doorward;
use crate::support::eventually;
use crate::support::redis::free_port;

/// A proxy that asks Doorward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Nginx,
    Caddy,
    Haproxy,
    EnvoyHttp,
    EnvoyGrpc,
}

/// A running edge in front of the store. It ends when it is dropped.
pub(super) struct Edge {
    pub(super) port: u16,
    process: Child,
    _folder: TempDir,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Nginx,
        Self::Caddy,
        Self::Haproxy,
        Self::EnvoyHttp,
        Self::EnvoyGrpc,
    ];

    fn files(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Nginx => ("nginx", &["nginx.conf", "doorward_client.conf"]),
            Self::Caddy => ("caddy", &["Caddyfile"]),
            Self::Haproxy => ("haproxy", &["haproxy.cfg", "doorward.lua"]),
            Self::EnvoyHttp => ("envoy", &["http.yaml"]),
            Self::EnvoyGrpc => ("envoy", &["grpc.yaml"]),
        }
    }
}

impl Edge {
    /// Starts the edge in front of the store.
    pub(super) async fn start(kind: Kind, doorward: &Doorward) -> Self {
        Self::start_edited(kind, doorward, str::to_owned).await
    }

    /// Starts the edge for clients that speak HTTP/2 with prior knowledge.
    pub(super) async fn over_http2(kind: Kind, doorward: &Doorward) -> Self {
        let (shipped, edited) = match kind {
            Kind::Nginx => ("listen 127.0.0.1:8000;", "listen 127.0.0.1:8000 http2;"),
            Kind::Caddy => (
                "auto_https off",
                "auto_https off\n servers {\n protocols h1 h2c\n }",
            ),
            Kind::Haproxy => ("bind 127.0.0.1:8000", "bind 127.0.0.1:8000 proto h2"),
            Kind::EnvoyHttp | Kind::EnvoyGrpc => ("", ""),
        };
        Self::start_edited(kind, doorward, |text| text.replacen(shipped, edited, 1)).await
    }

    async fn start_edited(kind: Kind, doorward: &Doorward, edit: impl Fn(&str) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let decisions = doorward.servers[0]
            .decision_address()
            .expect("a TCP listener");
        let app = doorward.store.url();
        let app: u16 = app
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let addresses = [
            (8000, port),
            (8080, doorward.address().port()),
            (8082, decisions.port()),
            (3000, app),
        ];
        let (source, files) = kind.files();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy/edges")
            .join(source);
        for file in files {
            let text = std::fs::read_to_string(source.join(file)).expect("a shipped file");
            std::fs::write(
                folder.path().join(file),
                with_addresses(&edit(&text), &addresses),
            )
            .expect("a file");
        }
        if kind == Kind::Nginx {
            std::fs::write(folder.path().join("main.conf"), around_nginx(folder.path()))
                .expect("a file");
        }
        let process = command(kind, folder.path())
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("output")).expect("a file"))
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let mut edge = Self {
            port,
            process,
            _folder: folder,
        };
        let output = edge._folder.path().join("output");
        eventually("the edge listens", || {
            if let Ok(Some(status)) = edge.process.try_wait() {
                let output = std::fs::read_to_string(&output).unwrap_or_default();
                panic!("{kind:?} ended with {status}: {output}");
            }
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        edge
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // SIGTERM, so that nginx stops its workers.
        let _asked = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let _ended = self.process.wait();
    }
}

fn command(kind: Kind, folder: &Path) -> Command {
    // Debian installs these in a directory that is only in root's `PATH`.
    let program = |name: &str| {
        let sbin = PathBuf::from("/usr/sbin").join(name);
        Command::new(if sbin.exists() { sbin } else { name.into() })
    };
    let mut command = match kind {
        Kind::Nginx => program("nginx"),
        Kind::Caddy => program("caddy"),
        Kind::Haproxy => program("haproxy"),
        Kind::EnvoyHttp | Kind::EnvoyGrpc => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            Command::new(root.join("target/python/bin/envoy"))
        }
    };
    match kind {
        Kind::Nginx => command
            .arg("-e")
            .arg(folder.join("error"))
            .arg("-c")
            .arg(folder.join("main.conf")),
        Kind::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]),
        Kind::Haproxy => command.args(["-db", "-f", "haproxy.cfg"]),
        Kind::EnvoyHttp => envoy(&mut command, "http.yaml"),
        Kind::EnvoyGrpc => envoy(&mut command, "grpc.yaml"),
    };
    command
}

fn envoy<'c>(command: &'c mut Command, file: &str) -> &'c mut Command {
    command.args(["-c", file, "--concurrency", "1", "--log-level", "error"]);
    // Several at once would share memory otherwise.
    command.args(["--disable-hot-restart"])
}

/// The rest of a configuration, as distributions ship it.
fn around_nginx(folder: &Path) -> String {
    let folder = folder.display();
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .collect();
    format!(
        "worker_processes 1;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error error;\n\
         events {{ worker_connections 512; }}\n\
         http {{\naccess_log off;\n{folders}include nginx.conf;\n}}\n"
    )
}

/// The texts before ports in the configurations, each with a mark.
const PREFIXES: [(&str, char); 3] = [
    ("127.0.0.1:", 'a'),
    ("port_value: ", 'b'),
    ("http://:", 'c'),
];

/// Replaces ports.
fn with_addresses(text: &str, addresses: &[(u16, u16)]) -> String {
    let mut text = text.to_owned();
    // By names, since a real port may equal one that is to be replaced.
    for (shipped, _) in addresses {
        for (prefix, mark) in PREFIXES {
            text = text.replace(&format!("{prefix}{shipped}"), &format!("@{mark}{shipped}@"));
        }
    }
    for (shipped, real) in addresses {
        for (prefix, mark) in PREFIXES {
            text = text.replace(&format!("@{mark}{shipped}@"), &format!("{prefix}{real}"));
        }
    }
    text
}
